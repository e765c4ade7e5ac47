"""BLEU-1 of captions, of the whole set, as pycocoevalcap computes it on plain strings that are split at white space,
with the first three references: 0 to 1, where published tables print per cent. Whether the captions are raw or lemmas
moves it more than most models do: state it."""

from tdmm_lm.metrics import bleu_4

BETTER = "higher"
UNIT = "share"
TAKES = "captions"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
each = weights = None


def whole(predicted: list[str], reference: list[list[str]]) -> float:
    return bleu_4.scores(predicted, reference)[0]
