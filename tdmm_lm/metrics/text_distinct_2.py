"""Distinct-2 (Li et al. 2016): different pairs of neighbouring words over all such pairs, of all texts together, split
at white space. It falls with the number of texts: compare equal numbers. 0 where no text has two words."""

from itertools import pairwise

BETTER = "higher"
UNIT = "share"
TAKES = "text"
REFERENCE = "none"
LEAST: dict[str, int] = {}
each = weights = None


def whole(predicted: list[str]) -> float:
    pairs = [pair for text in predicted for pair in pairwise(text.split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0
