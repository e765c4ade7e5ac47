"""Recordings of real faces in the folder of real data, as `tdmm_lm.corpus.recordings` reads them, whole and in pieces.

    sources: {recorded: {rows: {grid: 4, facegood: 4}, vary: true}}

Few recordings teach a model to know them by heart. With ``vary`` a piece is also played faster or slower, weaker or
stronger, in the mirror, every other one goes over into another recording, and half of them begin and end at rest, as
whole recordings do; what each then shows is observed anew.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from pydantic import Field

from tdmm_lm import bundle, config
from tdmm_lm.corpus import recordings
from tdmm_lm.corpus.sources import Item, Rejected
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.sample import Sample

SHORTEST = 0.6  # of a recording, the length of a piece cut from it
TEMPO, STRENGTH = (0.8, 1.25), (0.8, 1.2)  # of a varied piece, against the recording's
PASSAGE = 0.25  # seconds in which one piece goes over into another


class Settings(config.Settings):
    """``rows`` of each recording for training: itself, then pieces cut from it. Of the others there is itself alone."""

    rows: dict[str, int] = Field(default=dict.fromkeys(recordings.SOURCES, 1))
    vary: bool = False  # the pieces cut from recordings for training
    folder: Path | None = None  # of real data; without it $TDMM_DATA


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a recording, name after name, train before test.

    Raises:
        ValueError: an unknown name of recordings, or a number of rows below one.
        FileNotFoundError: no folder is named.
    """
    unknown = set(settings.rows) - set(recordings.SOURCES)
    if unknown:
        raise ValueError(
            f"sources.recorded.rows: expected among {', '.join(recordings.SOURCES)}, got {', '.join(sorted(unknown))}."
        )
    for name, rows in settings.rows.items():
        if rows < 1:
            raise ValueError(f"sources.recorded.rows.{name}: expected 1 or more, got {rows}; leave it out for none.")
        found = _read(name, folder(settings))
        for split in ("train", "test"):
            for place, sample in enumerate(found):
                if sample.split == split:
                    what = {"name": name, "place": place, "rows": rows if split == "train" else 1, "seed": seed}
                    yield Item(sample.id, split, what)


def folder(settings: Settings) -> Path:
    """Where the recordings are.

    Raises:
        FileNotFoundError: no folder is named.
    """
    found = settings.folder or bundle.data()
    if found is None:
        raise FileNotFoundError("sources.recorded: expected the folder of real data in $TDMM_DATA, which is unset.")
    return found


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """The recording as a whole, then its pieces."""
    name, seed = str(item.what["name"]), int(item.what["seed"])
    found = _read(name, folder(settings))
    whole = found[int(item.what["place"])]
    others = [sample for sample in found if sample.split == whole.split and sample.id != whole.id]
    for number in range(int(item.what["rows"])):
        cut = 0 if settings.vary and number % 4 in (1, 2) else number  # 0: all of it
        start, stop = span(whole, cut, seed)
        clip = _cut(whole, start, stop)
        origin: dict[str, Any] = {"recording": whole.id, "frames": [start, stop]}
        if number and settings.vary:
            rng = np.random.default_rng([seed, crc32(whole.id.encode()), number, 1])
            if number % 2 and others:
                other = others[int(rng.integers(len(others)))]
                start, stop = span(other, cut, seed)
                clip = joined(clip, _cut(other, start, stop))
                origin |= {"then": other.id, "then_frames": [start, stop]}
            clip, how = _varied(clip, rng)
            origin |= how
        yield Sample(
            f"{whole.id}#{number}", whole.texts, {"face": clip}, whole.split, whole.source, whole.licence,
            speaker=whole.speaker, provenance={**whole.provenance, **origin},
        )


def _cut(whole: Sample, start: int, stop: int) -> MotionClip:
    clip = whole.clips["face"]
    return MotionClip(clip.values[start:stop], clip.fps, clip.modality, clip.rig, clip.shape)


def joined(first: MotionClip, second: MotionClip) -> MotionClip:
    """One after the other, the end of the first fading into the beginning of the second."""
    frames = min(round(PASSAGE * first.fps), first.frames, second.frames)
    share = ((np.arange(frames) + 1) / (frames + 1))[:, None].astype(np.float32)
    between = (1 - share) * first.values[first.frames - frames :] + share * second.values[:frames]
    values = np.concatenate([first.values[: first.frames - frames], between, second.values[frames:]])
    return MotionClip(values, first.fps, first.modality, first.rig, first.shape)


def _varied(clip: MotionClip, rng: np.random.Generator) -> tuple[MotionClip, dict[str, Any]]:
    """Another tempo, another strength of the expression, every other one in the mirror; and how, for the provenance."""
    tempo, strength = (round(float(np.exp(rng.uniform(*np.log(range_)))), 3) for range_ in (TEMPO, STRENGTH))
    mirror = bool(rng.integers(2))
    quick = face.resample(MotionClip(clip.values, clip.fps * tempo, clip.modality, clip.rig, clip.shape), clip.fps)
    values = quick.values.copy()
    shown = face.layout(values.shape[1])["expression"]
    values[:, shown] = (strength * values[:, shown]).clip(0, 1)
    made = MotionClip(values, clip.fps, clip.modality, clip.rig, clip.shape)
    return face.mirrored(made) if mirror else made, {"tempo": tempo, "strength": strength, "mirrored": mirror}


def span(whole: Sample, number: int, seed: int) -> tuple[int, int]:
    """(first frame, frame after the last) of the ``number``-th row of a recording; 0 is the whole."""
    frames = whole.clips["face"].frames
    if not number:
        return 0, frames
    rng = np.random.default_rng([seed, crc32(whole.id.encode()), number])
    length = int(rng.integers(max(1, round(SHORTEST * frames)), frames + 1))
    start = int(rng.integers(0, frames - length + 1))
    return start, start + length


@lru_cache(maxsize=4)
def _read(name: str, data: Path) -> tuple[Sample, ...]:
    """All of a name's recordings, read once a process."""
    return tuple(recordings.SOURCES[name](data))
