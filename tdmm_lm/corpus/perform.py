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
from tdmm_lm.corpus.performer import eyes, heads, talk
from tdmm_lm.corpus.performer.curves import Curve, noise, pulse, smoothstep
from tdmm_lm.corpus.performer.talk import sound, speech_of
from tdmm_lm.corpus.score import Expression, OnTheFace, Score
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import Side

__all__ = ["envelope", "limit", "perform", "smoothstep", "sound", "speech_of"]

Weights = Float[np.ndarray, "frames arkit"]

VARIATION = 0.2  # of each shape's share in an expression, between people
PARTING = ("tongue", "jawOpen", "mouthClose", "mouthFunnel", "mouthUpperUp", "mouthLowerDown")  # shut at rest
UNEVEN = 0.08  # of a shape's weight, between the two sides of one face
SPEAKING_JAW = 0.35  # what is left of an expression's open jaw while the person speaks
# What is left, while sentences are spoken, of an expression's other shapes that the lips need for themselves.
SPEAKING_LIPS = {"mouthPress": 0.4, "mouthRoll": 0.4, "mouthPucker": 0.4, "mouthFunnel": 0.3, "mouthShrug": 0.5}


def envelope(t: Curve, expression: OnTheFace, into: Expression | None = None) -> Curve:
    """0..1: rise, hold and release of an expression at the times ``t`` (seconds).

    Where it goes over ``into`` another, it gives way while that one rises, so that the face does not rest between them.
    """
    if into is None:
        offset, release = expression.offset, expression.release
    else:
        offset, release = into.onset + into.attack, into.attack
    return pulse(t, onset=expression.onset, attack=expression.attack, offset=offset, release=release)


@lru_cache(maxsize=256)
def _word(name: str, side: Side) -> Float[np.ndarray, " arkit"]:
    return weights(lexicon().word(name), side)


@lru_cache(maxsize=1)
def _limits() -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    first, second, cap = zip(*lexicon().limits)
    index = [np.array([ARKIT.index(name) for name in names]) for names in (first, second)]
    return index[0], index[1], np.array(cap)


@lru_cache(maxsize=1)
def _partners() -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Columns of the shapes that a left and a right side have, in the order of the right ones."""
    names = [n for n in ARKIT if n.endswith("Right") and n.removesuffix("Right") + "Left" in ARKIT]
    left = [ARKIT.index(name.removesuffix("Right") + "Left") for name in names]
    return np.array(left), np.array([ARKIT.index(name) for name in names])


def _personal(rng: np.random.Generator, target: Float[np.ndarray, " arkit"]) -> Float[np.ndarray, " arkit"]:
    """A person's own mixture of a word's shapes, with the same sum of weights."""
    gains = 1 + VARIATION * rng.uniform(-1, 1, len(ARKIT))
    left, right = _partners()  # the two sides of a face mostly go together
    gains[right] = gains[left] * (1 + UNEVEN * rng.uniform(-1, 1, len(left)))
    total = target.sum()
    return target if total == 0 else target * gains * (total / (target * gains).sum())


def _expressions(score: Score, t: Curve, rng: np.random.Generator, *, speaking: Curve, worded: Curve) -> Weights:
    """Expressions, then micro-expressions, so that these change nothing in those."""
    result = np.zeros((len(t), len(ARKIT)))
    left = 1 - (1 - SPEAKING_JAW) * speaking
    fading = [score.crossfade(place) for place in range(len(score.expressions))]
    for expression, into in zip((*score.expressions, *score.micro), (*fading, *[None] * len(score.micro))):
        target = _personal(rng, _word(expression.word, expression.side)) * expression.intensity
        alive = 1 + 0.03 * noise(rng, t, 1, low=0.3, high=1.2)
        moved = envelope(t, expression, into)[:, None] * alive * target
        moved[:, ARKIT.index("jawOpen")] *= left
        if worded.any():
            for k, name in enumerate(ARKIT):
                kept = next((share for start, share in SPEAKING_LIPS.items() if name.startswith(start)), 1.0)
                moved[:, k] *= 1 - (1 - kept) * worded
        result += moved
    return result


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


def _turned(angles: Float[np.ndarray, "frames 3"]) -> Float[np.ndarray, "frames 3"]:
    """Axis-angle in radians of yaw, pitch and roll in degrees."""
    euler = torch.from_numpy(np.radians(angles))
    return rotations.matrix_to_axis_angle(rotations.euler_yxz_to_matrix(euler)).numpy()


def perform(score: Score) -> MotionClip:
    """The motion of a score on the bundled head: ``round(seconds * fps)`` frames, the same for the same score.

    Raises:
        ValueError: the score says something and espeak-ng is not installed, or does not have the voice.
    """
    t = np.arange(score.frames) / score.fps
    # one stream of chance a part, so that an edit of one part leaves the person and the other parts alone
    person, talking, look, turn, lids, wording = (np.random.default_rng([score.seed, part]) for part in range(6))
    babble, babbling = talk.babble(score, t, talking)
    said = talk.spoken(score, t, wording)
    worded = said.speaking if said else np.zeros(len(t))
    stress = said.stress if said else np.zeros(len(t))
    speaking = np.maximum(babbling, worded)
    head = heads.move(score, t, turn, speaking=speaking, stress=stress)
    moved = np.clip(person.normal(0, 0.012, len(ARKIT)), 0, 0.03) + 0.006 * np.abs(
        noise(person, t, len(ARKIT), low=0.1, high=0.8)
    )
    moved[:, [name.startswith(PARTING) for name in ARKIT]] = 0
    moved += _expressions(score, t, person, speaking=speaking, worded=worded) + babble
    moved += eyes.shapes(eyes.look(score, t, look, head))
    if said:
        moved += said.mouth.weights
        for name, share in talk.BROWS.items():
            moved[:, ARKIT.index(name)] += share * stress
        moved = talk.contact(limit(moved), said.mouth)
    else:
        moved = limit(moved)
    for moment in score.blinks:
        shut = eyes.blink(t, moment, lids)
        for lid in ("eyeBlinkLeft", "eyeBlinkRight"):
            moved[:, ARKIT.index(lid)] = np.maximum(moved[:, ARKIT.index(lid)], shut)
        for wide in ("eyeWideLeft", "eyeWideRight"):
            moved[:, ARKIT.index(wide)] *= 1 - shut
    parts = {"expression": np.clip(moved, 0, 1), "head": _turned(head.angles)}
    if head.translation.any():
        parts["translation"] = head.translation
    return face.assemble(parts, fps=score.fps, rig="head")
