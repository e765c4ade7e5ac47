"""The engine for machines without vLLM: transformers in this process, one answer at a time."""

import secrets
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Literal

import anyio
import torch

from tdmm_lm.lm import data, generate
from tdmm_lm.lm.grammar import Ask
from tdmm_lm.serve.engine import Ended, Engine, Moved, Options, Piece, Said, Used
from tdmm_lm.serve.errors import ApiError

WORDS = (0.0, 1.0)  # temperature and top_p of text where the client says nothing: greedy
MOTION = (generate.TEMPERATURE, 1.0)  # and of motion, where greedy decoding freezes


class TransformersEngine(Engine):
    """A model folder, loaded once."""

    extras = frozenset(("stop",))

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder = name, folder
        self.lm = generate.load(folder)
        self.vocab = self.lm.vocab
        self._turn = anyio.CapacityLimiter(1)

    async def answer(self, messages: list[dict[str, Any]], options: Options) -> AsyncGenerator[Piece, None]:
        talk = [{"role": message["role"], "content": message["content"] or ""} for message in messages]
        seed = secrets.randbits(31) if options.seed is None else options.seed % 2**31
        spent = [0, 0, 0]
        async with self._turn:
            try:
                form = options.form if options.form else await anyio.to_thread.run_sync(self._form, talk)
                for index in range(options.n):
                    async for piece in self._one(talk, options, form, index, seed + index):
                        if isinstance(piece, Used):
                            spent[0] = piece.prompt_tokens  # the same for all
                            spent[1] += piece.completion_tokens
                            spent[2] += piece.motion_tokens
                        else:
                            yield piece
            except ValueError as error:
                raise ApiError(400, str(error), param="messages", code="context_length_exceeded") from None
        yield Used(*spent)

    async def _one(
        self, talk: data.Messages, options: Options, form: Literal["text", "motion"], index: int, seed: int
    ) -> AsyncGenerator[Piece, None]:
        temperature, top_p = WORDS if form == "text" else MOTION
        pieces: Iterator[generate.Piece] = generate.reply(
            self.lm, talk, ask=Ask(form, options.frames), max_tokens=options.max_tokens,
            temperature=temperature if options.temperature is None else options.temperature,
            top_p=top_p if options.top_p is None else options.top_p, seed=seed, guidance=generate.GUIDANCE,
        )
        stops, said, shown = _stops(options.more.get("stop")), "", 0
        stopped = threading.Event()

        def following() -> generate.Piece | None:
            return None if stopped.is_set() else next(pieces, None)

        try:
            while (piece := await anyio.to_thread.run_sync(following)) is not None:
                if isinstance(piece, generate.Codes):
                    yield Moved(index, piece.codes, piece.modality)
                elif isinstance(piece, generate.Text):
                    said += piece.text
                    cut = min((at for stop in stops if (at := said.find(stop)) >= 0), default=None)
                    until = _sayable(said, stops) if cut is None else cut
                    if until > shown:
                        yield Said(index, said[shown:until])
                        shown = until
                    if cut is not None:
                        yield Ended(index, "stop")
                        yield Used(0, 0, 0)
                        return
                else:
                    if len(said) > shown:
                        yield Said(index, said[shown:])
                    yield Ended(index, piece.reason, piece.reason == "length" and form == "motion")
                    yield Used(piece.prompt_tokens, piece.completion_tokens, piece.motion_tokens)
        finally:
            stopped.set()

    @torch.inference_mode()
    def _form(self, messages: data.Messages) -> Literal["text", "motion"]:
        """What the model itself would begin: words or a motion."""
        prompt = data.prompt(messages, self.lm.tokenizer, self.lm.vocab)
        room = self.lm.model.config.max_position_embeddings
        if len(prompt) >= room:
            raise ValueError(f"conversation: expected under {room} tokens, got {len(prompt)}.")
        logits = self.lm.model(input_ids=torch.tensor([prompt]), logits_to_keep=1).logits[0, -1]
        return "motion" if int(logits.argmax()) == self.lm.vocab["face"].begin_id else "text"


def _stops(given: Any) -> tuple[str, ...]:
    return tuple(filter(None, (given,) if isinstance(given, str) else given or ()))


def _sayable(said: str, stops: tuple[str, ...]) -> int:
    """How much of the words cannot be the beginning of a stop string."""
    held = max((n for stop in stops for n in range(1, len(stop)) if said.endswith(stop[:n])), default=0)
    return len(said) - held
