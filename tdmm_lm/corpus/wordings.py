"""The wordings captions are made of (`recipes/corpus/captions.yaml`), and the little English grammar they need."""

import re
from functools import lru_cache

import numpy as np

from tdmm_lm import bundle, config
from tdmm_lm.config import Settings

PRONOUNS = {  # subject, possessive, object
    "she": ("she", "her", "her"),
    "he": ("he", "his", "him"),
    "they": ("they", "their", "them"),
    "it": ("it", "its", "it"),
    "you": ("you", "your", "you"),
}
TIMES = {
    1: ("once", "one time"),
    2: ("twice", "two times", "2 times"),
    3: ("three times", "3 times"),
    4: ("four times", "4 times"),
}
NUMBERS = {1: ("one", "1"), 2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}


class Wording(Settings):
    """Ways to say one thing; those of ``test`` are kept for held-out texts."""

    train: tuple[str, ...]
    test: tuple[str, ...] = ()

    def pick(self, rng: np.random.Generator, split: str = "train", *, kept: float = 0.5) -> str:
        """One way to say it; in the split test with chance ``kept`` one that is kept from training."""
        held = split == "test" and self.test and rng.random() < kept
        ways = self.test if held else self.train
        return ways[int(rng.integers(len(ways)))]


class Wordings(Settings):
    """The whole YAML file; what its keys mean is explained there."""

    subjects: dict[str, str]
    adverbs: dict[str, Wording]
    degrees: dict[str, Wording]
    amounts: dict[str, Wording]
    sizes: dict[str, Wording]
    expression: dict[str, Wording]
    neutral: Wording
    gestures: dict[str, Wording]
    still: Wording
    gaze: Wording
    where: dict[str, Wording]
    blinks: dict[str, Wording]
    speech: dict[str, Wording]
    share: Wording
    while_speaking: Wording
    prompt: Wording
    then: Wording
    # `and` is a word of Python's
    also: Wording
    description: dict[str, Wording]
    timed: Wording
    families: dict[str, tuple[str, ...]]
    edits: dict[str, Wording]


@lru_cache(maxsize=1)
def wordings() -> Wordings:
    """The bundled wordings, read once."""
    return config.load(Wordings, bundle.path("recipes/corpus/captions.yaml"))


def third(verb: str) -> str:
    """Third person singular: smiles, presses, has."""
    irregular = {"have": "has", "do": "does", "be": "is"}
    if verb in irregular:
        return irregular[verb]
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + ("es" if re.search(r"(s|x|z|ch|sh|[^o]o)$", verb) else "s")


def ing(verb: str) -> str:
    """Present participle: smiling, nodding, beginning."""
    if verb == "begin" or re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb):
        return verb + verb[-1] + "ing"
    return (verb[:-1] if verb.endswith("e") and not verb.endswith("ee") and verb != "be" else verb) + "ing"


def conjugate(clause: str, form: str, pronoun: str) -> str:
    """A clause whose verb is marked by ``+``, with its pronouns filled in.

    ``form`` is base (imperative), third (a noun as subject), ing, or pronoun (the pronoun itself as subject).
    """
    _, their, them = PRONOUNS[pronoun]
    if form == "ing":
        clause = re.sub(r"\+do not (\w+)", r"not +\1", clause).replace("+be not ", "not ").replace("+be ", "")

    def turn(match: re.Match[str]) -> str:
        verb = match.group(1)
        if form == "ing":
            return ing(verb)
        if form == "base":
            return verb
        if form == "pronoun" and pronoun in ("they", "you"):
            return "are" if verb == "be" else verb
        return third(verb)

    return re.sub(r"\+(\w+)", turn, clause).replace("{their}", their).replace("{them}", them)


def tidy(text: str) -> str:
    """One space between words, none before punctuation, ``an`` before a vowel."""
    text = re.sub(r"\s+([.,;:])", r"\1", " ".join(text.split()))
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
