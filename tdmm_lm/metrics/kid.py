"""Squared maximum mean discrepancy of features with the kernel (x·y / width + 1)³, the unbiased estimate over the whole
sets (Binkowski et al. 2018): unlike `fd` it does not shrink with the sets' size, and it may be below 0.

No random subsets, as public code takes for speed: every pair counts once, and the number needs no seed.
"""

import numpy as np

from tdmm_lm.metrics import Vectors

BETTER = "lower"
UNIT = "squared discrepancy"
TAKES = "vector"
REFERENCE = "set"
LEAST = {"samples": 2}
each = weights = None

AT_ONCE = 1024  # rows of the kernel's matrix held at a time


def whole(predicted: Vectors, reference: Vectors) -> float:
    return _others(predicted) + _others(reference) - 2 * _sum(predicted, reference) / len(predicted) / len(reference)


def _others(vectors: Vectors) -> float:
    """Mean kernel of two different ones of a set."""
    itself = ((np.square(vectors).sum(1) / vectors.shape[1] + 1) ** 3).sum()
    return (_sum(vectors, vectors) - itself) / (len(vectors) * (len(vectors) - 1))


def _sum(one: Vectors, other: Vectors) -> float:
    total = 0.0
    for start in range(0, len(one), AT_ONCE):
        total += float(((one[start : start + AT_ONCE] @ other.T / one.shape[1] + 1) ** 3).sum())
    return total
