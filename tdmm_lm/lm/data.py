"""Rows of a corpus -> conversations -> token ids -> packed rows for a trainer; the same seed gives the same rows.

A row is a mapping with ``id``, ``texts``, ``prompts``, ``codes``, ``labels`` and maybe ``edit`` (see `tasks`).
"""

import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from tdmm_lm.lm import tasks, vocab

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, str]]
OPEN = 256  # packed rows kept open while there may still come something that fits


@dataclass(frozen=True)
class Encoded:
    """A conversation as ids; ``answers`` marks what the assistant says, its end included."""

    ids: Int[np.ndarray, " n"]
    answers: Int[np.ndarray, " n"]


def conversations(
    rows: Iterable[dict[str, Any]], known: dict[str, tasks.Task], *, kind: vocab.Modality, per_row: int = 2,
    seed: int = 0,
) -> Iterator[Messages]:
    """``per_row`` conversations of every row, their tasks drawn by weight; the same words never twice for a row."""
    for row in rows:
        random_ = random.Random(zlib.crc32(f"{seed}/{row['id']}".encode()))
        names = tasks.eligible(known, tasks.slots(row, kind.code_fps, kind.books, random_))
        if not names:
            continue
        made: list[Messages] = []
        for name in random_.choices(names, [known[name].weight for name in names], k=per_row):
            messages = tasks.fill(known[name], tasks.slots(row, kind.code_fps, kind.books, random_), random_)
            if messages not in made:
                made.append(messages)
        yield from made


def encode(messages: Messages, tokenizer: "PreTrainedTokenizerBase", grown: vocab.MotionVocab) -> Encoded:
    """A conversation as token ids through the tokenizer's own chat template.

    Raises:
        ValueError: a template that rewrites earlier turns, so that answers cannot be found in it.
    """
    words, motions = _emptied(messages, grown)
    done = _ids(words, motions, tokenizer, grown, False)
    answers = np.zeros(len(done), np.int64)
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = _ids(words[:turn], motions, tokenizer, grown, True)
        said = done if turn == len(words) - 1 else _ids(words[: turn + 1], motions, tokenizer, grown, False)
        if said[: len(asked)] != asked or done[: len(said)] != said:
            raise ValueError("chat template: expected one that only appends turns, got one that rewrites earlier ones.")
        answers[len(asked) : len(said)] = 1
    return Encoded(np.asarray(done, np.int64), answers)


def prompt(messages: Messages, tokenizer: "PreTrainedTokenizerBase", grown: vocab.MotionVocab) -> list[int]:
    """A conversation up to where the assistant speaks, as token ids."""
    return _ids(*_emptied(messages, grown), tokenizer, grown, True)


def _emptied(messages: Messages, grown: vocab.MotionVocab) -> tuple[Messages, list[list[int]]]:
    """The messages with only the begin token left of every motion, and the motions as ids in their order.

    Tokenizing what is left and putting the ids in afterwards gives the same ids many times as fast.
    """
    motions: list[list[int]] = []
    words = []
    for message in messages:
        content = message["content"]
        if "<|" in content:
            pieces = vocab.split(content)
            motions += [vocab.ids(piece[1], grown, piece[0]) for piece in pieces if not isinstance(piece, str)]
            content = "".join(piece if isinstance(piece, str) else vocab.begin(piece[0]) for piece in pieces)
        words.append({"role": message["role"], "content": content})
    return words, motions


def _ids(
    words: Messages, motions: list[list[int]], tokenizer: "PreTrainedTokenizerBase", grown: vocab.MotionVocab, ask: bool
) -> list[int]:
    tokens: Any = tokenizer.apply_chat_template(words, tokenize=True, add_generation_prompt=ask, return_dict=False)
    if not motions:
        return list(tokens)
    begins = {kind.begin_id for kind in grown.modalities.values()}
    waiting = iter(motions)
    result: list[int] = []
    for token in tokens:
        if token in begins:
            result += next(waiting)
        else:
            result.append(token)
    return result


def pack(examples: Iterable[Encoded], length: int, pad_id: int) -> Iterator[dict[str, list[int]]]:
    """Rows of exactly ``length`` tokens, each holding whole conversations: best fit among the rows that are open.

    ``position_ids`` start again at every conversation, which is how transformers keeps them from seeing each other;
    ``answers`` is 1 where the assistant speaks, 0 elsewhere and -1 on padding. Longer conversations are left out.
    """
    bins: list[tuple[int, list[Encoded]]] = []  # tokens free, what is inside
    for example in examples:
        size = len(example.ids)
        if size > length:
            continue
        fitting = [i for i, (free, _) in enumerate(bins) if free >= size]
        if fitting:
            best = min(fitting, key=lambda i: bins[i][0])
            free, inside = bins.pop(best)
        else:
            free, inside = length, []
        inside.append(example)
        bins.append((free - size, inside))
        if len(bins) > OPEN:
            fullest = min(range(len(bins)), key=lambda i: bins[i][0])
            yield _row(bins.pop(fullest)[1], length, pad_id)
    for _, inside in bins:
        yield _row(inside, length, pad_id)


def _row(inside: list[Encoded], length: int, pad_id: int) -> dict[str, list[int]]:
    ids, positions, answers = (np.concatenate(parts) for parts in (
        [example.ids for example in inside],
        [np.arange(len(example.ids)) for example in inside],
        [example.answers for example in inside],
    ))
    rest = length - len(ids)
    return {
        "input_ids": [*ids.tolist(), *[pad_id] * rest],
        "position_ids": [*positions.tolist(), *range(rest)],
        "answers": [*answers.tolist(), *[-1] * rest],
    }
