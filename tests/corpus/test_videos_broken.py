"""Videos that are none, half ones and odd ones: each gives its reason or a right clip, and none stops the run.

The real frames are a talker's (GRID); everything that is wrong with them is made here.
"""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdmm_lm import bundle, video
from tdmm_lm.corpus import build, table
from tdmm_lm.corpus.sources import Item, Rejected, videos
from tdmm_lm.sample import Sample

pytest.importorskip("mediapipe", reason="needs mediapipe: pip install 'tdmm-lm[capture]'")
pytest.importorskip("scenedetect", reason="needs scenedetect: pip install 'tdmm-lm[capture]'")
DATA = bundle.data()
pytestmark = pytest.mark.skipif(
    DATA is None, reason="needs grid_s1/, face_landmarker/ and vad/ of the real data: set $TDMM_DATA to their folder"
)
FIRST, COUNT = 20, 32  # frames of the talker's first video: in the middle of his sentence


@pytest.fixture(scope="module")
def talk() -> list[np.ndarray]:
    assert DATA is not None
    path = sorted((DATA / "grid_s1" / "video").glob("*.mpg"))[0]
    return [frame for _, frame in video.read(path)][FIRST : FIRST + COUNT]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    assert DATA is not None
    path = sorted((DATA / "grid_s1" / "video").glob("*.mpg"))[0]
    return video.audio(path)[FIRST * 640 : (FIRST + COUNT) * 640]


def made(path: Path, **section: Any) -> list[Sample | Rejected]:
    """What the source makes of one file; the talker sits a little too far off for the default bound."""
    settings = videos.Settings(folder=path.parent, **{"quality": {"box_share": 0.1}, **section})
    return list(videos.samples(Item("videos/x", "train", {"path": str(path)}), settings))


def only(found: list[Sample | Rejected]) -> Sample | Rejected:
    assert len(found) == 1, [getattr(one, "reason", one.id) for one in found]
    return found[0]


def encoded(
    path: Path, pictures: Iterable[np.ndarray], *, rate: int = 25, ticks: list[int] | None = None,
    codec: str = "libx264", pixels: str = "yuv420p", turn: int = 0,
) -> Path:
    """A video by hand: any codec, times in ticks of 1/1000 s, a phone's rotation."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        for count, picture in enumerate(pictures):
            if not count:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixels
                stream.codec_context.time_base = Fraction(1, 1000)
                if turn:
                    stream.set_display_rotation(turn)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = ticks[count] if ticks else count * 1000 // rate
            frame.time_base = Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_files_that_are_no_videos(tmp_path, talk):
    rng = np.random.default_rng(0)
    whole = encoded(tmp_path / "whole.mp4", talk[:10]).read_bytes()
    files = {
        "nothing.mp4": (b"", "empty"),
        "letter.mp4": (b"Dear reader,\nthis is no video.\n", "text"),
        "playlist.mp4": (b"#EXTM3U\nhttp://127.0.0.1/secret\n", "text"),
        "page.webm": (b"<html><body>404 not found</body></html>", "text"),
        "noise.mp4": (rng.bytes(4000), "unreadable"),
        "zeros.avi": (bytes(4000), "unreadable"),
        "zip.mov": (b"PK\x03\x04" + rng.bytes(500), "unreadable"),
        "head.mp4": (whole[:32], "unreadable"),
        "index_lost.mp4": (whole[: int(0.7 * len(whole))], "unreadable"),  # its index comes last
        "head_lost.mp4": (whole[3000:], "unreadable"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        found = only(made(tmp_path / name))
        assert isinstance(found, Rejected)
        assert (found.reason, found.source, found.id) == (reason, "videos", "videos/x"), f"{name}: {found}"
        assert str(tmp_path / name) in found.detail
        assert "\n" not in found.detail
    (tmp_path / "folder.mp4").mkdir()
    assert only(made(tmp_path / "folder.mp4")).reason == "folder"
    assert only(made(tmp_path / "gone.mp4")).reason == "missing"


def test_a_name_that_is_no_text(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/odd\xff.mp4")).touch()
    with pytest.raises(ValueError, match="expected a row at least, got none; rejected 1: empty 1"):
        build.build(build.Settings(sources={"videos": {"folder": folder}}), tmp_path / "out")
    (refused,) = table.rejected(tmp_path / "out")
    assert (refused["id"], refused["reason"]) == ("videos/odd\\udcff.mp4", "empty")


def test_sound_alone_and_no_frames(tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    found = only(made(tmp_path / "sound.mp4"))
    assert (found.reason, "sound only" in found.detail) == ("unreadable", True)
    with av.open(str(tmp_path / "none.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.start_encoding()
    found = only(made(tmp_path / "none.mkv"))
    assert found.reason == "unreadable"


def test_a_good_one_is_a_sample(tmp_path, talk, sound):
    video.write(tmp_path / "a.mp4", talk, fps=25, audio=sound)
    found = only(made(tmp_path / "a.mp4"))
    assert isinstance(found, Sample), found
    clip = found.clips["face"]
    assert (clip.frames, clip.fps, clip.rig, found.split) == (COUNT, 25, "head", "train")
    assert len(found.audio) == pytest.approx(COUNT * 640, abs=1100)
    assert found.provenance["seconds"] == [0.0, COUNT / 25]


def test_a_png_and_png_in_mp4(tmp_path, talk):
    from PIL import Image

    Image.fromarray(talk[0]).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.mp4")
    found = only(made(tmp_path / "picture.mp4"))
    assert (found.reason, round(found.figures["seconds"], 2)) == ("too_short", 0.04)
    encoded(tmp_path / "pngs.mov", talk, codec="png", pixels="rgb24")
    found = only(made(tmp_path / "pngs.mov", sound={"speech_share": 0}))
    assert isinstance(found, Sample)
    assert found.clips["face"].frames == COUNT


def test_silent_ones(tmp_path, talk, sound):
    encoded(tmp_path / "a.mp4", talk)
    assert only(made(tmp_path / "a.mp4")).reason == "no_sound"
    found = only(made(tmp_path / "a.mp4", sound={"speech_share": 0}))
    assert isinstance(found, Sample)
    assert found.audio is None
    for name, wave, reason in (
        ("b.mp4", np.zeros_like(sound), "no_speech"),
        ("c.mp4", 0.1 * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32), "no_speech"),
        ("d.mp4", sound[: len(sound) // 2], "sound_breaks_off"),
    ):
        video.write(tmp_path / name, talk, fps=25, audio=wave)
        assert only(made(tmp_path / name)).reason == reason


def test_cut_off_and_damaged_ones(tmp_path, talk):
    video.write(tmp_path / "whole.mp4", talk * 2, fps=25)  # the index is in front
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(0.6 * len(whole))])
    found = made(tmp_path / "cut.mp4", sound={"speech_share": 0})
    assert found[-1].reason == "damaged"
    assert "cut off or damaged" in found[-1].detail or "damaged one" in found[-1].detail
    rng = np.random.default_rng(1)
    flipped = np.frombuffer(whole, np.uint8).copy()
    at = rng.integers(len(flipped) // 3, len(flipped), 400)
    flipped[at] ^= rng.integers(1, 255, 400).astype(np.uint8)
    (tmp_path / "flipped.mp4").write_bytes(flipped.tobytes())
    found = made(tmp_path / "flipped.mp4", sound={"speech_share": 0})
    assert found
    assert all(one.reason for one in found if isinstance(one, Rejected))


def test_a_picture_that_changes_its_shape(tmp_path, talk):
    cv2 = pytest.importorskip("cv2")
    tall = [cv2.copyMakeBorder(frame, 96, 96, 0, 0, cv2.BORDER_REPLICATE) for frame in talk]
    for name, frames, start in (("wide", talk, 0), ("tall", tall, COUNT + 2)):
        encoded(tmp_path / f"{name}.ts", frames, ticks=[40 * (start + i) for i in range(COUNT)])
    both = (tmp_path / "wide.ts").read_bytes() + (tmp_path / "tall.ts").read_bytes()
    (tmp_path / "turned.ts").write_bytes(both)
    found = made(tmp_path / "turned.ts", sound={"speech_share": 0})
    assert len(found) == 2, [getattr(one, "reason", one.id) for one in found]
    assert isinstance(found[0], Sample)
    assert found[0].provenance["seconds"] == pytest.approx([0.0, COUNT / 25], abs=0.06)


def test_shapes_and_sizes(tmp_path, talk):
    cv2 = pytest.importorskip("cv2")
    silent: dict[str, Any] = {"sound": {"speech_share": 0}}
    encoded(tmp_path / "tiny.mp4", [cv2.resize(frame, (16, 16)) for frame in talk])
    assert only(made(tmp_path / "tiny.mp4", **silent)).reason in {"no_face", "small_face"}
    encoded(tmp_path / "small.mp4", [cv2.resize(frame, (120, 96)) for frame in talk])
    assert only(made(tmp_path / "small.mp4", **silent)).reason == "small_face"
    encoded(
        tmp_path / "huge.mp4", (cv2.resize(frame, (3600, 2880)) for frame in talk[:26]),
        codec="mpeg4",
    )
    found = only(made(tmp_path / "huge.mp4", **silent))
    assert isinstance(found, Sample), found
    assert found.provenance["figures"]["face_pixels"] > 1000  # of the video, not of what the tracker saw
    encoded(tmp_path / "lying.mp4", [np.rot90(frame, -1) for frame in talk], turn=90)
    found = only(made(tmp_path / "lying.mp4", **silent))
    assert isinstance(found, Sample), found
    strip = [np.tile(frame[:, 100:104], (1, 200, 1)) for frame in talk]
    encoded(tmp_path / "strip.mp4", strip)
    assert only(made(tmp_path / "strip.mp4", **silent)).reason == "no_face"


def test_odd_rates(tmp_path, talk):
    silent: dict[str, Any] = {"sound": {"speech_share": 0}}
    ticks = np.cumsum([0, *([20, 60] * COUNT)])[:COUNT].tolist()
    encoded(tmp_path / "uneven.mp4", talk, ticks=ticks)
    found = only(made(tmp_path / "uneven.mp4", **silent))
    assert isinstance(found, Sample), found
    assert found.clips["face"].frames == pytest.approx(COUNT, abs=2)
    encoded(tmp_path / "fast.mp4", [frame for frame in talk for _ in range(4)], rate=100)
    found = only(made(tmp_path / "fast.mp4", **silent))
    assert isinstance(found, Sample), found
    assert (found.clips["face"].frames, found.clips["face"].fps) == (COUNT, 25)
    encoded(tmp_path / "slow.mp4", talk[:12], rate=8)
    assert only(made(tmp_path / "slow.mp4", **silent)).reason == "low_rate"
    encoded(tmp_path / "frozen.mp4", [talk[0]] * COUNT)
    assert only(made(tmp_path / "frozen.mp4", **silent)).reason == "frozen"
    encoded(tmp_path / "one.mp4", talk[:1])
    assert only(made(tmp_path / "one.mp4", **silent)).reason == "too_short"


def test_faces_that_are_not_there_or_too_many(tmp_path, talk):
    cv2 = pytest.importorskip("cv2")
    silent: dict[str, Any] = {"sound": {"speech_share": 0}}
    black, rng = np.zeros_like(talk[0]), np.random.default_rng(0)
    encoded(tmp_path / "black.mp4", [black] * COUNT)
    assert only(made(tmp_path / "black.mp4", **silent)).reason == "no_face"
    encoded(tmp_path / "noise.mp4", rng.integers(0, 255, (COUNT, 96, 128, 3), dtype=np.uint8))
    assert only(made(tmp_path / "noise.mp4", **silent)).reason == "no_face"
    encoded(tmp_path / "two.mp4", [np.concatenate([frame, frame[:, ::-1]], 1) for frame in talk])
    assert {one.reason for one in made(tmp_path / "two.mp4", **silent)} == {"second_face"}
    encoded(tmp_path / "blurred.mp4", [cv2.GaussianBlur(frame, (0, 0), 4) for frame in talk])
    assert only(made(tmp_path / "blurred.mp4", **silent)).reason == "blurred"
    encoded(tmp_path / "trembling.mp4", [np.roll(frame, rng.integers(-4, 5, 2), (0, 1)) for frame in talk])
    assert only(made(tmp_path / "trembling.mp4", **silent)).reason == "jitter"
    encoded(tmp_path / "leaves.mp4", [*talk, *[black] * 30])
    stays, gone = made(tmp_path / "leaves.mp4", **silent)
    assert isinstance(stays, Sample)
    assert stays.clips["face"].frames == pytest.approx(COUNT, abs=1)
    assert gone.reason == "no_face"
    assert gone.figures["seconds"] == pytest.approx(30 / 25, abs=0.1)  # it is believed in for a frame or two more
