"""Mean distance of the lips' points, over points and all frames of all clips, in millimetres. Not the largest:
`lve_mm`."""

import numpy as np

from tdmm_lm.metrics import Clips, Values, lve_squared

BETTER = "lower"
UNIT = "mm"
TAKES = "points"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
weights = lve_squared.weights
whole = None


def each(predicted: Clips, reference: Clips, *, lips: lve_squared.Indices) -> Values:
    return np.array([
        1000 * np.linalg.norm(one[:, lips] - other[:, lips], axis=-1).mean() for one, other in zip(predicted, reference)
    ])
