"""MultiModality (Guo et al. 2022): mean Euclidean distance of pairs of motions made for one text, averaged over texts.

A prediction is the embeddings of one text's motions, 30 in every published figure, for 100 texts. The 10 pairs are
drawn once from ``np.random.RandomState(seed)`` and are the same for all texts. Higher as published, though noise has
most.
"""

import numpy as np
from jaxtyping import Float

from tdmm_lm.metrics import Values

BETTER = "higher"
UNIT = "distance"
TAKES = "generations"
REFERENCE = "none"
LEAST = {"generations": 2}
whole = weights = None


def each(predicted: Float[np.ndarray, "samples generations width"], *, pairs: int = 10, seed: int = 0) -> Values:
    """
    Raises:
        ValueError: not more generations than pairs.
    """
    generations = predicted.shape[1]
    if generations <= pairs:
        raise ValueError(f"expected more than {pairs} generations for {pairs} pairs, got {generations}.")
    random = np.random.RandomState(seed)
    first, second = (random.choice(generations, pairs, replace=False) for _ in range(2))
    return np.linalg.norm(predicted[:, first] - predicted[:, second], axis=2).mean(1)
