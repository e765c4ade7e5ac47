"""How deep the lowest joint is under the floor, 0 where none is, averaged over all frames of all clips, in millimetres:
PhysDiff's convention (Yuan et al. 2023), of joints instead of a mesh's vertices, so that soles may still go through."""

import numpy as np

from tdmm_lm.metrics import Clips, Values, mpjpe_mm

BETTER = "lower"
UNIT = "mm"
TAKES = "joints"
REFERENCE = "none"
LEAST: dict[str, int] = {}
weights = mpjpe_mm.weights
whole = None


def each(predicted: Clips, *, floor_metres: float = 0.0) -> Values:
    return np.array([1000 * (floor_metres - clip[:, :, 1].min(1)).clip(0).mean() for clip in predicted])
