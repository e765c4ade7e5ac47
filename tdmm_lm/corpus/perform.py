"""A score becomes motion: ARKit weights and a moving head, the way one particular face would do it.

Curves are smoothsteps between onset, apex and offset. The score's seed makes the person: how strongly each shape takes
part (the sum keeps the score's intensity), how uneven the two sides are, how the head rests, sways and breathes.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int

from tdmm_lm import rotations
from tdmm_lm.corpus.lexicon import lexicon, weights
from tdmm_lm.corpus.score import Expression, HeadMove, Score
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import Side

Curve = Float[np.ndarray, " frames"]
Weights = Float[np.ndarray, "frames arkit"]

VARIATION = 0.2  # of each shape's share in an expression, between people
PARTING = ("tongue", "jawOpen", "mouthClose", "mouthFunnel", "mouthUpperUp", "mouthLowerDown")  # shut at rest
UNEVEN = 0.08  # of a shape's weight, between the two sides of one face
LEAD = 0.15  # seconds: a mouth moves before it sounds; a score's speech is what is heard
SPEAKING_JAW = 0.35  # what is left of an expression's open jaw while the person speaks
# Peaks of a syllable by vowel, in the range of a tracked talker (99th percentile of the jaw .38, of the pucker .41).
VOWELS = (
    {
        "jawOpen": 0.42,
        "mouthLowerDownLeft": 0.12,
        "mouthLowerDownRight": 0.12,
        "mouthUpperUpLeft": 0.04,
        "mouthUpperUpRight": 0.04,
    },
    {
        "jawOpen": 0.26,
        "mouthStretchLeft": 0.14,
        "mouthStretchRight": 0.14,
        "mouthLowerDownLeft": 0.1,
        "mouthLowerDownRight": 0.1,
    },
    {"jawOpen": 0.22, "mouthPucker": 0.38, "mouthFunnel": 0.16},
    {"jawOpen": 0.32, "mouthFunnel": 0.26, "mouthPucker": 0.12},
)
# and of the consonants between them
CLOSURES: tuple[dict[str, float], ...] = (
    {
        "mouthClose": 0.06,
        "mouthPressLeft": 0.14,
        "mouthPressRight": 0.14,
        "mouthRollUpper": 0.12,
        "mouthRollLower": 0.06,
    },
    {"mouthRollLower": 0.14, "mouthUpperUpLeft": 0.06, "mouthUpperUpRight": 0.06},
    {},
)
# Which way the eyes' shapes turn for a direction, the person's own left and right.
LOOKS = {
    "left": ("eyeLookOutLeft", "eyeLookInRight"),
    "right": ("eyeLookInLeft", "eyeLookOutRight"),
    "up": ("eyeLookUpLeft", "eyeLookUpRight"),
    "down": ("eyeLookDownLeft", "eyeLookDownRight"),
}
# (axis, sign) of the held gestures and of the dips and swings; axes are yaw, pitch, roll of euler_yxz_to_matrix.
TURNS = {
    "turn_left": (0, 1),
    "turn_right": (0, -1),
    "look_down": (1, 1),
    "look_up": (1, -1),
    "tilt_right": (2, 1),
    "tilt_left": (2, -1),
}


def smoothstep(x: Curve) -> Curve:
    """0 up to x = 0, 1 from x = 1 on, with no slope at either."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def envelope(t: Curve, expression: Expression) -> Curve:
    """0..1: rise, hold and release of an expression at the times ``t`` (seconds)."""
    rise = smoothstep((t - expression.onset) / expression.attack)
    fall = smoothstep((t - (expression.offset - expression.release)) / expression.release)
    return rise * (1 - fall)


def noise(
    rng: np.random.Generator, t: Curve, channels: int, *, low: float, high: float
) -> Float[np.ndarray, "frames channels"]:
    """Smooth chance of standard deviation one: four sines a channel, ``low`` to ``high`` Hz."""
    hertz = rng.uniform(low, high, (4, 1, channels))
    phase = rng.uniform(0, 2 * np.pi, (4, 1, channels))
    return np.sin(2 * np.pi * hertz * t[:, None] + phase).sum(0) / np.sqrt(2)


@lru_cache(maxsize=256)
def _word(name: str, side: Side) -> Float[np.ndarray, " arkit"]:
    return weights(lexicon().word(name), side)


@lru_cache(maxsize=1)
def _limits() -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    first, second, cap = zip(*lexicon().limits)
    index = [np.array([ARKIT.index(name) for name in names]) for names in (first, second)]
    return index[0], index[1], np.array(cap)


def _personal(rng: np.random.Generator, target: Float[np.ndarray, " arkit"]) -> Float[np.ndarray, " arkit"]:
    """A person's own mixture of a word's shapes, with the same sum of weights."""
    gains = 1 + VARIATION * rng.uniform(-1, 1, len(ARKIT))
    for i, name in enumerate(ARKIT):  # the two sides of a face mostly go together
        if name.endswith("Right") and name.removesuffix("Right") + "Left" in ARKIT:
            gains[i] = gains[ARKIT.index(name.removesuffix("Right") + "Left")] * (1 + UNEVEN * rng.uniform(-1, 1))
    total = target.sum()
    return target if total == 0 else target * gains * (total / (target * gains).sum())


def _expressions(score: Score, t: Curve, rng: np.random.Generator, speaking: Curve) -> Weights:
    result = np.zeros((len(t), len(ARKIT)))
    jaw = ARKIT.index("jawOpen")
    for expression in score.expressions:
        target = _personal(rng, _word(expression.word, expression.side)) * expression.intensity
        alive = 1 + 0.03 * noise(rng, t, 1, low=0.3, high=1.2)
        moved = envelope(t, expression)[:, None] * alive * target
        moved[:, jaw] *= 1 - (1 - SPEAKING_JAW) * speaking
        result += moved
    return result


def _blink(t: Curve, moment: float, rng: np.random.Generator) -> Curve:
    """Shut for an instant around ``moment``: 0.08 to 0.1 s to close, twice that to open."""
    close, still = rng.uniform(0.08, 0.1), 0.045
    opening = rng.uniform(0.13, 0.18)
    shut = smoothstep((t - (moment - still / 2 - close)) / close) * (1 - smoothstep((t - moment - still / 2) / opening))
    return rng.uniform(0.92, 1.0) * shut


def _speech(score: Score, t: Curve, rng: np.random.Generator) -> tuple[Weights, Curve]:
    """Weights of the syllables, and 0..1 where speech goes on."""
    result, speaking = np.zeros((len(t), len(ARKIT))), np.zeros(len(t))
    loud, rate = rng.uniform(0.75, 1.15), rng.uniform(3.0, 4.8)
    for heard, stop in score.speech:
        start = max(0.0, heard - LEAD)
        length = stop - start
        edge = min(0.1, length / 3)
        speaking += smoothstep((t - start) / edge) * (1 - smoothstep((t - stop + edge) / edge))
        syllables = max(1, round(length * rate))
        borders = start + length * np.linspace(0, 1, syllables + 1)
        borders[1:-1] += rng.uniform(-0.18, 0.18, syllables - 1) * length / syllables
        width = np.diff(borders)
        middles = (borders[:-1] + borders[1:]) / 2
        for kinds, centres, widths, chances in (
            (VOWELS, middles, width * 1.6, (0.35, 0.3, 0.17, 0.18)),
            (CLOSURES, borders[1:-1], width[1:] * 0.7, (0.3, 0.2, 0.5)),
        ):
            if not len(centres):
                continue
            table = np.zeros((len(kinds), len(ARKIT)))
            for row, shapes in zip(table, kinds):
                row[[ARKIT.index(name) for name in shapes]] = list(shapes.values())
            peaks = (
                table[rng.choice(len(kinds), len(centres), p=chances)] * rng.uniform(0.4, 1.1, (len(centres), 1)) * loud
            )
            distance = np.abs(t[:, None] - centres) / widths
            result += (np.cos(np.pi * np.minimum(distance, 0.5)) ** 2) @ peaks
    return result * speaking[:, None], speaking


def _gaze(score: Score, t: Curve, rng: np.random.Generator) -> Weights:
    result = np.zeros((len(t), len(ARKIT)))
    drift = 0.025 * noise(rng, t, 2, low=0.2, high=0.9)  # left, up
    side, height = drift.T
    for glance in score.gaze:
        quick = rng.uniform(0.08, 0.16)
        there = smoothstep((t - glance.onset) / quick) * (
            1 - smoothstep((t - glance.onset - glance.seconds + quick) / quick)
        )
        sign = 1 if glance.direction in ("left", "up") else -1
        if glance.direction in ("left", "right"):
            side = side + sign * glance.amount * there
        else:
            height = height + sign * glance.amount * there
    for direction, amount in (("left", side), ("right", -side), ("up", height), ("down", -height)):
        for name in LOOKS[direction]:
            result[:, ARKIT.index(name)] = np.clip(amount, 0, 1)
    for lid in ("eyeBlinkLeft", "eyeBlinkRight"):  # the upper lid follows the eye down
        result[:, ARKIT.index(lid)] = 0.2 * np.clip(-height, 0, 1)
    return result


def _gesture(move: HeadMove, t: Curve, rng: np.random.Generator) -> Float[np.ndarray, "frames 3"]:
    """Degrees of yaw, pitch and roll."""
    angles = np.zeros((len(t), 3))
    if move.gesture in TURNS:
        axis, sign = TURNS[move.gesture]
        ramp = min(rng.uniform(0.28, 0.45), move.lasts / 3)
        up = smoothstep((t - move.onset) / ramp)
        down = smoothstep((t - move.onset - move.lasts + ramp) / ramp)
        angles[:, axis] = sign * move.degrees * up * (1 - down)
        return angles
    phase = (t - move.onset) / (move.lasts / move.count)  # in dips or cycles
    inside = (phase > 0) & (phase < move.count)
    size = rng.uniform(0.85, 1.0, move.count)[np.clip(phase.astype(int), 0, move.count - 1)] * move.degrees * inside
    if move.gesture == "nod":
        angles[:, 1] = size * np.sin(np.pi * phase) ** 2
    else:
        angles[:, 0] = size * np.sin(2 * np.pi * phase) * rng.choice([-1, 1])
    return angles


def _head(score: Score, t: Curve, rng: np.random.Generator, speaking: Curve) -> Float[np.ndarray, "frames 3"]:
    """Axis-angle, radians."""
    rest = np.clip(rng.normal(0, 1, 3) * (1.5, 1.2, 0.8), -2.5, 2.5)
    angles = rest + noise(rng, t, 3, low=0.08, high=0.4) * (0.35, 0.3, 0.2)
    angles[:, 1] += 0.15 * np.sin(2 * np.pi * rng.uniform(0.2, 0.3) * t)  # breath
    angles += noise(rng, t, 3, low=0.5, high=1.8) * (0.3, 0.4, 0.2) * speaking[:, None]
    for move in score.head:
        angles += _gesture(move, t, rng)
    euler = torch.from_numpy(np.radians(angles))
    return rotations.matrix_to_axis_angle(rotations.euler_yxz_to_matrix(euler)).numpy()


def limit(moved: Weights) -> Weights:
    """What a face can do at once: pairs of the lexicon's ``limits`` scaled down to their sum, all within 0..1."""
    moved = np.clip(moved, 0, 1)
    for i, j, cap in zip(*_limits()):
        total = moved[:, i] + moved[:, j]
        scale = np.minimum(1, cap / np.maximum(total, 1e-6))
        moved[:, i] *= scale
        moved[:, j] *= scale
    close, jaw = ARKIT.index("mouthClose"), ARKIT.index("jawOpen")
    moved[:, close] = np.minimum(moved[:, close], moved[:, jaw])  # ARKit's mouthClose closes lips over an open jaw
    return moved


def perform(score: Score) -> MotionClip:
    """The motion of a score on the bundled head: ``round(seconds * fps)`` frames, the same for the same score."""
    frames = max(1, round(score.seconds * score.fps))
    t = np.arange(frames) / score.fps
    # one stream of chance a part, so that an edit of one part leaves the person and the other parts alone
    person, talk, look, turn, lids = (np.random.default_rng([score.seed, part]) for part in range(5))
    speech, speaking = _speech(score, t, talk)
    moved = np.clip(person.normal(0, 0.012, len(ARKIT)), 0, 0.03) + 0.006 * np.abs(
        noise(person, t, len(ARKIT), low=0.1, high=0.8)
    )
    moved[:, [name.startswith(PARTING) for name in ARKIT]] = 0
    moved += _expressions(score, t, person, speaking) + speech + _gaze(score, t, look)
    moved = limit(moved)
    for moment in score.blinks:
        shut = _blink(t, moment, lids)
        for lid in ("eyeBlinkLeft", "eyeBlinkRight"):
            moved[:, ARKIT.index(lid)] = np.maximum(moved[:, ARKIT.index(lid)], shut)
        for wide in ("eyeWideLeft", "eyeWideRight"):
            moved[:, ARKIT.index(wide)] *= 1 - shut
    head = _head(score, t, turn, speaking)
    return face.assemble({"expression": np.clip(moved, 0, 1), "head": head}, fps=score.fps, rig="head")
