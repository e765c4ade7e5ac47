"""What the gateway costs over the vLLM behind it: time added to a request, throughput kept, how soon motion shows.

    tdmm bench serve

`tdmm serve serve/cpu.yaml` starts a vLLM of its own whose port and key nobody else knows. To ask the very same vLLM
without the gateway too, it is started here as `tdmm_lm.serve.supervise` would with that file's settings, and the gateway,
a process of its own, is given its address (``backend=url``). Both sides get the same requests, in rounds that take
turns, from a third process.
"""

import asyncio
import gc
import multiprocessing
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import numpy as np
import orjson
import uvloop
from jaxtyping import Float

from tdmm_lm import bundle, config, report
from tdmm_lm.lm import generate, grammar, tasks, vocab
from tdmm_lm.serve import launch, supervise
from tdmm_lm.serve.settings import Settings

RECIPE = "serve/cpu.yaml"
LIMITS = ("limits.requests_per_minute=1000000", "limits.concurrent=1000")  # load is no abuse here
FRAMES = 125
TOKENS = FRAMES + 3  # begin, codes, end, end of turn: the grammar leaves no other length
LEVELS = (1, 8, 32)  # requests at once
WAYS = ("direct", "gateway", "codes", "whole")  # vLLM; the gateway streaming frames, codes alone, and not streaming
DRAWS = 500  # of the bootstrap
WHO = ("a woman", "a man", "a child", "somebody", "an old man", "a tired woman", "a young man", "a singer")
DOES = ("smiles broadly", "frowns", "nods twice", "looks up", "shakes the head", "raises the brows", "blinks", "yawns")
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How much is measured. ``requests`` are of a closed-loop round, by how many at once."""

    rounds: int = 4
    requests: dict[int, int] = field(default_factory=lambda: {1: 30, 8: 160, 32: 640})
    poisson_seconds: float = 25.0
    soak_minutes: float = 20.0


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


def run(plan: Plan | None = None) -> dict[str, dict[str, Any]]:
    """All figures, those of `tdmm_lm.bench.soak` among them.

    ``gateway_added_*``: what the latency's distribution gains at Poisson arrivals of half of what vLLM can do;
    ``throughput_kept``: requests a second at 32 at once over vLLM's, frames decoded and streamed; ``_codes``: codes
    streamed alone; ``_whole``: nothing streamed; ``first_motion_ms_after_tokens``: from the last token that a stream's
    first frames need to those frames. ``direct_8_p99_ttft_ms`` and the like are vLLM's own names.
    """
    from tdmm_lm.bench import soak  # it starts its servers by this file

    plan = plan or Plan()
    spawn = multiprocessing.get_context("spawn")
    with started() as stack, ProcessPoolExecutor(1, mp_context=spawn) as client:
        rounds, lag, rate, arrivals = measured(stack, client, plan)
    figures = summed(rounds) | added(arrivals, rate) | lagged(lag)
    return figures | soak.run(plan.soak_minutes)


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
    bytes: int
    cpu: dict[str, float] = field(default_factory=dict)  # seconds, by process


def send(load: Load) -> Round:
    """In a client's process: sends the load; no collection of garbage falls into it."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        return uvloop.run(_sent(load))
    finally:
        gc.enable()


async def _sent(load: Load) -> Round:
    firsts, wholes, gaps = list[float](), list[float](), list[float]()
    failed = size = 0
    headers = {"authorization": f"Bearer {load.key}", "content-type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    ) as session:

        async def ask(data: bytes, due: float) -> None:
            nonlocal failed, size
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
            except (aiohttp.ClientError, TimeoutError):
                good = False
            if not good:
                failed += 1
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
        firsts, wholes, gaps, failed, size = [], [], [], 0, 0
        begun = time.perf_counter()
        if load.arrivals is None:
            await together(load.bodies[load.warm :], load.concurrency)
        else:
            due = begun + load.arrivals
            await asyncio.gather(*(at(data, float(t)) for data, t in zip(load.bodies[load.warm :], due, strict=True)))
        wall = time.perf_counter() - begun
    return Round(wall, np.array(firsts), np.array(wholes), np.array(gaps), failed, size)


Rounds = dict[tuple[str, int], list[Round]]  # by way and how many at once


def measured(
    stack: Stack, client: ProcessPoolExecutor, plan: Plan
) -> tuple[Rounds, dict[float, float], float, dict[str, list[Round]]]:
    """Closed-loop rounds, the lag of first motion at 8 at once as buckets, and rounds of Poisson arrivals with their rate.

    Raises:
        RuntimeError: vLLM does not answer with `TOKENS` tokens.
    """
    settings = config.load(Settings, bundle.path(RECIPE))
    grown = vocab.load(Path(settings.lm) if settings.lm else bundle.path("assets/lm"))
    numbers = iter(range(10**9))  # no request is made twice

    def took(way: str, count: int, *, many: int = 0, warm: int = 0, arrivals: Any = None) -> Round:
        bodies = [body(way, next(numbers), settings.model_name, grown) for _ in range(count + warm)]
        url, before = stack.engine if way == "direct" else stack.gateway, stack.cpu()
        done = client.submit(send, Load(url, stack.key, bodies, many, arrivals, warm)).result()
        used = {name: (seconds - before[name]) / (count + warm) for name, seconds in stack.cpu().items()}
        say(f"{way}, {many or 'arrivals'}: {len(done.whole) / done.wall:.1f} requests/s, latency "
            f"{1000 * np.median(done.whole):.0f} ms, failed {done.failed}")
        return replace(done, cpu=used)

    _checked(stack, body("direct", next(numbers), settings.model_name, grown))
    ways = [(way, many) for many in LEVELS for way in WAYS if way in WAYS[:2] or many == LEVELS[-1]]
    rounds: Rounds = {place: [] for place in ways}
    lag: dict[float, float] = {}
    for way, many in ways:
        took(way, 2 * many, many=many)  # warms up
    for _ in range(plan.rounds):
        for way, many in ways:
            counted = buckets(stack.metrics(), LAG) if (way, many) == ("gateway", 8) else None
            rounds[way, many].append(took(way, plan.requests[many], many=many, warm=many))
            if counted is not None:
                for bound, count in buckets(stack.metrics(), LAG).items():
                    lag[bound] = lag.get(bound, 0) + count - counted[bound]
    rate = throughput(rounds["direct", LEVELS[-1]]) / 2
    arrivals: dict[str, list[Round]] = {"direct": [], "gateway": []}
    for turn in range(plan.rounds):
        due = poisson(rate, plan.poisson_seconds, seed=turn)
        for way, list_ in arrivals.items():
            list_.append(took(way, len(due), arrivals=due, warm=8))
    return rounds, lag, rate, arrivals


def _checked(stack: Stack, data: bytes) -> None:
    asked = {name: value for name, value in orjson.loads(data).items() if name != "stream_options"} | {"stream": False}
    request = urllib.request.Request(
        f"{stack.engine}/chat/completions", orjson.dumps(asked),
        {"authorization": f"Bearer {stack.key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        said = orjson.loads(answer.read())["usage"]["completion_tokens"]
    if said != TOKENS:
        raise RuntimeError(f"bench serve: expected vLLM to write {TOKENS} tokens a motion, got {said}.")


def poisson(rate: float, seconds: float, *, seed: int) -> Float[np.ndarray, " requests"]:
    """Times of arrivals within ``seconds``, ascending: ``rate`` a second, independent of each other."""
    random = np.random.default_rng(seed)
    return np.sort(random.uniform(0, seconds, max(1, random.poisson(rate * seconds))))


def interval(rounds: Sequence[T], statistic: Callable[[list[T]], float]) -> tuple[float, float] | None:
    """95 % bootstrap interval over rounds; None for one round."""
    if len(rounds) < 2:
        return None
    picks = np.random.default_rng(0).integers(0, len(rounds), (DRAWS, len(rounds)))
    drawn = [statistic([rounds[i] for i in pick]) for pick in picks]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def throughput(rounds: Sequence[Round]) -> float:
    """Requests a second of all rounds together."""
    return sum(len(each.whole) for each in rounds) / sum(each.wall for each in rounds)


def times(rounds: Sequence[Round], name: str) -> Float[np.ndarray, " n"]:
    """Milliseconds of all rounds: ``ttft``, ``tpot``, ``itl`` or ``e2el``, as `vllm bench serve` means them."""
    each = {
        "ttft": lambda r: r.first, "e2el": lambda r: r.whole, "itl": lambda r: r.gaps,
        "tpot": lambda r: (r.whole - r.first) / (TOKENS - 1),
    }[name]
    return 1000 * np.concatenate([each(one) for one in rounds])


STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda x: float(x.mean()), "median": lambda x: float(np.median(x)),
    "p99": lambda x: float(np.quantile(x, 0.99)),
}


def summed(rounds: Rounds) -> dict[str, dict[str, Any]]:
    """Throughput and times of the closed-loop rounds."""
    figures: dict[str, dict[str, Any]] = {}
    top = LEVELS[-1]
    for way, many in ((way, many) for many in LEVELS for way in WAYS[:2]):
        these, direct = rounds[way, many], rounds["direct", many]

        def add(name: str, unit: str, statistic: Callable[[Sequence[Round]], float], up: bool = False) -> None:
            value, peer = statistic(these), statistic(direct)  # noqa: B023 (called here)
            told = {} if way == "direct" else {  # noqa: B023
                "peer": "direct", "peer_value": peer, "ratio": value / peer if up else peer / value
            }
            figures[f"{way}_{many}_{name}"] = report.figure(  # noqa: B023
                value, unit, n=sum(len(one.whole) for one in these), interval=interval(these, statistic), **told  # noqa: B023
            )

        add("request_throughput", "requests/s", throughput, up=True)
        add("output_throughput", "tokens/s", lambda r: TOKENS * throughput(r), up=True)
        for kind in ("ttft", "tpot", "itl", "e2el"):
            for name, of in STATISTICS.items():
                add(f"{name}_{kind}_ms", "ms", lambda r, kind=kind, of=of: of(times(r, kind)))
    direct = rounds["direct", top]
    for way, key in (("gateway", "throughput_kept"), ("codes", "throughput_kept_codes"), ("whole", "throughput_kept_whole")):
        pairs = list(zip(rounds[way, top], direct))
        value = _kept(pairs)
        figures[key] = report.figure(
            value, f"of vLLM's requests/s at {top} at once", n=len(pairs), interval=interval(pairs, _kept),
            peer="vLLM asked directly", peer_value=1.0, ratio=value,
        )
    ours = rounds["gateway", top]
    rate = throughput(ours)
    figures[f"requests_per_second_{top}"] = report.figure(
        rate, "requests/s through the gateway", n=len(ours), interval=interval(ours, throughput),
        peer="vLLM asked directly", peer_value=throughput(direct), ratio=rate / throughput(direct),
    )
    seconds = FRAMES / 25
    figures[f"motion_seconds_per_second_{top}"] = report.figure(
        seconds * rate, "seconds of motion a second through the gateway", n=len(ours),
        interval=interval(ours, lambda r: seconds * throughput(r)), peer="real time", peer_value=1.0,
        ratio=seconds * rate,
    )
    for name, way in (("gateway_cpu_ms", "gateway"), ("gateway_cpu_ms_codes", "codes"), ("gateway_cpu_ms_whole", "whole")):
        used = [1000 * one.cpu["gateway"] for one in rounds[way, top]]
        figures[name] = report.figure(float(np.mean(used)), f"ms of processor time a request, {top} at once", n=len(used))
    used = [1000 * one.cpu["engine"] for one in direct]
    figures["engine_cpu_ms"] = report.figure(float(np.mean(used)), f"ms of processor time a request, {top} at once", n=len(used))
    figures["requests_failed"] = report.figure(sum(one.failed for each in rounds.values() for one in each), "requests")
    return figures


def _kept(pairs: Sequence[tuple[Round, Round]]) -> float:
    return throughput([ours for ours, _ in pairs]) / throughput([theirs for _, theirs in pairs])


def added(arrivals: dict[str, list[Round]], rate: float) -> dict[str, dict[str, Any]]:
    """What the gateway adds to quantiles of the latency, and of the time to the first chunk."""
    pairs = list(zip(arrivals["gateway"], arrivals["direct"]))
    figures = {"arrivals_per_second": report.figure(rate, "requests/s, half of what vLLM does at most")}
    for kind, infix in (("e2el", ""), ("ttft", "first_chunk_")):
        for share in (50, 99):

            def gained(drawn: Sequence[tuple[Round, Round]], kind: str = kind, share: int = share) -> float:
                ours, theirs = (times([pair[side] for pair in drawn], kind) for side in (0, 1))
                return float(np.percentile(ours, share) - np.percentile(theirs, share))

            peer = float(np.percentile(times(arrivals["direct"], kind), share))
            figures[f"gateway_added_{infix}p{share}_ms"] = report.figure(
                gained(pairs), f"ms, beyond vLLM's own p{share}", n=sum(len(one.whole) for one in arrivals["gateway"]),
                interval=interval(pairs, gained), peer="vLLM asked directly", peer_value=peer,
            )
    failed = sum(one.failed for each in arrivals.values() for one in each)
    return figures | {"arrivals_failed": report.figure(failed, "requests")}


LAG = "tdmm:first_motion_lag_seconds"


def lagged(lag: dict[float, float]) -> dict[str, dict[str, Any]]:
    """How soon the first frames follow the tokens that they need."""
    count = round(max(lag.values(), default=0))
    return {
        f"first_motion_ms_after_tokens{suffix}": report.figure(
            None if (value := quantile(lag, share)) is None else 1000 * value, f"ms, p{share * 100:.0f}", n=count
        )
        for suffix, share in (("", 0.5), ("_p99", 0.99))
    }


def buckets(text: str, name: str) -> dict[float, float]:
    """A histogram in Prometheus' text: counts up to each bound, all label sets together."""
    found: dict[float, float] = {}
    for labels, count in re.findall(rf"(?m)^{re.escape(name)}_bucket\{{([^}}]*)\}} (\S+)$", text):
        bound = re.search(r'le="([^"]+)"', labels)
        if bound:
            found[float(bound[1])] = found.get(float(bound[1]), 0) + float(count)
    return found


def quantile(counts: dict[float, float], share: float) -> float | None:
    """The value below which ``share`` lies, straight between bounds; above the last finite bound that bound."""
    below, before = 0.0, 0.0
    bounds = sorted(counts)
    wanted = share * counts[bounds[-1]] if bounds else 0
    if not wanted:
        return None
    for bound in bounds:
        if counts[bound] >= wanted:
            if np.isinf(bound):
                return below
            return below + (bound - below) * (wanted - before) / (counts[bound] - before)
        below, before = bound, counts[bound]
    return below
