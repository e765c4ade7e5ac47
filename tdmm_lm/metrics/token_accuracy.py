"""Token accuracy (TDMM-LM's Tok): the share of codes that a model predicts as they are, over all codes of all clips.

Teacher forcing is part of the convention: each code must have been predicted from the TRUE codes before it. Codes that
a model sampled freely cannot be compared place by place, and this number of them means nothing.
"""

import numpy as np
from jaxtyping import Int

from tdmm_lm.metrics import Values

BETTER = "higher"
UNIT = "share"
TAKES = "codes"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
whole = None

Codes = list[Int[np.ndarray, " codes"]]


def each(predicted: Codes, reference: Codes) -> Values:
    return np.array([(one == other).mean() for one, other in zip(predicted, reference)])


def weights(predicted: Codes) -> Values:
    return np.array([len(codes) for codes in predicted])
