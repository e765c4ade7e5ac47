"""ROUGE-L of captions as pycocoevalcap computes it on plain strings that are split at spaces, with the first three
references: F with beta 1.2 of the longest common subsequence, the best precision and recall of any reference. 0 to
1."""

import numpy as np

from tdmm_lm.metrics import Values
from tdmm_lm.metrics.cider import needed, plain

BETTER = "higher"
UNIT = "share"
TAKES = "captions"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
whole = weights = None


def each(predicted: list[str], reference: list[list[str]]) -> Values:
    return np.asarray(needed("rouge.rouge").Rouge().compute_score(*plain(predicted, reference))[1])
