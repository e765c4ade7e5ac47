"""MMHead (Wu et al. 2024) with its zips unpacked: faces as 56 FLAME numbers a frame, sound, and texts at five levels.

    FOLDER/facial_motion/ID.pkl                (frames, 56): 50 expression weights, neck 3, jaw 3 (radians)
    FOLDER/audio/ID.wav                        not for every motion of the second list
    FOLDER/text_annotations/LEVEL/ID.txt       LEVEL: action, emotion, detail_expression, detail_head_pose,
                                               emotion_scenario
    FOLDER/talking_subset.json, t2m_subset.json    which IDs are train, validation and test

The folders, the names and the order of the 56 numbers are those of the owners' README. What it does not say, and
nobody here could check on the data (an agreement is needed): what is inside a .pkl, how the lists are written, how many
lines a text has, and the frame rate. So a .pkl may hold the array alone or a mapping with it (``key`` names it where
there are several); it is read without running anything in it, and .npy and .npz are read too. A list may be a mapping
of splits to IDs, or a list of objects with ``id_key`` and ``split_key``. Every line of a text is one text. ``fps`` has
to be given. Head movement is in the neck's joint, where the owners put it. Nobody is named: no speakers. FLAME itself
has to be imported (`tdmm_lm.rigs.flame`), since nothing can be seen of its numbers without it.

    sources: {mmhead: {folder: MMHead, fps: 25}}
"""

import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import Field, field_validator

from tdmm_lm import config, unpickle, video
from tdmm_lm.corpus.sources import Item, Rejected, humanml3d
from tdmm_lm.flame_file import EXPRESSIONS
from tdmm_lm.formats import npz
from tdmm_lm.motion import face
from tdmm_lm.rigs import flame
from tdmm_lm.sample import Sample

SOURCE = "MMHead"
LICENCE = "MMHead (Wu et al. 2024), by agreement with its owners: https://huggingface.co/datasets/Human-X/MMHead"
CHANNELS = {"expression": slice(0, 50), "neck": slice(50, 53), "jaw": slice(53, 56)}
WIDTH = 56
LEVELS = ("action", "emotion", "detail_expression", "detail_head_pose", "emotion_scenario")
SPLITS = {
    "train": "train", "training": "train", "val": "dev", "valid": "dev", "validation": "dev", "dev": "dev",
    "test": "test", "testing": "test",
}
SEE = "ask for it at https://huggingface.co/datasets/Human-X/MMHead and unpack its zips"


class Settings(config.Settings):
    """Patterns are below ``folder``, with ``{id}`` (and ``{level}``) where the names go; ``audio`` may be None."""

    folder: Path
    fps: float = Field(ge=1, le=1000)
    lists: tuple[str, ...] = ("talking_subset.json", "t2m_subset.json")
    motion: str = "facial_motion/{id}.pkl"
    audio: str | None = "audio/{id}.wav"
    texts: str = "text_annotations/{level}/{id}.txt"
    levels: tuple[str, ...] = LEVELS
    needs_audio: bool = False  # whether a motion without sound is refused
    key: str | None = None  # of the array, where a file holds several
    id_key: str = "id"
    split_key: str = "split"

    @field_validator("motion", "audio", "texts")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        try:
            (value or "").format(id="", level="")
        except (KeyError, IndexError, ValueError, AttributeError):
            raise ValueError(f"expected a path with {{id}} and {{level}}, got {value!r}") from None
        return value


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One an ID, in the order of the lists; an ID of two lists comes once; ``seed`` changes nothing.

    Raises:
        FileNotFoundError: the folder, a list, motions or texts are missing, or FLAME is.
        ValueError: a list is written in no known way, or an ID stands in two splits.
    """
    del seed  # the order is the corpus's
    folder = settings.folder
    wanted = (*settings.lists, settings.motion.split("{")[0].rstrip("/"), settings.texts.split("{")[0].rstrip("/"))
    missing = [name for name in wanted if not (folder / name).exists()]
    if missing:
        packed = [name for name in missing if (folder / f"{name}.zip").is_file()]
        see = f"unpack {packed[0]}.zip there" if packed else SEE
        raise humanml3d.lacking(folder, SOURCE, missing=", ".join(missing), below=", ".join(wanted), see=see)
    flame.load()  # without it nobody sees these faces; it says how to get it
    seen: dict[str, str] = {}
    for name in settings.lists:
        for ident, split in _listed(folder / name, settings):
            if seen.get(ident, split) != split:
                raise ValueError(f"{folder / name}: expected {ident} in one split, got {seen[ident]} and {split}.")
            if ident not in seen:
                yield Item(f"mmhead/{ident}", split, {"id": ident})
            seen[ident] = split


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """The motion with all its texts, the level of each in its labels."""
    ident = str(item.what["id"])
    file = settings.motion.format(id=ident)
    try:
        rows = motion_of(settings.folder / file, settings.key)
        clip = face.assemble(
            {
                name: np.pad(rows[:, channels], ((0, 0), (0, EXPRESSIONS - 50 if name == "expression" else 0)))
                for name, channels in CHANNELS.items()
            },
            fps=settings.fps, rig=flame.NAME,
        )
    except FileNotFoundError:
        yield Rejected(item.id, SOURCE, "missing_motion", f"expected {file}, found none.")
        return
    except ValueError as error:
        yield Rejected(item.id, SOURCE, "broken_file", str(error))
        return
    said: dict[str, list[str]] = {}
    for level in settings.levels:
        path = settings.folder / settings.texts.format(id=ident, level=level)
        if path.is_file():
            lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            said[level] = [line for line in lines if line]
    if not any(said.values()):
        yield Rejected(item.id, SOURCE, "missing_text", f"expected {settings.texts.format(id=ident, level='*')}.")
        return
    wave, sound = None, settings.audio.format(id=ident) if settings.audio else ""
    if sound and (settings.folder / sound).is_file():
        try:
            wave = video.audio(settings.folder / sound)
        except ValueError as error:
            yield Rejected(item.id, SOURCE, "broken_audio", str(error))
            return
    elif settings.needs_audio:
        yield Rejected(item.id, SOURCE, "missing_audio", f"expected {sound or 'a pattern for audio'}, found none.")
        return
    yield Sample(
        item.id, tuple(text for texts in said.values() for text in texts), {"face": clip}, item.split, SOURCE, LICENCE,
        {"texts": said}, audio=wave, provenance={"file": file, "seconds": None},
    )


def motion_of(path: Path, key: str | None = None) -> Float[np.ndarray, "frames 56"]:
    """The numbers of a .pkl, .npy or .npz; nothing in it is run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, no such array, another shape, or numbers that are not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a motion, found none.")
    if path.suffix == ".npz":
        held: Any = npz.arrays(path, None if key is None else [key])
    elif path.suffix == ".npy":
        loaded = humanml3d.load(path, path.stem, SOURCE)
        if isinstance(loaded, Rejected):
            raise ValueError(loaded.detail)
        held = loaded
    else:
        held = _pickled(path)
    if isinstance(held, dict):
        arrays = {name: value for name, value in held.items() if isinstance(value, np.ndarray)}
        fitting = [name for name, value in arrays.items() if value.ndim == 2 and value.shape[1] == WIDTH]
        chosen = key if key is not None else fitting[0] if len(fitting) == 1 else None
        if chosen is None or chosen not in arrays:
            listed = ", ".join(f"{name} {value.shape}" for name, value in arrays.items()) or "no arrays"
            wanted = f"the array {key}" if key else f"one array (frames, {WIDTH})"
            raise ValueError(f"{path}: expected {wanted}, got {listed}; name it in the setting key.")
        held = arrays[chosen]
    array = np.asarray(held)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != WIDTH or not len(array):
        raise ValueError(f"{path}: expected (frames, {WIDTH}), got {array.dtype} {array.shape}.")
    if not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{path}: expected finite numbers, got NaN or infinity at frame {frame}.")
    return array.astype(np.float32)


def _pickled(path: Path) -> Any:
    """What a pickle of arrays holds, mapping or array.

    `unpickle.read` wants a mapping; an array alone is handed to it as a member of an .npz, where pickles are members.
    """
    with tempfile.TemporaryDirectory() as folder:
        wrapped = Path(folder) / "wrapped.npz"
        with zipfile.ZipFile(wrapped, "w") as archive, archive.open("held.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "|O", "fortran_order": False, "shape": ()})
            member.write(path.read_bytes())
        try:
            return unpickle.read(wrapped)["held"]
        except ValueError as error:
            raise ValueError(str(error).replace(str(wrapped), str(path))) from None


def _listed(path: Path, settings: Settings) -> Iterator[tuple[str, str]]:
    """(id, split) of one list."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {' '.join(str(error).split())}.") from None
    if isinstance(held, dict):
        rows = [
            (entry, split) for split, entries in held.items()
            for entry in (entries if isinstance(entries, list) else [entries])
        ]
    elif isinstance(held, list):
        rows = [(entry, entry.get(settings.split_key) if isinstance(entry, dict) else None) for entry in held]
    else:
        rows = [(held, None)]
    for entry, split in rows:
        name = entry.get(settings.id_key) if isinstance(entry, dict) else entry
        if not isinstance(name, str) or str(split).lower() not in SPLITS:
            wanted = f"a mapping of {', '.join(sorted(set(SPLITS)))} to IDs, or objects with "
            wanted += f"{settings.id_key!r} and {settings.split_key!r} (settings id_key, split_key)"
            raise ValueError(f"{path}: expected {wanted}, got {str(entry)[:60]!r} in split {split!r}.")
        plain = Path(name).name
        stem = plain.rsplit(".", 1)[0] if plain.endswith((".pkl", ".npy", ".npz", ".wav", ".txt")) else plain
        yield stem, SPLITS[str(split).lower()]
