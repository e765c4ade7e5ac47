"""What the gateway costs over the vLLM behind it: time added to a request, throughput kept, how soon motion shows.

    tdmm bench serve

Both sides get the same requests, streamed motions of 125 frames, in rounds that take turns, so that a busy machine
slows both; `tdmm_lm.bench.traffic` has the servers and the client, each a process of its own.
"""

import multiprocessing
import re
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from jaxtyping import Float

from tdmm_lm import bundle, config, report
from tdmm_lm.bench import soak
from tdmm_lm.bench.traffic import FRAMES, RECIPE, TOKENS, Load, Round, Stack, body, say, send, started
from tdmm_lm.lm import vocab
from tdmm_lm.serve.settings import Settings

LEVELS = (1, 8, 32)  # requests at once
WAYS = ("direct", "gateway", "codes", "whole")  # vLLM; the gateway streaming frames, codes alone, and not streaming
DRAWS = 500  # of the bootstrap
LAG = "tdmm:first_motion_lag_seconds"
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How much is measured. ``requests`` are of a closed-loop round, by how many at once."""

    rounds: int = 4
    requests: dict[int, int] = field(default_factory=lambda: {1: 30, 8: 160, 32: 640})
    poisson_seconds: float = 25.0
    soak_minutes: float = 20.0


def run(plan: Plan | None = None) -> dict[str, dict[str, Any]]:
    """All figures, those of `tdmm_lm.bench.soak` among them.

    ``gateway_added_*``: what the latency's distribution gains at Poisson arrivals of half of what vLLM can do, frames
    decoded and streamed; ``gateway_added_codes_*``: codes streamed alone, what vLLM says and no more;
    ``throughput_kept``: requests a second at 32 at once over vLLM's, frames decoded and streamed; ``_codes``: codes
    streamed alone; ``_whole``: nothing streamed; ``first_motion_ms_after_tokens``: from the last token that a stream's
    first frames need to those frames. ``direct_8_p99_ttft_ms`` and the like are vLLM's own names.
    """
    plan = plan or Plan()
    spawn = multiprocessing.get_context("spawn")
    with started() as stack, ProcessPoolExecutor(1, mp_context=spawn) as client:
        rounds, lag, rate, arrivals = measured(stack, client, plan)
    figures = summed(rounds) | added(arrivals, rate) | lagged(lag)
    return figures | soak.run(plan.soak_minutes)


Rounds = dict[tuple[str, int], list[Round]]  # by way and how many at once


def measured(
    stack: Stack, client: ProcessPoolExecutor, plan: Plan
) -> tuple[Rounds, dict[float, float], float, dict[str, list[Round]]]:
    """Closed-loop rounds, the lag of first motion at 8 at once as buckets, and the rate and rounds of Poisson arrivals.

    Raises:
        RuntimeError: vLLM does not answer with `TOKENS` tokens, or all requests of a round failed.
    """
    settings = config.load(Settings, bundle.path(RECIPE))
    grown = vocab.load(Path(settings.lm) if settings.lm else bundle.path("assets/lm"))
    numbers = iter(range(10**9))  # no request is made twice

    def took(way: str, count: int, *, many: int = 0, warm: int = 0, arrivals: Any = None) -> Round:
        bodies = [body(way, next(numbers), settings.model_name, grown) for _ in range(count + warm)]
        url, before = stack.engine if way == "direct" else stack.gateway, stack.cpu()
        done = client.submit(send, Load(url, stack.key, bodies, many, arrivals, warm)).result()
        used = {name: seconds - before[name] for name, seconds in stack.cpu().items()} | done.cpu
        if not len(done.whole):
            raise RuntimeError(f"bench serve: {way}: expected answers, got none: {done.why}")
        say(f"{way}, {many or 'arrivals'}: {len(done.whole) / done.wall:.1f} requests/s, latency "
            f"{1000 * np.median(done.whole):.0f} ms, failed {done.failed} {done.why}")
        return replace(done, cpu={name: seconds / (count + warm) for name, seconds in used.items()})

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
    arrivals: dict[str, list[Round]] = {"direct": [], "gateway": [], "codes": []}
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


def _of(kind: str, statistic: Callable[..., Any]) -> tuple[str, Callable[[Sequence[Round]], float]]:
    return "ms", lambda rounds: float(statistic(times(rounds, kind)))


KINDS = ("ttft", "tpot", "itl", "e2el")
STATISTICS: dict[str, tuple[str, Callable[[Sequence[Round]], float]]] = {
    "request_throughput": ("requests/s", throughput),
    "output_throughput": ("tokens/s", lambda rounds: TOKENS * throughput(rounds)),
    **{f"mean_{kind}_ms": _of(kind, np.mean) for kind in KINDS},
    **{f"median_{kind}_ms": _of(kind, np.median) for kind in KINDS},
    **{f"p99_{kind}_ms": _of(kind, lambda x: np.quantile(x, 0.99)) for kind in KINDS},
}


def summed(rounds: Rounds) -> dict[str, dict[str, Any]]:
    """Throughput and times of the closed-loop rounds."""
    figures: dict[str, dict[str, Any]] = {}
    top = LEVELS[-1]
    for way, many in ((way, many) for many in LEVELS for way in WAYS[:2]):
        for name, (unit, statistic) in STATISTICS.items():
            value, peer = statistic(rounds[way, many]), statistic(rounds["direct", many])
            told: dict[str, Any] = {}
            if way != "direct":
                better = value / peer if unit.endswith("/s") else peer / value
                told = {"peer": "vLLM asked directly", "peer_value": peer, "ratio": better}
            count, span = sum(len(one.whole) for one in rounds[way, many]), interval(rounds[way, many], statistic)
            figures[f"{way}_{many}_{name}"] = report.figure(value, unit, n=count, interval=span, **told)
    direct = rounds["direct", top]
    for way, suffix in (("gateway", ""), ("codes", "_codes"), ("whole", "_whole")):
        pairs = list(zip(rounds[way, top], direct))
        value = _kept(pairs)
        figures[f"throughput_kept{suffix}"] = report.figure(
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
    cpu = {"gateway_cpu_ms": ("gateway", "gateway"), "gateway_cpu_ms_codes": ("codes", "gateway"),
           "gateway_cpu_ms_whole": ("whole", "gateway"), "engine_cpu_ms": ("direct", "engine"),
           "client_cpu_ms": ("gateway", "client")}
    for name, (way, process) in cpu.items():
        used = float(np.mean([1000 * one.cpu[process] for one in rounds[way, top]]))
        figures[name] = report.figure(used, f"ms of processor time a request, {top} at once", n=len(ours))
    figures["requests_failed"] = report.figure(sum(one.failed for each in rounds.values() for one in each), "requests")
    return figures


def _kept(pairs: Sequence[tuple[Round, Round]]) -> float:
    return throughput([ours for ours, _ in pairs]) / throughput([theirs for _, theirs in pairs])


def added(arrivals: dict[str, list[Round]], rate: float) -> dict[str, dict[str, Any]]:
    """What the gateway adds to quantiles of the latency, and of the time to the first chunk."""
    figures = {"arrivals_per_second": report.figure(rate, "requests/s, half of what vLLM does at most")}
    for way, asked in (("gateway", ""), ("codes", "codes_")):
        pairs = list(zip(arrivals[way], arrivals["direct"], strict=True))
        for kind, infix in (("e2el", ""), ("ttft", "first_chunk_")):
            for share in (50, 99):

                def gained(drawn: Sequence[tuple[Round, Round]], kind: str = kind, share: int = share) -> float:
                    ours, theirs = (times([pair[side] for pair in drawn], kind) for side in (0, 1))
                    return float(np.percentile(ours, share) - np.percentile(theirs, share))

                peer = float(np.percentile(times(arrivals["direct"], kind), share))
                figures[f"gateway_added_{asked}{infix}p{share}_ms"] = report.figure(
                    gained(pairs), f"ms, beyond vLLM's own p{share}", n=sum(len(one.whole) for one in arrivals[way]),
                    interval=interval(pairs, gained), peer="vLLM asked directly", peer_value=peer,
                )
    failed = sum(one.failed for each in arrivals.values() for one in each)
    return figures | {"arrivals_failed": report.figure(failed, "requests")}


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
