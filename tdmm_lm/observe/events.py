"""Curves to spans: smoothing, what is held, turning points, and onset, apex and offset of every rise of a curve.

Everything here is a pure function of arrays and a rate; the other steps say what the curve means.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter1d, grey_opening


class Rise(NamedTuple):
    """One rise and fall of a curve: frames (whole for the apex, between frames for the ends) and the apex's height."""

    onset: float
    apex: int
    offset: float
    height: float


class Turn(NamedTuple):
    """A turning point of a curve: its frame, +1 for a maximum and -1 for a minimum."""

    frame: int
    kind: int


def smooth(curve: Float[np.ndarray, " *frames_more"], fps: float, seconds: float) -> Float[np.ndarray, " *frames_more"]:
    """Gaussian of this standard deviation along time; the ends repeat."""
    if seconds * fps < 0.2:  # narrower than the frames lie apart: nothing to average
        return curve
    return gaussian_filter1d(curve, seconds * fps, axis=0, mode="nearest")


def held(curve: Float[np.ndarray, " *frames_more"], fps: float, seconds: float) -> Float[np.ndarray, " *frames_more"]:
    """The part of a curve that lasts: peaks shorter than ``seconds`` are cut down to what stands around them.

    A grey opening (the highest floor of that length that fits under the curve). Blinks and syllables vanish, a smile
    keeps its height. A clip shorter than ``seconds`` counts as if its ends went on.
    """
    frames = min(max(1, round(seconds * fps)), len(curve))
    size = (frames,) + (1,) * (curve.ndim - 1)
    return grey_opening(curve, size=size, mode="nearest")


def spans(mask: Bool[np.ndarray, " frames"]) -> list[tuple[int, int]]:
    """Runs of true frames as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def crossing(curve: Float[np.ndarray, " frames"], apex: int, level: float, step: int) -> float:
    """Frame, with a fraction, where the curve falls to ``level`` on the way from ``apex`` by ``step`` (-1 or 1)."""
    i = apex
    while 0 <= i + step < len(curve) and curve[i + step] > level:
        i += step
    if not 0 <= i + step < len(curve):
        return float(i)
    inner, outer = float(curve[i]), float(curve[i + step])
    return i + step * (inner - level) / (inner - outer) if inner > outer else float(i)


def rises(
    curve: Float[np.ndarray, " frames"], fps: float, *, high: float, low: float, shortest: float, ends: float = 0.1
) -> list[Rise]:
    """Every rise over ``high``, with hysteresis: it lasts until the curve is back under ``low``.

    Onset and offset lie where the curve passes ``ends`` of the apex's height (or ``low``, the higher of both);
    the apex is the first frame within 10 % of the highest. What is shorter than ``shortest`` seconds is left out.
    """
    result = []
    for first, stop in spans(curve > low):
        part = curve[first:stop]
        height = float(part.max())
        if height < high:
            continue
        apex = first + int(np.argmax(part >= 0.9 * height))
        level = max(low, ends * height)
        left = first + int(np.argmax(part > level))
        right = stop - 1 - int(np.argmax(part[::-1] > level))
        onset, offset = crossing(curve, left, level, -1), crossing(curve, right, level, 1)
        if (offset - onset) / fps >= shortest:
            result.append(Rise(onset, apex, offset, height))
    return result


def turns(curve: Float[np.ndarray, " frames"], swing: float) -> list[Turn]:
    """Alternating maxima and minima whose neighbours differ by at least ``swing``, first and last included."""
    found: list[Turn] = []
    low = high = 0
    heading = 0
    for i in range(1, len(curve)):
        if curve[i] > curve[high]:
            high = i
        if curve[i] < curve[low]:
            low = i
        if heading <= 0 and curve[i] - curve[low] >= swing:
            found.append(Turn(low, -1))
            heading, high = 1, i
        elif heading >= 0 and curve[high] - curve[i] >= swing:
            found.append(Turn(high, 1))
            heading, low = -1, i
    if heading:
        found.append(Turn(high, 1) if heading > 0 else Turn(low, -1))
    return found
