"""CIDEr (its variant D) of captions as pycocoevalcap computes it on plain strings that are split at white space, with
the first three references: 0 to 10, where published tables of motion captions print a hundred times that.

The words' weights come from all references of the set, so that a caption's value depends on the set.
"""

import importlib
from types import ModuleType

import numpy as np

from tdmm_lm.metrics import Values

BETTER = "higher"
UNIT = "CIDEr"
TAKES = "captions"
REFERENCE = "paired"
LEAST = {"samples": 2}  # in a set of one every word is in all references and weighs nothing
whole = weights = None

REFERENCES = 3  # the first three count, as in every published figure of motion captions


def each(predicted: list[str], reference: list[list[str]]) -> Values:
    return np.asarray(needed("cider.cider").Cider().compute_score(*plain(predicted, reference))[1])


def plain(
    predicted: list[str], reference: list[list[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and predictions as pycocoevalcap takes them, without its tokenizer."""
    return {i: texts[:REFERENCES] for i, texts in enumerate(reference)}, {i: [text] for i, text in enumerate(predicted)}


def needed(module: str) -> ModuleType:
    """A module of pycocoevalcap.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(f"pycocoevalcap.{module}")
    except ImportError:
        raise ImportError(
            "metrics: captions need the package pycocoevalcap, found none; pip install 'tdmm-lm[eval]'."
        ) from None
