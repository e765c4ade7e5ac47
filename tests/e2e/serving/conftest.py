"""Real servers for the tests of this folder: `tdmm serve` in processes of their own, a real vLLM and the bundled model.

One is shared by all tests that leave it whole; those that break something start their own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tdmm_lm import bundle

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
START_SECONDS = 240.0
WIDE = ("limits.requests_per_minute=1000000", "limits.concurrent=256")
MODEL = "tdmm-nano"


class Service:
    """One gateway with its vLLM; `start` may be called again after an end, on the same store and port."""

    def __init__(self, folder: Path, *settings: str, store: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.store, self.settings, self.log = store or folder / "store", settings, folder / "server.log"
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Service":
        command = [
            sys.executable, "-m", "tdmm_lm", "serve", "serve/cpu.yaml", f"port={self.port}", f"store={self.store}",
            f"python={PYTHON}", *self.settings,
        ]
        environment = {key: value for key, value in os.environ.items() if key != "TDMM_API_KEY"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
                env={**environment, "OMP_NUM_THREADS": "1"},
            )
        self.until_ready()
        return self

    def until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                pytest.fail(f"the server ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/ready", timeout=10).status_code == 200:
                    return
            time.sleep(0.2)
        pytest.fail(f"not ready after {START_SECONDS:.0f} s: {self.log.read_text()[-2000:]}")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def vllm(self) -> psutil.Process | None:
        """vLLM's first process, which leads a process group of its own."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                with suppress(psutil.Error):
                    if any("vllm.entrypoints" in word for word in child.cmdline()):
                        return child
        return None

    def family(self) -> list[psutil.Process]:
        """The gateway and everything that it has started."""
        gateway = psutil.Process(self.pid)
        return [gateway, *gateway.children(recursive=True)]

    def kill(self) -> None:
        """kill -9 of the gateway alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 90) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            for member in self.family():
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            raise

    def get(self, path: str, **more: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=120, **more)

    def chat(self, content: Any, *, timeout: float = 180, **more: Any) -> httpx.Response:
        messages = [{"role": "user", "content": content}]
        body = {"model": MODEL, "messages": messages, **more}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=timeout)

    def events(self, content: Any, *, timeout: float = 180, **more: Any) -> Iterator[dict[str, Any] | str]:
        """A streamed answer's events, the last one "[DONE]" where it is whole.

        Raises:
            httpx.HTTPStatusError: it was refused; its response has been read.
        """
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "stream": True, **more}
        with httpx.stream("POST", f"{self.url}/v1/chat/completions", json=body, timeout=timeout) as response:
            if response.status_code != 200:
                response.read()
                response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield line[6:] if line == "data: [DONE]" else json.loads(line[6:])

    def upload(self, name: str, data: bytes, **more: Any) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/files", files={"file": (name, data)}, data={"purpose": "user_data"}, timeout=180, **more
        )

    def figure(self, name: str, **labels: str) -> float:
        """A sum of /metrics over all labels but those given."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(f'{key}="{is_}"' in head for key, is_ in labels.items()):
                total += float(value)
        return total


def gone(members: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after so long."""
    _, alive = psutil.wait_procs(members, timeout=seconds)
    return [member for member in alive if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]


def error_of(body: Any) -> dict[str, Any]:
    """The error in a body, which has exactly OpenAI's shape."""
    assert set(body) == {"error"}, body
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    for name in ("param", "code"):
        assert error[name] is None or isinstance(error[name], str)
    return error


@pytest.fixture(scope="session")
def checks() -> Any:
    """What tests of this folder share: (gone, error_of)."""
    return gone, error_of


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A maker of servers, which are all ended at last."""
    if not PYTHON.is_file():
        pytest.fail(f"{PYTHON}: expected the environment that `make test-serving` makes, found none.")
    services: list[Service] = []

    def make(*settings: str, store: Path | None = None) -> Service:
        services.append(Service(tmp_path_factory.mktemp("service"), *settings, store=store))
        return services[-1]

    yield make
    for service in services:
        if service.process is not None and service.process.poll() is None:
            service.stop()


@pytest.fixture(scope="session")
def service(made: Any) -> Service:
    """The server that all tests share which leave it whole."""
    return made("drain_seconds=5", *WIDE).start()


@pytest.fixture(scope="session")
def sample() -> Path:
    return sorted(bundle.path("assets/samples").glob("*.npz"))[0]
