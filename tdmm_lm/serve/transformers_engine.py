"""The engine for machines without vLLM: transformers in this process, one answer at a time."""

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int

from tdmm_lm.lm import data, generate, tasks, vocab
from tdmm_lm.lm.generate import Piece
from tdmm_lm.lm.grammar import Ask
from tdmm_lm.serve.engine import Engine, Options

WORDS = (0.0, 1.0)  # temperature and top_p of text where the client says nothing: greedy
MOTION = (generate.TEMPERATURE, 1.0)  # and of motion, where greedy decoding freezes


class TransformersEngine(Engine):
    """A model folder, loaded once."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.lm = generate.load(folder)

    def spell(self, codes: Int[np.ndarray, "frames books"]) -> str:
        return vocab.text(codes)

    def answer(self, messages: list[dict[str, Any]], options: Options, stop: threading.Event) -> Iterator[Piece]:
        if options.frames is not None:
            seconds = options.frames / self.lm.vocab["face"].code_fps
            messages = [*messages[:-1], {**messages[-1], "content": tasks.timed(messages[-1]["content"], seconds)}]
        form = options.form or self._form(messages)
        temperature, top_p = WORDS if form == "text" else MOTION
        pieces = generate.reply(
            self.lm,
            messages,
            ask=Ask(form, options.frames),
            max_tokens=options.max_tokens,
            temperature=temperature if options.temperature is None else options.temperature,
            top_p=top_p if options.top_p is None else options.top_p,
            seed=secrets.randbits(31) if options.seed is None else options.seed,
            guidance=generate.GUIDANCE,
        )
        for piece in pieces:
            if stop.is_set():
                return
            yield piece

    @torch.inference_mode()
    def _form(self, messages: list[dict[str, Any]]) -> Literal["text", "motion"]:
        """What the model itself would begin: words or a motion."""
        prompt = data.prompt(messages, self.lm.tokenizer, self.lm.vocab)
        room = self.lm.model.config.max_position_embeddings
        if len(prompt) >= room:
            raise ValueError(f"conversation: expected under {room} tokens, got {len(prompt)}.")
        logits = self.lm.model(input_ids=torch.tensor([prompt]), logits_to_keep=1).logits[0, -1]
        return "motion" if int(logits.argmax()) == self.lm.vocab["face"].begin_id else "text"
