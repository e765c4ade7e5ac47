"""Which of the 52 ARKit shapes move, when, how far and on which side: one event a rise of a shape.

The two sides of a shape are one event where they move together; ``side`` is the stronger where they clearly differ.
"""

import numpy as np
from jaxtyping import Float

from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import Event, Side, events

SMOOTHING = 0.03  # seconds, standard deviation
HIGH, LOW = 0.12, 0.06  # a shape is seen from the first weight on until it is back under the second
SHORTEST = 0.08  # seconds
UNEVEN = 0.4  # (stronger - weaker) / stronger at the apex from which on one side is named

PAIRS: dict[str, tuple[int, int]] = {  # name without its side -> columns of the left and the right
    name.removesuffix("Left"): (ARKIT.index(name), ARKIT.index(name.removesuffix("Left") + "Right"))
    for name in ARKIT if name.endswith("Left") and name not in ("jawLeft", "mouthLeft")  # those two are directions
}
SINGLE: dict[str, int] = {
    name: i for i, name in enumerate(ARKIT) if not any(i in pair for pair in PAIRS.values())
}


def side_of(left: float, right: float) -> Side:
    """The side that clearly does more, by `UNEVEN`."""
    if abs(left - right) < UNEVEN * max(left, right, 1e-6):
        return "both"
    return "left" if left > right else "right"


def find(weights: Float[np.ndarray, "frames arkit"], fps: float) -> list[Event]:
    """Events of kind ``shape``; ``weights`` are 0..1 in the order of `ARKIT`, intensity is the stronger side's."""
    curves = events.smooth(weights, fps, SMOOTHING)
    found = []
    for name, (left, right) in PAIRS.items():
        for rise in _rises(np.maximum(curves[:, left], curves[:, right]), fps):
            side = side_of(float(curves[rise.apex, left]), float(curves[rise.apex, right]))
            found.append(_event(name, rise, fps, side))
    for name, column in SINGLE.items():
        found += [_event(name, rise, fps, "both") for rise in _rises(curves[:, column], fps)]
    return sorted(found, key=lambda event: (event.onset, event.name))


def _rises(curve: Float[np.ndarray, " frames"], fps: float) -> list[events.Rise]:
    return events.rises(curve, fps, high=HIGH, low=LOW, shortest=SHORTEST)


def _event(name: str, rise: events.Rise, fps: float, side: Side) -> Event:
    return Event("shape", name, rise.onset / fps, rise.apex / fps, rise.offset / fps, min(1.0, rise.height), side)
