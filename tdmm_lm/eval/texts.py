"""Captions against references over drawn samples: pycocoevalcap's numbers, fast enough to be drawn a thousand times.

BLEU belongs to all texts together, but only through sums of counts a text; ROUGE-L and CIDEr are means over texts
(CIDEr weighs words by all references, which stay as they are).
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from tdmm_lm.eval.suites import OfSamples, of_values

REFERENCES = 3  # of a text, the first ones, as HumanML3D's protocol has it
SMALL, TINY = 1e-9, 1e-15  # of pycocoevalcap: what keeps its fractions finite


def drawn(
    texts: Sequence[str], references: Sequence[Sequence[str]], names: Sequence[str]
) -> dict[str, OfSamples]:
    """For each of ``names`` (bleu_1 to bleu_4, rouge_l, cider) a function of the numbers of the samples that are drawn.

    Texts are compared as they are, word by word between spaces.
    """
    plain = [" ".join(text.split()) for text in texts]
    known = [[" ".join(one.split()) for one in some[:REFERENCES]] for some in references]
    result: dict[str, OfSamples] = {}
    counts = _counts(plain, known)
    for name in names:
        if name.startswith("bleu_"):
            result[name] = _bleu(counts, int(name.removeprefix("bleu_")))
    result |= {name: of_values(_each(name, plain, known)) for name in names if name in ("rouge_l", "cider")}
    return {name: result[name] for name in names}


def _counts(texts: list[str], references: list[list[str]]) -> Float[np.ndarray, "texts 10"]:
    """Words of the text and of the closest reference; n-grams said (1..4); of these, found in a reference."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for text, some in zip(texts, references):
        scorer += (text, some)
    rows = []
    for one in scorer.ctest:
        closest = min((abs(length - one["testlen"]), length) for length in one["reflen"])[1]
        rows.append([one["testlen"], closest, *one["guess"], *one["correct"]])
    return np.array(rows, np.float64)


def _bleu(counts: Float[np.ndarray, "texts 10"], order: int) -> OfSamples:
    def value(places: Int[np.ndarray, " n"]) -> float:
        said, wanted, *grams = counts[places].sum(0)
        guess, correct = grams[:order], grams[4 : 4 + order]
        product = math.prod((right + TINY) / (all_ + SMALL) for right, all_ in zip(correct, guess))
        ratio = (said + TINY) / (wanted + SMALL)
        return product ** (1 / order) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1.0)

    return OfSamples(value, len(counts))


def _each(name: str, texts: list[str], references: list[list[str]]) -> Float[np.ndarray, " texts"]:
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said = {place: [text] for place, text in enumerate(texts)}
    wanted = dict(enumerate(references))
    scorer = Rouge() if name == "rouge_l" else Cider()
    return np.asarray(scorer.compute_score(wanted, said)[1], np.float64)
