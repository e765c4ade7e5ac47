"""R-precision, top 1 of 32, text -> motion (Guo et al. 2022): the share of texts whose own motion is the nearest in its
batch by Euclidean distance of embeddings. Predictions are the motions', references the texts' embeddings.

Batches of 32 samples in the order given, or shuffled by ``seed``; an incomplete last batch does not count. Chance 1/32.
The value of a sample depends on its batch.
"""

import numpy as np
from jaxtyping import Float, Int

from tdmm_lm.metrics import Values, Vectors

BETTER = "higher"
UNIT = "share"
TAKES = "vector"
REFERENCE = "paired"
LEAST = {"samples": 32}
whole = None

BATCH = 32  # of every published figure; another number is another metric


def each(predicted: Vectors, reference: Vectors, *, seed: int | None = None) -> Values:
    return (ranks(predicted, reference, seed) < 1).astype(np.float64)


def weights(predicted: Vectors, *, seed: int | None = None) -> Values:
    counted = np.zeros(len(predicted))
    counted[batches(len(predicted), seed)] = 1
    return counted


def batches(samples: int, seed: int | None) -> Int[np.ndarray, "batches batch"]:
    """Which samples are in which batch."""
    order = np.arange(samples) if seed is None else np.random.RandomState(seed).permutation(samples)
    return order[: samples // BATCH * BATCH].reshape(-1, BATCH)


def ranks(motions: Vectors, texts: Vectors, seed: int | None) -> Float[np.ndarray, " samples"]:
    """How many motions of its batch are nearer to a text than its own; infinite where the batch does not count. Of
    equally near ones those that come first in the batch count as nearer, as a stable sort has them."""
    first = np.tri(BATCH, BATCH, -1, dtype=bool)
    result = np.full(len(motions), np.inf)
    for places in batches(len(motions), seed):  # one at a time stays in the cache: faster than all at once
        one, other = texts[places], motions[places]
        squares = np.square(other).sum(1) - 2 * one @ other.T  # distances squared, less |text|², the same in a row
        own = np.diag(squares)[:, None]
        result[places] = ((squares < own) | ((squares == own) & first)).sum(1)
    return result
