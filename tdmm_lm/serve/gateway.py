"""The application: OpenAI's routes around an engine that speaks in text and motion codes.

Models and chat completions are here; files, motions, videos and the studio page bring routes of their own. Every
answer that is no success has OpenAI's shape.
"""

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import Any

import anyio
import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from tdmm_lm import __version__
from tdmm_lm.serve import answers, files, motions, videos, web
from tdmm_lm.serve.chat import Chat
from tdmm_lm.serve.errors import ApiError, busy
from tdmm_lm.serve.events import Events
from tdmm_lm.serve.guard import Guard
from tdmm_lm.serve.jobs import Jobs
from tdmm_lm.serve.parts import unless_gone
from tdmm_lm.serve.requests import REFUSALS, ChatRequest
from tdmm_lm.serve.server import Server

log = logging.getLogger(__name__)
ABOUT = "Motion in and out of a language model, in OpenAI's shapes; `docs/serving.md` of tdmm_lm says what is ours."


def refused(error: ApiError) -> Response:
    return Response(orjson.dumps(error.body()), error.status, error.headers, "application/json")


def create(server: Server) -> FastAPI:
    """The application; its lifespan starts the engine and the jobs, and ends them."""
    chat, started = Chat(server), int(time.time())
    jobs = Jobs(server)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        server.workers.start()
        starting = asyncio.create_task(_started(server))
        jobs.start()
        yield
        starting.cancel()
        await jobs.close()
        await server.engine.close()
        await server.workers.close()
        server.decoder.close()
        server.store.close()

    app = FastAPI(
        title="tdmm_lm", version=__version__, description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None,
        responses=REFUSALS,
    )
    server.guard = Guard(
        app.router, keys=server.keys, limits=server.settings.limits, metrics=server.metrics,
        secret=server.store.secret(), open_metrics=server.settings.open_metrics,
    )
    app.add_middleware(_Handed, guard=server.guard)
    if server.settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=server.settings.origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )

    @app.exception_handler(ApiError)
    async def of_ours(request: Request, error: ApiError) -> Response:
        return refused(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        at = () if fault["type"] == "json_invalid" else fault["loc"]  # of torn JSON it says at which letter
        where = ".".join(str(part) for part in at if part not in ("body", "query", "path"))
        return refused(ApiError(400, f"{where or 'body'}: {fault['msg']}", param=where or None, code="invalid_request"))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        answer = refused(ApiError(error.status_code, str(error.detail), code=code))
        answer.headers.update(error.headers or {})
        return answer

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        """A request would be answered now."""
        await anyio.to_thread.run_sync(server.store.ready)
        if not await server.ready():
            raise busy("Not ready: the engine is starting, or the server is being shut down.", 2, code="not_ready")
        return JSONResponse({"status": "ready"})

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Prometheus' text form."""
        server.metrics.backends.set(await server.engine.ready())
        server.metrics.restarts.set(server.engine.restarts)
        return server.metrics.text(await server.engine.metrics())

    def described() -> dict[str, Any]:
        return {"id": server.engine.name, "object": "model", "created": started, "owned_by": "tdmm_lm"}

    def known(name: str) -> None:
        if name != server.engine.name:
            raise ApiError(
                404, f"The model {name[:200]!r} does not exist; known: {server.engine.name}.", param="model",
                code="model_not_found",
            )

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [described()]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        known(name)
        return described()

    @app.post("/v1/chat/completions")
    async def completions(body: ChatRequest, request: Request) -> Response:
        known(body.model)
        prepared = await chat.prepare(body, request.state.owner, server.base(request))
        if body.stream:
            return Events(chat.stream(prepared))
        answer = await unless_gone(request.receive, chat.whole(prepared))
        return Response(orjson.dumps(answer), 200, media_type="application/json")

    for resource in (files, motions, videos):
        app.include_router(resource.router(server))
    if server.settings.web:
        app.include_router(web.router(server))
    answers.documented(app)
    return app


async def _started(server: Server) -> None:
    """The engine made ready beside the routes, which say 503 until it is; without one the server ends."""
    try:
        await server.engine.start()
    except (RuntimeError, ValueError, OSError) as error:
        log.error("the engine could not be started: %s", error)
        server.failed = str(error)
        server.end()


class _Handed:
    """Puts the guard between the handlers of exceptions outside and the routes inside."""

    def __init__(self, app: Any, guard: Guard) -> None:
        guard.app, self._guard = app, guard

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._guard(scope, receive, send)


