"""Motion longer than the model has seen: told in parts of about five seconds, each a line with its times."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np

from tdmm_lm.lm import generate, vocab
from tdmm_lm.serve.engine import Ended, Engine, Options, Piece, Said, Used
from tdmm_lm.serve.errors import ApiError


async def answer(
    engine: Engine, messages: list[dict[str, Any]], options: Options, code_fps: float
) -> AsyncGenerator[Piece, None]:
    """The engine's answer; where the last turn holds one motion that is too long, an answer for each of its parts.

    Raises:
        ApiError: 400 where such a motion is to be performed anew, or there are several.
    """
    parts = _parts(messages[-1]["content"], options, code_fps)
    if not parts:
        async with aclosing(engine.answer(messages, options)) as pieces:
            async for piece in pieces:
                yield piece
        return
    options, start, used = replace(options, form="text"), 0.0, Used(0, 0, 0)
    for number, (content, seconds) in enumerate(parts):
        last = number == len(parts) - 1
        for index in range(options.n):
            yield Said(index, f"{start:.1f} to {start + seconds:.1f} s: ")
        talk = [*messages[:-1], {**messages[-1], "content": content}]
        async with aclosing(engine.answer(talk, options)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Used):
                    used = Used(
                        used.prompt_tokens + piece.prompt_tokens, used.completion_tokens + piece.completion_tokens, 0
                    )
                elif isinstance(piece, Ended) and not last:
                    yield Said(piece.index, "\n")
                else:
                    yield piece
        start += seconds
    yield used


def _parts(content: str, options: Options, code_fps: float) -> list[tuple[str, float]]:
    """The turn once for each part of its long motion, with the part's seconds; empty where nothing is too long."""
    most = vocab.SECONDS[1] * code_fps
    if content.count("_") <= most or "<|" not in content:  # a code has two of them: cheap, and never wrong
        return []
    pieces = vocab.split(content)
    motions = [piece for piece in pieces if not isinstance(piece, str)]
    long = [motion for motion in motions if len(motion[1]) > most]
    if not long:
        return []
    if options.form == "motion" or len(motions) > 1:
        wanted = "to be changed" if options.form == "motion" else "beside another"
        raise ApiError(
            400, f"motion: expected at most {vocab.SECONDS[1]:g} s {wanted}, got {len(long[0][1]) / code_fps:.1f} s.",
            param="messages", code="motion_too_long",
        )
    modality, codes = long[0]
    parts = np.array_split(codes, -(-len(codes) // round(generate.PART * code_fps)))
    return [
        (
            "".join(piece if isinstance(piece, str) else vocab.text(part, modality) for piece in pieces),
            len(part) / code_fps,
        )
        for part in parts
    ]
