"""Phonemes with their times become the weights of a speaking mouth, each coloured by its neighbours.

Every viseme pulls jaw and lips to its target with a dominance that swells before it and fades after it; the mouth goes
to the mean of the targets weighted by their dominances (Cohen & Massaro, Modeling coarticulation in synthetic visual
speech, 1993; Gaussians here where they have exponentials). Lips round early: their dominance begins long before the
sound. Contacts are no matter of means: lips that say p, b or m touch, and that is a curve of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from tdmm_lm import bundle, config
from tdmm_lm.config import Settings
from tdmm_lm.corpus.performer.curves import Curve, pulse
from tdmm_lm.corpus.performer.voice import Phoneme
from tdmm_lm.motion.face import ARKIT

Contact = Literal["lips", "teeth"]
Weights = Float[np.ndarray, "frames arkit"]

JAW = ("jawOpen",)
OPENING = ("jawOpen", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight")
BEFORE = {"jaw": 0.07, "lips": 0.11}  # seconds over which a dominance swells to its sound
AFTER = {"jaw": 0.07, "lips": 0.08}  # and fades after it
CORE = 0.25  # of a sound, at either end, lies outside of the part that has its full dominance
SETTLE = 0.1  # seconds before the first sound and after the last until the mouth is on its way to rest
PAUSE = 0.06  # seconds: a shorter silence is no pause, the mouth goes on
QUIET, LOUD = 0.6, 1.3  # how far loudness scales an opening
# Contacts: (begins, ends) as shares of the sound, then the seconds of silence before it that belong to it. The event of
# p is its burst, so the lips are together before; b and m hum behind closed lips.
HELD = {"p": (0.0, 0.1, 0.05), "b": (0.0, 0.6, 0.0), "m": (0.0, 0.85, 0.0), "m-": (0.0, 0.85, 0.0)}
TOUCH = (0.1, 0.8, 0.0)  # f and v
SHORTEST = 0.045  # seconds of a contact, so that 25 frames a second always show it
CLOSE, PART = 0.065, 0.07  # seconds for lips to meet, and to part


class Viseme(Settings):
    """A shape of the mouth, explained in the YAML's head."""

    targets: dict[str, float] = Field(default={})
    jaw: float = Field(default=1.0, gt=0, le=5)
    lips: float = Field(default=1.0, gt=0, le=5)
    contact: Contact | None = None


class Visemes(Settings):
    """The whole YAML file."""

    visemes: dict[str, Viseme]
    phonemes: dict[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _known(self) -> "Visemes":
        for phoneme, names in self.phonemes.items():
            if unknown := set(names) - set(self.visemes):
                raise ValueError(f"phonemes.{phoneme}: expected one of {', '.join(self.visemes)}, got {unknown}")
        for viseme in self.visemes.values():
            _row(viseme.targets)
        return self

    def of(self, phoneme: str) -> tuple[str, ...]:
        """
        Raises:
            ValueError: a sound that the file does not have.
        """
        if phoneme not in self.phonemes:
            raise ValueError(f"visemes: expected a sound of recipes/corpus/visemes.yaml, got {phoneme!r}; add it.")
        return self.phonemes[phoneme]


@dataclass(frozen=True)
class Mouth:
    """A speaking mouth: weights, and how far the lips touch and the lower lip touches the teeth (0..1)."""

    weights: Weights
    lips: Curve
    teeth: Curve


def _row(targets: dict[str, float]) -> Float[np.ndarray, " arkit"]:
    row = np.zeros(len(ARKIT))
    for name, weight in targets.items():
        names = [name] if name in ARKIT else [name + "Left", name + "Right"]
        if not set(names) <= set(ARKIT) or not 0 <= weight <= 1:
            raise ValueError(f"targets: expected ARKit shapes with weights from 0 to 1, got {name}: {weight}")
        for full in names:
            row[ARKIT.index(full)] = weight
    return row


@lru_cache(maxsize=1)
def visemes() -> Visemes:
    """The bundled shapes, read once."""
    return config.load(Visemes, bundle.path("recipes/corpus/visemes.yaml"))


@lru_cache(maxsize=1)
def _rows() -> dict[str, Float[np.ndarray, " arkit"]]:
    return {name: _row(viseme.targets) for name, viseme in visemes().visemes.items()}


def move(phonemes: Sequence[Phoneme], loudness: Float[np.ndarray, " sounds"], t: Curve) -> Mouth:
    """The mouth at the times ``t``, in seconds on the phonemes' clock; ``loudness`` of each, 1 is usual.

    Raises:
        ValueError: a sound that the file does not have.
    """
    known, rows = visemes().visemes, _rows()
    opening = np.isin(ARKIT, OPENING)
    targets, pulls, spans = [rows["rest"]], [known["rest"]], [(-np.inf, phonemes[0].start - SETTLE)]
    lips, teeth = np.zeros(len(t)), np.zeros(len(t))
    for phoneme, loud in zip(phonemes, loudness):
        if not phoneme.name:
            if phoneme.stop - phoneme.start >= PAUSE:
                margin = min(0.05, (phoneme.stop - phoneme.start) / 3)
                targets.append(rows["rest"])
                pulls.append(known["rest"])
                spans.append((phoneme.start + margin, phoneme.stop - margin))
            continue
        names = visemes().of(phoneme.name)
        width = (phoneme.stop - phoneme.start) / len(names)
        for i, name in enumerate(names):
            targets.append(np.where(opening, rows[name] * np.clip(loud, QUIET, LOUD), rows[name]))
            pulls.append(known[name])
            start = phoneme.start + i * width
            spans.append((start + CORE * width, start + (1 - CORE) * width))
        touched = known[names[0]].contact
        if touched == "lips":
            lips = np.maximum(lips, _touch(t, phoneme, HELD[phoneme.name]))
        elif touched == "teeth":
            teeth = np.maximum(teeth, _touch(t, phoneme, TOUCH))
    targets.append(rows["rest"])
    pulls.append(known["rest"])
    spans.append((phonemes[-1].stop + SETTLE, np.inf))
    return Mouth(_means(t, np.array(targets), pulls, np.array(spans)), lips, teeth)


def _means(
    t: Curve, targets: Float[np.ndarray, "sounds arkit"], pulls: Sequence[Viseme], spans: Float[np.ndarray, "sounds 2"]
) -> Weights:
    """Targets weighted by the dominances of the sounds, the jaw and the lips each by its own."""
    ahead = np.maximum(spans[:, 0] - t[:, None], 0)  # (frames, sounds) seconds until it begins
    past = np.maximum(t[:, None] - spans[:, 1], 0)
    result = np.empty((len(t), len(ARKIT)))
    jaw = np.isin(ARKIT, JAW)
    for group, columns in (("jaw", jaw), ("lips", ~jaw)):
        firm = np.array([pull.jaw if group == "jaw" else pull.lips for pull in pulls])
        pull = firm * np.exp(-((ahead / BEFORE[group]) ** 2) - (past / AFTER[group]) ** 2) + 1e-12
        result[:, columns] = (pull @ targets[:, columns]) / pull.sum(1, keepdims=True)
    return result


def _touch(t: Curve, phoneme: Phoneme, held: tuple[float, float, float]) -> Curve:
    """0..1: the contact of one sound."""
    begins, ends, silent = held
    length = phoneme.stop - phoneme.start
    start, stop = phoneme.start + begins * length - silent, phoneme.start + ends * length
    start -= max(0.0, SHORTEST - (stop - start))
    return pulse(t, onset=start - CLOSE, attack=CLOSE, offset=stop + PART, release=PART)
