"""An engine reached over HTTP: one or several OpenAI-compatible vLLM servers of the same model.

Motion is forced by a grammar over token ids and decoded from token ids; words come as they are. A request goes to the
server with the fewest in work, and to another one where that cannot be reached and nothing has been said yet.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tdmm_lm.lm import framing, generate, vocab
from tdmm_lm.serve.engine import Begun, Ended, Engine, Moved, Options, Piece, Said, Used
from tdmm_lm.serve.errors import ApiError, broken, busy

SPELLED = re.compile(r"<\|/?[a-z]+(?:_\d+_\d+)?\|>")  # motion tokens as the engine writes them into its text
WORDS = "words: /[^<]+/\n"
FRAMES = (25, 250)  # of a motion whose length the model chooses
HEALTHY_SECONDS = 1.0  # for which a server's health is believed
log = logging.getLogger(__name__)


@dataclass
class Backend:
    """One server: its URL, which ends in /v1, and its key."""

    url: str
    key: str | None = None
    running: int = 0
    healthy: bool = True
    asked: float = 0.0  # when, by the monotonic clock

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} if self.key else {}


class OpenAIEngine(Engine):
    """The servers in ``backends``, which may change while this runs (a supervisor replaces them)."""

    extras = frozenset((
        "frequency_penalty", "logit_bias", "logprobs", "parallel_tool_calls", "presence_penalty", "response_format",
        "stop", "tool_choice", "tools", "top_logprobs",
    ))

    def __init__(self, name: str, folder: Path, backends: list[Backend], *, wait_seconds: float = 120.0) -> None:
        self.name, self.folder, self.backends = name, folder, backends
        self.vocab = vocab.load(folder)
        self._wait = wait_seconds
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # vLLM closes idle connections after five seconds; ours go first
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=self._wait),
                auto_decompress=False,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ready(self) -> bool:
        return any(await asyncio.gather(*map(self._healthy, self.backends)))

    async def _healthy(self, backend: Backend) -> bool:
        if time.monotonic() - backend.asked > HEALTHY_SECONDS:
            backend.asked = time.monotonic()
            try:
                limit = aiohttp.ClientTimeout(total=5)
                async with self.session.get(f"{backend.url}/models", headers=backend.headers, timeout=limit) as answer:
                    backend.healthy = answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                backend.healthy = False
        return backend.healthy

    async def metrics(self) -> str:
        """The servers' own figures; of several servers only the first one's, which names no other."""
        for backend in self.backends[:1]:
            with suppress(aiohttp.ClientError, TimeoutError):
                url, limit = f"{backend.url.removesuffix('/v1')}/metrics", aiohttp.ClientTimeout(total=2)
                async with self.session.get(url, headers=backend.headers, timeout=limit) as answer:
                    return await answer.text() if answer.status == 200 else ""
        return ""

    async def answer(self, messages: list[dict[str, Any]], options: Options) -> AsyncGenerator[Piece, None]:
        form: str = options.form or ("text" if options.more.get("tools") else await self._form(messages, options))
        reader = [framing.Reader(self.vocab) for _ in range(options.n)]
        reasons: dict[int, str] = {}
        used, begun = Used(0, 0, 0), False
        async for chunk in self._asked(self._body(messages, options, form), options.stream):
            if not begun:
                begun = True
                yield Begun()
            if usage := chunk.get("usage"):
                used = Used(usage["prompt_tokens"], usage["completion_tokens"], 0)
            for choice in chunk.get("choices", ()):
                index = choice["index"]
                for piece in self._read(choice, reader[index]):
                    yield piece
                if choice.get("finish_reason"):
                    reasons[index] = choice["finish_reason"]
                    yield Ended(index, reasons[index], reader[index].inside is not None)
        if len(reasons) < options.n:
            raise _gone()
        yield Used(used.prompt_tokens, used.completion_tokens, sum(each.motion_tokens for each in reader))

    def _read(self, choice: dict[str, Any], reader: framing.Reader) -> list[Piece]:
        """A chunk's choice, or a whole answer's, as pieces."""
        delta = choice.get("delta") or choice.get("message") or {}
        tokens = choice.get("token_ids")
        text = delta.get("content") or ""
        before = reader.inside
        try:
            moved = reader.push(tokens or ())
        except ValueError as error:
            log.error("the engine broke the grammar: %s", error)
            raise broken() from None
        if tokens is None and SPELLED.search(text):
            raise ApiError(500, "engine: expected token ids beside the text (vLLM's return_token_ids), got none.")
        pieces: list[Piece] = [Moved(choice["index"], frames.codes, frames.modality) for frames in moved]
        if moved or before or reader.inside:
            text = SPELLED.sub("", text)
        extra = {key: delta[key] for key in ("tool_calls", "refusal", "reasoning") if delta.get(key)}
        logprobs = choice.get("logprobs")
        if text or extra or (logprobs and logprobs.get("content")):
            pieces.append(Said(choice["index"], text, logprobs, extra))
        return pieces

    def _body(self, messages: list[dict[str, Any]], options: Options, form: str) -> dict[str, Any]:
        motion = form == "motion"
        body: dict[str, Any] = {
            **options.more, "model": self.name, "messages": messages, "n": options.n, "return_token_ids": True,
            "stream": options.stream, "temperature": generate.TEMPERATURE if motion else 0.0,
            "max_tokens": options.max_tokens or ((options.frames or FRAMES[1]) + 3 if motion else generate.MAX_WORDS),
        }
        if options.stream:
            body["stream_options"] = {"include_usage": True}
        for name in ("temperature", "top_p", "seed"):
            if (value := getattr(options, name)) is not None:
                body[name] = value
        if options.salt:
            body["cache_salt"] = options.salt
        if motion:
            body["structured_outputs"] = {"grammar": generate.lark_grammar(self.vocab, options.frames, bounds=FRAMES)}
        elif not options.more.get("tools") and not options.more.get("response_format"):
            body["structured_outputs"] = {"grammar": f"start: words\n{WORDS}"}
        return body

    async def _form(self, messages: list[dict[str, Any]], options: Options) -> str:
        """What the model itself would begin: words or a motion."""
        kind = next(iter(self.vocab.modalities.values()))
        body = {
            "model": self.name, "messages": messages, "max_tokens": 1, "temperature": 0, "return_token_ids": True,
            **({"cache_salt": options.salt} if options.salt else {}),
        }
        async for chunk in self._asked(body, False):
            return "motion" if kind.begin_id in (chunk["choices"][0].get("token_ids") or ()) else "text"
        raise broken()

    async def _asked(self, body: dict[str, Any], stream: bool) -> AsyncIterator[dict[str, Any]]:
        """The server's chunks, or its one answer."""
        try:
            data = orjson.dumps(body)
        except orjson.JSONEncodeError:  # Python reads more than JSON's other readers do
            raise ApiError(
                400, "body: expected whole numbers within 64 bits and text without halves of surrogate pairs.",
                code="invalid_request",
            ) from None
        tried: set[int] = set()
        while True:
            backend = self._choose(tried)
            said = False
            backend.running += 1
            try:
                async with self.session.post(
                    f"{backend.url}/chat/completions", data=data,
                    headers={**backend.headers, "content-type": "application/json"},
                ) as response:
                    if response.status != 200:
                        raise _refusal(response.status, await response.read())
                    if not stream:
                        yield orjson.loads(await response.read())
                        return
                    async for event in _events(response.content):
                        said = True
                        if event == b"[DONE]":
                            return
                        chunk = orjson.loads(event)
                        if "error" in chunk:
                            raise _refusal(int(chunk["error"].get("code") or 500), event)
                        yield chunk
                    return
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
                backend.healthy, backend.asked = False, time.monotonic()
                log.warning("engine at %s: %s", backend.url, type(error).__name__)
                if said or isinstance(error, TimeoutError):
                    raise _gone() from None
            finally:
                backend.running -= 1

    def _choose(self, tried: set[int]) -> Backend:
        """The healthy server with the least to do that was not tried yet."""
        fresh = [backend for backend in self.backends if id(backend) not in tried]
        if not fresh:
            raise busy("The engine is not up; it is being started again.", 5, code="engine_down")
        best = min(fresh, key=lambda backend: (not backend.healthy, backend.running))
        tried.add(id(best))
        return best


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The data of server-sent events, however the bytes are cut."""
    rest = b""
    async for data in content.iter_any():
        rest += data
        *whole, rest = rest.split(b"\n\n")
        for event in whole:
            if event.startswith(b"data: "):
                yield event[6:]


def _gone() -> ApiError:
    return busy("The engine stopped in the middle of an answer; ask again.", code="engine_gone")


def _refusal(status: int, body: bytes) -> ApiError:
    """The server's refusal as the client shall see it."""
    try:
        message = str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = body[:200].decode("utf-8", "replace")
    if status in (400, 413, 422):
        long = "context length" in message or "max_tokens" in message or "input tokens" in message
        return ApiError(400, message, param="messages", code="context_length_exceeded" if long else "invalid_request")
    log.error("the engine answered %d", status)  # not what it said, which may quote a prompt
    return busy("The engine could not take the request; ask again.", 2, code="engine_refused")
