"""Performances by code: scores by number, balanced exactly over families and the words in each, with exact labels.

    sources: {performed: {clips: {train: 1000, dev: 100, test: 100}, spoken: 0.25}}

Words are dealt, not drawn: all words alike (TDMM-LM, section 3: descriptors sampled uniformly), or every family its
share and a family's words alike, in both ways to within one clip. The order is shuffled, so that any run of numbers is
mixed.
"""

from collections.abc import Iterator, Sequence
from typing import Literal
from zlib import crc32

import numpy as np
from pydantic import Field

from tdmm_lm import config
from tdmm_lm.corpus import caption, edits, labels, perform, prompts
from tdmm_lm.corpus.building.recipe import Split
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.performer import talk
from tdmm_lm.corpus.score import Score
from tdmm_lm.corpus.sources import Item, Rejected
from tdmm_lm.observe import FAMILIES
from tdmm_lm.sample import Sample

SOURCE = "performed by code"
LICENCE = "Apache-2.0"
SEED_APART = 10_000_000  # numbers of scores between two seeds: no split of that many clips


class Settings(config.Settings):
    """``clips`` counts performances a split."""

    clips: dict[Split, int] = Field(default={"train": 1000, "dev": 100, "test": 100}, min_length=1)
    words: tuple[str, ...] = ()  # of the lexicon; none named: all
    balance: Literal["words", "families"] = "words"
    seconds: tuple[float, ...] = Field(default=prompts.SECONDS, min_length=1)  # drawn evenly
    spoken: float = Field(default=0.0, ge=0, le=1)  # share of those who speak that say a sentence, with sound
    prompts: int = Field(default=3, ge=0)  # a performance
    edits: float = Field(default=0.5, ge=0, le=1)  # share of performances with an edit


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a performance, split after split."""
    for split, count in settings.clips.items():
        if not 0 < count < SEED_APART:
            raise ValueError(f"sources.performed.clips.{split}: expected 1 to {SEED_APART - 1}, got {count}.")
        chance = np.random.default_rng([seed, crc32(split.encode())])
        for number, word in enumerate(dealt(count, chance, settings.words, by=settings.balance)):
            yield Item(f"performed/{split}/{seed}/{number}", split, {"number": number, "seed": seed, "word": word})


def dealt(
    count: int, rng: np.random.Generator, words: Sequence[str] = (), *, by: Literal["words", "families"] = "words"
) -> list[str]:
    """A word for each of ``count`` clips: all words evenly, or families by their shares and the words in each evenly.

    Raises:
        ValueError: one of the ``words`` to be dealt is not in the lexicon.
    """
    known = {family: lexicon().of_family(family) for family in FAMILIES}
    if words:
        asked = {word: lexicon().word(word).family for word in words}
        known = {family: tuple(word for word in asked if asked[word] == family) for family in FAMILIES}
    if by == "words":
        every = rng.permutation([word for family in FAMILIES for word in known[family]])
        return [str(every[place % len(every)]) for place in rng.permutation(count)]
    shares = prompts.CHANCES * [bool(known[family]) for family in FAMILIES]
    wanted = shares / shares.sum() * count
    each = np.floor(wanted).astype(int)
    each[np.argsort(each - wanted, kind="stable")[: count - each.sum()]] += 1  # largest remainders
    order: list[str] = []
    for family, clips in zip(FAMILIES, each):
        shuffled = rng.permutation(known[family])  # who gets one more is chance
        order += [str(shuffled[place % len(shuffled)]) for place in range(clips)]
    return [order[place] for place in rng.permutation(count)]


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """The performance of an item, its labels those of its score."""
    number, seed, split = int(item.what["number"]), int(item.what["seed"]), item.split
    score = prompts.sample(
        number + seed * SEED_APART, split=split, lengths=settings.seconds, words=settings.words or None,
        word=str(item.what["word"]), spoken=settings.spoken,
    )
    rng = np.random.default_rng([seed, crc32(split.encode()), number])
    known = labels.of_score(score)
    told = {
        "score": _plain(score),
        "prompts": [caption.prompt(known, rng, split=split) for _ in range(settings.prompts)],
        "generator": "tdmm_lm.corpus.perform", "number": number, "seed": seed,
    }
    if rng.random() < settings.edits:
        instruction, after = edits.edit(score, rng, split=split)
        told["edit"] = {"instruction": instruction, "score": _plain(after)}
    yield Sample(
        item.id, (), {"face": perform.perform(score)}, split, SOURCE, LICENCE, known.model_dump(), talk.sound(score),
        provenance=told,
    )


def _plain(score: Score) -> dict[str, object]:
    return score.model_dump(mode="json")
