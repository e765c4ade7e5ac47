"""Our own clip file: a numpy archive without pickles, with a format version.

Arrays: ``format_version`` int, ``values`` float32 (frames, channels), ``fps`` float64, ``modality`` and ``rig`` text,
``shape`` float32. `arrays` reads any archive of numbers and text that came from outside without trusting it.
"""

import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from tokenize import TokenError

import numpy as np

from tdmm_lm import files
from tdmm_lm.motion import MotionClip
from tdmm_lm.rigs import Rig

SUFFIXES = (".npz",)
MODALITIES = ("face", "body")
FORMAT_VERSION = 1
KINDS = {"format_version": "iu", "values": "f", "fps": "fiu", "modality": "U", "rig": "U", "shape": "f"}
MOST_BYTES = 512 * 2**20  # unpacked, all members together: an hour at 120 fps is 120 MB
MOST_MEMBERS = 256


def names(path: str | Path) -> tuple[str, ...]:
    """The arrays in an archive, without reading any; empty where the file is no numpy archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError):
        return ()


def arrays(path: str | Path, wanted: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays named (or all) of a numpy archive; nothing is unpickled, nothing larger than it says is unpacked.

    Raises:
        ValueError: no zip, cut off or damaged, too many members, more than `MOST_BYTES` unpacked, encrypted, an array
            of objects, a header that does not match its size, or a name in ``wanted`` that is missing.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
            members = {info.filename.removesuffix(".npy"): info for info in listed if info.filename.endswith(".npy")}
            if len(listed) > MOST_MEMBERS:
                raise ValueError(f"{path}: expected at most {MOST_MEMBERS} arrays, got {len(listed)}.")
            total = sum(info.file_size for info in listed)
            if total > MOST_BYTES:
                raise ValueError(f"{path}: expected at most {MOST_BYTES >> 20} MB unpacked, got {total >> 20} MB.")
            chosen = tuple(members) if wanted is None else tuple(wanted)
            for name in chosen:
                if name not in members:
                    raise ValueError(f"{path}: {name}: expected an array, found none; there are {_listed(members)}.")
                if members[name].flag_bits & 1:
                    raise ValueError(f"{path}: {name}: expected a plain archive, got an encrypted one.")
            return {name: _array(archive, members[name], f"{path}: {name}") for name in chosen}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, UnicodeDecodeError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: expected a numpy archive, got none or one that is cut off ({error}).") from None


def _listed(members: Iterable[str]) -> str:
    listed = [repr(name)[1:-1][:40] for name in members]
    return (", ".join(listed[:12]) + (", …" if len(listed) > 12 else "")) or "nothing"


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> np.ndarray:
    """One member, its header checked against its size before its data is read."""
    with archive.open(info) as file:
        try:
            version = np.lib.format.read_magic(file)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, columns_first, dtype = header(file)
        except KeyError:
            raise ValueError(f"{where}: expected the npy format 1.0 or 2.0.") from None
        except (ValueError, SyntaxError, TokenError) as error:  # numpy reads headers as Python
            said = " ".join(str(error).split())[:80]
            raise ValueError(f"{where}: expected an array, got a broken header ({said}).") from None
        if dtype.hasobject:
            raise ValueError(f"{where}: expected numbers or text, got an array of objects, which is never unpickled.")
        if len(shape) > 8:
            raise ValueError(f"{where}: expected at most 8 axes, got {len(shape)}.")
        if any(size < 0 for size in shape):
            raise ValueError(f"{where}: expected sizes of zero or more, got {shape}.")
        size = math.prod(shape) * dtype.itemsize
        if size > info.file_size:
            raise ValueError(f"{where}: expected {size} bytes as its header says, the archive has {info.file_size}.")
        data = file.read(size)
    if len(data) != size:
        raise ValueError(f"{where}: expected {size} bytes, got {len(data)}: the file is cut off.")
    if not size:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order="F" if columns_first else "C").copy()


def sniff(head: bytes, path: Path) -> bool:
    return head.startswith(b"PK") and "format_version" in names(path)


def read(path: str | Path, *, fps: float | None = None) -> MotionClip:
    """A clip that `write` wrote; the file says its own rate, ``fps`` is not needed.

    Raises:
        ValueError: any array is missing or of the wrong kind, a newer format version, or values no clip may have.
    """
    held = arrays(path, KINDS)
    for name, kinds in KINDS.items():
        kind, rank = held[name].dtype.kind, held[name].ndim
        wanted = {"values": 2, "shape": 1}.get(name, 0)
        if kind not in kinds or rank != wanted:
            expected = "text" if kinds == "U" else "floats" if wanted else "a number"
            got = f"{held[name].dtype} of shape {held[name].shape}"
            raise ValueError(f"{path}: {name}: expected {expected} of rank {wanted}, got {got}.")
    if int(held["format_version"]) != FORMAT_VERSION:
        raise ValueError(f"{path}: format_version: expected {FORMAT_VERSION}, got {int(held['format_version'])}.")
    try:
        return MotionClip(held["values"], float(held["fps"]), str(held["modality"]), str(held["rig"]), held["shape"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write(clip: MotionClip, path: str | Path, *, rig: Rig | None = None) -> None:
    """The clip as it is; the same clip gives the same bytes. ``rig`` is not needed."""
    with files.replacing(path) as beside, beside.open("wb") as file:
        np.savez_compressed(
            file, format_version=np.int64(FORMAT_VERSION), values=clip.values, fps=np.float64(clip.fps),
            modality=np.str_(clip.modality), rig=np.str_(clip.rig), shape=clip.shape,
        )
