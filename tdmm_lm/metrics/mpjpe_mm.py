"""Mean distance of the joints, over joints and all frames of all clips, in millimetres. The root is where it is: a body
that walks elsewhere is wrong; take the root away first for the root-relative figure."""

import numpy as np

from tdmm_lm.metrics import Clips, Values

BETTER = "lower"
UNIT = "mm"
TAKES = "joints"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
whole = None


def each(predicted: Clips, reference: Clips) -> Values:
    return np.array([
        1000 * np.linalg.norm(one - other, axis=-1).mean() for one, other in zip(predicted, reference)
    ])


def weights(predicted: Clips) -> Values:
    return np.array([len(clip) for clip in predicted])
