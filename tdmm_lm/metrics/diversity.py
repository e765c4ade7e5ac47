"""Diversity (Guo et al. 2022): mean Euclidean distance of random pairs of embeddings, 300 in every published figure.

Both ends are drawn one after the other from ``np.random.RandomState(seed)`` without replacement, as the public script
draws from numpy's global state; the same seed gives the same number. Good is what real motion has, not more.
"""

import numpy as np

from tdmm_lm.metrics import Vectors

BETTER = "nearer"
UNIT = "distance"
TAKES = "vector"
REFERENCE = "none"
LEAST = {"samples": 2}
each = weights = None


def whole(predicted: Vectors, *, pairs: int = 300, seed: int = 0) -> float:
    """
    Raises:
        ValueError: not more samples than pairs.
    """
    if len(predicted) <= pairs:
        raise ValueError(f"expected more than {pairs} samples for {pairs} pairs, got {len(predicted)}.")
    random = np.random.RandomState(seed)
    first, second = (random.choice(len(predicted), pairs, replace=False) for _ in range(2))
    return float(np.linalg.norm(predicted[first] - predicted[second], axis=1).mean())
