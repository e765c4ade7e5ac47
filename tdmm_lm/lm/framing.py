"""Token ids as they come -> code frames, every token checked: its book must be the one whose turn it is.

One lost token must not shift all later books, so nothing is counted that was not looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from tdmm_lm.lm.vocab import MotionVocab


@dataclass(frozen=True)
class Frames:
    """Whole code frames of one modality."""

    codes: Int[np.ndarray, "n books"]
    modality: str


class Reader:
    """An answer's tokens, a few at a time.

    Attributes:
        inside: the modality of the motion that is open, or None.
        motion_tokens: how many codes were read.
    """

    def __init__(self, grown: MotionVocab) -> None:
        self.vocab = grown
        self.inside: str | None = None
        self.motion_tokens = 0
        self._begins = {kind.begin_id: name for name, kind in grown.modalities.items()}
        self._ends = {kind.end_id: name for name, kind in grown.modalities.items()}
        self._codes = [range(kind.first_id, kind.first_id + kind.codes) for kind in grown.modalities.values()]
        self._part: list[int] = []  # of a frame whose books have not all come

    def push(self, tokens: Iterable[int]) -> list[Frames]:
        """The frames that have become whole.

        Raises:
            ValueError: a code outside a motion, one of another book or modality, or a motion that ends inside a frame.
        """
        whole: dict[str, list[list[int]]] = {}
        for token in tokens:
            if self.inside is None:
                self._outside(token)
                continue
            kind = self.vocab[self.inside]
            if token == kind.end_id:
                if self._part:
                    raise ValueError(
                        f"{self.inside} tokens: expected {kind.books} books a frame, got {len(self._part)} at its end."
                    )
                self.inside = None
                continue
            book = len(self._part)
            code = token - kind.first_id - book * kind.codebook_size
            if not 0 <= code < kind.codebook_size:
                raise ValueError(f"{self.inside} tokens: expected a code of book {book}, got token {token}.")
            self.motion_tokens += 1
            self._part.append(code)
            if len(self._part) == kind.books:
                whole.setdefault(self.inside, []).append(self._part)
                self._part = []
        return [Frames(np.asarray(frames, np.int64), name) for name, frames in whole.items()]

    def _outside(self, token: int) -> None:
        if token in self._begins:
            self.inside = self._begins[token]
        elif token in self._ends or any(token in codes for codes in self._codes):
            raise ValueError(f"tokens: expected words or the beginning of a motion, got token {token}.")
