"""The servers of `tdmm bench serve` and `tdmm bench soak`, and a client that sends them requests by the hundred.

`tdmm serve` starts a vLLM of its own whose port and key nobody else knows. To ask the very same vLLM without the
gateway too, it is started here as `tdmm_lm.serve.supervise` would with the recipe's settings, and the gateway, a
process of its own, is given its address (``backend=url``).
"""

import asyncio
import gc
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import uvloop
from jaxtyping import Float

from tdmm_lm import bundle, config
from tdmm_lm.lm import generate, grammar, tasks, vocab
from tdmm_lm.serve import launch, supervise
from tdmm_lm.serve.settings import Settings

RECIPE = "serve/cpu.yaml"
LIMITS = ("limits.requests_per_minute=1000000", "limits.concurrent=1000")  # load is no abuse here
FRAMES = 125
TOKENS = FRAMES + 3  # begin, codes, end, end of turn: the grammar leaves no other length
WHO = ("a woman", "a man", "a child", "somebody", "an old man", "a tired woman", "a young man", "a singer")
DOES = ("smiles broadly", "frowns", "nods twice", "looks up", "shakes the head", "raises the brows", "blinks", "yawns")


@dataclass(frozen=True)
class Stack:
    """A vLLM and a gateway on it, each the leader of its own session of processes."""

    engine: str  # URL, ending in /v1
    gateway: str
    key: str  # of the engine; the gateway wants none
    engine_id: int
    gateway_id: int
    log: Path  # the gateway's

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time that each has used."""
        ticks = os.sysconf("SC_CLK_TCK")
        used = {self.engine_id: 0.0, self.gateway_id: 0.0}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # ended meanwhile
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[3]) in used:
                    used[int(fields[3])] += (int(fields[11]) + int(fields[12])) / ticks
        return {"engine": used[self.engine_id], "gateway": used[self.gateway_id]}

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.gateway.removesuffix('/v1')}/metrics", timeout=30) as answer:
            return str(answer.read().decode())


def say(what: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


@contextmanager
def started(*changes: str) -> Iterator[Stack]:
    """The servers, up, and gone afterwards, also where this process is told to end.

    Raises:
        RuntimeError: one of them ended before it was up, with the end of its log.
    """
    recipe = bundle.path(RECIPE)
    settings = config.load(Settings, recipe, list(changes))
    folder = Path(settings.lm) if settings.lm else bundle.path("assets/lm")
    key, running = secrets.token_hex(24), list[subprocess.Popen[bytes]]()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def launched(name: str, command: list[str], address: str, **environment: str) -> int:
        with (place / f"{name}.log").open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **environment},
                start_new_session=True,
            )
        running.append(process)
        until = time.monotonic() + settings.start_seconds
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > until:
                tail = " | ".join((place / f"{name}.log").read_text(errors="replace").splitlines()[-6:])
                raise RuntimeError(f"bench serve: expected {name} to come up, exit {process.poll()}: {tail}")
            time.sleep(0.2)
        return process.pid

    try:
        with tempfile.TemporaryDirectory(prefix="tdmm-bench-") as temporary:
            place = Path(temporary)
            engine, gateway = _free(), _free()
            engine_id = launched("engine", [
                supervise.interpreter(settings), "-m", supervise.MODULE, "--model", str(folder), "--served-model-name",
                settings.model_name, "--host", "127.0.0.1", "--port", str(engine),
                *supervise.arguments({**supervise.DEFAULTS, **settings.engine}),
            ], f"http://127.0.0.1:{engine}/health", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1", VLLM_API_KEY=key,
                **settings.environment)
            gateway_id = launched("gateway", [
                sys.executable, "-m", "tdmm_lm", "serve", str(recipe), *changes, "backend=url", f"port={gateway}",
                f"urls=[http://127.0.0.1:{engine}/v1]", f"store={place / 'store'}", *LIMITS,
            ], f"http://127.0.0.1:{gateway}/ready", **{settings.url_key_variable: key, settings.api_keys_variable: ""})
            say("vLLM and the gateway are up")
            yield Stack(f"http://127.0.0.1:{engine}/v1", f"http://127.0.0.1:{gateway}/v1", key, engine_id, gateway_id,
                        place / "gateway.log")
            _end(running)
    finally:
        _end(running)
        signal.signal(signal.SIGTERM, before)


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    while running:
        process = running.pop()
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free() -> int:
    with launch.listen("127.0.0.1", 0) as probe:
        return int(probe.getsockname()[1])


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def prompt(number: int) -> str:
    return f"{WHO[number % 8]} {DOES[number // 8 % 8]}, then {DOES[number // 64 % 8]} {number}"


def body(way: str, number: int, name: str, grown: vocab.MotionVocab) -> bytes:
    """A request for the same motion: as the gateway asks vLLM, or as a client asks the gateway."""
    asked: dict[str, Any] = {"model": name, "seed": number, "stream": way != "whole"}
    if way != "direct":
        more = {"motion": {"frames": FRAMES, "stream_frames": way != "codes"}}
        return orjson.dumps({**asked, **more, "messages": [{"role": "user", "content": prompt(number)}]})
    content = tasks.timed(prompt(number), FRAMES / grown["face"].code_fps)
    return orjson.dumps({
        **asked, "messages": [{"role": "user", "content": content}], "n": 1, "return_token_ids": True,
        "temperature": generate.TEMPERATURE, "max_tokens": TOKENS, "stream_options": {"include_usage": True},
        "structured_outputs": {"grammar": grammar.lark(grown, FRAMES)},
    })


@dataclass(frozen=True)
class Load:
    """What a client is to send: ``concurrency`` at once, or each at its time of ``arrivals`` (seconds, ascending)."""

    url: str
    key: str
    bodies: list[bytes]
    concurrency: int = 0
    arrivals: Float[np.ndarray, " requests"] | None = None
    warm: int = 0  # of the bodies, sent before and not counted


@dataclass(frozen=True)
class Round:
    """What came of it; times in seconds. With arrivals a request's time runs from when it was due."""

    wall: float
    first: Float[np.ndarray, " requests"]  # to the first chunk
    whole: Float[np.ndarray, " requests"]
    gaps: Float[np.ndarray, " gaps"]  # between chunks, of all requests
    failed: int
    why: str  # the first one failed
    bytes: int
    cpu: dict[str, float] = field(default_factory=dict)  # seconds, by process


def send(load: Load) -> Round:
    """In a client's process: sends the load; no collection of garbage falls into it."""
    gc.collect()
    gc.freeze()
    gc.disable()
    before = time.process_time()
    try:
        return replace(uvloop.run(_sent(load)), cpu={"client": time.process_time() - before})
    finally:
        gc.enable()


async def _sent(load: Load) -> Round:
    firsts, wholes, gaps = list[float](), list[float](), list[float]()
    failed, size, why = 0, 0, ""
    headers = {"authorization": f"Bearer {load.key}", "content-type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    ) as session:

        async def ask(data: bytes, due: float) -> None:
            nonlocal failed, size, why
            first, before, last, counted = 0.0, 0.0, b"", 0
            try:
                async with session.post(f"{load.url}/chat/completions", data=data) as response:
                    async for piece in response.content.iter_any():
                        now = time.perf_counter()
                        if came := piece.count(b'"delta"'):  # not the usage, nor the rest of a long chunk
                            spaces = [now - (before or now), *[0.0] * (came - 1)]  # these came together
                            gaps.extend(spaces if before else spaces[1:])
                            before = now
                        first, last, counted = first or now, piece, counted + len(piece)
                    now = time.perf_counter()
                    good = response.status == 200 and (b"[DONE]" in last[-20:] or b'"usage"' in last[-400:])
                    told = f"{response.status} {last[-200:].decode('utf-8', 'replace')}"
            except (aiohttp.ClientError, TimeoutError) as error:
                good, told = False, repr(error)
            if not good:
                failed, why = failed + 1, why or told
                return
            firsts.append(first - due)
            wholes.append(now - due)
            size += counted

        async def some(waiting: Iterator[bytes]) -> None:
            for data in waiting:
                await ask(data, time.perf_counter())

        async def at(data: bytes, due: float) -> None:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await ask(data, due)

        async def together(bodies: list[bytes], many: int) -> None:
            waiting = iter(bodies)
            await asyncio.gather(*(some(waiting) for _ in range(many)))

        await together(load.bodies[: load.warm], load.concurrency or 8)
        firsts, wholes, gaps, failed, size, why = [], [], [], 0, 0, ""
        begun = time.perf_counter()
        if load.arrivals is None:
            await together(load.bodies[load.warm :], load.concurrency)
        else:
            due = begun + load.arrivals
            await asyncio.gather(*(at(data, float(t)) for data, t in zip(load.bodies[load.warm :], due, strict=True)))
        wall = time.perf_counter() - begun
    return Round(wall, np.array(firsts), np.array(wholes), np.array(gaps), failed, why, size)
