"""R-precision, top 3 of 32, text -> motion: as `r_precision_1`, but the own motion is among the 3 nearest. Chance
3/32."""

import numpy as np

from tdmm_lm.metrics import Values, Vectors, r_precision_1

BETTER = "higher"
UNIT = "share"
TAKES = "vector"
REFERENCE = "paired"
LEAST = {"samples": 32}
weights = r_precision_1.weights
whole = None


def each(predicted: Vectors, reference: Vectors, *, seed: int | None = None) -> Values:
    return (r_precision_1.ranks(predicted, reference, seed) < 3).astype(np.float64)
