"""A small application around the store's routes, in this process or (``python store_app.py {...}``) in its own.

The engine is made by hand: it performs any prompt as code 7, and the owner is what a bearer token says.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from tdmm_lm import bundle, codec
from tdmm_lm.motion import MotionClip
from tdmm_lm.serve import exports, files, motions, videos
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.jobs import Jobs
from tdmm_lm.serve.settings import Limits, Settings
from tdmm_lm.serve.store import Motion, Store
from tdmm_lm.serve.workers import Workers

FACE = bundle.path("tokenizers/face")


@dataclass
class Server:
    """What the routes need of the real one."""

    settings: Settings
    store: Store
    workers: Any
    codec_folder: Path = FACE
    slow: float = 0.0  # seconds that a performance takes

    def link(self, request: Request, path: str) -> str:
        return f"http://testserver{path}"

    async def tokenize(self, clip: MotionClip) -> np.ndarray:
        return await anyio.to_thread.run_sync(codec.tokenize, codec.load(FACE), clip)

    async def perform(self, owner: str, prompt: str, frames: int | None, seed: int | None) -> Motion:
        await anyio.sleep(self.slow)
        if prompt == "fail":
            raise ApiError(400, "prompt: this one cannot be performed.", code="refused")
        codes = np.full((frames or 10, 1), 7)
        return self.store.motions.add(
            owner, codes=codes, clip=None, codec="face", rig="head", fps=25.0, frames=len(codes), truncated=False
        )


class Inside:
    """Workers that run in this process's threads: quick, for what is not about processes."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def call(self, function, *arguments, seconds=None, memory_mb=None, progress=None):
        self.calls.append((function.__name__, *arguments))
        if progress is not None:
            arguments = (*arguments, progress)
        return await anyio.to_thread.run_sync(function, *arguments)

    async def close(self) -> None:
        pass


def server(folder: Path, *, database: str | None = None, workers: Any = None, slow: float = 0.0, **limits) -> Server:
    settings = Settings(limits=Limits(**limits))
    made = Server(settings, Store(database, folder, settings), workers or Workers(settings.limits))
    made.slow = slow
    return made


def app(server: Server, *, jobs: bool = True) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI):
        standing = Jobs(server)
        if jobs:
            standing.start()
        yield
        await standing.close()
        await server.workers.close()
        server.store.close()

    made = FastAPI(lifespan=lifespan)

    @made.middleware("http")
    async def owned(request: Request, call_next):
        request.state.owner = request.headers.get("authorization", "").removeprefix("Bearer ") or "anyone"
        return await call_next(request)

    @made.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError):
        return JSONResponse(error.body(), error.status, headers=error.headers)

    @made.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError):
        return JSONResponse(ApiError(400, str(error.errors()[0])).body(), 400)

    for module in (files, motions, videos):
        made.include_router(module.router(server))
    return made


class Process:
    """The application as a process of its own, on a port."""

    def __init__(self, folder: Path, **options) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        said = json.dumps({"folder": str(folder), "port": self.port, **options})
        self.process = subprocess.Popen([sys.executable, __file__, said], start_new_session=True)

    def wait(self) -> "Process":
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(f"the application ended with {self.process.returncode}")
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{self.url}/v1/files", timeout=5)
                return self
            time.sleep(0.1)
        raise TimeoutError("the application did not begin")

    def kill(self) -> None:
        self.process.kill()  # SIGKILL to it alone: its children must notice by themselves
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def slow_pictures(source, rig, wanted, target, size, report):
    """Stands for `exports.pictures` where a test needs time: half a file, then long nothing."""
    Path(target).write_bytes(b"half")
    Path(os.environ["TMPDIR"]).mkdir(exist_ok=True)
    for step in range(600):
        report(step / 600)
        time.sleep(0.1)
    return exports._measured({}, target)


def slow_export(source, rig, target):
    """Likewise for `exports.export`."""
    Path(target).write_bytes(b"half")
    time.sleep(60)


def main() -> None:
    import uvicorn

    options = json.loads(sys.argv[1])
    port, stuck, jobs = options.pop("port"), options.pop("stuck", False), options.pop("jobs", True)
    if stuck:
        sys.modules["store_app"] = sys.modules["__main__"]
        for function in (slow_pictures, slow_export):
            function.__module__ = "store_app"
        exports.pictures, exports.export = slow_pictures, slow_export
    uvicorn.run(
        app(server(Path(options.pop("folder")), **options), jobs=jobs), host="127.0.0.1", port=port,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
