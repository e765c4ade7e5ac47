"""A chat completion: the request's motion read in, the engine's pieces turned into OpenAI's answers and chunks."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdmm_lm.lm import tasks, vocab
from tdmm_lm.serve import exports, long, parts
from tdmm_lm.serve.decoder import Chunk, Stream
from tdmm_lm.serve.engine import Begun, Ended, Moved, Options, Piece, Said, Used
from tdmm_lm.serve.errors import ApiError, busy
from tdmm_lm.serve.events import DONE, event
from tdmm_lm.serve.motions import described
from tdmm_lm.serve.requests import ChatRequest, Message
from tdmm_lm.serve.store import Motion
from tdmm_lm.serve.stored_motions import fresh

if TYPE_CHECKING:
    from tdmm_lm.serve.server import Server

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
LINKED = ("npz", "glb", "csv", "mp4")  # formats of a face that `content` links to where a request names none
WAITING = 32  # events that wait for a slow client before the engine's answer waits too
EXTRAS = (
    "stop", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "tools", "tool_choice",
    "parallel_tool_calls", "response_format",
)


@dataclass(frozen=True)
class Prepared:
    """A request that has been checked: the conversation with motion spelled out, and how to answer it."""

    messages: list[dict[str, Any]]
    options: Options
    rig: str
    formats: tuple[str, ...]
    owner: str
    base: str
    stream_frames: bool = True
    wants_usage: bool = False


@dataclass
class Answer:
    """One choice while it comes."""

    index: int
    name: str = field(default_factory=fresh)
    text: str = ""
    codes: list[np.ndarray] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    reason: str = "stop"
    cut: bool = False


class Chat:
    """Answers requests; motions go into the store."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.parts = parts.Parts(server)
        self._working = 0

    async def prepare(self, body: ChatRequest, owner: str, base: str) -> Prepared:
        """The conversation for the engine.

        Raises:
            ApiError: for anything in it that cannot be read, with the part's place.
        """
        motions = sum(
            isinstance(part, dict) and part.get("type") in parts.MOTION_PARTS
            for message in body.messages if isinstance(message.content, list) for part in message.content
        )
        if motions > parts.MOST_PARTS:
            most = parts.MOST_PARTS
            raise ApiError(400, f"messages: expected at most {most} motions, got {motions}.", param="messages")
        rig = self.server.rig(body.motion.rig if body.motion else None)
        if body.motion and body.motion.codec not in (None, *self.server.engine.vocab.modalities):
            known = ", ".join(self.server.engine.vocab.modalities)
            raise ApiError(
                400, f"motion.codec: expected one of {known}, got {body.motion.codec!r}.", param="motion.codec",
                code="unsupported_modality",
            )
        messages = [await self._message(m, f"messages.{i}", owner) for i, m in enumerate(body.messages)]
        last = messages[-1]
        if last["role"] not in ("user", "tool") or not str(last["content"]).strip():
            raise ApiError(
                400, "messages: expected the last one to be the user's and not empty.", param="messages",
                code="empty_prompt",
            )
        options = self._options(body, owner)
        if options.frames is not None:
            seconds = options.frames / self.server.codec.code_fps
            messages[-1] = {**last, "content": tasks.timed(last["content"], seconds)}
        return Prepared(
            messages, options, rig, tuple((body.motion and body.motion.formats) or LINKED), owner, base,
            bool(body.motion.stream_frames if body.motion else True),
            bool(body.stream_options and body.stream_options.include_usage),
        )

    def _options(self, body: ChatRequest, owner: str) -> Options:
        form: Literal["text", "motion"] | None = None
        if body.modalities:
            form = "motion" if "motion" in body.modalities else "text"
        frames, codec = None, self.server.codec
        if body.motion and (body.motion.frames or body.motion.seconds):
            frames = body.motion.frames or max(1, round(codec.fps * float(body.motion.seconds or 0)))
            if frames % codec.frames_per_code:
                raise ApiError(
                    400, f"motion.frames: expected a multiple of {codec.frames_per_code}, got {frames}.",
                    param="motion.frames",
                )
            frames //= codec.frames_per_code
            if form == "text":
                raise ApiError(400, "motion: expected no length with modalities ['text'].", param="motion")
            form = "motion"
        given = {name: value for name in EXTRAS if (value := getattr(body, name)) not in (None, False)}
        if "tools" in given:  # templates write them into the prompt
            given["tools"] = parts.harmless(given["tools"], "tools")
        for name in given:
            if name not in self.server.engine.extras:
                raise ApiError(
                    400, f"{name}: this server's engine does not have it; leave it out.", param=name,
                    code="unsupported_parameter",
                )
        return Options(
            form=form, frames=frames, max_tokens=body.max_completion_tokens or body.max_tokens,
            seed=body.motion.seed if body.motion and body.motion.seed is not None else body.seed,
            temperature=body.temperature, top_p=body.top_p, n=body.n or 1, stream=bool(body.stream),
            salt=self.server.salt(owner), more=given,
        )

    async def _message(self, message: Message, where: str, owner: str) -> dict[str, Any]:
        if message.role not in ROLES:
            raise ApiError(
                400, f"{where}.role: expected one of {', '.join(ROLES)}, got {message.role[:40]!r}.",
                param=f"{where}.role",
            )
        content = message.content
        given = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        spelled = [await self._part(part, f"{where}.content.{j}", owner) for j, part in enumerate(given)]
        if message.motion and not any("<|" in text for text in spelled):
            part = {"type": "file", "file": {"file_id": message.motion.get("id")}}
            spelled.append(vocab.text(await self.parts.codes(part, f"{where}.motion", owner)))
        result: dict[str, Any] = {
            "role": ROLES[message.role], "content": " ".join(text for text in spelled if text)
        }
        for name in ("tool_calls", "tool_call_id", "name"):
            if (value := getattr(message, name)) is not None:
                result[name] = parts.harmless(value, f"{where}.{name}")
        return result

    async def _part(self, part: Any, place: str, owner: str) -> str:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in parts.TEXT_PARTS:
            if not isinstance(part.get("text"), str):
                raise ApiError(400, f"{place}.text: expected a string.", param=f"{place}.text")
            return await self.parts.linked(part["text"], place, owner)
        if kind in parts.MOTION_PARTS:
            return vocab.text(await self.parts.codes(part, place, owner))
        raise ApiError(
            400, f"{place}.type: expected one of {parts.KNOWN}, got {str(kind)[:40]!r}.", param=f"{place}.type",
            code="unsupported_part",
        )

    def enter(self) -> None:
        """Raises ApiError 503 where more is in work than this server takes."""
        if self._working >= self.server.settings.limits.queued:
            raise busy("The server is at its limit; ask again.", 2)
        self._working += 1
        self.server.metrics.running.inc()

    def leave(self) -> None:
        self._working -= 1
        self.server.metrics.running.dec()

    async def _pieces(self, prepared: Prepared) -> AsyncGenerator[Piece, None]:
        """The engine's pieces, counted and timed."""
        metrics, begun, first = self.server.metrics, time.perf_counter(), True
        told = long.answer(self.server.engine, prepared.messages, prepared.options, self.server.codec.code_fps)
        async with aclosing(told) as pieces:
            async for piece in pieces:
                if first and not isinstance(piece, Begun):
                    metrics.first.observe(time.perf_counter() - begun)
                    first = False
                if isinstance(piece, Ended):
                    metrics.ended(piece.reason)
                elif isinstance(piece, Used):
                    metrics.used(piece)
                yield piece
        metrics.whole.observe(time.perf_counter() - begun)

    async def whole(self, prepared: Prepared) -> dict[str, Any]:
        """The answers, not streamed."""
        answers = [Answer(index) for index in range(prepared.options.n)]
        used = Used(0, 0, 0)
        self.enter()
        try:
            async with aclosing(self._pieces(prepared)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Used):
                        used = piece
                    elif not isinstance(piece, Begun):
                        _note(answers[piece.index], piece)
            choices = [await self._choice(answer, prepared) for answer in answers]
        finally:
            self.leave()
        return {**self._head("chat.completion"), "choices": choices, "usage": usage(used)}

    async def _choice(self, answer: Answer, prepared: Prepared) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant", "content": answer.text.strip(), "refusal": None, **answer.extra
        }
        if motion := await self._keep(answer, prepared):
            message["content"] = "\n".join(filter(None, (message["content"], self._links(motion, prepared))))
            message["motion"] = self._described(motion, prepared)
        elif message.get("tool_calls") and not message["content"]:
            message["content"] = None
        logprobs = {"content": answer.logprobs, "refusal": None} if answer.logprobs else None
        return {"index": answer.index, "message": message, "logprobs": logprobs, "finish_reason": answer.reason}

    async def _keep(self, answer: Answer, prepared: Prepared) -> Motion | None:
        if not answer.codes:
            return None
        codes = np.concatenate(answer.codes)
        return await self.server.keep(prepared.owner, codes, prepared.rig, truncated=answer.cut, name=answer.name)

    def _described(self, motion: Motion, prepared: Prepared) -> dict[str, Any]:
        return described(lambda path: self.server.linked(prepared.base, path, prepared.owner), motion, [])

    def _links(self, motion: Motion, prepared: Prepared) -> str:
        """Markdown links, which every chat client shows, and a word where the clip was cut."""
        links = " ".join(
            f"[{form}]({self.server.linked(prepared.base, f'/v1/motions/{motion.id}.{form}', prepared.owner)})"
            for form in prepared.formats
        )
        if motion.truncated:
            cut = f"{motion.frames} frames, {motion.frames / motion.fps:.2f} s"
            return f"{links}\n(Cut at {cut}: the token limit was reached.)"
        return links

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()),
            "model": self.server.engine.name,
        }

    async def stream(self, prepared: Prepared) -> AsyncGenerator[bytes, None]:
        """Events in OpenAI's chunk shape; none before the engine has taken the request, so refusals have a status."""
        head = self._head("chat.completion.chunk")
        usual: dict[str, Any] = {"usage": None} if prepared.wants_usage else {}

        def chunk(index: int, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            return event({**head, "choices": [choice], **usual})

        out: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING)
        answers = [Answer(index) for index in range(prepared.options.n)]
        streams: dict[int, Stream] = {}
        tasks_: list[asyncio.Task[None]] = []
        keeping: dict[int, asyncio.Task[Motion | None]] = {}
        used = Used(0, 0, 0)

        async def motion(answer: Answer, stream: Stream) -> None:
            """One choice's frames as they become final, then its end."""
            seq = 0
            async for made in stream:
                seq += 1
                await out.put(chunk(answer.index, {"motion": _delta(answer.name, seq, made)}))
                if made.needed is not None:
                    self.server.metrics.first_motion.observe(time.perf_counter() - made.needed)
            await finish(answer)

        async def finish(answer: Answer) -> None:
            if kept := await (keeping.pop(answer.index, None) or self._keep(answer, prepared)):
                delta = {"content": self._links(kept, prepared), "motion": self._described(kept, prepared)}
                await out.put(chunk(answer.index, delta))
            await out.put(chunk(answer.index, {}, answer.reason))

        async def pump() -> None:
            nonlocal used
            opened = False
            async with aclosing(self._pieces(prepared)) as pieces:
                async for piece in pieces:
                    if not opened:
                        opened = True
                        for answer in answers:
                            await out.put(chunk(answer.index, {"role": "assistant", "content": ""}))
                    if isinstance(piece, Used):
                        used = piece
                    if isinstance(piece, (Begun, Used)):
                        continue
                    answer = answers[piece.index]
                    begun = bool(answer.codes)
                    _note(answer, piece)
                    if isinstance(piece, Said):
                        delta = ({"content": piece.text} if piece.text else {}) | piece.extra
                        await out.put(chunk(answer.index, delta, None, piece.logprobs))
                    elif isinstance(piece, Moved):
                        if not begun:
                            await out.put(chunk(answer.index, {"motion": self._opening(answer, prepared)}))
                            if prepared.stream_frames:
                                streams[answer.index] = stream = self.server.decoder.open(prepared.rig)
                                tasks_.append(asyncio.create_task(motion(answer, stream)))
                        if prepared.stream_frames:
                            streams[answer.index].push(piece.codes)
                        else:
                            done = sum(map(len, answer.codes)) - len(piece.codes)
                            delta = {"id": answer.name, "frame_start": done, "codes": piece.codes.tolist()}
                            await out.put(chunk(answer.index, {"motion": delta}))
                    elif answer.index in streams:
                        streams[answer.index].end()  # while the rest is decoded, the motion is stored
                        keeping[answer.index] = asyncio.create_task(self._keep(answer, prepared))
                    else:
                        await finish(answer)
            await asyncio.gather(*tasks_)

        async def all_of_it() -> None:
            try:
                await pump()
            finally:
                await out.put(None)

        self.enter()
        pumping = asyncio.create_task(all_of_it())
        try:
            made = await out.get()
            while made is not None:
                ready = [made]  # what has come meanwhile goes out together
                while (made := out.get_nowait() if not out.empty() else b"") and made is not None:
                    ready.append(made)
                yield b"".join(ready)
                made = None if made is None else await out.get()
            await pumping
            if prepared.wants_usage:
                yield event({**head, "choices": [], "usage": usage(used)})
            yield DONE
        finally:
            self.leave()
            for stream in streams.values():
                stream.close()
            for task in (pumping, *tasks_):
                task.cancel()
            await asyncio.gather(pumping, *tasks_, *keeping.values(), return_exceptions=True)

    def _opening(self, answer: Answer, prepared: Prepared) -> dict[str, Any]:
        opening: dict[str, Any] = {
            "id": answer.name, "seq": 0, "codec": "face", "rig": prepared.rig, "fps": self.server.codec.fps
        }
        if prepared.stream_frames:
            opening["channels"] = exports.channels("face", self.server.decoder.rigs[prepared.rig])
        return opening


def _delta(name: str, seq: int, made: Chunk) -> dict[str, Any]:
    return {
        "id": name, "seq": seq, "frame_start": made.start, "frames": len(made.values), "codes": made.codes.tolist(),
        "data": base64.b64encode(made.values.astype("<f4", copy=False).tobytes()).decode(),
    }


def _note(answer: Answer, piece: Said | Moved | Ended) -> None:
    """What an answer has become by a piece."""
    if isinstance(piece, Said):
        answer.text += piece.text
        answer.extra |= piece.extra
        answer.logprobs += (piece.logprobs or {}).get("content") or []
    elif isinstance(piece, Moved):
        answer.codes.append(piece.codes)
    else:
        answer.reason, answer.cut = piece.reason, piece.cut


def usage(used: Used) -> dict[str, Any]:
    """OpenAI's usage with the motion tokens counted apart."""
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "completion_tokens_details": {"motion_tokens": used.motion_tokens},
    }
