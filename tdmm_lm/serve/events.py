"""Server-sent events to a client that may be slow or go: heartbeats, an error as an event, an end in time."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response

from tdmm_lm.serve.errors import ApiError, broken

PING_SECONDS = 10.0  # without an event, after which proxies are told that we live
FIRST_SECONDS = 5.0  # that the first event is waited for before the answer begins
SEND_SECONDS = 60.0  # that a client may take no bytes, after which it is given up
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
log = logging.getLogger(__name__)


class Events(Response):
    """Streams the events of a generator, which is closed when the client goes."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(None, 200, HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._begun = self._sending = False
        self._since = time.monotonic()  # when the last bytes went out, or began to

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        writing = asyncio.create_task(self._write(send))
        watching = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._watch(send))]
        try:
            await asyncio.wait({writing, *watching}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            for task in (writing, *watching):
                task.cancel()
            await asyncio.gather(writing, *watching, return_exceptions=True)

    async def _write(self, send: Any) -> None:
        async with aclosing(self._events):
            following = asyncio.ensure_future(anext(self._events, None))
            try:
                # a refusal that comes at once still has its status; what takes longer is under way by then
                await asyncio.wait({following}, timeout=FIRST_SECONDS)
                if following.done() and following.exception() is not None:
                    following.result()
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                self._begun = True
                try:
                    made = await following
                    while made is not None:
                        await self._send(send, made)
                        made = await anext(self._events, None)
                except ApiError as error:
                    await self._send(send, event(error.body()))
                except ConnectionError:
                    raise
                except Exception:
                    log.exception("a streamed answer failed")
                    await self._send(send, event(broken().body()))
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        self._begun = False
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Any, data: bytes) -> None:
        self._since, self._sending = time.monotonic(), True
        await send({"type": "http.response.body", "body": data, "more_body": True})
        self._since, self._sending = time.monotonic(), False

    async def _watch(self, send: Any) -> None:
        """Tells proxies that we live; returns when the client has taken nothing for too long."""
        while True:
            await asyncio.sleep(PING_SECONDS / 2)
            quiet = time.monotonic() - self._since
            if self._sending and quiet > SEND_SECONDS:
                log.warning("a client took no bytes for %.0f s and was given up", quiet)
                return
            if self._begun and not self._sending and quiet > PING_SECONDS:
                await self._send(send, b": ping\n\n")


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event(data: Any) -> bytes:
    """One event with an object as JSON."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


DONE = b"data: [DONE]\n\n"
