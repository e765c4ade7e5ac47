"""Share of a clip's steps in which a foot slides, averaged over clips: GMD's convention (Karunratanakul et al. 2023),
both its frames under 5 cm above the floor and over 0.5 m/s along it; `geometry.humanml3d.foot_skate` has the
details."""

import numpy as np
import torch

from tdmm_lm.geometry import humanml3d
from tdmm_lm.metrics import Clips, Values

BETTER = "lower"
UNIT = "share"
TAKES = "joints"
REFERENCE = "none"
LEAST = {"frames": 2}
whole = weights = None


def each(predicted: Clips, *, fps: float, floor_metres: float = 0.0) -> Values:
    """
    Raises:
        ValueError: a rate outside 1..1000 Hz.
    """
    floor = np.array([0.0, floor_metres, 0.0])
    return np.array([humanml3d.foot_skate(torch.from_numpy(clip - floor), fps) for clip in predicted])
