"""Where the eyes look in the head, when they stay there: left, right, up, down of the person's own."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import maximum_filter1d

from tdmm_lm.observe import Event, events

HELD = 0.3  # seconds a glance lasts at least; saccades of a blink and flicker are shorter
AWAY = {"left": 8.0, "right": 8.0, "up": 6.0, "down": 7.0}  # degrees from rest that make a glance
BACK = 0.6  # of `AWAY`: nearer to rest than that, the glance is over
FAR = {"left": 30.0, "right": 30.0, "up": 22.0, "down": 25.0}  # degrees that count as intensity 1
SHUT, BESIDE = 0.3, 0.08  # closing of the lids, and seconds before and after, in which the gaze is not read
FRONT = 5.0  # degrees: frames so near to straight ahead say where this person's eyes rest


def rest(angles: Float[np.ndarray, "frames axes"], near: float) -> Float[np.ndarray, " axes"]:
    """Per axis the median of the frames within ``near`` of zero, or zero where there are none.

    Takes out how a camera stood or eyes were modelled, and keeps a pose that is held through the clip.
    """
    close = [axis[np.abs(axis) <= near] for axis in angles.T]
    return np.array([np.median(axis) if len(axis) else 0.0 for axis in close])


def find(gaze: Float[np.ndarray, "frames 2 2"], lids: Float[np.ndarray, "frames 2"], fps: float) -> list[Event]:
    """Glances. ``gaze`` is (yaw, pitch) of the left and the right eye in the head, radians, left and down positive;
    ``lids`` is how far each is shut, 0..1: half-shut eyes say nothing of where they look."""
    degrees = _bridged(np.degrees(gaze.mean(1)), lids.mean(1) > SHUT, fps)
    yaw, pitch = (degrees - rest(degrees, FRONT)).T
    found = []
    for name, away in {"left": yaw, "right": -yaw, "up": -pitch, "down": pitch}.items():
        lasting = events.held(np.maximum(away, 0), fps, HELD)
        for rise in events.rises(lasting, fps, high=AWAY[name], low=BACK * AWAY[name], shortest=HELD):
            strength = min(1.0, rise.height / FAR[name])
            found.append(Event("gaze", name, rise.onset / fps, rise.apex / fps, rise.offset / fps, strength))
    return sorted(found, key=lambda event: event.onset)


def _bridged(
    degrees: Float[np.ndarray, "frames axes"], shut: Bool[np.ndarray, " frames"], fps: float
) -> Float[np.ndarray, "frames axes"]:
    """Straight lines over the frames in which the eyes are shut, and `BESIDE` them."""
    sound = np.flatnonzero(~maximum_filter1d(shut, 2 * round(BESIDE * fps) + 1))
    if not len(sound):
        return np.zeros_like(degrees)
    return np.stack([np.interp(np.arange(len(degrees)), sound, axis[sound]) for axis in degrees.T], 1)


def salient(found: list[Event]) -> str:
    """The direction looked to most (intensity times time), ``front`` where there is none."""
    if not found:
        return "front"
    return max(found, key=lambda event: event.intensity * (event.offset - event.onset)).name
