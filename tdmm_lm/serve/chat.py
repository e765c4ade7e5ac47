"""A chat completion: the request's motion read in, the engine's pieces turned into OpenAI's answers and chunks."""

import json
import logging
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tdmm_lm.lm.generate import Codes, Finish, Piece, Text
from tdmm_lm.motion import MotionClip
from tdmm_lm.serve import files
from tdmm_lm.serve.engine import Engine, Options
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.motions import FORMATS, Motion, Motions

MOTION_PARTS = ("file", "motion_url", "video_url")
LINK = re.compile(r"\S*?/v1/motions/(motion-[0-9a-f]{24})(?:\.\w+)?\S*")
LONGEST_SECONDS = 10.0
log = logging.getLogger(__name__)


class MotionOptions(BaseModel):
    """What a client may ask of a motion: its length in seconds or frames."""

    model_config = ConfigDict(extra="ignore")
    seconds: float | None = Field(None, gt=0, le=LONGEST_SECONDS)
    frames: int | None = Field(None, gt=0, le=int(LONGEST_SECONDS * 25))


class StreamOptions(BaseModel):
    """OpenAI's stream_options."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's chat completion request; fields this server does not know are ignored, as clients expect."""

    model_config = ConfigDict(extra="ignore")
    model: str
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=200)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, gt=0)
    max_completion_tokens: int | None = Field(None, gt=0)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    n: Literal[1] | None = None
    modalities: list[Literal["text", "motion"]] | None = None
    motion: MotionOptions | None = None


@dataclass(frozen=True)
class Prepared:
    """A request that has been checked: the conversation with motion spelled out, and how to answer it."""

    messages: list[dict[str, Any]]
    options: Options


class Chat:
    """Answers requests with an engine, one at a time; motions go into the store."""

    def __init__(
        self,
        engine: Engine,
        motions: Motions,
        make: Callable[[np.ndarray], MotionClip],
        read: Callable[[MotionClip], np.ndarray],
    ) -> None:
        self.engine, self.motions, self.make, self.read = engine, motions, make, read
        self._turn = anyio.CapacityLimiter(1)  # the in-process engine computes one answer at a time

    def prepare(self, body: ChatRequest) -> Prepared:
        """The conversation for the engine.

        Raises:
            ApiError: 400 for anything in it that cannot be read, with the part's place.
        """
        messages = []
        for i, message in enumerate(body.messages):
            role = message.get("role")
            if role not in ("system", "developer", "user", "assistant"):
                raise ApiError(
                    400,
                    f"messages.{i}.role: expected system, user or assistant, got {role!r}.",
                    param=f"messages.{i}.role",
                )
            messages.append(
                {"role": "system" if role == "developer" else role, "content": self._content(message, f"messages.{i}")}
            )
        if messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
            raise ApiError(
                400,
                "messages: expected the last one to be the user's and not empty.",
                param="messages",
                code="empty_prompt",
            )
        form: Literal["text", "motion"] | None = None
        if body.modalities:
            form = "motion" if "motion" in body.modalities else "text"
        frames = None
        if body.motion and (body.motion.frames or body.motion.seconds):
            frames = body.motion.frames or max(1, round(25 * float(body.motion.seconds or 0)))
            form = "motion"
        return Prepared(
            messages,
            Options(
                form=form,
                frames=frames,
                max_tokens=body.max_completion_tokens or body.max_tokens,
                seed=body.seed,
                temperature=body.temperature,
                top_p=body.top_p,
            ),
        )

    def _content(self, message: dict[str, Any], where: str) -> str:
        content = message.get("content")
        if content is None:
            content = ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list):
            raise ApiError(400, f"{where}.content: expected a string or a list of parts.", param=f"{where}.content")
        spelled = []
        for j, part in enumerate(parts):
            place = f"{where}.content.{j}"
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in ("text", "input_text", "output_text"):
                if not isinstance(part.get("text"), str):
                    raise ApiError(400, f"{place}.text: expected a string.", param=f"{place}.text")
                spelled.append(self._links(part["text"], place))
            elif kind in MOTION_PARTS:
                spelled.append(self.engine.spell(self.read(files.clip(part, place))))
            else:
                known = ", ".join(("text", *MOTION_PARTS))
                raise ApiError(
                    400,
                    f"{place}.type: expected one of {known}, got {kind!r}.",
                    param=f"{place}.type",
                    code="unsupported_part",
                )
        return " ".join(text for text in spelled if text)

    def _links(self, text: str, place: str) -> str:
        """Text in which the first link to each stored motion became its tokens and its other links went."""
        seen: set[str] = set()

        def spell(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in seen:
                return ""
            seen.add(name)
            try:
                return self.engine.spell(self.motions.get(name).codes)
            except KeyError:
                raise ApiError(404, f"{place}: no motion {name!r}.", param=place, code="motion_not_found") from None

        return " ".join(LINK.sub(spell, text).split()) if LINK.search(text) else text

    def described(self, motion: Motion, base: str) -> dict[str, Any]:
        """A motion as it stands in ``message.motion``."""
        return {
            "id": motion.id,
            "object": "motion",
            "fps": motion.fps,
            "frames": motion.frames,
            "seconds": motion.frames / motion.fps,
            "codes": motion.codes.tolist(),
            "files": {form: f"{base}/v1/motions/{motion.id}.{form}" for form in FORMATS},
        }

    def _links_of(self, motion: Motion, base: str) -> str:
        return "\n".join(f"{base}/v1/motions/{motion.id}.{form}" for form in FORMATS)

    async def _pieces(self, prepared: Prepared, stop: threading.Event) -> AsyncIterator[Piece]:
        """The engine's pieces, computed in a thread, one request after the other."""
        async with self._turn:
            pieces: Iterator[Piece] = await anyio.to_thread.run_sync(
                lambda: iter(self.engine.answer(prepared.messages, prepared.options, stop))
            )
            while (piece := await anyio.to_thread.run_sync(lambda: next(pieces, None))) is not None:
                yield piece

    def _keep(self, codes: list[np.ndarray]) -> Motion | None:
        if not codes:
            return None
        whole = np.concatenate(codes)
        return self.motions.add(self.make(whole), whole)

    async def whole(
        self, body: ChatRequest, prepared: Prepared, base: str, gone: Callable[[], Awaitable[bool]]
    ) -> dict[str, Any]:
        """One answer, not streamed; given up when the client has gone."""
        codes: list[np.ndarray] = []
        stop, text, end = threading.Event(), "", Finish("length", 0, 0, 0)
        try:
            async for piece in self._pieces(prepared, stop):
                if isinstance(piece, Text):
                    text += piece.text
                elif isinstance(piece, Codes):
                    codes.append(piece.codes)
                else:
                    end = piece
                if await gone():
                    stop.set()
        except ValueError as error:
            raise ApiError(400, str(error), param="messages", code="invalid_request") from None
        message: dict[str, Any] = {"role": "assistant", "content": text.strip(), "refusal": None}
        motion = await anyio.to_thread.run_sync(self._keep, codes)
        if motion:
            message["content"] = "\n".join(filter(None, [message["content"], self._links_of(motion, base)]))
            message["motion"] = self.described(motion, base)
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.engine.name,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": end.reason}],
            "usage": usage(end),
        }

    async def stream(self, body: ChatRequest, prepared: Prepared, base: str) -> AsyncIterator[str]:
        """Server-sent events in OpenAI's chunk shape; an error after the first byte is an event of its own."""
        head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self.engine.name,
        }
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)

        def event(delta: dict[str, Any], reason: str | None = None) -> str:
            chunk = {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
            return f"data: {json.dumps(chunk | ({'usage': None} if wants_usage else {}))}\n\n"

        codes: list[np.ndarray] = []
        stop, end = threading.Event(), Finish("length", 0, 0, 0)
        yield event({"role": "assistant", "content": ""})
        try:
            async for piece in self._pieces(prepared, stop):
                if isinstance(piece, Text):
                    yield event({"content": piece.text})
                elif isinstance(piece, Codes):
                    start = sum(len(piece) for piece in codes)
                    codes.append(piece.codes)
                    yield event({"motion": {"start": start, "codes": piece.codes.tolist()}})
                else:
                    end = piece
            motion = await anyio.to_thread.run_sync(self._keep, codes)
            if motion:
                yield event({"content": self._links_of(motion, base), "motion": self.described(motion, base)})
            yield event({}, end.reason)
            if wants_usage:
                yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage(end)})}\n\n"
            yield "data: [DONE]\n\n"
        except ValueError as error:
            yield f"data: {json.dumps(ApiError(400, str(error), param='messages').body())}\n\n"
        except Exception:
            log.exception("a streamed answer failed")
            yield f"data: {json.dumps(ApiError(500, 'The server had an error; it was logged.').body())}\n\n"
        finally:
            stop.set()


def usage(end: Finish) -> dict[str, Any]:
    """OpenAI's usage with the motion tokens counted apart."""
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": end.prompt_tokens + end.completion_tokens,
        "completion_tokens_details": {"motion_tokens": end.motion_tokens},
    }
