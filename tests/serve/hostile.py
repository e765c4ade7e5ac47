"""Files that mean harm, made by code: pairs of (name, bytes), among them a few that are only odd."""

import gzip
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from tdmm_lm import gltf

CHANNELS = 70  # of the bundled head


class _Bomb:
    """What runs if anyone unpickles it."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('/tmp/tdmm-unpickled').write_text('ran')",)


def _npy(shape, data: bytes = b"", descr="'<f4'", version=(1, 0)) -> bytes:
    """An array file whose header says what it is told to say."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(head)) + head + data


def _array(values) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(values), allow_pickle=False)
    return out.getvalue()


def _zip(members, method=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def clip(**changes) -> bytes:
    """An own clip, with members exchanged for arrays or bytes; None leaves one out."""
    members = {
        "format_version": np.int64(1), "values": np.zeros((10, CHANNELS), np.float32), "fps": np.float64(25),
        "modality": np.str_("face"), "rig": np.str_("head"), "shape": np.zeros(0, np.float32), **changes,
    }
    return _zip([
        (f"{name}.npy", held if isinstance(held, bytes) else _array(held))
        for name, held in members.items() if held is not None
    ])


def _archives() -> Iterator[tuple[str, bytes]]:
    huge = zlib.compressobj(9, zlib.DEFLATED, -15)
    block, crc, size, packed = bytes(1 << 20), 0, 0, []
    for _ in range(100):
        packed.append(huge.compress(block))
        crc, size = zlib.crc32(block, crc), size + len(block)
    packed.append(huge.flush())
    deflated = b"".join(packed)

    def raw(name: bytes, declared: int, flags: int = 0) -> bytes:
        """One deflated member of 100 MB that is said to be `declared` long."""
        local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, flags, 8, 0, 0, crc, len(deflated), declared, len(name), 0)
        central = struct.pack(
            "<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, flags, 8, 0, 0, crc, len(deflated), declared, len(name),
            0, 0, 0, 0, 0, 0,
        )
        body = local + name + deflated
        return body + central + name + struct.pack(
            "<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(central) + len(name), len(body), 0
        )

    yield "ratio.npz", raw(b"values.npy", size)
    yield "says-4GB.npz", raw(b"format_version.npy", 0xFFFFFFF0)
    yield "says-10-bytes.npz", raw(b"format_version.npy", 10)
    yield "encrypted.npz", raw(b"format_version.npy", size, flags=1)
    yield "members.npz", _zip([("format_version.npy", _array(1)), *((f"{k}.npy", b"") for k in range(5_000))])
    yield "same-name.npz", _zip([("format_version.npy", _array(1)), ("format_version.npy", _npy("(999999999,)"))])
    nested = _zip([("a.npy", bytes(20 << 20))])
    for _ in range(6):
        nested = _zip([("format_version.npy", nested)])
    yield "nested.npz", nested
    yield "traversal.npz", _zip([("../../../../tmp/tdmm-escaped.npy", _array(1)), ("format_version.npy", _array(1))])
    yield "shape-bomb.npz", clip(values=_npy("(100000000000, 70)"))
    yield "shape-overflow.npz", clip(values=_npy("(4611686018427387904, 4)"))
    yield "negative.npz", clip(values=_npy("(-1, 70)", bytes(280)))
    yield "many-axes.npz", clip(values=_npy("(" + "1," * 2000 + ")", bytes(4)))
    yield "zero-width.npz", clip(values=_npy("(4000000000, 0)"))
    yield "objects.npz", clip(values=_npy("(1,)", pickle.dumps([_Bomb()]), descr="'|O'"))
    yield "structured.npz", clip(values=_npy("(1,)", bytes(12), descr="[('a','|O'),('b','<f4')]"))
    yield "header-code.npz", clip(values=_npy("__import__('os').abort()"))
    yield "header-deep.npz", clip(values=_npy("(" * 9000 + ")" * 9000))
    yield "header-9.npz", clip(values=_npy("(1, 70)", bytes(280), version=(9, 0)))
    yield "nan.npz", clip(values=np.full((5, CHANNELS), np.nan, np.float32))
    yield "inf.npz", clip(values=np.full((5, CHANNELS), np.inf, np.float32))
    yield "overflows-float.npz", clip(values=np.full((5, CHANNELS), 1e300))
    yield "no-frames.npz", clip(values=np.zeros((0, CHANNELS), np.float32))
    yield "integers.npz", clip(values=np.zeros((5, CHANNELS), np.int64))
    yield "complex.npz", clip(values=np.zeros((5, CHANNELS), np.complex64))
    yield "text.npz", clip(values=np.full((5, CHANNELS), "x"))
    yield "future.npz", clip(format_version=np.int64(2**40))
    yield "rate.npz", clip(fps=np.float64("nan"))
    yield "slow.npz", clip(fps=np.float64(1), values=np.zeros((100_000, CHANNELS), np.float32))
    yield "channels.npz", clip(values=np.zeros((5, 10_000), np.float32))
    yield "rig.npz", clip(rig=np.str_("../../../../etc"))
    yield "rig-long.npz", clip(rig=np.str_("\x1b[2J" + "x" * 100_000))
    yield "modality.npz", clip(modality=np.str_("smell"))
    yield "shape-nan.npz", clip(shape=np.full(3, np.nan, np.float32))
    yield "missing.npz", clip(fps=None)
    whole = clip()
    for at in (3, 40, len(whole) // 2, len(whole) - 5):
        yield f"cut-at-{at}.npz", whole[:at]
    flipped = bytearray(clip(values=np.random.default_rng(0).normal(size=(50, CHANNELS)).astype(np.float32)))
    flipped[len(flipped) // 2] ^= 0xFF
    yield "flipped.npz", bytes(flipped)
    yield "bzip.npz", _zip([("format_version.npy", bytes(50 << 20))], zipfile.ZIP_BZIP2)
    yield "lzma.npz", _zip([("format_version.npy", bytes(50 << 20))], zipfile.ZIP_LZMA)


def _bodies() -> Iterator[tuple[str, bytes]]:
    def amass(**changes):
        held = {
            "poses": np.zeros((20, 156)), "trans": np.zeros((20, 3)), "mocap_framerate": np.float64(60),
            "betas": np.zeros(16), "gender": np.str_("neutral"), **changes,
        }
        return _zip([(f"{k}.npy", v if isinstance(v, bytes) else _array(v)) for k, v in held.items()])

    yield "amass-lengths.npz", amass(trans=np.zeros((7, 3)))
    yield "amass-narrow.npz", amass(poses=np.zeros((20, 5)))
    yield "amass-axes.npz", amass(poses=np.zeros((2, 20, 156)))
    yield "amass-nan.npz", amass(poses=np.full((20, 156), np.nan))
    yield "amass-rate.npz", amass(mocap_framerate=np.zeros(9))
    yield "amass-rate-inf.npz", amass(mocap_framerate=np.float64("inf"))
    yield "amass-gender.npz", amass(gender=_npy("(1,)", pickle.dumps([_Bomb()]), descr="'|O'"))
    yield "amass-empty.npz", amass(poses=np.zeros((0, 156)))
    yield "flame-widths.npz", _zip([
        ("expression.npy", _array(np.zeros((5, 900)))), ("jaw_pose.npy", _array(np.zeros((5, 3)))),
        ("global_orient.npy", _array(np.zeros((5, 3)))), ("fps.npy", _array(25.0)),
    ])
    yield "joints-huge.npy", _npy("(2000000, 22, 3)")
    yield "joints-exabytes.npy", _npy("(1000000000000, 22, 3)")
    yield "joints-nan.npy", _array(np.full((5, 263), np.nan, np.float32))
    yield "joints-inches.npy", _array(np.full((5, 263), 1e30, np.float32))
    yield "pickled.npy", _npy("(1,)", pickle.dumps([_Bomb()]), descr="'|O'")
    yield "negative.npy", _npy("(-5, 263)", bytes(4000))
    yield "header.npy", _npy("(5, 263", bytes(5260))


def _scenes() -> Iterator[tuple[str, bytes]]:
    def document(**changes):
        return {
            "asset": {"version": "2.0", "extras": {"tdmm_lm": {
                "fps": 25.0, "rig": "head", "shape": [], "expressions": ["jawOpen"],
            }}},
            "nodes": [{"name": "head", "mesh": 0}, {"name": "root", "translation": [0, 0, 0]}],
            "meshes": [{"extras": {"targetNames": ["jawOpen"]}}], "buffers": [{"byteLength": 400}],
            "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 400}],
            "accessors": [{"bufferView": 0, "componentType": 5126, "count": 100, "type": "SCALAR"}],
            "animations": [{
                "samplers": [{"input": 0, "output": 0}],
                "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}],
            }], **changes,
        }

    def body(**changes):
        return document(asset={"version": "2.0"}, **changes)

    def accessor(**changes):
        return [{"bufferView": 0, "componentType": 5126, "count": 100, "type": "SCALAR", **changes}]

    binary = np.arange(100, dtype="<f4").tobytes()
    whole = gltf.packed(document(), binary)
    yield "chunk-lies.glb", whole[:12] + struct.pack("<I", 0xFFFFFFF0) + whole[16:]
    yield "length-lies.glb", whole[:8] + struct.pack("<I", 0xFFFFFFF0) + whole[12:]
    yield "chunk-short.glb", whole[:12] + struct.pack("<I", 8) + whole[16:]
    yield "cut.glb", whole[:200]
    yield "header-only.glb", whole[:12]
    deep = b'{"asset":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    yield "deep.glb", struct.pack("<4sIIII", b"glTF", 2, 20 + len(deep), len(deep), gltf.JSON_CHUNK) + deep
    number = b'{"asset":' + b"9" * 100_000 + b"}"
    yield "digits.glb", struct.pack("<4sIIII", b"glTF", 2, 20 + len(number), len(number), gltf.JSON_CHUNK) + number
    yield "count.glb", gltf.packed(document(accessors=accessor(count=10**15)), binary)
    yield "count-negative.glb", gltf.packed(document(accessors=accessor(count=-5)), binary)
    yield "count-text.glb", gltf.packed(document(accessors=accessor(count="many")), binary)
    yield "count-infinite.glb", gltf.packed(document(accessors=accessor(count=float("inf"))), binary)
    yield "view-outside.glb", gltf.packed(document(bufferViews=[{"buffer": 0, "byteOffset": 10**12}]), binary)
    yield "view-missing.glb", gltf.packed(document(accessors=accessor(bufferView=77)), binary)
    yield "zeros.glb", gltf.packed(body(accessors=[{"componentType": 5126, "count": 2**24, "type": "MAT4"}]), binary)
    uri = [{"byteLength": 400, "uri": "file:///etc/passwd"}]
    yield "uri-file.glb", gltf.packed(body(buffers=uri), b"")
    data = [{"byteLength": 400, "uri": "data:application/octet-stream;base64," + "A" * 4000}]
    yield "uri-data.glb", gltf.packed(body(buffers=data), b"")
    yield "uri-http.glb", gltf.packed(body(buffers=[{"byteLength": 400, "uri": "http://127.0.0.1:1/x"}]), b"")
    yield "cycle.glb", gltf.packed(body(nodes=[{"children": [1]}, {"children": [0]}]), binary)
    chain = [{"children": [k + 1]} for k in range(200_000)] + [{}]
    yield "chain.glb", gltf.packed(body(nodes=chain), binary)
    yield "expressions.glb", gltf.packed(document(asset={"version": "2.0", "extras": {"tdmm_lm": {
        "fps": 25.0, "rig": "head", "shape": [], "expressions": [f"e{k}" for k in range(200_000)],
    }}}, accessors=accessor(count=100_000)), bytes(400_000))
    names = [f"e{k}" for k in range(200_000)]
    about = {"fps": 25.0, "rig": "head", "shape": [], "expressions": names}
    yield "names.glb", gltf.packed(document(
        asset={"version": "2.0", "extras": {"tdmm_lm": about}},
        meshes=[{"extras": {"targetNames": names[::-1]}}],
    ), binary)
    yield "rate-nan.glb", gltf.packed(document(asset={"version": "2.0", "extras": {"tdmm_lm": {
        "fps": float("nan"), "rig": "head", "shape": [], "expressions": ["jawOpen"],
    }}}), binary)
    yield "asset-list.glb", gltf.packed(document(asset=[]), binary)
    yield "avatar.glb", gltf.packed(document(asset={"extras": {"tdmm_lm": {"kind": "avatar"}}}), binary)
    yield "times.glb", gltf.packed(body(), np.full(100, np.nan, "<f4").tobytes())


def _hierarchies() -> Iterator[tuple[str, bytes]]:
    root = "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\n"
    root += "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"

    def take(frames="2", time="0.04", rows="0 0 0 0 0 0\n0 0 0 0 0 0\n", inner="End Site\n{\nOFFSET 0 0 0\n}\n"):
        return f"{root}{inner}}}\nMOTION\nFrames: {frames}\nFrame Time: {time}\n{rows}".encode()

    yield "frames.bvh", take(frames="999999999999")
    yield "frames-digits.bvh", take(frames="9" * 10_000)
    yield "frames-superscript.bvh", take(frames="²")
    yield "frames-negative.bvh", take(frames="-3")
    yield "time-zero.bvh", take(time="0")
    yield "time-nan.bvh", take(time="nan")
    yield "nan.bvh", take(rows="nan nan nan nan nan nan\n" * 2)
    yield "one-joint.bvh", take()
    yield "numbers.bvh", take(rows="0 0 0 0 0 1e999999\n" * 2)
    deep = "".join(f"JOINT j{k}\n{{\nOFFSET 0 1 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n" for k in range(5000))
    yield "deep.bvh", (root + deep + "}" * 5001 + "\nMOTION\nFrames: 1\nFrame Time: 0.04\n").encode()
    deep = "".join(f"JOINT j{k}\n{{\nOFFSET 0 1 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n" for k in range(480))
    numbers = "0 " * (6 + 480 * 3) + "\n"
    yield "deep-480.bvh", (
        root + deep + "End Site\n{\nOFFSET 0 1 0\n}\n" + "}" * 481 + "\nMOTION\nFrames: 1\nFrame Time: 0.04\n" + numbers
    ).encode()
    yield "braces.bvh", b"HIERARCHY\n" + b"{" * 2_000_000
    yield "one-line.bvh", (root + "A" * 20_000_000).encode()
    yield "no-channels.bvh", b"HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\n}\nMOTION\nFrames: 1\nFrame Time: 0.1\n0\n"
    yield "channels.bvh", take(inner="JOINT x\n{\nOFFSET 0 0 0\nCHANNELS 99999999999 Xrotation\n}\n")
    yield "offset.bvh", take(inner="JOINT x\n{\nOFFSET inf nan 1e400\nCHANNELS 1 Xrotation\n}\n")
    yield "binary.bvh", b"HIERARCHY\n" + bytes(range(256)) * 4000


def _tables() -> Iterator[tuple[str, bytes]]:
    from tdmm_lm.formats import arkit_csv

    head = ",".join(arkit_csv.COLUMNS)
    row = "00:00:00:00.000,61" + ",0" * 61
    yield "columns.csv", ("Timecode" + ",x" * 1_000_000 + "\n" + "0" + ",0" * 1_000_000).encode()
    yield "same-columns.csv", ("Timecode" + ",eyeBlinkLeft" * 300_000 + "\n1\n").encode()
    yield "quote.csv", (head + '\n"' + row * 5000).encode()
    yield "wide-cell.csv", (head + "\n" + "9" * 5_000_000).encode()
    yield "garbage.csv", b"Timecode,EyeBlinkLeft\n" + bytes(range(256)) * 1000
    yield "header.csv", b"Timecode,Smile\n1,2\n"
    yield "only-header.csv", head.encode()
    yield "nan.csv", (head + "\n" + row.replace(",0", ",nan", 1)).encode()
    yield "inf.csv", (head + "\n" + row[:-1] + "inf\n" + row.replace(",0,", ",1e400,", 1)).encode()
    yield "timecode.csv", (head + "\n" + row.replace("00:", "99:", 1)).encode()
    yield "timecode-digits.csv", (head + "\n" + row.replace("00:", "9" * 9000 + ":", 1)).encode()
    yield "gap.csv", (head + "\n" + row + "\n" + row.replace("00:", "23:", 1)).encode()
    yield "back.csv", (head + "\n" + row + "\n" + row).encode()
    yield "short-rows.csv", (head + "\n00:00:00:00.000,61,0\n").encode()
    yield "utf16.csv", (head + "\n" + row).encode("utf-16")
    yield "nulls.csv", (head + "\n" + row).encode() + bytes(5000)
    dense = "\n".join(f"00:00:{k // 60:02d}:{k % 60:02d}.000,61" + ",0" * 20 for k in range(3000))
    yield "cells.csv", (head + "\n" + dense).encode()


def _foreign() -> Iterator[tuple[str, bytes]]:
    yield "empty.npz", b""
    yield "one-byte", b"\x00"
    yield "zeros.bin", bytes(1 << 20)
    yield "model.pkl", pickle.dumps({"values": _Bomb()})
    yield "model.npz", pickle.dumps(_Bomb())
    yield "program", b"\x7fELF" + bytes(range(256)) * 40
    yield "bomb.gz", gzip.compress(bytes(50 << 20), 9)
    yield "bomb.npz", gzip.compress(clip())
    yield "note.txt", "just words".encode("utf-16")
    yield "page.html", b"<html><script>alert(1)</script></html>"
    yield "entities.svg", b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "a"><!ENTITY b "&a;&a;">]><svg>&b;</svg>'
    yield "../../etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"
    yield "/etc/shadow", b"\x00\x01\x02"
    yield "nul\x00in.npz", b"\x00\x01\x02"
    yield "new\nline\x1b[2J.csv", b"\x00\x01\x02"
    yield "a" * 5000 + ".npz", b"PK\x05\x06" + bytes(18)
    yield "..", b"PK\x03\x04"
    yield "con.json", b"[" * 1_000_000
    yield "list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    yield "list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n\x00"
    yield "concat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n\x00"
    yield "playlist.ts", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nconcat:/etc/passwd|/etc/hostname\n\x00\x01"
    yield "described.mp4", b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>\x00'


def movie(
    frames: int = 10, size: tuple[int, int] = (64, 64), *, rate: int = 25, container: str = "mp4",
    codec: str = "libx264", sound: bool = False, pictures: bool = True, step: int = 1,
) -> bytes:
    """A film of grey noise that is well-formed; ``step`` stretches its times."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=container) as film:
        stream = None
        if pictures:
            stream = film.add_stream(codec, rate=rate)
            stream.width, stream.height, stream.pix_fmt = *size, "rgb8" if codec == "gif" else "yuv420p"
        heard = film.add_stream("aac", rate=16000, layout="mono") if sound else None
        if not frames:
            film.start_encoding()
        for k in range(frames if stream else 0):
            frame = av.VideoFrame(*size, "rgb24").reformat(format=stream.pix_fmt)
            frame.pts = k * step
            film.mux(stream.encode(frame))
        if stream:
            film.mux(stream.encode(None))
        if heard:
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            block.sample_rate, block.pts = 16000, 0
            film.mux(heard.encode(block))
            film.mux(heard.encode(None))
    return out.getvalue()


def _films() -> Iterator[tuple[str, bytes]]:
    whole = movie()
    yield "faceless.mp4", whole
    for share in (0.1, 0.5, 0.95):
        yield f"cut-{share}.mp4", whole[: int(len(whole) * share)]
    place = whole.index(b"avc1") + 4 + 24  # width and height of the sample entry
    yield "says-65535.mp4", whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :]
    place = whole.index(b"mvhd") + 4 + 16
    yield "says-years.mp4", whole[:place] + b"\x7f\xff\xff\xff" + whole[place + 4 :]
    place = whole.index(b"stts") + 4 + 4
    yield "stts-lies.mp4", whole[:place] + b"\x00\x00\x00\x01\x7f\xff\xff\xff\x7f\xff\xff\xff" + whole[place + 12 :]
    place = whole.index(b"stsz") + 4 + 8
    yield "stsz-lies.mp4", whole[:place] + b"\x7f\xff\xff\xff" + whole[place + 4 :]
    yield "large.mp4", movie(2, (4096, 2304))
    yield "long.mp4", movie(20, step=25 * 3600)
    yield "long.mkv", movie(20, step=25 * 3600, container="matroska")
    yield "many-frames.mp4", movie(3_000, (16, 16), rate=1000)
    yield "sound.mp4", movie(sound=True, pictures=False)
    yield "no-frames.mp4", movie(0)
    yield "faceless.gif", movie(3, (16, 16), container="gif", codec="gif")
    boxes = struct.pack(">I4s", 8, b"moov") * 200_000
    yield "boxes.mp4", struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + boxes
    nested = b"".join(struct.pack(">I4s", 8 * (5000 - k), b"moov") for k in range(5000))
    yield "boxes-deep.mp4", struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + nested
    yield "moov-lies.mp4", struct.pack(">I4s4sIQ", 1, b"ftyp", b"isom", 0, 2**62) + whole[16:]
    picture = io.BytesIO()
    from PIL import Image

    Image.new("1", (12_000, 12_000)).save(picture, "PNG")
    yield "bomb.png", picture.getvalue()
    yield "bomb.mp4", picture.getvalue()
    jpeg = io.BytesIO()
    Image.new("L", (8, 8)).save(jpeg, "JPEG")
    yield "photo.jpg", jpeg.getvalue()
    yield "polyglot.mp4", whole + _zip([("readme.txt", b"no motion")])
    yield "polyglot.npz", b"\x00\x00\x00\x08ftyp" + b"PK\x03\x04" + whole[40:]
    yield "garbage.mp4", whole[:48] + np.random.default_rng(1).bytes(100_000)
    yield "riff.avi", b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"AVI LIST" + b"\xff" * 4000
    yield "ebml.webm", b"\x1aE\xdf\xa3" + b"\x01\xff\xff\xff\xff\xff\xff\xff" * 500
    yield "ogg.ogv", b"OggS" + bytes(4000)
    yield "asf.wmv", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c" + b"\xff" * 4000


def files() -> list[tuple[str, bytes]]:
    """All of them."""
    kinds = (_archives, _bodies, _scenes, _hierarchies, _tables, _foreign, _films)
    return [pair for kind in kinds for pair in kind()]
