"""Median rank in the whole set (TMR, Petrovich et al. 2023): where the own candidate comes among all, 1 is first.

Candidates are ordered by the cosine of embeddings: motions for a text, or texts for a motion (``query``). Predictions
are the motions', references the texts' embeddings. Without ``alike`` it is TMR's protocol "all"; with the pairs whose
texts are similar enough it is "threshold": the best of these counts.
"""

import numpy as np
from jaxtyping import Bool

from tdmm_lm.metrics import Values, Vectors

BETTER = "lower"
UNIT = "rank"
TAKES = "vector"
REFERENCE = "paired"
LEAST = {"samples": 2}
each = weights = None

AT_ONCE = 1024  # queries at a time
SAME = 1e-12  # cosines nearer to each other than this are one: products of large matrices round by place

Alike = Bool[np.ndarray, "samples samples"]


def whole(predicted: Vectors, reference: Vectors, *, query: str = "text", alike: Alike | None = None) -> float:
    return float(np.median(ranks(predicted, reference, query, alike)))


def ranks(motions: Vectors, texts: Vectors, query: str, alike: Alike | None) -> Values:
    """Of each query, from 1; those that are equally near share the mean of their places, as in TMR's code.

    Raises:
        ValueError: an embedding of length 0, which has no direction.
    """
    units = []
    for what, vectors in (("predictions", motions), ("references", texts)):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not lengths.all():
            raise ValueError(f"{what}[{int(lengths.argmin())}]: expected an embedding that is not 0, got 0.")
        units.append(vectors / lengths)
    candidates, queries = units if query == "text" else units[::-1]
    right = np.eye(len(motions), dtype=bool) if alike is None else alike | np.eye(len(motions), dtype=bool)
    found = []
    for start in range(0, len(queries), AT_ONCE):
        near = queries[start : start + AT_ONCE] @ candidates.T
        mine = right[start : start + AT_ONCE] if query == "text" else right.T[start : start + AT_ONCE]
        own = np.where(mine, near, -np.inf).max(1, keepdims=True)
        better, same = (near > own + SAME).sum(1), (np.abs(near - own) <= SAME).sum(1)
        found.append(1 + better + (same - 1) / 2)
    return np.concatenate(found)
