"""What the head does: nods and shakes with their counts, and tilts, turns, looks up and down that are held.

A nod's count is the number of dips, a shake's the number of full swings to and fro.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tdmm_lm.observe import Event, events
from tdmm_lm.observe.gaze import rest

SMOOTHING = 0.04  # seconds, standard deviation
SWING = {"nod": 4.0, "shake": 5.0}  # degrees from a turning point to the next, the least
WAY = 0.5  # seconds there, and back: how far it is after that counts
DWELL = 0.65  # seconds a dip or swing lasts at most, at half its size; longer, and the pose is held
PAUSE = 0.6  # seconds between two moves of one gesture at most
EVEN = 0.4  # a stroke smaller than this share of the gesture's largest is its ending, not one more
HELD = 0.5  # seconds
AWAY = {"turn": 9.5, "look": 7.0, "tilt": 6.0}  # degrees from rest that make a pose
BACK = 0.6  # of `AWAY`: nearer to rest than that, the pose is left
FAR = {"nod": 25.0, "shake": 40.0, "turn": 35.0, "look": 25.0, "tilt": 25.0}  # degrees that count as intensity 1
NAMED = 0.5  # of the farthest gesture's intensity
FRONT = 7.0  # degrees: frames so near to straight say how this head rests


class Stroke(NamedTuple):
    """A way there and back: its apex and the beginning and end of both moves (frames), and its size in degrees."""

    begin: float
    apex: int
    end: float
    size: float


def angles(rotation: Float[np.ndarray, "frames 3 3"]) -> Float[np.ndarray, "frames 3"]:
    """(yaw, pitch, roll) in degrees, as in `rotations.euler_yxz_to_matrix`: left, down, right shoulder positive."""
    yaw = np.arctan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = np.arcsin(np.clip(-rotation[:, 1, 2], -1, 1))
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 1, 1])
    return np.degrees(np.unwrap(np.stack([yaw, pitch, roll], -1), axis=0))


def find(rotation: Float[np.ndarray, "frames 3 3"], fps: float) -> list[Event]:
    """Head gestures, sorted by onset; ``rotation`` is of the head in the world."""
    degrees = events.smooth(angles(rotation), fps, SMOOTHING)
    degrees = degrees - rest(degrees, FRONT)
    yaw, pitch, roll = degrees.T
    held = _held(yaw, "turn_left", "turn_right", fps) + _held(pitch, "look_down", "look_up", fps)
    held += _held(roll, "tilt_right", "tilt_left", fps)
    nods = _repeated("nod", _strokes(pitch, SWING["nod"], fps, both=False), fps)
    nods = [nod for nod in nods if nod.count > 1 or not any(_meet(nod, pose, "look_down") for pose in held)]
    shakes = _repeated("shake", _strokes(yaw, SWING["shake"], fps, both=True), fps)
    found = held + _without_echo(nods, shakes) + _without_echo(shakes, nods)
    return sorted(found, key=lambda event: event.onset)


def salient(found: list[Event]) -> Event | None:
    """The gesture that a person would name: the first that is about as far for its kind as the farthest."""
    farthest = max((event.intensity for event in found), default=0.0)
    return next((event for event in found if event.intensity >= NAMED * farthest), None)


def _strokes(curve: Float[np.ndarray, " frames"], swing: float, fps: float, *, both: bool) -> list[Stroke]:
    """Quick ways there and back: to maxima of the curve, or to both sides."""
    turning = events.turns(curve, swing)
    strokes = []
    for before, here, after in zip(turning, turning[1:], turning[2:]):
        if here.kind < 0 and not both:
            continue
        way = here.kind * curve
        apex, reach = here.frame, round(WAY * fps)
        there, back = way[max(before.frame, apex - reach) : apex + 1], way[apex : min(after.frame, apex + reach) + 1]
        foot = max(float(there.min()), float(back.min()))  # the higher side: how far it certainly goes
        size = float(way[apex]) - foot
        left, right = (events.crossing(way, apex, foot + 0.5 * size, step) for step in (-1, 1))
        begin, end = (events.crossing(way, apex, foot + 0.15 * size, step) for step in (-1, 1))
        if size >= swing and right - left <= DWELL * fps:
            strokes.append(Stroke(begin, apex, end, size))
    return strokes


def _repeated(name: str, strokes: list[Stroke], fps: float) -> list[Event]:
    """Strokes that follow one another as one gesture, with its count."""
    runs: list[list[Stroke]] = []
    for stroke in strokes:
        if runs and stroke.begin - runs[-1][-1].end <= PAUSE * fps:
            runs[-1].append(stroke)
        else:
            runs.append([stroke])
    found = []
    for run in runs:
        largest = max(run, key=lambda stroke: stroke.size)
        full = [stroke for stroke in run if stroke.size >= EVEN * largest.size]
        if name == "shake" and len(full) < 2:
            continue
        count = len(full) if name == "nod" else (len(full) + 1) // 2
        found.append(Event(
            "head", name, full[0].begin / fps, largest.apex / fps, full[-1].end / fps,
            min(1.0, largest.size / FAR[name]), count=count,
        ))
    return found


def _without_echo(found: list[Event], other: list[Event]) -> list[Event]:
    """Gestures that are not the smaller trace, on their axis, of a bigger one at the same time on the other."""
    def size(event: Event) -> float:
        return event.intensity * FAR[event.name]

    return [
        event for event in found
        if not any(o.onset < event.offset and event.onset < o.offset and size(o) > 2 * size(event) for o in other)
    ]


def _meet(event: Event, pose: Event, name: str) -> bool:
    """Whether the pose is of that name and at the event's time: one dip that stays is a look down, no nod besides."""
    return pose.name == name and pose.onset < event.offset and event.onset < pose.offset


def _held(curve: Float[np.ndarray, " frames"], positive: str, negative: str, fps: float) -> list[Event]:
    found = []
    for name, away in ((positive, curve), (negative, -curve)):
        lasting = events.held(np.maximum(away, 0), fps, HELD)
        high, far = AWAY[name.split("_")[0]], FAR[name.split("_")[0]]
        for rise in events.rises(lasting, fps, high=high, low=BACK * high, shortest=HELD):
            strength = min(1.0, rise.height / far)
            found.append(Event("head", name, rise.onset / fps, rise.apex / fps, rise.offset / fps, strength))
    return found
