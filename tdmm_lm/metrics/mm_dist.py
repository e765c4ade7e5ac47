"""MM-Dist (Guo et al. 2022): mean Euclidean distance of a motion's embedding from its text's, over the samples that
`r_precision_1` counts: of the complete batches of 32, in the order given or shuffled by ``seed``."""

import numpy as np

from tdmm_lm.metrics import Values, Vectors, r_precision_1

BETTER = "lower"
UNIT = "distance"
TAKES = "vector"
REFERENCE = "paired"
LEAST = {"samples": 32}
weights = r_precision_1.weights
whole = None


def each(predicted: Vectors, reference: Vectors, *, seed: int | None = None) -> Values:
    return np.linalg.norm(predicted - reference, axis=1)
