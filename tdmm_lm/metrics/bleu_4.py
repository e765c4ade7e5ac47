"""BLEU-4 of captions, of the whole set, as pycocoevalcap computes it on plain strings that are split at white space,
with the first three references: 0 to 1, where published tables print per cent. Raw captions against lemmas is the
difference of .08 and .22: state the style."""

from tdmm_lm.metrics.cider import needed, plain

BETTER = "higher"
UNIT = "share"
TAKES = "captions"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
each = weights = None


def whole(predicted: list[str], reference: list[list[str]]) -> float:
    return scores(predicted, reference)[3]


def scores(predicted: list[str], reference: list[list[str]]) -> list[float]:
    """BLEU-1 to BLEU-4."""
    found, _ = needed("bleu.bleu").Bleu(4).compute_score(*plain(predicted, reference), verbose=0)
    return [float(score) for score in found]
