"""Upper-face dynamics deviation without its sign, of SQUARED distances: the size of each clip's `fdd_signed_squared`,
averaged over clips. This is the absolute FDD that code derived from CodeTalker's script prints."""

import numpy as np

from tdmm_lm.metrics import Clips, Values, fdd_signed_squared, lve_squared

BETTER = "lower"
UNIT = "m²"
TAKES = "points"
REFERENCE = "paired"
LEAST = {"frames": 2}
whole = weights = None


def each(
    predicted: Clips, reference: Clips, *, template: fdd_signed_squared.Rest, upper: lve_squared.Indices
) -> Values:
    return np.abs(fdd_signed_squared.each(predicted, reference, template=template, upper=upper))
