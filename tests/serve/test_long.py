"""Motion that is longer than the model has seen is told in parts; short motion goes to the engine as it is."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm.lm import vocab
from tdmm_lm.serve import long
from tdmm_lm.serve.engine import Ended, Engine, Options, Said, Used
from tdmm_lm.serve.errors import ApiError


class Counting(Engine):
    """Says how many frames it was shown."""

    name, folder, vocab = "counting", Path(), None

    def __init__(self):
        self.heard = []

    async def answer(self, messages, options):
        self.heard.append(messages)
        frames = [len(piece[1]) for piece in vocab.split(messages[-1]["content"]) if not isinstance(piece, str)]
        yield Said(0, f"{frames}")
        yield Ended(0, "stop")
        yield Used(10, 1, 0)


def told(frames, options=None, words="Describe this motion.", more=""):
    async def ask():
        content = f"{vocab.text(np.arange(frames)[:, None] % 512)} {words}{more}"
        engine = Counting()
        talk = [{"role": "system", "content": "s"}, {"role": "user", "content": content}]
        pieces = [piece async for piece in long.answer(engine, talk, options or Options(), 25.0)]
        return engine, "".join(p.text for p in pieces if isinstance(p, Said)), pieces

    return asyncio.run(ask())


def test_ten_seconds_are_one_answer():
    engine, text, _ = told(250)
    assert text == "[250]"
    assert len(engine.heard) == 1


def test_twelve_seconds_are_three_lines_with_their_times_and_all_tokens_count():
    engine, text, pieces = told(300)
    assert text == "0.0 to 4.0 s: [100]\n4.0 to 8.0 s: [100]\n8.0 to 12.0 s: [100]"
    assert pieces[-1] == Used(30, 3, 0)
    assert [p for p in pieces if isinstance(p, Ended)] == [Ended(0, "stop")]
    assert {talk[0]["content"] for talk in engine.heard} == {"s"}
    assert all(talk[1]["content"].endswith("Describe this motion.") for talk in engine.heard)
    codes = np.concatenate([vocab.split(talk[1]["content"])[0][1] for talk in engine.heard])
    assert codes[:, 0].tolist() == (np.arange(300) % 512).tolist()


def test_a_long_motion_is_neither_changed_nor_compared():
    with pytest.raises(ApiError, match=r"at most 10 s to be changed, got 12\.0 s"):
        told(300, Options(form="motion"))
    with pytest.raises(ApiError, match="beside another"):
        told(300, more=vocab.text(np.zeros((3, 1), int)))
