"""vLLM as a child process on loopback with a key of its own: started, waited for, started again, drained.

vLLM is never imported; the interpreter that has it may be another one (its CPU build wants an environment of its own).
"""

import asyncio
import ctypes
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp

from tdmm_lm.serve.openai_engine import Backend, OpenAIEngine
from tdmm_lm.serve.settings import Settings

MODULE = "vllm.entrypoints.openai.api_server"  # the `vllm` command looks for a distribution of that very name
DEFAULTS = {"stream-interval": 5, "disable-uvicorn-access-log": True, "max-num-queued-reqs": 1024}
BACK_OFF = (1.0, 30.0)  # seconds before it is started again: doubled each time, up to
STEADY = 60.0  # seconds of life after which that begins anew
SILENT = 90.0  # seconds without an answer to /health after which it is killed
log = logging.getLogger(__name__)


def interpreter(settings: Settings) -> str:
    """The Python that has vLLM.

    Raises:
        ValueError: none was found.
    """
    places = [settings.python, os.environ.get("TDMM_VLLM_PYTHON"), ".venv-vllm/bin/python"]
    for place in places:
        if place and Path(place).is_file():
            return str(Path(place).absolute())
        if place and place != places[-1]:
            raise ValueError(f"python: expected an interpreter that has vLLM, found no file {place}.")
    if find_spec("vllm") is not None:
        return sys.executable
    raise ValueError(
        "backend vllm: expected vLLM in this Python, in .venv-vllm or where `python:` says, found none; "
        "`pip install vllm` (GPU) or `make .venv-vllm/.installed` (CPU), or serve serve/transformers.yaml."
    )


def arguments(options: dict[str, Any]) -> list[str]:
    """vLLM's options on its command line: true is a flag, false its --no- form, lists are repeated values."""
    listed: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-').lstrip('-')}"
        if isinstance(value, bool):
            listed.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list | tuple):
            listed += [flag, *map(str, value)]
        else:
            listed += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    return listed


def _tied() -> None:
    """In the child before it runs: it is to go when the gateway is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Child:
    """One vLLM server; `backend` is where it listens, and healthy while it answers."""

    def __init__(self, settings: Settings, folder: Path, number: int, logs: Path) -> None:
        self.settings, self.folder, self.number = settings, folder, number
        self.log = logs / f"vllm-{number}.log"
        self.backend = Backend("", secrets.token_hex(24), healthy=False)
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        self._task = asyncio.create_task(self._live())

    async def up(self) -> None:
        """Returns when it has answered once.

        Raises:
            RuntimeError: it ended before it ever did, with the last lines of its log.
        """
        waiting = asyncio.create_task(self._up.wait())
        assert self._task is not None
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not self._up.is_set():
            waiting.cancel()
            self._task.result()

    async def stop(self, seconds: float) -> None:
        """SIGTERM, so that what is in work may finish, and after ``seconds`` SIGKILL for all of it."""
        self._stopping = True
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            for _ in range(int(seconds * 20) + 1):
                if process.poll() is not None:
                    break
                await asyncio.sleep(0.05)
        self._kill()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its engine processes too
            self._process.wait()

    def _launch(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = {**DEFAULTS, "shutdown-timeout": int(self.settings.drain_seconds), **self.settings.engine}
        command = [
            interpreter(self.settings), "-m", MODULE, "--model", str(self.folder), "--served-model-name",
            self.settings.model_name, "--host", "127.0.0.1", "--port", str(port), *arguments(options),
        ]
        environment = {
            **os.environ, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", **self.settings.environment,
            "VLLM_API_KEY": self.backend.key or "",
        }
        environment.pop("VLLM_ALLOW_RUNTIME_LORA_UPDATING", None)
        for name in filter(None, self.settings.api_keys_variable.split()):
            environment.pop(name, None)  # clients' keys are none of the engine's business
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, preexec_fn=_tied,
                start_new_session=True,
            )
        self.backend.url = f"http://127.0.0.1:{port}/v1"

    async def _live(self) -> None:
        wait = BACK_OFF[0]
        while not self._stopping:
            if self.log.is_file():
                self.log.replace(self.log.with_suffix(".last.log"))
            self._launch()
            log.info("vllm %d: started, its log is %s", self.number, self.log)
            born = time.monotonic()
            came_up = await self._watch()
            self.backend.healthy = False
            assert self._process is not None
            code = self._process.poll()
            self._kill()
            if self._stopping:
                return
            if not self._up.is_set():  # nobody has asked it anything, so nothing of theirs is in its log
                tail = " | ".join(self._tail())
                raise RuntimeError(f"vLLM ended before it was ready (exit {code}); the end of {self.log}: {tail}")
            wait = BACK_OFF[0] if came_up and time.monotonic() - born > STEADY else min(2 * wait, BACK_OFF[1])
            self.restarts += 1
            last = self.log.with_suffix(".last.log")
            log.error("vllm %d: ended (exit %s), started again in %.0f s; see %s", self.number, code, wait, last)
            await asyncio.sleep(wait)

    async def _watch(self) -> bool:
        """Until the process has ended or is silent for too long; whether it had been up."""
        assert self._process is not None
        begun = heard = time.monotonic()
        came_up = False
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while self._process.poll() is None:
                asked = time.monotonic()
                if not came_up or asked - heard > 5:
                    try:
                        async with session.get(f"{self.backend.url.removesuffix('/v1')}/health") as answer:
                            if answer.status == 200:
                                heard = time.monotonic()
                                if not came_up:
                                    came_up = self.backend.healthy = True
                                    log.info("vllm %d: ready after %.1f s", self.number, heard - begun)
                                    self._up.set()
                    except (aiohttp.ClientError, TimeoutError):
                        pass
                limit = SILENT if came_up else self.settings.start_seconds
                if time.monotonic() - heard > limit:
                    log.error("vllm %d: silent for %.0f s, killed", self.number, limit)
                    return came_up
                await asyncio.sleep(0.1 if came_up else 0.5)
        return came_up

    def _tail(self, lines: int = 6) -> list[str]:
        if not self.log.is_file():
            return []
        said = self.log.read_bytes()[-20_000:].decode("utf-8", "replace").splitlines()
        return [line.strip()[-200:] for line in said if line.strip()][-lines:]


class SupervisedEngine(OpenAIEngine):
    """vLLM servers of this gateway's own."""

    def __init__(self, settings: Settings, folder: Path, logs: Path) -> None:
        interpreter(settings)  # fail now, not in the background
        self.children = [Child(settings, folder, number, logs) for number in range(settings.replicas)]
        super().__init__(
            settings.model_name, folder, [child.backend for child in self.children],
            wait_seconds=settings.limits.wait_seconds,
        )
        self._drain = settings.drain_seconds

    @property
    def restarts(self) -> int:  # type: ignore[override]
        return sum(child.restarts for child in self.children)

    async def start(self) -> None:
        for child in self.children:
            await child.start()
        await asyncio.gather(*(child.up() for child in self.children))

    async def close(self) -> None:
        await super().close()
        await asyncio.gather(*(child.stop(self._drain) for child in self.children))
