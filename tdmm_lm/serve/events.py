"""Server-sent events to a client that may be slow or go: heartbeats, an error as an event, an end in time."""

import asyncio
import logging
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

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        writing = asyncio.create_task(self._write(send))
        watching = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({writing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            for task in (writing, watching):
                task.cancel()
            await asyncio.gather(writing, watching, return_exceptions=True)

    async def _write(self, send: Any) -> None:
        async def out(data: bytes, more: bool = True) -> None:
            await asyncio.wait_for(send({"type": "http.response.body", "body": data, "more_body": more}), SEND_SECONDS)

        async with aclosing(self._events):
            following = asyncio.ensure_future(anext(self._events, None))
            try:
                # a refusal that comes at once still has its status; what takes longer is under way by then
                await asyncio.wait({following}, timeout=FIRST_SECONDS)
                if following.done() and following.exception() is not None:
                    following.result()
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                try:
                    while True:
                        done, _ = await asyncio.wait({following}, timeout=PING_SECONDS)
                        if not done:
                            await out(b": ping\n\n")
                            continue
                        if (made := following.result()) is None:
                            break
                        await out(made)
                        following = asyncio.ensure_future(anext(self._events, None))
                except ApiError as error:
                    await out(event(error.body()))
                except (ConnectionError, TimeoutError):
                    raise ConnectionError("the client took no bytes") from None
                except Exception:
                    log.exception("a streamed answer failed")
                    await out(event(broken().body()))
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        await out(b"", False)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event(data: Any) -> bytes:
    """One event with an object as JSON."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


DONE = b"data: [DONE]\n\n"
