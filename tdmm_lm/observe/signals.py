"""From geometry to the few curves that the other steps read: weights of the 52 shapes, head, gaze, lids and lips.

The weights are solved on one reference rig whatever rig the clip came from, so that a smile is a smile on every head.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import landmarks, rigs, rotations
from tdmm_lm.geometry.measure import Geometry
from tdmm_lm.geometry.solve import solve
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT

REFERENCE = "head"  # the rig whose shapes are the vocabulary
_LIDS = (ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight"))


@dataclass(frozen=True)
class Signals:
    """What is read, frame by frame.

    Attributes:
        weights: of `ARKIT` on the reference rig, 0..1.
        rotation: of the head in the world.
        gaze: (yaw, pitch) of the left and the right eye in the head, radians; left and down are positive.
        lids: how far the left and the right eye are shut, 0..1.
        mouth: the lips' gap and the mouth's width, from neutral, in inter-ocular distances.
        fps: frames a second.
    """

    weights: Float[np.ndarray, "frames arkit"]
    rotation: Float[np.ndarray, "frames 3 3"]
    gaze: Float[np.ndarray, "frames 2 2"]
    lids: Float[np.ndarray, "frames 2"]
    mouth: Float[np.ndarray, "frames 2"]
    fps: float


@lru_cache(maxsize=4)
def _reference(name: str) -> rigs.Rig:
    return rigs.load(name)


def read(geometry: Geometry, reference: str = REFERENCE) -> Signals:
    """The curves of a geometry.

    Raises:
        FileNotFoundError: the reference rig's data is not on this machine.
    """
    weights = face.part(solve(geometry, _reference(reference)), "expression").astype(np.float64).clip(0, 1)
    rotation = rotations.six_to_matrix(torch.from_numpy(geometry.head.astype(np.float64))).numpy()
    gaze, lips = geometry.gaze.astype(np.float64), mouth(geometry.displacement)
    return Signals(weights, rotation, gaze, weights[:, _LIDS], lips, geometry.fps)


def mouth(displacement: Float[np.ndarray, "frames landmarks 3"]) -> Float[np.ndarray, "frames 2"]:
    """Of the lips' inner edges the gap in the middle, and of the mouth the width, as differences from neutral."""
    def mean(names: list[str], axis: int) -> Float[np.ndarray, " frames"]:
        return displacement[:, [landmarks.NAMES.index(name) for name in names], axis].mean(1).astype(np.float64)

    upper = mean([f"lip_inner_upper_{i}" for i in (4, 5, 6)], 1)  # the middle three of eleven
    lower = mean([f"lip_inner_lower_{i}" for i in (3, 4, 5)], 1)  # of nine
    return np.stack([upper - lower, mean(["lip_outer_upper_10"], 0) - mean(["lip_outer_upper_0"], 0)], 1)
