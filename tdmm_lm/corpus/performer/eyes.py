"""Where the eyes look and when they are shut: glances, small saccades while idle, a gaze that stays while heads move.

Gaze is in degrees in the head, (left, up), from straight ahead. A saccade lasts as long as its size says: 21 ms and
2.2 ms a degree (Bahill, Clark & Stark, The main sequence, 1975; Carpenter, Movements of the Eyes, 1988).
"""

import numpy as np
from jaxtyping import Float

from tdmm_lm.corpus.performer.curves import Curve, noise, pulse, smoothstep, stairs
from tdmm_lm.corpus.performer.heads import HeadMotion
from tdmm_lm.corpus.score import Glance, Score
from tdmm_lm.motion.face import ARKIT

Gaze = Float[np.ndarray, "frames 2"]
Weights = Float[np.ndarray, "frames arkit"]

BRIEFEST, A_DEGREE = 0.021, 0.0022  # seconds, of the main sequence
SATURATED = 30.0  # degrees that a whole eyeLook shape turns an eye of the bundled head
# Which way the eyes' shapes turn for a direction, the person's own left and right.
LOOKS = {
    "left": ("eyeLookOutLeft", "eyeLookInRight"),
    "right": ("eyeLookInLeft", "eyeLookOutRight"),
    "up": ("eyeLookUpLeft", "eyeLookUpRight"),
    "down": ("eyeLookDownLeft", "eyeLookDownRight"),
}
FIXATION = (2.5, 0.32)  # shape and scale (seconds) of the gamma-distributed time between idle saccades: 0.8 s
WANDER = (0.75, 0.55)  # degrees, standard deviation of where idle saccades land
DRIFT = 0.12  # degrees, of the eyes' slow slipping between saccades
SHORT = 0.93  # of its way a large saccade makes at first; a second one corrects it
CORRECTED = (0.13, 0.2)  # seconds later
LARGE = 10.0  # degrees
LEAD = 0.06  # seconds by which the eyes begin before the head turns
LEAD_MOST = np.array([7.0, 4.5])  # degrees of yaw and pitch: they go no farther ahead of it
GAIN = 0.95  # of the vestibulo-ocular reflex, in the light
# Degrees that eyes turn against the head; of a wider swing they go along with the rest. Farther for a third of a second
# is what `observe`, and so every caption, calls a glance, and nobody who nods is said to look up.
COUNTER_MOST = np.array([9.5, 6.0])


def lasts(degrees: float) -> float:
    """Seconds a saccade of this size takes."""
    return BRIEFEST + A_DEGREE * degrees


def look(score: Score, t: Curve, rng: np.random.Generator, head: HeadMotion) -> Gaze:
    """The eyes of a score in a moving head."""
    gaze = _idle(t, rng)
    for glance in score.gaze:
        gaze += _glance(glance, t, rng)
    against = -GAIN * np.stack([head.swings[:, 0], -head.swings[:, 1]], 1)  # pitch is down
    gaze += against / (1 + (np.abs(against) / COUNTER_MOST) ** 4) ** 0.25  # all of it but near the limit
    return gaze + _ahead(score, t, head)


def _idle(t: Curve, rng: np.random.Generator) -> Gaze:
    """Fixations that small saccades end."""
    count = int(t[-1] / 0.35) + 8  # more than a clip needs
    moments = np.cumsum(rng.gamma(*FIXATION, count)) - rng.uniform(0, 1)
    places = np.clip(rng.normal(0, 1, (count, 2)), -2, 2) * WANDER
    sizes = np.linalg.norm(np.diff(places, axis=0, prepend=0), axis=1)
    fixed = stairs(t, moments=moments, last=BRIEFEST + A_DEGREE * sizes, places=places)
    return fixed + DRIFT * noise(rng, t, 2, low=0.2, high=0.9)


def _glance(glance: Glance, t: Curve, rng: np.random.Generator) -> Gaze:
    degrees = SATURATED * glance.amount
    quick, late = lasts(degrees), float(rng.uniform(*CORRECTED))
    end = glance.onset + glance.seconds
    if glance.kind == "pursuit":
        way = smoothstep((t - glance.onset) / (glance.seconds - quick)) * (1 - smoothstep((t - end + quick) / quick))
    else:
        way = pulse(t, onset=glance.onset, attack=quick, offset=end, release=quick)
        if degrees > LARGE:
            second = lasts((1 - SHORT) * degrees)
            way *= SHORT + (1 - SHORT) * smoothstep((t - glance.onset - quick - late) / second)
    axis, sign = {"left": (0, 1), "right": (0, -1), "up": (1, 1), "down": (1, -1)}[glance.direction]
    gaze = np.zeros((len(t), 2))
    gaze[:, axis] = sign * degrees * way
    return gaze


def _ahead(score: Score, t: Curve, head: HeadMotion) -> Gaze:
    """On a turn the eyes are at its goal before the head: they leap ahead, then give way as the head arrives."""
    goals = np.zeros((len(t), 2))
    for move in score.head:
        axis, sign = {"turn_left": (0, 1), "turn_right": (0, -1), "look_up": (1, 1), "look_down": (1, -1)}.get(
            move.gesture, (0, 0)
        )
        quick = lasts(LEAD_MOST[axis])
        # home again when the head is about to leave: a pose is left for a third of its time at most
        home = move.onset + move.lasts - min(0.4, move.lasts / 3)
        goals[:, axis] += sign * move.degrees * pulse(
            t, onset=move.onset - LEAD, attack=quick, offset=home + quick, release=quick
        )
    poses = np.stack([head.poses[:, 0], -head.poses[:, 1]], 1)
    return np.clip(goals - poses, -LEAD_MOST, LEAD_MOST)


def shapes(gaze: Gaze) -> Weights:
    """ARKit weights of a gaze, with the upper lids following it down."""
    result = np.zeros((len(gaze), len(ARKIT)))
    left, up = (gaze / SATURATED).T
    for direction, amount in (("left", left), ("right", -left), ("up", up), ("down", -up)):
        for name in LOOKS[direction]:
            result[:, ARKIT.index(name)] = np.clip(amount, 0, 1)
    for lid in ("eyeBlinkLeft", "eyeBlinkRight"):
        result[:, ARKIT.index(lid)] = 0.2 * np.clip(-up, 0, 1)
    return result


def blink(t: Curve, moment: float, rng: np.random.Generator) -> Curve:
    """Shut for an instant around ``moment``: 0.08 to 0.1 s to close, twice that to open."""
    close, still = rng.uniform(0.08, 0.1), 0.045
    opening = rng.uniform(0.13, 0.18)
    shut = smoothstep((t - (moment - still / 2 - close)) / close) * (1 - smoothstep((t - moment - still / 2) / opening))
    return rng.uniform(0.92, 1.0) * shut
