"""How an endpoint serves while it is asked many things at once: seconds a request, tokens a second, failures.

``endpoint.at_once`` is the load. Answers are timed once, when they come: a run that goes on, or is made again offline,
has the times of then. Streams, first frames and the gateway's own share of the time: ``tdmm bench serve``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from pydantic import Field

from tdmm_lm import config
from tdmm_lm.eval.suites import Answered, Column, Item, OfSamples, Vectors, l2m, m2l, of_values, samples

COLUMNS = {
    "answered": Column("share", "higher", "words or a motion came back"),
    "describe_seconds": Column("s", "lower", "of a request that describes four seconds or so of motion"),
    "perform_seconds": Column("s", "lower", "of a request that performs a prompt"),
    "tokens_per_second": Column("tokens/s", "higher", "answered, of one request"),
    "real_time": Column("ratio", "higher", "seconds of motion performed a second of waiting"),
}
SETS = {
    "describe_p99_seconds": Column("s", "lower", "99th percentile"),
    "perform_p99_seconds": Column("s", "lower", "99th percentile"),
}


class Data(config.Settings):
    """``n`` requests of either kind."""

    n: int = Field(50, ge=1)
    words: list[str] | None = None


def items(data: Data, seed: int) -> Iterator[Item]:
    """Descriptions and performances in turn."""
    described = samples(m2l.items(m2l.Data(n=data.n, words=data.words), seed))
    performed = l2m.items(l2m.Data(n=data.n, swaps=0, words=data.words), seed)
    pairs = zip(described, performed)
    yield from (replace(item, cluster=item.id) for item in chain.from_iterable(pairs))


def scored(item: Item, answer: Answered, data: Data) -> dict[str, float | None]:
    """Times of one answer; a failure has none."""
    good = not answer.fault
    performs = item.id.startswith("prompt-")
    seconds = answer.seconds if good and answer.seconds > 0 else None
    clip = answer.clip
    return {
        "answered": float(good),
        "describe_seconds": None if performs else seconds,
        "perform_seconds": seconds if performs else None,
        "tokens_per_second": answer.tokens_out / seconds if seconds and answer.tokens_out else None,
        "real_time": clip.frames / clip.fps / seconds if seconds and clip is not None else None,
    }


def sets(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> dict[str, OfSamples]:
    """Percentiles over the requests of a kind."""
    result: dict[str, OfSamples] = {}
    for name in SETS:
        column = name.replace("_p99", "")
        found = [scored(item, answer, data)[column] for item, answer in zip(items, answers)]
        values = np.array([np.nan if value is None else value for value in found], float)
        if np.isfinite(values).any():
            result[name] = of_values(values, lambda some: np.quantile(some, 0.99))
    return result


def candidate(item: Item, answer: Answered) -> tuple[str, str]:
    """The words, where words came."""
    return answer.text, item.reference


def told(item: Item, answer: Answered) -> tuple[str, str] | None:
    """Nothing to confuse."""
    return None


def local(item: Item, data: Data) -> Answered | None:
    """The endpoint is asked."""
    return None


def vectors(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> Vectors | None:
    """Nothing to draw."""
    return None
