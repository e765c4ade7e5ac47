"""Whether judges agree: among themselves, with people, and with themselves when two candidates change places.

Scores are ordinal, 1 to 5 or any other numbers, nan where missing. Everything comes with an interval over samples (or
their clusters); where a figure is undefined (constant raters, nothing in common) it is None, with the reason.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from tdmm_lm.eval import statistics
from tdmm_lm.eval.statistics import Clusters, Estimate

LEVELS = ("nominal", "ordinal", "interval")
BANNER = "judge not validated"
Scores = Float[np.ndarray, " samples"]


def kappa(a: Scores, b: Scores, clusters: Clusters = None, **more: Any) -> Estimate:
    """Cohen's kappa with quadratic weights; ``more`` goes to `statistics.statistic`.

    With these weights it is 1 - E(a - b)² / E(a' - b')², a' and b' drawn from the two raters' own scores apart from
    each other (Fleiss and Cohen 1973), so scores between the levels (a mean of people) need no rounding.
    """
    return _paired(_kappa, a, b, clusters, "both raters give one and the same score throughout", (-1, 1), more)


def spearman(a: Scores, b: Scores, clusters: Clusters = None, **more: Any) -> Estimate:
    """Correlation of ranks, ties sharing theirs."""
    return _paired(_spearman, a, b, clusters, "one side is constant", (-1, 1), more)


def kendall(a: Scores, b: Scores, clusters: Clusters = None, **more: Any) -> Estimate:
    """Kendall's tau-b."""
    return _paired(_kendall, a, b, clusters, "one side is constant", (-1, 1), more)


def mae(a: Scores, b: Scores, clusters: Clusters = None, **more: Any) -> Estimate:
    """Mean absolute difference, in grades."""
    return _paired(_mae, a, b, clusters, "", (0, math.inf), more)


def alpha(
    ratings: Float[np.ndarray, "samples raters"], clusters: Clusters = None, *, level: str = "ordinal", **more: Any
) -> Estimate:
    """Krippendorff's alpha ("Computing Krippendorff's Alpha-Reliability", 2011); samples of one rater do not count.

    Raises:
        ValueError: an unknown level, or not one cluster a sample.
    """
    if level not in LEVELS:
        raise ValueError(f"level: expected one of {', '.join(LEVELS)}, got {level!r}.")
    ratings = np.asarray(ratings, dtype=float)
    if ratings.ndim != 2:
        raise ValueError(f"ratings: expected (samples, raters), got {ratings.shape}.")
    _checked(clusters, len(ratings))
    shared = np.isfinite(ratings).sum(axis=1) >= 2
    if not shared.any():
        return Estimate(None, None, 0, 0, reason="no sample has two ratings")
    grades = np.unique(ratings[shared][np.isfinite(ratings[shared])])
    counts = (ratings[shared][:, :, None] == grades).sum(axis=1).astype(float)  # (units, grades)
    found = statistics.statistic(
        lambda picked: _alpha(counts[picked], grades, level), len(counts), _kept(clusters, shared),
        **{"bounds": (-1, 1), **more},
    )
    return replace(found, reason="all ratings are the same") if found.value is None else found


def with_people(
    judge: Scores, people: Float[np.ndarray, "samples people"], clusters: Clusters = None, **more: Any
) -> dict[str, Estimate]:
    """A judge against the mean of the people who rated the same sample, and how far people agree among themselves."""
    people = np.asarray(people, dtype=float)
    there = np.isfinite(people)
    with np.errstate(invalid="ignore"):
        middle = np.where(there, people, 0.0).sum(axis=1) / there.sum(axis=1)
    return {
        "kappa": kappa(judge, middle, clusters, **more),
        "spearman": spearman(judge, middle, clusters, **more),
        "kendall": kendall(judge, middle, clusters, **more),
        "mae": mae(judge, middle, clusters, **more),
        "people_alpha": alpha(people, clusters, **more),
    }


def length_bias(scores: Scores, captions: Sequence[str], clusters: Clusters = None, **more: Any) -> Estimate:
    """Spearman's correlation of scores with the length of what was judged, in words: does a judge like it long?

    Raises:
        ValueError: not one caption a score.
    """
    if len(captions) != len(scores):
        raise ValueError(f"captions: expected {len(scores)}, one a score, got {len(captions)}.")
    return spearman(scores, np.array([len(text.split()) for text in captions], dtype=float), clusters, **more)


@dataclass(frozen=True)
class Orders:
    """Pairwise verdicts in both orders. A win counts where both orders say so, everything else is a tie.

    ``flip_rate``: the winner changes with the order. ``wavering``: a win in one order, a tie in the other.
    ``win_rate``: consistent wins, ties as a half. ``first_bias``: how much more often what is shown first wins than
    what is shown second, in shares of all verdicts; 0 is none.
    """

    wins: int
    ties: int
    losses: int
    flips: int
    wavering: int
    left_out: int
    win_rate: Estimate
    consistent_wins: Estimate
    flip_rate: Estimate
    first_bias: Estimate


def orders(
    ours_first: Scores, ours_second: Scores, clusters: Clusters = None, *, resamples: int = 1000, seed: int = 0
) -> Orders:
    """What a judge said of our system in both orders: 1 it wins, 0 a tie, -1 it loses, nan no answer.

    Raises:
        ValueError: another code, or not one cluster a sample.
    """
    first, second = np.asarray(ours_first, dtype=float), np.asarray(ours_second, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"ours_second: expected {first.shape} verdicts as in the first order, got {second.shape}.")
    for verdicts in (first, second):
        strange = sorted(set(verdicts[np.isfinite(verdicts)]) - {-1.0, 0.0, 1.0})
        if strange or np.isinf(verdicts).any():
            raise ValueError(f"verdicts: expected 1, 0, -1 or nan, got {strange[0] if strange else 'inf'}.")
    _checked(clusters, len(first))
    both = np.isfinite(first) & np.isfinite(second)
    first, second, kept = first[both], second[both], _kept(clusters, both)
    result = np.where(first == second, first, 0.0)
    flips = first * second == -1
    shown_first = (first - second) / 2  # a win of ours shown first, and a loss of ours shown second, are the first's
    options = {"resamples": resamples, "seed": seed}
    return Orders(
        wins=int((result == 1).sum()),
        ties=int((result == 0).sum()),
        losses=int((result == -1).sum()),
        flips=int(flips.sum()),
        wavering=int(((first != second) & ~flips).sum()),
        left_out=int((~both).sum()),
        win_rate=statistics.share((result + 1) / 2, kept),
        consistent_wins=statistics.share((result == 1).astype(float), kept),
        flip_rate=statistics.share(flips.astype(float), kept),
        first_bias=statistics.mean(shown_first, kept, **options),
    )


@dataclass(frozen=True)
class Validation:
    """Whether a judge may be believed; ``banner`` is what every table of its scores must carry where not."""

    passed: bool
    banner: str


def validated(found: Estimate | None, *, at_least: float = 0.6, by: str = "value") -> Validation:
    """The rule: quadratic kappa with people of ``at_least``, by its ``value`` or, stricter, its interval's ``low`` end.

    Raises:
        ValueError: ``by`` is neither.
    """
    if by not in ("value", "low"):
        raise ValueError(f"by: expected value or low, got {by!r}.")
    if found is None or found.n == 0:
        return Validation(False, f"{BANNER}: there are no human ratings to compare with.")
    if found.value is None:
        return Validation(False, f"{BANNER}: its kappa with people is undefined ({found.reason}).")
    if by == "low" and found.interval is None:
        return Validation(False, f"{BANNER}: its kappa with people has no interval ({found.reason}).")
    ends = f" [{found.interval[0]:.2f}, {found.interval[1]:.2f}]" if found.interval else ""
    reached = found.interval[0] if by == "low" and found.interval else found.value
    if reached >= at_least:
        return Validation(True, "")
    which = "the lower end of its kappa" if by == "low" else "its kappa"
    told = f"{found.value:.2f}{ends} on {found.n} samples"
    return Validation(False, f"{BANNER}: {which} with people is below {at_least:g}: {told}.")


def _checked(clusters: Clusters, n: int) -> None:
    if clusters is not None and len(clusters) != n:
        raise ValueError(f"clusters: expected {n}, one a sample, got {len(clusters)}.")


def _kept(clusters: Clusters, mask: np.ndarray) -> Clusters:
    return None if clusters is None else np.asarray(clusters)[mask]


def _paired(
    function: Callable[[np.ndarray, np.ndarray], float],
    a: np.ndarray,
    b: np.ndarray,
    clusters: Clusters,
    undefined: str,
    bounds: tuple[float, float],
    more: dict[str, Any],
) -> Estimate:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"b: expected {a.shape} scores as in a, got {b.shape}.")
    _checked(clusters, len(a))
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if not len(a):
        return Estimate(None, None, 0, 0, reason="no sample has a score from both")
    found = statistics.statistic(
        lambda picked: function(a[picked], b[picked]), len(a), _kept(clusters, both), **{"bounds": bounds, **more}
    )
    return replace(found, reason=undefined) if found.value is None else found


def _kappa(a: np.ndarray, b: np.ndarray) -> float:
    chance = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(1 - ((a - b) ** 2).mean() / chance) if chance > 0 else math.nan


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else math.nan


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return _correlation(stats.rankdata(a), stats.rankdata(b))


def _kendall(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(stats.kendalltau(a, b).statistic)


def _mae(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def _alpha(counts: np.ndarray, grades: np.ndarray, level: str) -> float:
    """Krippendorff's alpha from how often every unit got every grade, (units, grades).

    Coincidences: every ordered pair of ratings of a unit counts 1 / (the unit's ratings - 1).
    """
    pairs = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidences = counts.T @ pairs - np.diag(pairs.sum(axis=0))
    n = coincidences.sum(axis=1)
    if level == "nominal":
        distance = 1.0 - np.eye(len(grades))
    elif level == "interval":
        distance = (grades[:, None] - grades) ** 2
    else:  # ratings that lie between two grades, half of the two themselves
        passed = np.cumsum(n) - n / 2
        distance = (passed[:, None] - passed) ** 2
    expected = n @ distance @ n
    return float(1 - (n.sum() - 1) * (coincidences * distance).sum() / expected) if expected > 0 else math.nan
