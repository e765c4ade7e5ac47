"""All that a score says, as a moving mouth and as sound: sentences in a voice, and spans of speech without words.

The mouth of spoken sentences follows their phonemes (`visemes`); that of spans without words babbles in syllables.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tdmm_lm.corpus.performer.curves import Curve, pulse, smoothstep
from tdmm_lm.corpus.performer.visemes import Mouth, Weights, move
from tdmm_lm.corpus.performer.voice import Phoneme, Word
from tdmm_lm.corpus.score import Saying, Score
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.video import AUDIO_RATE

LEAD = 0.15  # seconds: a mouth moves before it sounds; a score's speech is what is heard
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
# What lips and teeth keep from a contact, what presses while lips touch, and the jaw (0..1) that teeth on a lip allow.
PARTED = (
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthFunnel",
    "mouthShrugUpper", "tongueOut",
)
PRESSED = {"mouthPressLeft": 0.1, "mouthPressRight": 0.1, "mouthRollLower": 0.05, "mouthRollUpper": 0.05}
BITTEN = ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthFunnel", "mouthPucker")
BITE_JAW = 0.07
BROWS = {"browInnerUp": 0.07, "browOuterUpLeft": 0.09, "browOuterUpRight": 0.09}  # of the strongest stress


class Heard(NamedTuple):
    """What is said in a clip, in seconds from its start; pauses inside a sentence are phonemes without a name."""

    phonemes: tuple[Phoneme, ...]
    words: tuple[Word, ...]


class Talk(NamedTuple):
    """The sentences' part of a performance: the mouth, 0..1 where somebody speaks, and 0..1 of stress."""

    mouth: Mouth
    speaking: Curve
    stress: Curve


def speech_of(score: Score) -> Heard:
    """Phonemes and words of all sentences, on the clip's clock; what is said after its end is left out.

    Raises:
        ValueError: espeak-ng is not installed, or a voice or text is not one.
    """
    phonemes, words = [], []
    for saying in _in_turn(score):
        said = saying.spoken
        phonemes += [p._replace(start=p.start + saying.onset, stop=p.stop + saying.onset) for p in said.phonemes]
        words += [w._replace(start=w.start + saying.onset, stop=w.stop + saying.onset) for w in said.words]
    end = score.seconds
    return Heard(tuple(p for p in phonemes if p.start < end), tuple(w for w in words if w.start < end))


def sound(score: Score) -> Float[np.ndarray, " samples"] | None:
    """What is heard: mono float32 at 16 kHz, as long as the clip. None where the score says nothing.

    Raises:
        ValueError: espeak-ng is not installed, or a voice or text is not one.
    """
    if not score.says:
        return None
    result = np.zeros(round(score.frames / score.fps * AUDIO_RATE), np.float32)
    for saying in _in_turn(score):
        first, wave = round(saying.onset * AUDIO_RATE), saying.spoken.wave
        result[first : first + len(wave)] = wave[: max(0, len(result) - first)]
    return result


def spoken(score: Score, t: Curve, rng: np.random.Generator) -> Talk | None:
    """How the sentences move a mouth; None where the score says nothing. ``rng`` is how much this person moves it."""
    gain = rng.uniform(0.85, 1.15)
    uneven = 1 + rng.uniform(-0.06, 0.06) * np.array([n.endswith("Left") - 1.0 * n.endswith("Right") for n in ARKIT])
    if not score.says:
        return None
    weights = np.zeros((len(t), len(ARKIT)))
    lips, teeth, speaking, stress = (np.zeros(len(t)) for _ in range(4))
    for saying in _in_turn(score):
        said, clock = saying.spoken, t - saying.onset
        loud = _loudness(said.wave, said.phonemes)
        mouth = move(said.phonemes, gain * loud, clock)
        weights += mouth.weights * uneven
        lips, teeth = np.maximum(lips, mouth.lips), np.maximum(teeth, mouth.teeth)
        speaking = np.maximum(speaking, pulse(clock, onset=-LEAD, attack=0.1, offset=said.seconds + 0.1, release=0.1))
        for phoneme, strength in zip(said.phonemes, loud):
            if phoneme.stressed:
                middle = (phoneme.start + phoneme.stop) / 2
                bump = np.exp(-(((clock - middle) / 0.13) ** 2)) * np.clip((strength - 0.8) * 2, 0, 1)
                stress = np.maximum(stress, bump)
    return Talk(Mouth(weights, lips, teeth), speaking, stress)


def _in_turn(score: Score) -> tuple[Saying, ...]:
    """The sentences, in order.

    Raises:
        ValueError: two at once, or one over a span of speech without words: there is one mouth.
    """
    taken = sorted([*score.speech, *((saying.onset, saying.offset) for saying in score.says)])
    for (_, stop), (start, _) in itertools.pairwise(taken):
        if start < stop - 1e-6:
            raise ValueError(f"says: expected one thing said at a time, got one at {start:g} s, before {stop:.2f} s.")
    return tuple(sorted(score.says, key=lambda saying: saying.onset))


def _loudness(wave: Float[np.ndarray, " samples"], phonemes: tuple[Phoneme, ...]) -> Float[np.ndarray, " sounds"]:
    """Of each phoneme, relative to the sentence's louder half: amplitude to the power of a third, as it is felt."""
    power = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    edges = np.clip(np.array([(p.start, p.stop) for p in phonemes]) * AUDIO_RATE, 0, len(wave)).round().astype(int)
    mean = (power[edges[:, 1]] - power[edges[:, 0]]) / np.maximum(edges[:, 1] - edges[:, 0], 1)
    heard = np.sqrt(mean)
    usual = np.percentile(heard, 75)
    return (heard / max(usual, 1e-6)) ** (1 / 3)


def contact(moved: Weights, mouth: Mouth) -> Weights:
    """Lips that touch, and a lower lip on the teeth, whatever else the face shows: the last word about a mouth.

    The jaw may stay open behind closed lips, which is ARKit's ``mouthClose``; what would part the lips is taken back.
    """
    moved = moved.copy()
    for name in PARTED:
        moved[:, ARKIT.index(name)] *= 1 - mouth.lips
    for name in BITTEN:
        moved[:, ARKIT.index(name)] *= 1 - 0.8 * mouth.teeth
    for name, weight in PRESSED.items():
        moved[:, ARKIT.index(name)] = np.clip(moved[:, ARKIT.index(name)] + weight * mouth.lips, 0, 1)
    jaw, close = moved[:, ARKIT.index("jawOpen")], ARKIT.index("mouthClose")
    shut = np.maximum(mouth.lips * jaw, mouth.teeth * np.maximum(jaw - BITE_JAW, 0))
    moved[:, close] = np.maximum(moved[:, close] * (1 - mouth.lips), shut)
    return moved


def babble(score: Score, t: Curve, rng: np.random.Generator) -> tuple[Weights, Curve]:
    """Weights of the syllables of speech without words, and 0..1 where it goes on."""
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
