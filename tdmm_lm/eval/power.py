"""Simulated raters, of whom the truth is known: do the intervals hold it as often as they say, and what do they find?

Every rater grades the same clips of two systems from 1 to 5. A grade is the system's quality, the rater's leniency and
taste for that system, the clip's difficulty and how it suits that system, and chance, rounded and kept within 1..5.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from tdmm_lm.eval import statistics

CLUSTERS = ("clip", "rater", "both")
AT_ONCE = 100  # repetitions that share their resamples


@dataclass(frozen=True)
class Design:
    """A study and its people; all after ``clips`` in grades, before rounding; effects are standard deviations."""

    raters: int = 12
    clips: int = 40
    quality: float = 3.1  # of system a
    difference: float = 0.4  # b - a, before rounding
    leniency: float = 0.5  # of a rater, with both systems
    taste: float = 0.0  # of a rater, for one system: what an interval over clips alone cannot know
    difficulty: float = 0.6  # of a clip, in both systems
    suits: float = 0.4  # of a clip, in one system
    chance: float = 0.7  # of a single grade


@dataclass(frozen=True)
class Simulated:
    """Shares of the repetitions: the interval held the true difference; it lay off zero. And its mean width, grades."""

    covered: float
    found: float
    width: float
    truth: float
    repetitions: int


def truth(design: Design) -> float:
    """The expected difference of grades, exactly: before rounding a grade is normal, and 1 + how many of four
    thresholds it passes is the grade."""
    spread = np.linalg.norm(
        [design.leniency, design.taste, design.difficulty, design.suits, design.chance]
    )
    passed = [
        stats.norm.sf(np.array([1.5, 2.5, 3.5, 4.5]), design.quality + shift, spread).sum()
        for shift in (0.0, design.difference)
    ]
    return float(passed[1] - passed[0])


def grades(
    design: Design, repetitions: int, rng: np.random.Generator
) -> Int[np.ndarray, "repetitions 2 raters clips"]:
    """New raters and new clips in every repetition."""
    shape = (repetitions, 2, design.raters, design.clips)

    def effect(size: float, *axes: int) -> Float[np.ndarray, "..."]:
        return size * rng.standard_normal([length if k in axes else 1 for k, length in enumerate(shape)])

    latent = (
        design.quality
        + np.array([0.0, design.difference])[None, :, None, None]
        + effect(design.leniency, 0, 2)
        + effect(design.taste, 0, 1, 2)
        + effect(design.difficulty, 0, 3)
        + effect(design.suits, 0, 1, 3)
        + effect(design.chance, 0, 1, 2, 3)
    )
    return np.clip(np.rint(latent), 1, 5).astype(np.int64)


def simulate(
    design: Design,
    *,
    clusters: str = "clip",
    method: str = "auto",
    repetitions: int = 2000,
    resamples: int = 1000,
    seed: int = 0,
) -> Simulated:
    """The study many times over, each time with `statistics.means` of the paired differences, as `compare` takes it.

    Raises:
        ValueError: ``clusters`` is none of `CLUSTERS`.
    """
    if clusters not in CLUSTERS:
        raise ValueError(f"clusters: expected one of {', '.join(CLUSTERS)}, got {clusters!r}.")
    right, rng = truth(design), np.random.default_rng(seed)
    rater, clip = (axis.reshape(-1) for axis in np.indices((design.raters, design.clips)))
    ends = []
    for start in range(0, repetitions, AT_ONCE):
        made = grades(design, min(AT_ONCE, repetitions - start), rng)
        gaps = (made[:, 1] - made[:, 0]).reshape(len(made), -1).T.astype(float)  # (samples, repetitions)
        found = statistics.means(
            gaps, rater if clusters == "rater" else clip, crossed=rater if clusters == "both" else None,
            method=method, resamples=resamples, seed=seed + 1 + start,
        )
        ends += [one.interval for one in found if one.interval is not None]
    assert len(ends) == repetitions, "a design has two raters and two clips at least"
    low, high = np.array(ends).T
    return Simulated(
        covered=float(np.mean((low <= right) & (right <= high))),
        found=float(np.mean((low > 0) | (high < 0))),
        width=float(np.mean(high - low)),
        truth=right,
        repetitions=repetitions,
    )


def interval_coverage(repetitions: int = 2000, *, seed: int = 0) -> float:
    """The share of simulated studies whose 95 % interval, over clips, holds the true difference."""
    return simulate(Design(), repetitions=repetitions, seed=seed).covered
