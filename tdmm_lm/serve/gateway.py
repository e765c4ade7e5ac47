"""The chat endpoint: OpenAI's shapes around an engine that speaks in text and motion codes.

``GET /v1/models``, ``POST /v1/chat/completions`` (streamed and not), ``GET /v1/motions/{id}`` and
``/v1/motions/{id}.{npz,glb,csv,mp4}``, ``/health``. Motion comes in as ``file``, ``motion_url`` or ``video_url`` parts
(data URLs) and goes out as links in ``content`` and as ``message.motion``; an id in an earlier turn refers to it again.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from tdmm_lm import __version__
from tdmm_lm.motion import MotionClip
from tdmm_lm.serve.chat import Chat, ChatRequest
from tdmm_lm.serve.engine import Engine
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.motions import ID, Motions

BODY_BYTES = 48 << 20


class BodyLimit:
    """ASGI middleware: a body over the limit is refused while it arrives, not after it was stored."""

    def __init__(self, app: Any, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        seen = 0

        async def counted() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most:
                raise ApiError(413, f"body: expected at most {self.most} bytes.", code="body_too_large")
            return message

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.most:
            refusal = ApiError(
                413, f"body: expected at most {self.most} bytes, got {int(declared)}.", code="body_too_large"
            )
            return await JSONResponse(refusal.body(), refusal.status)(scope, receive, send)
        return await self.app(scope, counted, send)


def create(
    engine: Engine,
    motions: Motions,
    *,
    make: Callable[[np.ndarray], MotionClip],
    read: Callable[[MotionClip], np.ndarray],
    api_key: str | None = None,
) -> FastAPI:
    """The application. ``make`` decodes codes (frames, books) to a clip, ``read`` encodes one; with ``api_key`` /v1
    wants it as a bearer token."""
    app = FastAPI(title="tdmm_lm", version=__version__)
    app.add_middleware(BodyLimit, most=BODY_BYTES)
    chat = Chat(engine, motions, make, read)
    started = int(time.time())

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        # compare_digest takes constant time, so answers do not tell how much of a key was right
        if api_key and request.url.path.startswith("/v1") and not hmac.compare_digest(given.encode(), api_key.encode()):
            refusal = ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
            return JSONResponse(refusal.body(), 401)
        response = await call_next(request)
        response.headers["x-request-id"] = f"req-{secrets.token_hex(8)}"
        return response

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"] if part != "body")
        refusal = ApiError(400, f"{where or 'body'}: {fault['msg']}", param=where or None, code="invalid_request")
        return JSONResponse(refusal.body(), 400)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        return JSONResponse(ApiError(error.status_code, str(error.detail)).body(), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return JSONResponse(ApiError(500, "The server had an error; it was logged.").body(), 500)

    def described() -> dict[str, Any]:
        return {"id": engine.name, "object": "model", "created": started, "owned_by": "tdmm_lm"}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [described()]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        if name != engine.name:
            raise ApiError(
                404, f"The model {name!r} does not exist; known: {engine.name}.", param="model", code="model_not_found"
            )
        return described()

    @app.post("/v1/chat/completions")
    async def completions(body: ChatRequest, request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        if body.model != engine.name:
            raise ApiError(
                404,
                f"The model {body.model!r} does not exist; known: {engine.name}.",
                param="model",
                code="model_not_found",
            )
        prepared = await anyio.to_thread.run_sync(chat.prepare, body)
        if body.stream:
            headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
            return StreamingResponse(chat.stream(body, prepared, base), media_type="text/event-stream", headers=headers)
        return JSONResponse(await chat.whole(body, prepared, base, request.is_disconnected))

    def stored(name: str) -> Any:
        try:
            return motions.get(name)
        except KeyError:
            raise ApiError(404, f"No motion {name!r}.", param="id", code="motion_not_found") from None

    @app.get("/v1/motions/{name}")
    async def motion(name: str, request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        stem, dot, suffix = name.partition(".")
        found = stored(stem) if ID.fullmatch(stem) else None
        if found is None:
            raise ApiError(404, f"No motion {stem!r}.", param="id", code="motion_not_found")
        if not dot:
            return JSONResponse(chat.described(found, base))
        try:
            path: Path = await anyio.to_thread.run_sync(motions.file, stem, suffix)
        except KeyError:
            raise ApiError(404, f"No format {suffix!r} of a motion.", param="id", code="format_not_found") from None
        return FileResponse(path, filename=f"{stem}.{suffix}")

    return app
