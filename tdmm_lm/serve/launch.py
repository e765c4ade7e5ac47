"""``tdmm serve``: loads what the settings name, runs the gateway, and lets requests in work finish before it ends."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from tdmm_lm import bundle, codec, rigs
from tdmm_lm.lm import vocab
from tdmm_lm.serve import gateway, logs
from tdmm_lm.serve.decoder import Decoder
from tdmm_lm.serve.engine import Engine
from tdmm_lm.serve.guard import Keys
from tdmm_lm.serve.metrics import Metrics
from tdmm_lm.serve.server import Server
from tdmm_lm.serve.settings import Settings
from tdmm_lm.serve.store import Store
from tdmm_lm.serve.workers import Workers

MODALITY = "face"
SWITCH_SECONDS = 0.001  # that the loop keeps the interpreter at most while the decoder waits for it
GARBAGE = (10_000, 20, 20)  # allocations before the young, the middle-aged and the old are looked through
M_ARENA_MAX = -8  # of malloc.h
READINESS_SECONDS = 1.0  # between /ready falling and refusals, for balancers to see it and for what is under way
log = logging.getLogger(__name__)


def engine(settings: Settings, folder: Path, logs_folder: Path) -> Engine:
    """The engine that the settings name, not yet started."""
    if settings.backend == "transformers":
        from tdmm_lm.serve.transformers_engine import TransformersEngine

        return TransformersEngine(folder, settings.model_name)
    if settings.backend == "vllm":
        from tdmm_lm.serve.supervise import SupervisedEngine

        return SupervisedEngine(settings, folder, logs_folder)
    from tdmm_lm.serve.openai_engine import Backend, OpenAIEngine

    key = os.environ.get(settings.url_key_variable)
    backends = [Backend(url.rstrip("/"), key) for url in settings.urls]
    return OpenAIEngine(settings.model_name, folder, backends, wait_seconds=settings.limits.wait_seconds)


def assemble(settings: Settings) -> Server:
    """A gateway's parts for the settings, models loaded.

    Raises:
        ValueError, FileNotFoundError: a model, a codec or a rig that is not there or does not fit.
    """
    folder = Path(settings.lm) if settings.lm else bundle.path("assets/lm")
    grown = vocab.load(folder)
    inside = folder / grown[MODALITY].codec
    codec_folder = inside if inside.is_dir() else bundle.path(f"tokenizers/{MODALITY}")
    vocab.match(grown, MODALITY, codec.weights_sha256(codec_folder), str(codec_folder))
    temporary = None
    if settings.store is None:
        temporary = tempfile.TemporaryDirectory(prefix="tdmm-serve-", ignore_cleanup_errors=True)
    place = Path(settings.store or temporary.name)  # type: ignore[union-attr]
    place.mkdir(parents=True, exist_ok=True)
    scratch = place / "scratch"
    scratch.mkdir(exist_ok=True)
    driven = {Path(name).name: rigs.load(name) for name in settings.rigs}
    keys = [key.strip() for key in os.environ.get(settings.api_keys_variable, "").split(",") if key.strip()]
    return Server(
        settings=settings,
        store=Store(settings.database, place, settings),
        workers=Workers(settings.limits),
        engine=engine(settings, folder, place),
        decoder=Decoder(codec.load(codec_folder), driven),
        codec_folder=codec_folder,
        scratch=scratch,
        keys=Keys(keys),
        metrics=Metrics(settings.model_name),
        weights=codec.weights_sha256(codec_folder),
        temporary=temporary,
    )


def create(settings: Settings) -> FastAPI:
    """The application for the settings."""
    return gateway.create(assemble(settings))


class Draining(uvicorn.Server):
    """Ends as a service should: readiness falls, what is new is refused, what is in work finishes, then it is over."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._served, self._ending = server, False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what is there now stays: to look through all of it again would stop every stream for 100 ms
        gc.set_threshold(*GARBAGE)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._ending or sig == signal.SIGINT:  # a second time, or Ctrl-C: at once
            super().handle_exit(sig, frame)
            return
        self._ending = True
        asyncio.get_event_loop().call_soon_threadsafe(lambda: asyncio.ensure_future(self._drain()))

    async def _drain(self) -> None:
        guard, seconds = self._served.guard, self._served.settings.drain_seconds
        assert guard is not None
        guard.leaving = True
        until = time.monotonic() + seconds
        await asyncio.sleep(min(READINESS_SECONDS, seconds))
        guard.draining = True
        log.info("draining: %d requests in work", guard.working)
        while guard.working and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self.should_exit = True


def run(settings: Settings) -> None:
    """Serve until interrupted.

    Raises:
        ValueError: the port is taken, the engine could not be started, or what `assemble` says.
    """
    logs.to_stderr()
    sys.setswitchinterval(SWITCH_SECONDS)
    with contextlib.suppress(OSError, AttributeError):  # glibc alone: its heaps, one a thread, would keep what they had
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
    server = assemble(settings)
    listener = listen(settings.host, settings.port)
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not server.keys:
        variable = settings.api_keys_variable
        log.warning("%s is open to other machines and no key is wanted: set $%s", settings.host, variable)
    config = uvicorn.Config(
        gateway.create(server), log_config=None, access_log=False, timeout_graceful_shutdown=5, server_header=False,
        timeout_keep_alive=15, h11_max_incomplete_event_size=64 << 10, lifespan="on",
    )
    log.info("listening on http://%s:%d", settings.host, listener.getsockname()[1])
    serving = Draining(config, server)
    server.end = lambda: setattr(serving, "should_exit", True)
    serving.run(sockets=[listener])
    if server.failed:
        raise ValueError(server.failed)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        ValueError: the address is taken or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ValueError(f"{host}:{port}: expected a free address, got {error.strerror or error}.") from None
    return bound
