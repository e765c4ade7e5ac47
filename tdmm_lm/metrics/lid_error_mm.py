"""Mean distance of the lids' points, over points and all frames of all clips, in millimetres."""

from tdmm_lm.metrics import Clips, Values, lip_error_mm, lve_squared

BETTER = "lower"
UNIT = "mm"
TAKES = "points"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
weights = lve_squared.weights
whole = None


def each(predicted: Clips, reference: Clips, *, lids: lve_squared.Indices) -> Values:
    return lip_error_mm.each(predicted, reference, lips=lids)
