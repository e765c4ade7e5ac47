"""Mean distance of the joints after each frame is laid onto its reference by the best turn, scale and shift, without
mirroring (Umeyama 1991); over joints and all frames of all clips, in millimetres."""

import numpy as np
from jaxtyping import Float

from tdmm_lm.metrics import Clips, Values, mpjpe_mm

BETTER = "lower"
UNIT = "mm"
TAKES = "joints"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
weights = mpjpe_mm.weights
whole = None


def each(predicted: Clips, reference: Clips) -> Values:
    return mpjpe_mm.each([aligned(one, other) for one, other in zip(predicted, reference)], reference)


def aligned(
    points: Float[np.ndarray, "frames points 3"], onto: Float[np.ndarray, "frames points 3"]
) -> Float[np.ndarray, "frames points 3"]:
    """Each frame, turned, scaled and shifted so that the squared distances are least."""
    middle = onto.mean(1, keepdims=True)
    one, other = points - points.mean(1, keepdims=True), onto - middle
    left, sizes, right = np.linalg.svd(one.transpose(0, 2, 1) @ other)  # (frames, 3, 3)
    mirrored = np.linalg.det(left @ right) < 0
    left[mirrored, :, 2] *= -1
    sizes[mirrored, 2] *= -1
    spread = np.square(one).sum((1, 2))
    scale = np.divide(sizes.sum(1), spread, out=np.zeros_like(spread), where=spread > 0)  # a point has no size to scale
    return scale[:, None, None] * (one @ (left @ right)) + middle
