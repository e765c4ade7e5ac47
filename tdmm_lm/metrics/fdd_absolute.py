"""Upper-face dynamics deviation without its sign: the size of each clip's `fdd_signed`, averaged over clips, so that
clips that move too little and too much do not cancel."""

import numpy as np

from tdmm_lm.metrics import Clips, Values, fdd_signed, fdd_signed_squared, lve_squared

BETTER = "lower"
UNIT = "m"
TAKES = "points"
REFERENCE = "paired"
LEAST = {"frames": 2}
whole = weights = None


def each(
    predicted: Clips, reference: Clips, *, template: fdd_signed_squared.Rest, upper: lve_squared.Indices
) -> Values:
    return np.abs(fdd_signed.each(predicted, reference, template=template, upper=upper))
