"""Parameter distance of a face (TDMM-LM's L2): the Euclidean norm of the difference of a frame's parameters, averaged
over all frames of all clips. What the parameters are, expression and pose say, is the caller's choice of columns."""

import numpy as np
from jaxtyping import Float

from tdmm_lm.metrics import Values

BETTER = "lower"
UNIT = "parameters"
TAKES = "rows"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
whole = None

Rows = list[Float[np.ndarray, "frames channels"]]


def each(predicted: Rows, reference: Rows) -> Values:
    return np.array([np.linalg.norm(one - other, axis=-1).mean() for one, other in zip(predicted, reference)])


def weights(predicted: Rows) -> Values:
    return np.array([len(clip) for clip in predicted])
