"""Upper-face dynamics deviation as CodeTalker's released script computes it, which is not what its paper says: of each
vertex the standard deviation over time of the SQUARED distance from the face at rest, averaged over the vertices, of
the reference minus of the prediction, averaged over clips. Positive: the prediction moves too little."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from tdmm_lm.metrics import Clips, Values, lve_squared

BETTER = "nearer"
UNIT = "m²"
TAKES = "points"
REFERENCE = "paired"
LEAST = {"frames": 2}
whole = weights = None

Rest = Float[np.ndarray, "samples points 3"]


def each(predicted: Clips, reference: Clips, *, template: Rest, upper: lve_squared.Indices) -> Values:
    return np.array([
        other.std(0).mean() - one.std(0).mean()
        for one, other in zip(squared(predicted, template, upper), squared(reference, template, upper))
    ])


def squared(
    clips: Clips, template: Rest, upper: lve_squared.Indices
) -> Iterator[Float[np.ndarray, "frames chosen"]]:
    """Of each clip the vertices' squared distances from where they are at rest, square metres."""
    for clip, rest in zip(clips, template):
        yield np.square(clip[:, upper] - rest[upper]).sum(-1)
