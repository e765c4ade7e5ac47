"""What is going on in every frame of a performance, exactly as its score has it: labels for training and measuring."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tdmm_lm.corpus.perform import envelope
from tdmm_lm.corpus.performer.curves import pulse
from tdmm_lm.corpus.performer.talk import speech_of
from tdmm_lm.corpus.score import Score

BLINK = (0.12, 0.2)  # seconds before and after the moment of a blink in which lids move, at most
NOTHING = -1  # in arrays of places: none of them


@dataclass(frozen=True)
class Timeline:
    """One value a frame; places are indices into the score's tuples, -1 where there is none.

    Attributes:
        shown: how far each expression is on the face, 0..1 of its own intensity.
        micro: the same of each micro-expression.
        gesture: place in ``score.head``.
        glance: place in ``score.gaze``.
        blinking: a blink is shut or on its way.
        speaking: somebody speaks, with words or without.
        phoneme: the sound spoken, "" for none (silence, and speech without words).
    """

    shown: Float[np.ndarray, "frames expressions"]
    micro: Float[np.ndarray, "frames micros"]
    gesture: Int[np.ndarray, " frames"]
    glance: Int[np.ndarray, " frames"]
    blinking: Bool[np.ndarray, " frames"]
    speaking: Bool[np.ndarray, " frames"]
    phoneme: tuple[str, ...]


def timeline(score: Score) -> Timeline:
    """The labels of all frames that `perform` makes of the score.

    Raises:
        ValueError: the score says something and espeak-ng is not installed, or does not have the voice.
    """
    t = np.arange(score.frames) / score.fps
    shown = [envelope(t, e, score.crossfade(i)) for i, e in enumerate(score.expressions)]
    micro = [pulse(t, onset=m.onset, attack=m.attack, offset=m.offset, release=m.release) for m in score.micro]
    phoneme = np.full(len(t), "", dtype=object)
    for sound in speech_of(score).phonemes:
        phoneme[_inside(t, [(sound.start, sound.stop)])] = sound.name
    return Timeline(
        np.stack(shown, 1) if shown else np.zeros((len(t), 0)),
        np.stack(micro, 1) if micro else np.zeros((len(t), 0)),
        _places(t, [(move.onset, move.onset + move.lasts) for move in score.head]),
        _places(t, [(glance.onset, glance.onset + glance.seconds) for glance in score.gaze]),
        _inside(t, [(moment - BLINK[0], moment + BLINK[1]) for moment in score.blinks]),
        _inside(t, score.spoken),
        tuple(phoneme),
    )


def _inside(t: Float[np.ndarray, " frames"], spans: Sequence[tuple[float, float]]) -> Bool[np.ndarray, " frames"]:
    return _places(t, spans) != NOTHING


def _places(t: Float[np.ndarray, " frames"], spans: Sequence[tuple[float, float]]) -> Int[np.ndarray, " frames"]:
    """The last of the spans that each time lies in."""
    places = np.full(len(t), NOTHING)
    for place, (start, stop) in enumerate(spans):
        places[(t >= start) & (t < stop)] = place
    return places
