"""In front of every route: who asks, how much, how large; a request's id, its log line and its figures.

Keys are compared in constant time, all of them. Limits are a key's own, and this process's: several gateways each
allow as much.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tdmm_lm.serve import links
from tdmm_lm.serve.errors import ApiError, broken, busy
from tdmm_lm.serve.metrics import Metrics
from tdmm_lm.serve.settings import Limits

ANYONE = "anyone"
OPEN = ("/health", "/ready", "/version", "/openapi.json", "/docs")  # no key; nor do the pages of the studio need one
UPLOADS = ("/v1/files", "/v1/videos")  # their bodies are counted where they are written
OURS = (b"x-request-id", b"x-content-type-options")
OTHER_MB = 1  # a body to what is none of /v1, which needs no key and takes no body
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
BODY_SECONDS = 60.0  # between two pieces of a body
LINKED = re.compile(r"/v1/(motions|files|videos)/")
GIVEN_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
log = logging.getLogger("tdmm_lm.requests")


class Keys:
    """The keys that open the server; of each only a digest is kept."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def owner(self, given: str) -> str | None:
        """A name for whose key this is; None where it is nobody's."""
        digest, found = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest(), None
        for known in self._digests:  # all of them, so that the time tells nothing
            if hmac.compare_digest(digest, known):
                found = _named(known)
        return found

    def known(self, owner: str | None) -> bool:
        """Whether an owner's key still opens the server."""
        return any(owner == _named(digest) for digest in self._digests)


def _named(digest: bytes) -> str:
    return f"key-{digest.hex()[:16]}"


class Allowance:
    """How many requests an owner may still make: a bucket that fills steadily, and a count of those in work."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, when
        self._working: dict[str, int] = {}

    def enter(self, owner: str) -> None:
        """Raises ApiError 429 with the time to wait."""
        limits, now = self._limits, time.monotonic()
        size = float(limits.requests_per_minute)
        tokens, since = self._buckets.get(owner, (size, now))
        tokens = min(size, tokens + (now - since) * size / 60)
        if tokens < 1:
            wait = -(-(1 - tokens) * 60 // size)
            raise ApiError(
                429, f"Rate limit reached: {limits.requests_per_minute} requests a minute; try again in {wait:.0f} s.",
                code="rate_limit_exceeded", retry_after=int(wait) or 1,
            )
        if self._working.get(owner, 0) >= limits.concurrent:
            raise ApiError(
                429, f"Too many requests at once: expected at most {limits.concurrent} in work.",
                code="concurrency_limit_exceeded", retry_after=1,
            )
        self._buckets[owner] = (tokens - 1, now)
        self._working[owner] = self._working.get(owner, 0) + 1
        if len(self._buckets) > 10_000:  # full buckets say nothing
            self._buckets = {k: v for k, v in self._buckets.items() if now - v[1] < 60 or k in self._working}

    def leave(self, owner: str) -> None:
        left = self._working.get(owner, 1) - 1
        if left:
            self._working[owner] = left
        else:
            self._working.pop(owner, None)


class Guard:
    """ASGI middleware. With ``leaving`` /ready says no, so that balancers turn away; with ``draining``, later, what is
    new is refused while what is in work may finish."""

    def __init__(
        self, app: Any, *, keys: Keys, limits: Limits, metrics: Metrics, secret: bytes, open_metrics: bool = True,
    ) -> None:
        self.app, self.keys, self.limits, self.metrics, self.secret = app, keys, limits, metrics, secret
        self.allowance = Allowance(limits)
        self.open = (*OPEN, "/metrics") if open_metrics else OPEN
        self.leaving = self.draining = False
        self.working = 0
        self.buffered = 0  # bytes of bodies that are being gathered

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {key.lower(): value for key, value in scope["headers"]}
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if GIVEN_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        begun, counted = time.perf_counter(), {"status": 500, "in": 0, "held": 0, "out": 0, "started": False}
        owner, path = ANYONE, scope["path"]

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                counted["status"], counted["started"] = message["status"], True
                of_theirs = [header for header in message.get("headers", ()) if header[0] not in OURS]
                message = {**message, "headers": [
                    *of_theirs, (b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")
                ]}
            else:
                counted["out"] += len(message.get("body", b""))
            await send(message)

        entered = False
        self.working += 1
        try:
            try:
                if self.draining and path not in ("/health", "/ready", "/metrics"):
                    raise busy("The server is being shut down; ask again.", 5, code="shutting_down")
                owner = self._owner(scope, headers, path)
                if path.startswith("/v1/"):
                    self.allowance.enter(owner)
                    entered = True
                scope.setdefault("state", {}).update(owner=owner, request_id=request_id)
                await self.app(scope, await self._body(receive, headers, path, counted), told)
            except ApiError as error:
                await _refuse(error, told, counted)
            except (ConnectionError, asyncio.CancelledError):
                if not counted["started"]:
                    counted["status"] = 499  # nobody was answered: the client went
                raise
            except Exception:
                log.exception("a request failed", extra={"request_id": request_id})
                await _refuse(broken(), told, counted)
        finally:
            self.working -= 1
            if entered:
                self.allowance.leave(owner)
            route = getattr(scope.get("route"), "path", None) or "other"
            seconds = time.perf_counter() - begun
            method = scope["method"] if scope["method"] in METHODS else "?"  # a label that clients choose must end
            self.metrics.request(method, route, counted["status"], seconds)
            log.info(
                "request", extra={
                    "request_id": request_id, "owner": owner, "method": method, "route": route,
                    "status": counted["status"], "ms": round(1000 * seconds, 1), "bytes_in": counted["in"],
                    "bytes_out": counted["out"],
                },
            )

    def _owner(self, scope: Any, headers: dict[bytes, bytes], path: str) -> str:
        """Raises ApiError 401 where a key is wanted and none that is known came."""
        if not self.keys or path in self.open or not (path.startswith("/v1") or path == "/metrics"):
            return ANYONE
        scheme, _, given = headers.get(b"authorization", b"").decode("utf-8", "surrogateescape").partition(" ")
        owner = self.keys.owner(given.strip()) if scheme.lower() == "bearer" else None
        if owner is None and scope["method"] in ("GET", "HEAD") and LINKED.match(path):
            owner = links.owner_of(self.secret, path, dict(parse_qsl(scope["query_string"].decode("latin-1"))))
            owner = owner if self.keys.known(owner) else None  # a key that was withdrawn takes its links with it
        if owner is None:
            told = "Incorrect API key provided." if given else "No API key provided; send `Authorization: Bearer KEY`."
            raise ApiError(401, told, code="invalid_api_key")
        return owner

    async def _body(self, receive: Any, headers: dict[bytes, bytes], path: str, counted: dict[str, Any]) -> Any:
        """``receive`` that refuses a body while it arrives once it is too large, whatever its length says.

        An upload is handed on piece by piece; any other body is gathered first, so that no route sees half of one.
        """
        upload = path.rstrip("/") in UPLOADS
        large = self.limits.body_mb if path.startswith("/v1/") else min(OTHER_MB, self.limits.body_mb)
        most = (self.limits.file_mb + 1 if upload else large) << 20
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > most:
            raise ApiError(
                413, f"body: expected at most {most >> 20} MiB, got {int(declared[:20]) / 2**20:.1f}.",
                code="body_too_large",
            )

        async def piece() -> Any:
            try:
                message = await asyncio.wait_for(receive(), BODY_SECONDS)
            except TimeoutError:
                raise ApiError(
                    408, f"body: expected its next piece within {BODY_SECONDS:.0f} s.", code="timeout"
                ) from None
            counted["in"] += len(message.get("body", b""))
            if counted["in"] > most:
                raise ApiError(413, f"body: expected at most {most >> 20} MiB.", code="body_too_large")
            return message

        if not upload:
            gathered = await self._gathered(piece, counted)
            waiting = [gathered]

            async def once() -> Any:  # then what tells that the client has gone, which may take as long as the answer
                return waiting.pop() if waiting else await receive()

            return once
        ended = False

        async def on() -> Any:
            nonlocal ended
            if ended:
                return await receive()
            message = await piece()
            ended = not message.get("more_body", False)
            return message

        return on

    async def _gathered(self, piece: Any, counted: dict[str, Any]) -> Any:
        parts = []
        try:
            while True:
                message = await piece()
                if message["type"] == "http.disconnect":
                    return message
                if part := message.get("body", b""):
                    parts.append(part)
                    self.buffered += len(part)
                    counted["held"] += len(part)
                    if self.buffered > self.limits.bodies_mb << 20:
                        raise busy("Too many large requests at once; ask again.", 5)
                if not message.get("more_body", False):
                    break
        finally:
            self.buffered -= counted["held"]
            counted["held"] = 0
        return {"type": "http.request", "body": b"".join(parts), "more_body": False}


async def _refuse(error: ApiError, send: Any, counted: dict[str, Any]) -> None:
    if counted["started"]:  # too late for a status; the connection ends without its last chunk, which clients notice
        raise ConnectionError("the answer had begun")
    body = orjson.dumps(error.body())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(key.encode(), value.encode()) for key, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
