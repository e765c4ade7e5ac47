"""The words a performance is made of: each with its family, its grammatical forms and its ARKit weights.

The words themselves are data, `recipes/corpus/lexicon.yaml`; this file checks them and answers for them.
"""

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import get_args

import numpy as np
from jaxtyping import Float
from pydantic import model_validator

from tdmm_lm import bundle, config
from tdmm_lm.config import Settings
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import FAMILIES, Side

Range = tuple[float, float]
RECIPE = "recipes/corpus/lexicon.yaml"


class Dynamics(Settings):
    """Ranges in seconds from onset to apex, of the apex held, and from there to the offset."""

    attack: Range
    hold: Range
    release: Range


class Word(Settings):
    """One word. ``targets`` are ARKit weights at full intensity, sides as explained in the YAML's head.

    ``feels`` is (valence, arousal), each -1..1, on Russell's circumplex.
    """

    family: str
    targets: dict[str, float]
    feels: tuple[float, float] = (0.0, 0.0)
    verb: str | None = None
    adjective: str | None = None
    noun: str | None = None
    synonyms: tuple[str, ...] = ()
    slightly: tuple[str, ...] = ()
    strongly: tuple[str, ...] = ()
    sided: bool = False
    intensity: Range = (0.15, 1.0)
    attack: Range | None = None
    hold: Range | None = None
    release: Range | None = None

    @model_validator(mode="after")
    def _known(self) -> "Word":
        if self.family not in FAMILIES:
            raise ValueError(f"expected a family among {', '.join(FAMILIES)}, got {self.family!r}")
        if not (self.verb or self.adjective):
            raise ValueError("expected a verb or an adjective, got neither")
        if not all(-1 <= value <= 1 for value in self.feels):
            raise ValueError(f"feels: expected valence and arousal from -1 to 1, got {self.feels}")
        for side in ("left", "right") if self.sided else ("both",):
            weights(self, side)
        return self


class Lexicon(Settings):
    """The whole YAML file. ``limits`` are pairs of ARKit names and the largest sum they may reach; ``units`` are the
    FACS action units of shapes without their sides."""

    dynamics: dict[str, Dynamics]
    units: dict[str, int]
    limits: tuple[tuple[str, str, float], ...]
    words: dict[str, Word]

    def of_family(self, family: str) -> tuple[str, ...]:
        """The words of a family, in the file's order."""
        return tuple(name for name, word in self.words.items() if word.family == family)

    def word(self, name: str) -> Word:
        """
        Raises:
            ValueError: no such word; the nearest are named.
        """
        if name not in self.words:
            near = ", ".join(get_close_matches(name, self.words, 3)) or "none"
            raise ValueError(
                f"lexicon: expected one of the {len(self.words)} words of {RECIPE}, got {name!r}; nearest: {near}."
            )
        return self.words[name]

    def action_units(self, name: str) -> tuple[int, ...]:
        """FACS action units that take part in a word by at least a seventh, sorted."""
        shapes = (
            (re.sub(r"(Near|Far)$", "", shape), weight) for shape, weight in self.word(name).targets.items()
        )
        return tuple(sorted({self.units[shape] for shape, weight in shapes if weight >= 0.14 and shape in self.units}))

    def timing(self, name: str) -> Dynamics:
        """How a word usually runs: its own ranges, else its family's, else the default."""
        word = self.word(name)
        family = self.dynamics.get(word.family, self.dynamics["default"])
        return Dynamics(
            attack=word.attack or family.attack, hold=word.hold or family.hold, release=word.release or family.release
        )


def weights(word: Word, side: Side) -> Float[np.ndarray, " arkit"]:
    """ARKit weights 0..1 of a word at full intensity, in the order of `ARKIT`.

    Raises:
        ValueError: a sided word without a side or the reverse, an unknown shape, or a weight outside 0..1.
    """
    if side not in get_args(Side) or (side == "both") == word.sided:
        expected = "left or right" if word.sided else "both"
        raise ValueError(f"side: expected {expected} for this word, got {side!r}")
    near, far = ("Left", "Right") if side == "left" else ("Right", "Left")
    result = np.zeros(len(ARKIT), np.float32)
    for name, weight in word.targets.items():
        if not 0 <= weight <= 1:
            raise ValueError(f"targets.{name}: expected a weight from 0 to 1, got {weight}")
        if name.endswith(("Near", "Far")):
            names = [name.removesuffix("Near") + near if name.endswith("Near") else name.removesuffix("Far") + far]
        else:
            names = [name] if name in ARKIT else [name + "Left", name + "Right"]
        if not set(names) <= set(ARKIT):
            raise ValueError(f"targets: expected an ARKit shape, with or without its side, got {name!r}")
        for full in names:
            result[ARKIT.index(full)] = weight
    return result


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The bundled words, read once.

    Raises:
        ValueError: the file does not say what it should; the message names the word and what is wrong.
    """
    path = bundle.path(RECIPE)
    return config.load(Lexicon, path)
