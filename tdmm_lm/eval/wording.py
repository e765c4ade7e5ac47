"""Whether a description is worded as its language is: every two neighbours in it are neighbours in some caption.

A model may name the right family and count and still say "they look very eyes"; keywords do not show that, and a
language model as judge is not at hand everywhere. The captions' grammar is: what it never puts side by side is wrong.
"""

import re
from functools import lru_cache
from itertools import pairwise

import numpy as np

from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.corpus.score import Score
from tdmm_lm.progress import track

Pair = tuple[str, str]
SCORES, DRAWS = 20_000, 4  # captions heard: of 1,000 new ones 99.5 % have no pair that is not among theirs
BEGIN = "^"


def well_worded(text: str) -> bool:
    """Whether captions of other performances have every pair of neighbours in ``text``, and begin with its first."""
    return heard().issuperset(_pairs(text))


def exact(scores: list[Score]) -> list[str]:
    """A caption of each score from its labels, as the performer knows them: what a model could say at best."""
    return [
        caption.describe(labels.of_score(score), np.random.default_rng(place), "full")
        for place, score in enumerate(scores)
    ]


@lru_cache(maxsize=1)
def heard() -> frozenset[Pair]:
    """All pairs of neighbours in the captions of `SCORES` performances for training, each told `DRAWS` times."""
    rng = np.random.default_rng(0)
    found: set[Pair] = set()
    for seed in track(range(SCORES), "hearing captions"):
        known = labels.of_score(prompts.sample(seed))
        for _ in range(DRAWS):
            found.update(_pairs(caption.describe(known, rng, "full")))
    return frozenset(found)


def _pairs(text: str) -> list[Pair]:
    """Words, numbers and stops in small letters; where a text begins counts too."""
    return list(pairwise([BEGIN, *re.findall(r"[a-z'-]+|\d+|[.,:;?!%]", text.lower())]))
