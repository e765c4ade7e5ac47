"""Recordings of real faces in the folder of real data, as `tdmm_lm.corpus.recordings` reads them, whole and in pieces.

    sources: {recorded: {rows: {grid: 4, facegood: 4}}}
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import numpy as np
from pydantic import Field

from tdmm_lm import bundle, config
from tdmm_lm.corpus import recordings
from tdmm_lm.corpus.sources import Item, Rejected
from tdmm_lm.motion import MotionClip
from tdmm_lm.sample import Sample

SHORTEST = 0.6  # of a recording, the length of a piece cut from it


class Settings(config.Settings):
    """``rows`` of each recording for training: itself, then pieces cut from it. Of the others there is itself alone."""

    rows: dict[str, int] = Field(default=dict.fromkeys(recordings.SOURCES, 1))
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
    whole = _read(str(item.what["name"]), folder(settings))[int(item.what["place"])]
    for number in range(int(item.what["rows"])):
        start, stop = span(whole, number, int(item.what["seed"]))
        clip = whole.clips["face"]
        piece = MotionClip(clip.values[start:stop], clip.fps, clip.modality, clip.rig, clip.shape)
        yield Sample(
            f"{whole.id}#{number}", whole.texts, {"face": piece}, whole.split, whole.source, whole.licence,
            speaker=whole.speaker, provenance={**whole.provenance, "recording": whole.id, "frames": [start, stop]},
        )


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
