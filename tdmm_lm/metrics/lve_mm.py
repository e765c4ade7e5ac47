"""Lip vertex error, not squared, in millimetres: `lve_metres` times 1000."""

from tdmm_lm.metrics import Clips, Values, lve_metres, lve_squared

BETTER = "lower"
UNIT = "mm"
TAKES = "points"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
weights = lve_squared.weights
whole = None


def each(predicted: Clips, reference: Clips, *, lips: lve_squared.Indices) -> Values:
    return 1000 * lve_metres.each(predicted, reference, lips=lips)
