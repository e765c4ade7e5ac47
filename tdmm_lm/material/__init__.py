"""What a codec learns a modality from and is measured by. Every other file is one modality with the same names:

    Data                                  settings: which examples, what share of a batch each source has
    GROUPS                                the groups of features and their widths
    examples(data, split, seed)           -> {source: iterator of rows (frames, features)}; splits train, dev, test
    fitting(data, counts, seed)           -> rows of so many training clips a source, and what other rigs read of them
    elsewhere(data, rows)                 -> what each rig reads of rows that are solved onto it; possibly none
    metrics(data)                         -> {group: matrix L}: the error e of a group's features weighs |L e|
    LOSSES, losses(error)                 error of features (b, t, features) -> {name: scalar}, differentiable
    UNITS, errors(before, after)          rows -> {name: per frame}: what the report says
    MAIN                                  the error that stands for all in a comparison
    key(source, error)                    what the report calls the error on a source
    drawn(rows)                           -> points (frames, points, 2) and lines between them: for the picture
    closing(codec, data, seed, centres)   -> more figures of the trained codec, k-means' centres beside it
    licences(data)                        -> what the examples may be used for

A source is a word that the file knows, or a folder of motion files of the user's, read as they are.
"""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from tdmm_lm import bundle, formats
from tdmm_lm.config import Settings
from tdmm_lm.motion import MotionClip

SPLITS = ("train", "dev", "test")
Rows = Float[Tensor, "frames features"]


class Data(Settings):
    """What every modality's settings have."""

    shares: dict[str, float]  # of a batch, by source; what they sum to does not matter


def check_shares(shares: Mapping[str, float], known: tuple[str, ...]) -> None:
    """
    Raises:
        ValueError: no source, a share that is not positive, or a source that is no known word and no folder.
    """
    if not shares:
        raise ValueError(f"data.shares: expected at least one of {', '.join(known)} or a folder, got none.")
    for name, share in shares.items():
        if not share > 0:
            raise ValueError(f"data.shares.{name}: expected a number above 0, got {share}.")
        if name not in known and not Path(name).is_dir():
            raise ValueError(f"data.shares: expected one of {', '.join(known)} or a folder of clips, got {name!r}.")


def real_data(source: str) -> Path:
    """The folder of real data.

    Raises:
        ValueError: $TDMM_DATA names none.
    """
    where = bundle.data()
    if where is None:
        raise ValueError(
            f"data.shares: {source}: expected $TDMM_DATA to name the folder of real data; set it, or leave the source "
            "out."
        )
    return where


def folder(path: str | Path, modality: str, split: str) -> Iterator[MotionClip]:
    """The motion files of a folder and its subfolders, each as it is, by name; every tenth is held out for ``test`` and
    another for ``dev``, chosen by a hash of the name, so that a new file moves no other.

    Raises:
        ValueError: a file of another modality, a broken one, or none at all.
    """
    endings = tuple(suffix for module in formats.modules().values() if module.read for suffix in module.SUFFIXES)
    files = sorted(file for file in Path(path).rglob("*") if file.name.lower().endswith(endings))
    if not files:
        raise ValueError(f"{path}: expected motion files ({', '.join(sorted(set(endings)))}), found none.")
    for file in files:
        place = zlib.crc32(str(file.relative_to(path)).encode()) % 10
        if {0: "test", 1: "dev"}.get(place, "train") == split:
            clip = formats.read(file)
            if clip.modality != modality:
                raise ValueError(f"{file}: expected a {modality} clip, got one of modality {clip.modality}.")
            yield clip
