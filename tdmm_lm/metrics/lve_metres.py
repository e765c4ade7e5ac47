"""Lip vertex error, not squared: of each frame the largest distance of a lip vertex, averaged over all frames of all
clips. Metres. The square root of `lve_squared` is something else."""

import numpy as np

from tdmm_lm.metrics import Clips, Values, lve_squared

BETTER = "lower"
UNIT = "m"
TAKES = "points"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
weights = lve_squared.weights
whole = None


def each(predicted: Clips, reference: Clips, *, lips: lve_squared.Indices) -> Values:
    return np.array([np.sqrt(largest).mean() for largest in lve_squared.squared(predicted, reference, lips)])
