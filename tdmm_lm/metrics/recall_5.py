"""Recall at 5 in the whole set (TMR, Petrovich et al. 2023): the share of queries whose own candidate is among the
first 5 of all, ordered as in `median_rank`, by text or by motion. A share; published tables print per cent."""

import numpy as np

from tdmm_lm.metrics import Values, Vectors, median_rank

BETTER = "higher"
UNIT = "share"
TAKES = "vector"
REFERENCE = "paired"
LEAST = {"samples": 6}
whole = weights = None


def each(
    predicted: Vectors, reference: Vectors, *, query: str = "text", alike: median_rank.Alike | None = None
) -> Values:
    return (median_rank.ranks(predicted, reference, query, alike) < 5 + 1).astype(np.float64)
