"""How far a mouth is from its voice in time: the size of the shift, at most half a second either way, at which opening
and loudness correlate best over their common part, in seconds, averaged over clips. The reference is the loudness."""

import numpy as np
from jaxtyping import Float

from tdmm_lm.metrics import Values
from tdmm_lm.metrics.lip_sync_correlation import Curves, check_voices, correlation

BETTER = "lower"
UNIT = "s"
TAKES = "curve"
REFERENCE = "paired"
LEAST = {"frames": 3}
whole = weights = None

MOST = 0.5  # seconds; and no more than half of the clip, so that there is enough left to correlate
SAME = 1e-9  # correlations nearer to each other than this are one, of which the lesser shift counts


def each(predicted: Curves, reference: Curves, *, fps: float) -> Values:
    """The largest shift for a mouth that does not move.

    Raises:
        ValueError: a voice without any loud or soft.
    """
    check_voices(reference)
    return np.array([np.abs(lag(one, other, fps)) for one, other in zip(predicted, reference)])


def lag(mouth: Float[np.ndarray, " frames"], voice: Float[np.ndarray, " frames"], fps: float) -> float:
    """Seconds; positive where the mouth is late."""
    most = min(round(MOST * fps), len(mouth) // 2)
    if np.ptp(mouth) == 0:
        return most / fps
    shifts = sorted(range(-most, most + 1), key=abs)
    frames = len(mouth)
    found = [
        correlation(mouth[max(shift, 0) : frames + min(shift, 0)], voice[max(-shift, 0) : frames - max(shift, 0)])
        for shift in shifts
    ]
    best = max(found)
    return next(shift for shift, value in zip(shifts, found) if value >= best - SAME) / fps
