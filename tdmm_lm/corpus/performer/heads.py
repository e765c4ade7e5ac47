"""What a head does: it rests a little askew, sways, breathes, moves along with speech, and makes the score's gestures.

Angles are in degrees of yaw, pitch and roll, left, down and the right shoulder positive.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tdmm_lm.corpus.performer.curves import Curve, noise, pulse, smoothstep
from tdmm_lm.corpus.score import LEANS, HeadMove, Score

Angles = Float[np.ndarray, "frames 3"]

# (axis, sign) of the held gestures and of the dips and swings; axes are yaw, pitch, roll of euler_yxz_to_matrix.
TURNS = {
    "turn_left": (0, 1),
    "turn_right": (0, -1),
    "look_down": (1, 1),
    "look_up": (1, -1),
    "tilt_right": (2, 1),
    "tilt_left": (2, -1),
}
SPINE_METRES = 0.55  # from the hips, about which one leans, to the head
LEAN_PITCH, PITCH_MOST = 0.2, 4.0  # share of a lean's degrees that the head goes along, and how many at most
GLANCE_DEGREES = 3.0  # that a head goes along with the widest glance
STRESS_DIP = 0.9  # degrees that a stressed word dips the head


class HeadMotion(NamedTuple):
    """``angles`` in degrees and ``translation`` in metres; of the angles ``swings`` is what comes and goes (sway, nods,
    shakes) and ``poses`` what the head goes to and stays in."""

    angles: Angles
    translation: Float[np.ndarray, "frames 3"]
    swings: Angles
    poses: Angles


def move(score: Score, t: Curve, rng: np.random.Generator, *, speaking: Curve, stress: Curve) -> HeadMotion:
    """The head of a score; ``speaking`` and ``stress`` are 0..1."""
    rest = np.clip(rng.normal(0, 1, 3) * (1.5, 1.2, 0.8), -2.5, 2.5)
    swings = noise(rng, t, 3, low=0.08, high=0.4) * (0.35, 0.3, 0.2)
    swings[:, 1] += 0.15 * np.sin(2 * np.pi * rng.uniform(0.2, 0.3) * t)  # breath
    swings += noise(rng, t, 3, low=0.5, high=1.8) * (0.3, 0.4, 0.2) * speaking[:, None]
    swings[:, 1] += STRESS_DIP * stress
    poses, translation = np.zeros((len(t), 3)), np.zeros((len(t), 3))
    for gesture in score.head:
        if gesture.gesture in LEANS:
            angles, moved = _lean(gesture, t, rng)
            poses, translation = poses + angles, translation + moved
        elif gesture.gesture in TURNS:
            poses += _held(gesture, t, rng)
        else:
            swings += _repeated(gesture, t, rng)
    return HeadMotion(rest + swings + poses + _along(score, t), translation, swings, poses)


def _along(score: Score, t: Curve) -> Angles:
    """A head goes a little of the way that the eyes go, and slower."""
    angles = np.zeros((len(t), 3))
    for glance in score.gaze:
        axis, sign = {"left": (0, 1), "right": (0, -1), "up": (1, -1), "down": (1, 1)}[glance.direction]
        slow = min(0.4, glance.seconds / 2)
        end = glance.onset + glance.seconds + slow
        way = pulse(t, onset=glance.onset + 0.05, attack=slow, offset=end, release=slow)
        angles[:, axis] += sign * GLANCE_DEGREES * glance.amount * way
    return angles


def ramp(move: HeadMove, t: Curve, seconds: float) -> Curve:
    """0..1: there within ``seconds``, and back."""
    return smoothstep((t - move.onset) / seconds) * (1 - smoothstep((t - move.onset - move.lasts + seconds) / seconds))


def _held(move: HeadMove, t: Curve, rng: np.random.Generator) -> Angles:
    axis, sign = TURNS[move.gesture]
    angles = np.zeros((len(t), 3))
    angles[:, axis] = sign * move.degrees * ramp(move, t, min(rng.uniform(0.28, 0.45), move.lasts / 3))
    return angles


def _lean(move: HeadMove, t: Curve, rng: np.random.Generator) -> tuple[Angles, Float[np.ndarray, "frames 3"]]:
    """The upper body turns about the hips: the head travels on an arc, and tips a little."""
    sign = 1 if move.gesture == "lean_forward" else -1
    lean = sign * np.radians(move.degrees) * ramp(move, t, min(rng.uniform(0.5, 0.8), move.lasts / 3))
    angles, translation = np.zeros((len(t), 3)), np.zeros((len(t), 3))
    angles[:, 1] = np.clip(LEAN_PITCH * np.degrees(lean), -PITCH_MOST, PITCH_MOST)
    translation[:, 1], translation[:, 2] = SPINE_METRES * (np.cos(lean) - 1), SPINE_METRES * np.sin(lean)
    return angles, translation


def _repeated(move: HeadMove, t: Curve, rng: np.random.Generator) -> Angles:
    angles = np.zeros((len(t), 3))
    phase = (t - move.onset) / (move.lasts / move.count)  # in dips or cycles
    inside = (phase > 0) & (phase < move.count)
    size = rng.uniform(0.85, 1.0, move.count)[np.clip(phase.astype(int), 0, move.count - 1)] * move.degrees * inside
    if move.gesture == "nod":
        angles[:, 1] = size * np.sin(np.pi * phase) ** 2
    else:
        angles[:, 0] = size * np.sin(2 * np.pi * phase) * rng.choice([-1, 1])
    return angles
