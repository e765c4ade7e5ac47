"""Faces as a head's own numbers, to compare: 52 ARKit weights and the head's turn, not the surface that they make.

TDMM-LM quantises reconstructed geometry because different coefficients can give the same face. A codec of this material
learns the same clips at the same size; its errors are measured on the surface that its coefficients make.
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdmm_lm import codec, rigs, rotations
from tdmm_lm.geometry.measure import features, measure
from tdmm_lm.material import Rows, face
from tdmm_lm.motion import MotionClip
from tdmm_lm.motion import face as motion

MODALITY: codec.Modality = "face"
GROUPS = {"expression": len(motion.ARKIT), "head": 6}
LOSSES: tuple[str, ...] = ()
UNITS, MAIN = face.UNITS, face.MAIN
Data = face.Data
key, licences = face.key, face.licences


def rows(clip: MotionClip) -> Rows:
    """A clip of an ARKit rig as weights and 6D."""
    clip = motion.resample(clip, motion.CODE_FPS)
    turn = rotations.axis_angle_to_matrix(torch.from_numpy(motion.part(clip, "head")))
    return torch.cat([torch.from_numpy(motion.part(clip, "expression")), rotations.matrix_to_six(turn)], 1)


@cache
def _head() -> rigs.Rig:
    return rigs.load("head")


def surface(rows: Rows) -> Rows:
    """The rig-free geometry that coefficients make on the bundled head, as the rows that `face` has."""
    weights = rows[:, : len(motion.ARKIT)].clamp(0, 1).numpy()
    turn = rotations.matrix_to_axis_angle(rotations.six_to_matrix(rows[:, len(motion.ARKIT) :])).numpy()
    clip = motion.assemble({"expression": weights, "head": turn}, fps=motion.CODE_FPS, rig="head")
    return torch.from_numpy(features(measure(clip, _head())))


def examples(data: face.Data, split: str, seed: int) -> dict[str, Iterator[Rows]]:
    """The same clips as `face.examples`."""
    return {name: (rows(clip) for clip in made) for name, made in face.clips(data, split, seed).items()}


def fitting(data: face.Data, counts: dict[str, int], seed: int) -> tuple[Rows, list[Rows]]:
    """The same clips as `face.fitting`; there is one way to read them."""
    made = face.clips(data, "train", seed)
    return torch.cat([rows(clip) for name in made for clip in islice(made[name], max(1, counts[name]))]), []


def elsewhere(data: face.Data, rows: Rows) -> list[Rows]:
    """There is one way to read them."""
    return []


def metrics(data: face.Data) -> dict[str, Float[Tensor, "rows group"]]:
    """Every weight counts alike, as `face` has it for shapes; the head as there."""
    return {
        "expression": torch.eye(len(motion.ARKIT)) * data.metric.shape, "head": face.metrics(data)["head"],
    }


def losses(error: Float[Tensor, "b t features"]) -> dict[str, Tensor]:
    """None of its own."""
    return {}


def errors(before: Rows, after: Rows) -> dict[str, Float[Tensor, " frames"]]:
    """Of the surfaces."""
    return face.errors(surface(before), surface(after))


def drawn(rows: Rows) -> tuple[Float[np.ndarray, "frames points 2"], Int[np.ndarray, "lines 2"]]:
    """As `face.drawn`."""
    return face.drawn(surface(rows))


def closing(
    model: codec.Codec, data: face.Data, seed: int, centres: Float[Tensor, "codes components"]
) -> dict[str, dict[str, Any]]:
    """Nothing more."""
    return {}
