"""Upper-face dynamics deviation as CodeTalker's paper writes it (Xing et al. 2023): of each vertex the standard
deviation over time of the distance from the face at rest, averaged over the vertices, of the reference minus of the
prediction, averaged over clips. Positive: the prediction moves too little; clips that move too little and too much
cancel."""

import numpy as np

from tdmm_lm.metrics import Clips, Values, fdd_signed_squared, lve_squared

BETTER = "nearer"
UNIT = "m"
TAKES = "points"
REFERENCE = "paired"
LEAST = {"frames": 2}
whole = weights = None


def each(
    predicted: Clips, reference: Clips, *, template: fdd_signed_squared.Rest, upper: lve_squared.Indices
) -> Values:
    pairs = zip(*(fdd_signed_squared.squared(clips, template, upper) for clips in (predicted, reference)))
    return np.array([np.sqrt(other).std(0).mean() - np.sqrt(one).std(0).mean() for one, other in pairs])
