"""How a mouth's opening goes with its voice: Pearson's correlation of the opening and the loudness, frame by frame and
without any shift, averaged over clips. Both curves at one rate; the reference is the loudness.

A correlation of 1 is not what real speech has (closed lips hum, open mouths pause): put that of real recordings beside
it.
"""

import numpy as np
from jaxtyping import Float

from tdmm_lm.metrics import Values

BETTER = "higher"
UNIT = "correlation"
TAKES = "curve"
REFERENCE = "paired"
LEAST = {"frames": 3}
whole = weights = None

Curves = list[Float[np.ndarray, " frames"]]


def each(predicted: Curves, reference: Curves) -> Values:
    """0 for a mouth that does not move.

    Raises:
        ValueError: a voice without any loud or soft, with which nothing can go.
    """
    check_voices(reference)
    return np.array([correlation(one, other) for one, other in zip(predicted, reference)])


def check_voices(reference: Curves) -> None:
    for i, voice in enumerate(reference):
        if np.ptp(voice) <= 1e-12 * np.abs(voice).max():
            raise ValueError(f"references[{i}]: expected a loudness that changes, got a constant one.")


def correlation(one: Float[np.ndarray, " frames"], other: Float[np.ndarray, " frames"]) -> float:
    """Pearson's; 0 where either is constant."""
    a, b = one - one.mean(), other - other.mean()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    still = np.ptp(one) <= 1e-12 * np.abs(one).max() or np.ptp(other) <= 1e-12 * np.abs(other).max()
    return 0.0 if still or size == 0 else float(np.clip(a @ b / size, -1, 1))
