"""How sure a figure is: intervals that keep the samples of a cluster together, and two systems on the same samples.

A cluster is what samples share beyond being samples: a speaker, a subject, a source clip, a rater. With 20 clusters or
more, whole clusters are drawn again with replacement and quantiles of the results are the ends of the interval, taken
a little further out as a Student's t is from a normal (Hesterberg 2015, "What Teachers Should Know About the
Bootstrap"): plain percentiles are too narrow with few. With fewer, leaving clusters out one by one gives the spread
and Student's t the width (MacKinnon, Nielsen and Webb 2023, "Fast and reliable jackknife and bootstrap methods for
cluster-robust inference"), which for clusters of one size is the ordinary t interval of their means.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

FEW = 20  # clusters; with fewer, t rather than quantiles
GROUPS = 50  # a set function is left-one-out over this many groups of clusters at most
BLOCK = 4_000_000  # numbers drawn at a time
EXACT = 12  # up to so many clusters, every pattern of signs is tried: 4,096
METHODS = ("auto", "percentile", "bca", "t")
Clusters = Sequence[Any] | np.ndarray | None  # one name a sample; None: every sample is its own


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval (or what ``confidence`` asked for); ``reason`` says why one is None."""

    value: float | None
    interval: tuple[float, float] | None
    n: int
    clusters: int
    method: str = ""  # percentile, bca, t, two-way t, wilson
    resamples: int = 0
    seed: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """System b against system a on the same samples; ``difference`` is b - a.

    ``p`` flips the signs of whole clusters, ``flips`` times (all patterns where they are few); with a second clustering
    it is the two-way t's and ``flips`` 0. ``wilcoxon`` ranks the clusters' mean differences; ``holm`` is ``p``
    corrected over all columns compared together.
    """

    a: float | None
    b: float | None
    difference: Estimate
    p: float | None
    holm: float | None
    wilcoxon: float | None
    flips: int


def means(
    values: Float[np.ndarray, "samples columns"],
    clusters: Clusters = None,
    *,
    crossed: Clusters = None,
    method: str = "auto",
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Estimate]:
    """The mean of every column, nan being a missing value.

    ``crossed`` names a second clustering that cuts across the first (items and raters): both spreads are added and
    what they share is subtracted (Cameron, Gelbach and Miller 2011), with the t of the smaller.

    Raises:
        ValueError: an infinite value, an unknown method, not one cluster a sample, or both ``crossed`` and quantiles.
    """
    known = ("auto", "t") if crossed is not None else METHODS
    if method not in known:
        raise ValueError(f"method: expected one of {', '.join(known)}, got {method!r}.")
    values = _finite(values)
    codes, count = _codes(clusters, len(values))
    value, spread, held = _left_out(values, codes, count)
    sums, counts = _per_cluster(values, codes, count)
    if crossed is not None:
        spread, held = _two_way(values, codes, count, crossed)
    result = []
    n = counts.sum(axis=0).astype(int)
    automatic = ["t" if crossed is not None or k < FEW else "percentile" for k in held]
    ways = automatic if method == "auto" else [method] * len(held)
    drawn = _drawn_means(sums, counts, resamples, seed) if {"percentile", "bca"} & set(ways) else None
    for k, way in enumerate(ways):
        base = Estimate(float(value[k]) if n[k] else None, None, int(n[k]), int(held[k]), seed=seed)
        if base.value is None or held[k] < 2:
            result.append(replace(base, reason="no samples" if base.value is None else _alone(held[k])))
        elif way == "t" or drawn is None:
            half = _t(confidence, held[k]) * math.sqrt(spread[k])
            called = "t" if crossed is None else "two-way t"
            result.append(replace(base, interval=(base.value - half, base.value + half), method=called))
        else:
            without = _without(sums[:, k], counts[:, k]) if way == "bca" else None
            ends = _quantiles(drawn[:, k], base.value, held[k], confidence, without)
            result.append(replace(base, interval=ends, method=way, resamples=resamples))
    return result


def mean(values: Float[np.ndarray, " samples"], clusters: Clusters = None, **more: Any) -> Estimate:
    """`means` of one column."""
    return means(np.asarray(values, float)[:, None], clusters, **more)[0]


def share(
    values: Float[np.ndarray, " samples"],
    clusters: Clusters = None,
    *,
    crossed: Clusters = None,
    confidence: float = 0.95,
) -> Estimate:
    """The mean of values in 0..1 (wins; 0.5 a tie), Wilson's interval for as many samples as the clusters are worth.

    Unlike the others it keeps a width where all say the same: then a cluster counts as one sample.

    Raises:
        ValueError: a value outside 0..1.
    """
    values = _finite(np.asarray(values, float)[:, None])
    if np.any((values < 0) | (values > 1)):
        raise ValueError(f"values: expected shares in 0..1, got {np.nanmin(values):g} to {np.nanmax(values):g}.")
    codes, count = _codes(clusters, len(values))
    middle, spread, held = _left_out(values, codes, count)
    if crossed is not None:
        spread, held = _two_way(values, codes, count, crossed)
    n, many = int(np.isfinite(values).sum()), int(held[0])
    if n == 0 or many < 2:
        return Estimate(float(middle[0]) if n else None, None, n, many, reason=_alone(many) if n else "no samples")
    p, z = float(middle[0]), _t(confidence, many)
    worth = p * (1 - p) / spread[0] if spread[0] > 1e-12 and 0 < p < 1 else float(many)
    scale = 1 + z * z / worth
    centre = (p + z * z / (2 * worth)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / worth + z * z / (4 * worth * worth))
    ends = (round(max(0.0, centre - half), 12), round(min(1.0, centre + half), 12))
    return Estimate(p, ends, n, many, method="wilson")


def statistic(
    function: Callable[[Int[np.ndarray, " picked"]], float],
    n: int,
    clusters: Clusters = None,
    *,
    method: str = "auto",
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Any figure of a set: ``function`` takes the indices of the samples it shall see and gives nan where undefined.

    Drawing with replacement repeats samples, which a Fréchet distance takes for less variety: its percentiles lie
    high. For such a figure ask for ``t``, which only leaves out. ``bounds`` are the values the figure can take.

    Raises:
        ValueError: an unknown method, or not one cluster a sample.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}.")
    codes, count = _codes(clusters, n)
    value = float(function(np.arange(n))) if n else math.nan
    base = Estimate(value if math.isfinite(value) else None, None, n, count, seed=seed)
    if base.value is None:
        return replace(base, reason="undefined on these samples" if n else "no samples")
    if count < 2:
        return replace(base, reason=_alone(count))
    rng = np.random.default_rng(seed)
    way = method if method != "auto" else ("t" if count < FEW else "percentile")
    without = np.array([])
    if way in ("t", "bca"):
        parts = min(count, GROUPS)
        part = rng.permutation(np.arange(count) % parts)[codes]
        without = np.array([function(np.flatnonzero(part != k)) for k in range(parts)], dtype=float)
        if not np.isfinite(without).all():
            lost = int((~np.isfinite(without)).sum())
            return replace(base, reason=f"undefined in {lost} of {parts} parts of the samples")
    if way == "t":
        parts = len(without)
        half = _t(confidence, parts) * math.sqrt((parts - 1) / parts * ((without - value) ** 2).sum())
        ends = (value - half, value + half)
        drawn = 0
    else:
        found = np.array([function(picked) for picked in _draws(codes, count, resamples, rng)], dtype=float)
        fine = found[np.isfinite(found)]
        if len(fine) < 0.9 * resamples or not len(fine):
            return replace(base, reason=f"undefined in {resamples - len(fine)} of {resamples} resamples")
        ends = _quantiles(fine, value, count, confidence, without if way == "bca" else None)
        drawn = len(fine)
    return replace(base, interval=(max(ends[0], bounds[0]), min(ends[1], bounds[1])), method=way, resamples=drawn)


def compare(
    a: Float[np.ndarray, "samples columns"],
    b: Float[np.ndarray, "samples columns"],
    clusters: Clusters = None,
    *,
    crossed: Clusters = None,
    method: str = "auto",
    resamples: int = 1000,
    flips: int = 9999,
    seed: int = 0,
) -> list[Comparison]:
    """System ``b`` against ``a`` on the same samples, column by column; pairs with a missing side are left out.

    Raises:
        ValueError: the two are not of one shape, or as `means`.
    """
    a, b = _finite(a), _finite(b)
    if a.shape != b.shape:
        raise ValueError(f"b: expected {a.shape[0]} samples of {a.shape[1]} columns as in a, got {b.shape}.")
    gaps = b - a
    found = means(gaps, clusters, crossed=crossed, method=method, resamples=resamples, seed=seed)
    codes, count = _codes(clusters, len(gaps))
    if crossed is None:
        p, tried = sign_flips(gaps, clusters, flips=flips, seed=seed)
    else:
        p, tried = _two_way_p(gaps, codes, count, crossed), 0
    sums, counts = _per_cluster(gaps, codes, count)
    paired = np.isfinite(gaps)
    result = []
    for k, (one, adjusted) in enumerate(zip(found, holm(p))):
        here = counts[:, k] > 0
        sides = [float(side[paired[:, k], k].mean()) if here.any() else None for side in (a, b)]
        ranked = sums[here, k] / counts[here, k]
        second = float(stats.wilcoxon(ranked).pvalue) if ranked.any() else None
        result.append(Comparison(sides[0], sides[1], one, p[k], adjusted, second, tried))
    return result


def sign_flips(
    gaps: Float[np.ndarray, "samples columns"], clusters: Clusters = None, *, flips: int = 9999, seed: int = 0
) -> tuple[list[float | None], int]:
    """Two-sided p of every column's mean difference when whole clusters could as well have the other sign.

    Returns the p's (None with fewer than two clusters) and how many patterns of signs were tried.
    """
    gaps = _finite(gaps)
    codes, count = _codes(clusters, len(gaps))
    sums, counts = _per_cluster(gaps, codes, count)
    actual = np.abs(sums.sum(axis=0))
    reached = actual * (1 - 1e-9) - 1e-12  # sums in another order differ in the last bits
    held = (counts > 0).sum(axis=0)
    hits = np.zeros(gaps.shape[1])
    if count <= EXACT:
        patterns = 1 - 2.0 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
        hits += (np.abs(patterns @ sums) >= reached).sum(axis=0)
        p, tried = hits / len(patterns), len(patterns)
    else:
        rng = np.random.default_rng(seed)
        for size in _blocks(flips, count):
            patterns = 1.0 - 2.0 * rng.integers(0, 2, (size, count), dtype=np.int8)
            hits += (np.abs(patterns @ sums) >= reached).sum(axis=0)
        p, tried = (1 + hits) / (1 + flips), flips
    return [float(one) if k >= 2 else None for one, k in zip(p, held)], tried


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over all that are there; a missing p stays missing and does not count."""
    order = sorted((one, k) for k, one in enumerate(p) if one is not None)
    result: list[float | None] = [None] * len(p)
    worst = 0.0
    for rank, (one, k) in enumerate(order):
        worst = max(worst, min(1.0, one * (len(order) - rank)))
        result[k] = worst
    return result


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"values: expected (samples, columns), got {values.shape}.")
    if np.isinf(values).any():
        raise ValueError(f"values: expected numbers, or nan where missing, got {int(np.isinf(values).sum())} infinite.")
    return values


def _codes(clusters: Clusters, n: int) -> tuple[np.ndarray, int]:
    """Every sample's cluster as a number, and how many there are."""
    if clusters is None:
        return np.arange(n), n
    if len(clusters) != n:
        raise ValueError(f"clusters: expected {n}, one a sample, got {len(clusters)}.")
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    return codes.reshape(-1), len(names)


def _per_cluster(values: np.ndarray, codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and numbers of values, (clusters, columns): all that a mean needs of a cluster."""
    if not count:
        return np.zeros((0, values.shape[1])), np.zeros((0, values.shape[1]))
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(count))
    there = np.isfinite(values)
    sums = np.add.reduceat(np.where(there, values, 0.0)[order], starts, axis=0)
    return sums, np.add.reduceat(there[order].astype(float), starts, axis=0)


def _without(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The means with one cluster left out, for every cluster that holds values."""
    held = counts > 0
    return (sums.sum() - sums[held]) / (counts.sum() - counts[held])


def _left_out(values: np.ndarray, codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, their variances from leaving out one cluster at a time, and clusters that hold values; all (columns,)."""
    sums, counts = _per_cluster(values, codes, count)
    total, held = counts.sum(axis=0), (counts > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = sums.sum(axis=0) / total
        without = np.where(counts > 0, (sums.sum(axis=0) - sums) / (total - counts), value)
        variance = (held - 1) / held * ((without - value) ** 2).sum(axis=0)
    return value, variance, held


def _two_way(values: np.ndarray, codes: np.ndarray, count: int, crossed: Clusters) -> tuple[np.ndarray, np.ndarray]:
    """Variances of the means over both clusterings, and the smaller number of clusters; (columns,) each."""
    others, many = _codes(crossed, len(values))
    cells, kinds = _codes(codes * max(many, 1) + others, len(values))
    _, first, held = _left_out(values, codes, count)
    _, second, held_too = _left_out(values, others, many)
    _, both, _ = _left_out(values, cells, kinds)
    return np.fmax(first + second - both, np.fmax(first, second)), np.minimum(held, held_too)


def _two_way_p(gaps: np.ndarray, codes: np.ndarray, count: int, crossed: Clusters) -> list[float | None]:
    value = _left_out(gaps, codes, count)[0]
    spread, held = _two_way(gaps, codes, count, crossed)
    return [
        (float(2 * stats.t.sf(abs(one) / math.sqrt(wide), k - 1)) if wide > 0 else float(one == 0)) if k >= 2 else None
        for one, wide, k in zip(value, spread, held)
    ]


def _blocks(total: int, width: int) -> Iterator[int]:
    step = max(1, BLOCK // max(width, 1))
    yield from (min(step, total - start) for start in range(0, total, step))


def _drawn_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of clusters drawn with replacement, (resamples, columns): how often each is drawn is all that counts."""
    rng, count = np.random.default_rng(seed), len(sums)
    drawn = []
    for size in _blocks(resamples, count):
        picked = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        often = np.bincount(picked.reshape(-1), minlength=size * count).reshape(size, count).astype(float)
        with np.errstate(invalid="ignore"):
            drawn.append((often @ sums) / (often @ counts))
    return np.concatenate(drawn)


def _draws(codes: np.ndarray, count: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Indices of the samples of clusters drawn with replacement.

        order   [ samples of cluster 0 | samples of cluster 1 | ... ]
        picked   order[start of the drawn cluster + 0 .. its size - 1], one drawn cluster after another
    """
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for _ in range(resamples):
        drawn = rng.integers(0, count, count)
        size = sizes[drawn]
        before = np.cumsum(size) - size
        yield order[np.repeat(starts[drawn] - before, size) + np.arange(size.sum())]


def _t(confidence: float, clusters: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, clusters - 1))


def _quantiles(
    drawn: np.ndarray, value: float, clusters: int, confidence: float, without: np.ndarray | None
) -> tuple[float, float]:
    """The ends of the interval among the drawn values; BCa (Efron 1987) where the left-out values are given."""
    drawn = drawn[np.isfinite(drawn)]
    reach = math.sqrt(clusters / (clusters - 1)) * _t(confidence, clusters)  # Hesterberg's expansion
    ends = np.array([-reach, reach])
    if without is not None:
        below = (drawn < value).mean() + (drawn == value).mean() / 2
        bias = stats.norm.ppf(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
        gap = without.mean() - without
        spread = (gap**2).sum() ** 1.5
        skew = (gap**3).sum() / (6 * spread) if spread > 0 else 0.0
        moved = bias + ends
        scale = 1 - skew * moved
        ends = bias + np.where(scale > 0, moved / np.where(scale > 0, scale, 1.0), np.copysign(np.inf, moved))
    low, high = np.quantile(drawn, stats.norm.cdf(ends))
    return float(low), float(high)


def _alone(clusters: int) -> str:
    return f"{clusters} cluster: an interval needs at least two"
