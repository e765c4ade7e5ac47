"""What token may come next in an answer: words, or a motion whose books stand in turn and whose length is as asked.

    answer := words end | begin frame{length} /begin end        frame := code of book 0, code of book 1, ...
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from tdmm_lm.lm import vocab
from tdmm_lm.lm.text import TURNS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Form = Literal["text", "motion"]


@dataclass(frozen=True)
class Ask:
    """What an answer may be. ``form`` None lets the model choose; ``frames`` fixes a motion's length, else bounds hold.

    Raises:
        ValueError: bounds out of order, or a length for an answer in words.
    """

    form: Form | None = None
    frames: int | None = None
    min_frames: int = 25
    max_frames: int = 250
    modalities: tuple[str, ...] = ("face",)

    def __post_init__(self) -> None:
        if not 1 <= self.min_frames <= self.max_frames:
            raise ValueError(f"frames: expected 1 <= min <= max, got {self.min_frames} and {self.max_frames}.")
        if self.frames is not None and (self.frames < 1 or self.form == "text"):
            raise ValueError(f"frames: expected 1 or more, got {self.frames} for {self.form or 'an answer'}.")
        if (self.form == "motion" or self.frames is not None) and len(self.modalities) != 1:
            raise ValueError(f"modalities: expected one for a motion, got {', '.join(self.modalities) or 'none'}.")


class Masks:
    """Boolean rows over a model's whole vocabulary, made once a model."""

    def __init__(self, grown: vocab.MotionVocab, tokenizer: "PreTrainedTokenizerBase", rows: int) -> None:
        self.vocab = grown
        self.end_id = int(tokenizer.eos_token_id)  # type: ignore[arg-type]
        self.rows = rows
        self.text = torch.zeros(rows, dtype=torch.bool)
        self.text[: len(tokenizer)] = True
        known = tokenizer.get_vocab()
        self.text[[*tokenizer.all_special_ids, *(known[turn] for turn in TURNS if turn in known)]] = False
        self.books: dict[str, list[Tensor]] = {}
        for name, kind in grown.modalities.items():
            self.text[[kind.begin_id, kind.end_id]] = False
            self.text[kind.first_id : kind.first_id + kind.codes] = False
            starts = [kind.first_id + book * kind.codebook_size for book in range(kind.books)]
            self.books[name] = [self.only(*range(start, start + kind.codebook_size)) for start in starts]
        self.end = self.only(self.end_id)

    def only(self, *tokens: int) -> Bool[Tensor, " rows"]:
        mask = torch.zeros(self.rows, dtype=torch.bool)
        mask[list(tokens)] = True
        return mask


class Answer:
    """One answer while it is written: `allowed` before a token is chosen, `push` with the chosen one."""

    def __init__(self, masks: Masks, ask: Ask) -> None:
        self.masks, self.ask = masks, ask
        self.tokens: list[int] = []
        self.modality: str | None = None  # of the motion that is being, or was, written
        self.codes: list[int] = []  # its tokens without begin and end
        self.closed = False  # the motion is
        self.done = False
        self.cut = False  # ended by a limit, not by the model

    def allowed(self) -> Bool[Tensor, " rows"]:
        masks, ask = self.masks, self.ask
        if self.done or self.closed:
            return masks.end
        if self.modality is not None:
            kind = masks.vocab[self.modality]
            frames, book = divmod(len(self.codes), kind.books)
            fewest, most = (ask.frames, ask.frames) if ask.frames else (ask.min_frames, ask.max_frames)
            code = masks.books[self.modality][book]
            if book or frames < fewest:
                return code
            closing = masks.only(kind.end_id)
            return closing if frames >= most else code | closing
        begins = masks.only(*(masks.vocab[name].begin_id for name in ask.modalities))
        if not self.tokens:
            if ask.form == "motion" or ask.frames is not None:
                return begins
            return masks.text if ask.form == "text" else masks.text | begins
        return masks.text | masks.end

    def push(self, token: int) -> None:
        if self.done:
            return
        self.tokens.append(token)
        if token == self.masks.end_id:
            self.done = True
        elif self.modality is not None:
            if token == self.masks.vocab[self.modality].end_id:
                self.closed = True
            else:
                self.codes.append(token)
        else:
            for name in self.ask.modalities:
                if token == self.masks.vocab[name].begin_id:
                    self.modality = name


def lark(
    grown: vocab.MotionVocab, frames: int | None, *, modality: str = "face", bounds: tuple[int, int] = (25, 250)
) -> str:
    """The same for an engine that takes grammars over token ids: a motion of exactly ``frames``, or within ``bounds``.

        start: <[1000]> f{100} <[1001]>
        f: <[1002-1513]>
    """
    kind = grown[modality]
    if frames is not None and frames < 1:
        raise ValueError(f"frames: expected 1 or more, got {frames}.")
    length = f"{frames}" if frames is not None else f"{bounds[0]},{bounds[1]}"
    starts = [kind.first_id + book * kind.codebook_size for book in range(kind.books)]
    frame = " ".join(f"<[{start}-{start + kind.codebook_size - 1}]>" for start in starts)
    return f"start: <[{kind.begin_id}]> f{{{length}}} <[{kind.end_id}]>\nf: {frame}\n"
