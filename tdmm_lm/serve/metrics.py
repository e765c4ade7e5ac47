"""What a gateway counts, in Prometheus' text form: under vLLM's names what vLLM counts too, `tdmm:` what is ours.

Where the engine is a vLLM its own figures are shown, and of ours only those that it does not have.
"""

import re
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tdmm_lm.serve.engine import Used

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 40, 80)
LAG = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2)
SAMPLE = re.compile(r"^# TYPE (\S+)", re.MULTILINE)


class Metrics:
    """One gateway's figures, in a registry of their own."""

    def __init__(self, model: str) -> None:
        self.registry = CollectorRegistry()
        self._model = {"model_name": model}

        def made(kind: Any, name: str, about: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(name, about, labels, registry=self.registry, **more)

        by_model = ("model_name",)
        running = made(Gauge, "vllm:num_requests_running", "Chat requests in work.", by_model)
        self.running = running.labels(**self._model)
        self.first = made(
            Histogram, "vllm:time_to_first_token_seconds", "To the first piece.", by_model, buckets=SECONDS
        ).labels(**self._model)
        self.whole = made(
            Histogram, "vllm:e2e_request_latency_seconds", "To the end of an answer.", by_model, buckets=SECONDS
        ).labels(**self._model)
        self.prompt = made(Counter, "vllm:prompt_tokens", "Prompt tokens.", by_model).labels(**self._model)
        self.generated = made(Counter, "vllm:generation_tokens", "Tokens of answers.", by_model).labels(**self._model)
        self._success = made(
            Counter, "vllm:request_success", "Answers by how they ended.", (*by_model, "finished_reason")
        )
        self._requests = made(Counter, "tdmm:http_requests", "Requests.", ("method", "route", "status"))
        self.latency = made(
            Histogram, "tdmm:http_request_seconds", "From request to its answer's end.", ("route",), buckets=SECONDS
        )
        self.motion_seconds = made(Counter, "tdmm:motion_seconds", "Seconds of motion performed.")
        self.motion_tokens = made(Counter, "tdmm:motion_tokens", "Codes performed.")
        self.first_motion = made(
            Histogram, "tdmm:first_motion_lag_seconds",
            "From the last token that a stream's first decoded chunk needs to that chunk.", buckets=LAG,
        )
        self.backends = made(Gauge, "tdmm:engine_ready", "1 while the engine answers.")
        self.restarts = made(Gauge, "tdmm:engine_restarts", "How often the engine was started again.")

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self.latency.labels(route).observe(seconds)

    def ended(self, reason: str) -> None:
        self._success.labels(**self._model, finished_reason=reason).inc()

    def used(self, used: Used) -> None:
        self.prompt.inc(used.prompt_tokens)
        self.generated.inc(used.completion_tokens)
        self.motion_tokens.inc(used.motion_tokens)

    def text(self, engine: str) -> str:
        """All figures; ``engine`` are the engine's own, which come first and win where names meet."""
        theirs = set(SAMPLE.findall(engine))
        ours = generate_latest(self.registry).decode()
        families = re.split(r"(?m)^(?=# HELP )", ours)
        kept = [family for family in families if family and not _named(family) & theirs]
        return engine.rstrip("\n") + "\n" * bool(engine) + "".join(kept)


def _named(family: str) -> set[str]:
    return set(SAMPLE.findall(family))
