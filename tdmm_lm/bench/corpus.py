"""How fast a corpus of performances is built, by one process and by two of Ray's; how even it is, how varied its texts.

    tdmm bench corpus

All with sound, motion and edits, as in `recipes/corpus/performed.yaml`. Speeds are of making shards, with the workers
already there; both runners take turns in the same run.
"""

import multiprocessing
import re
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm import bundle, config, report
from tdmm_lm.corpus import build, caption, labels, prompts, table
from tdmm_lm.corpus.building import running, shards
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.sources import performed
from tdmm_lm.corpus.wordings import wordings

CLIPS, SHARD, ROUNDS = 2_000, 100, 3  # of the speeds
BALANCED = 10_000  # clips whose labels are counted
FEW, MANY = 1_000, 10_000  # clips between which memory may grow
DESCRIPTIONS, COMPARED = 10_000, 300  # texts for bigrams (more texts, fewer new ones) and for self-BLEU


def run() -> dict[str, dict[str, Any]]:
    """``clips_per_minute``, ``ray_speedup_2``, ``label_balance``, ``memory_growth_mb``, ``distinct_2_no_digits``,
    ``self_bleu``.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        return {**speeds(Path(folder)), **varied(), **balance(), **memory()}


def settings(clips: int, **changes: Any) -> build.Settings:
    """The big recipe with so many clips for training alone."""
    whole = config.load(build.Settings, bundle.path("recipes/corpus/performed.yaml"))
    section = whole.sources["performed"] | {"clips": {"train": clips}}
    return whole.model_copy(update={"sources": {"performed": section}, "shard": SHARD, **changes})


def speeds(folder: Path) -> dict[str, dict[str, Any]]:
    """Clips a minute of one process, and how much faster two of Ray's are."""
    import ray

    runners = {"one": settings(CLIPS, workers=1), "ray": settings(CLIPS, workers=2, runner="ray")}
    taken: dict[str, list[float]] = {name: [] for name in runners}
    running.start_ray(runners["ray"], 2)
    try:
        for turn in range(-1, ROUNDS):  # the first turn warms everybody up
            for name, own in runners.items():
                seeded = own.model_copy(update={"seed": turn + 100})  # other clips: nothing is remembered
                todo = list(shards.plan(seeded))[: None if turn >= 0 else 4]
                start = time.perf_counter()
                assert len(list(running.run(todo, seeded, folder / f"{name}{turn}"))) == len(todo)
                if turn >= 0:
                    taken[name].append(time.perf_counter() - start)
    finally:
        ray.shutdown()
    one, two = (float(np.median(taken[name])) for name in runners)
    ratios = [a / b for a, b in zip(taken["one"], taken["ray"])]
    same = all(
        (folder / "one0" / path.name).read_bytes() == path.read_bytes() for path in table.shards(folder / "ray0")
    )
    return {
        "clips_per_minute": report.figure(60 * CLIPS / one, "clips/min", n=CLIPS),
        "clips_per_minute_ray_2": report.figure(60 * CLIPS / two, "clips/min", n=CLIPS),
        "ray_speedup_2": report.figure(
            one / two, "times as fast", n=ROUNDS, interval=(min(ratios), max(ratios)), peer="one process",
            peer_value=1.0, ratio=one / two,
        ),
        "ray_same_bytes": report.figure(float(same), "1 where all shards are the same", n=CLIPS // SHARD),
    }


def balance() -> dict[str, dict[str, Any]]:
    """The largest deviation of a word's count and of a subject's from an even share, in percent."""
    words, subjects = Counter[str](), Counter[str]()
    for known in _known(BALANCED):
        words[str(known.word)] += 1
        subjects[known.subject] += 1
    figures = {}
    for name, found, kinds in (
        ("label", words, len(lexicon().words)), ("subject", subjects, len(wordings().subjects))
    ):
        apart = max(abs(count * kinds / BALANCED - 1) for count in (*found.values(), *[0] * (kinds - len(found))))
        figures[f"{name}_balance"] = report.figure(100 * apart, f"% at most from even among {kinds}", n=BALANCED)
    return figures


def memory() -> dict[str, dict[str, Any]]:
    """The largest memory of a process that builds, card included, for few clips and for many."""
    peaks = {}
    for clips in (FEW, MANY):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            peaks[clips] = pool.submit(_peak_mb, clips).result()
    return {
        "memory_mb": report.figure(peaks[FEW], "MB at most", n=FEW),
        "memory_growth_mb": report.figure(peaks[MANY] - peaks[FEW], f"MB more for {MANY} clips than for {FEW}", n=MANY),
    }


def _peak_mb(clips: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        build.build(settings(clips, workers=1, shard=250), Path(folder) / "out")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def varied() -> dict[str, dict[str, Any]]:
    """How little captions repeat each other: bigrams that are their own, and self-BLEU-4 (lower is more varied)."""
    texts = [
        re.findall(r"[a-z']+", caption.describe(known, np.random.default_rng(place), style).lower())
        for place, (known, style) in enumerate(zip(_known(DESCRIPTIONS), cycle(caption.LENGTHS)))
    ]
    pairs = [pair for words in texts for pair in pairwise(words)]
    chosen = texts[:COMPARED]
    return {
        "distinct_2_no_digits": report.figure(len(set(pairs)) / len(pairs), "distinct / all bigrams", n=len(texts)),
        "distinct_2_count": report.figure(len(set(pairs)), "bigrams", n=len(texts)),
        "self_bleu": report.figure(self_bleu(chosen), "BLEU-4 against the others, 0 to 1", n=len(chosen)),
    }


def _known(count: int) -> Iterator[labels.Labels]:
    """Labels of so many performances, dealt as a recipe deals them."""
    for item in performed.items(performed.Settings(clips={"train": count}), 0):
        yield labels.of_score(prompts.sample(int(item.what["number"]), word=str(item.what["word"])))


def self_bleu(texts: list[list[str]]) -> float:
    """Mean BLEU-4 of each text against all others (Zhu et al. 2018), add-0.1 for orders without a match."""
    total = 0.0
    counted = [[Counter(zip(*(words[shift:] for shift in range(n)))) for n in range(1, 5)] for words in texts]
    for place, words in enumerate(texts):
        others = [other for number, other in enumerate(counted) if number != place]
        logs = 0.0
        for n in range(4):
            own = counted[place][n]
            matched = sum(min(count, max(other[n][gram] for other in others)) for gram, count in own.items())
            logs += np.log(max(matched, 0.1) / max(own.total(), 1)) / 4
        lengths = [len(other) for number, other in enumerate(texts) if number != place]
        nearest = min(lengths, key=lambda length: (abs(length - len(words)), length))
        total += float(np.exp(logs)) * min(1.0, float(np.exp(1 - nearest / max(len(words), 1))))
    return total / len(texts)
