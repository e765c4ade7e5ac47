"""What people in the corpus say: a sentence, a voice and a pace that fit a clip. The sentences themselves are data."""

import re
from functools import lru_cache

import numpy as np
from pydantic import Field, model_validator

from tdmm_lm import bundle, config
from tdmm_lm.config import Settings
from tdmm_lm.corpus.performer.voice import VOICE
from tdmm_lm.corpus.score import Saying

WORDS = (2, 14)
LETTERS = 17.0  # of a sentence that a voice says in a second at the usual pace: a first guess, then it is spoken
PACE = (140, 190)  # words a minute, 165 is usual
PITCH = (38, 62)
MARGIN = 0.15  # seconds of the clip before and after the sentence, at least
TRIES = 4  # sentences spoken before the clip goes without


class Sentences(Settings):
    """The whole YAML file."""

    voices: tuple[str, ...] = Field(min_length=1)
    sentences: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _spoken(self) -> "Sentences":
        for sentence in self.sentences:
            if not WORDS[0] <= len(sentence.split()) <= WORDS[1]:
                raise ValueError(f"sentences: expected {WORDS[0]} to {WORDS[1]} words, got {sentence!r}")
        for name in self.voices:
            if not re.fullmatch(VOICE, name):
                raise ValueError(f"voices: expected names like en-us or en-us+f2, got {name!r}")
        return self


@lru_cache(maxsize=1)
def sentences() -> Sentences:
    """The bundled sentences, read once."""
    return config.load(Sentences, bundle.path("recipes/corpus/sentences.yaml"))


def fitting(rng: np.random.Generator, seconds: float) -> Saying | None:
    """A sentence that is over before a clip of this length is, or None where none of those tried is.

    Raises:
        ValueError: espeak-ng is not installed.
    """
    known, room = sentences(), seconds - 2 * MARGIN
    voice = known.voices[int(rng.integers(len(known.voices)))]
    pace, pitch = int(rng.integers(*PACE)), int(rng.integers(*PITCH))
    guesses = np.array([len(sentence) for sentence in known.sentences]) / LETTERS * (165 / pace)
    for _ in range(TRIES):
        able = np.flatnonzero((guesses < room) & (guesses > 0.3 * room))
        if not len(able):
            return None
        text = known.sentences[int(rng.choice(able))]
        saying = Saying(text=text, voice=voice, words_per_minute=pace, pitch=pitch)
        spare = room - saying.spoken.seconds
        if spare >= 0:
            return saying.model_copy(update={"onset": round(MARGIN + float(rng.uniform(0, spare)), 2)})
        guesses = guesses * 1.25  # this voice is slower than guessed
    return None
