"""Lip vertex error as FaceFormer's and CodeTalker's scripts compute it: of each frame the largest SQUARED distance of a
lip vertex, averaged over all frames of all clips, so that a long clip counts more. Square metres."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from tdmm_lm.metrics import Clips, Values

BETTER = "lower"
UNIT = "m²"
TAKES = "points"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
whole = None

Indices = Int[np.ndarray, " chosen"]


def each(predicted: Clips, reference: Clips, *, lips: Indices) -> Values:
    return np.array([largest.mean() for largest in squared(predicted, reference, lips)])


def weights(predicted: Clips) -> Values:
    return np.array([len(clip) for clip in predicted])


def squared(predicted: Clips, reference: Clips, lips: Indices) -> Iterator[Float[np.ndarray, " frames"]]:
    """Of each clip, frame by frame, the largest squared distance, square metres."""
    for one, other in zip(predicted, reference):
        yield np.square(one[:, lips] - other[:, lips]).sum(-1).max(-1)
