"""A face clip in 68 numbers, whatever was trained: what Fréchet distances and nearest neighbours are taken in.

Means and standard deviations over time of landmark displacements, head rotation and gaze, landmarks through fixed
random directions (Johnson and Lindenstrauss), so that a covariance of some hundred clips has full rank.
"""

from functools import cache

import numpy as np
from jaxtyping import Float

from tdmm_lm import rigs
from tdmm_lm.geometry.measure import FEATURES, features
from tdmm_lm.geometry.reading import read
from tdmm_lm.motion import MotionClip, face

DIRECTIONS = 24  # of the landmarks
SIZE = 2 * (DIRECTIONS + 6 + 4)
VERSION = "landmarks24+head6+gaze4, mean and deviation, 1"  # printed beside a Fréchet distance


@cache
def _directions() -> Float[np.ndarray, "features directions"]:
    width = FEATURES["displacement"].stop - FEATURES["displacement"].start
    return np.random.default_rng(24).normal(0, 1 / np.sqrt(DIRECTIONS), (width, DIRECTIONS))


def of(clip: MotionClip) -> Float[np.ndarray, " summary"]:
    """Its 68 numbers."""
    rows = features(read(face.resample(clip, face.CODE_FPS), rigs.load(clip.rig))).astype(np.float64)
    parts = [rows[:, FEATURES["displacement"]] @ _directions(), rows[:, FEATURES["head"]], rows[:, FEATURES["gaze"]]]
    whole = np.concatenate(parts, 1)
    return np.concatenate([whole.mean(0), whole.std(0)])
