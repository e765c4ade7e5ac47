"""What `pivoting` promises: the pivots of the plain numpy below, on hard problems too, in chunks, wherever it runs."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from tdmm_lm.geometry import pivoting

KINDS = ("plain", "singular", "twins", "scaled", "positive", "corner")


def in_numpy(hessian, pull, lower, upper, start, murty=None):
    """Block principal pivoting, a line for each line of the paper; counts in ``murty`` the pivots by Murty's rule."""
    at_lower, at_upper = start <= lower, start >= upper
    best, tries, result = len(pull) + 1, 3, start
    for _ in range(pivoting.PIVOTS):
        free = ~(at_lower | at_upper)
        result = np.where(at_lower, lower, np.where(at_upper, upper, 0.0))
        if free.any():
            result[free] = np.linalg.solve(hessian[np.ix_(free, free)], (pull - hessian @ result)[free])
        slope = hessian @ result - pull
        below, above = free & (result < lower), free & (result > upper)
        leave = (at_lower & (slope < 0)) | (at_upper & (slope > 0))
        wrong = below | above | leave
        count = int(wrong.sum())
        if not count:
            break
        if count < best:
            best, tries = count, 3
        elif tries:
            tries -= 1
        else:
            wrong = np.arange(len(wrong)) == np.flatnonzero(wrong)[-1]
            if murty is not None:
                murty.append(count)
        stay = ~(leave & wrong)
        at_lower, at_upper = (at_lower | (below & wrong)) & stay, (at_upper | (above & wrong)) & stay
    return np.clip(result, lower, upper)


def problem(kind, rng):
    """Alike columns and columns all of one sign make pivots cycle; ``corner`` pulls all to their bounds."""
    n = int(rng.integers(1, 60))
    rows = rng.normal(size=(max(1, n // 3) if kind == "singular" else n + 5, n))
    if kind == "twins":
        rows[:, n // 2 :] = rows[:, : n - n // 2] + 0.01 * rows[:, n // 2 :]
    elif kind == "scaled":
        rows *= 10 ** rng.uniform(-2, 2, n)
    elif kind == "positive":
        rows = np.abs(rows)
    hessian = rows.T @ rows
    hessian += 1e-5 * np.trace(hessian) / n * np.eye(n)
    pull = hessian @ rng.normal(size=n) * rng.choice([0.1, 1, 10, 100])
    if kind == "corner":
        pull = rng.choice([-1e4, 1e4], n)
    lower, upper = -rng.random(n) * (rng.random(n) < 0.5), rng.random(n) + 0.01
    start = np.choose(rng.integers(0, 3, n), [lower, upper, (lower + upper) / 2])
    return hessian, pull, lower, upper, start


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_plain_numpy(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    murty: list[int] = []
    for _ in range(200):
        given = problem(kind, rng)
        assert np.abs(pivoting.bounded(*given) - in_numpy(*given, murty)).max() < 1e-9
    assert len(murty) > 20 or kind not in {"singular", "twins"}, "expected problems that need Murty's rule"


def test_bounded_is_the_minimiser():
    rng = np.random.default_rng(5)
    for _ in range(50):
        rows = rng.normal(size=(60, 20)) @ rng.normal(size=(20, 20))
        target = rng.normal(size=60) * 5
        lower, upper = -rng.random(20), rng.random(20)
        got = pivoting.bounded(rows.T @ rows, rows.T @ target, lower, upper, np.zeros(20))
        best = lsq_linear(rows, target, (lower, upper), method="bvls", tol=1e-12, max_iter=1000).x
        assert np.abs(got - best).max() < 1e-6


def test_a_variable_may_be_held_and_arrays_may_be_read_only_or_of_any_order():
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(30, 8))
    hessian, pull = np.asfortranarray(rows.T @ rows), rng.normal(size=16).astype(np.float32)[::2]
    lower, upper = np.zeros(8), np.ones(8)
    lower[3] = upper[3] = 0.25
    for array in (hessian, lower, upper):
        array.flags.writeable = False
    got = pivoting.bounded(hessian, pull, lower, upper, lower)
    assert got[3] == 0.25
    assert np.abs(got - in_numpy(hessian, pull.astype(np.float64), lower, upper, lower)).max() < 1e-9


def sequence(rng, frames=40, n=30):
    """A wandering pull that lets variables come and go."""
    rows = rng.normal(size=(n + 5, n))
    hessian = rows.T @ rows + np.eye(n)
    wander = np.cumsum(rng.normal(size=(frames, n)), 0) * 0.1
    return hessian, wander @ hessian, -np.zeros(n), np.ones(n), np.full(n, 0.5)


def test_every_frame_goes_on_from_the_one_before():
    hessian, pull, lower, upper, start = sequence(np.random.default_rng(7))
    last = start
    for row, got in zip(pull, pivoting.follow(hessian, pull, lower, upper, start, inertia=0.8), strict=True):
        last = in_numpy(hessian, row + 0.8 * last, lower, upper, last)
        assert np.abs(got - last).max() < 1e-9


def test_chunks_are_the_whole_to_the_last_bit():
    hessian, pull, lower, upper, last = sequence(np.random.default_rng(8))
    whole = pivoting.follow(hessian, pull, lower, upper, last, inertia=0.8)
    for rows in (slice(0, 1), slice(1, 1), slice(1, 17), slice(17, None)):
        part = pivoting.follow(hessian, pull[rows], lower, upper, last, inertia=0.8)
        assert np.array_equal(part, whole[rows])
        last = part[-1] if len(part) else last


def test_what_is_no_minimum_is_refused():
    zeros, ones = np.zeros(2), np.ones(2)
    with pytest.raises(ValueError, match=r"^hessian: expected a positive definite matrix, got one that is not\.$"):
        pivoting.bounded(np.array([[1.0, 2.0], [2.0, 1.0]]), ones, zeros, ones, ones / 2)


def test_shapes_that_do_not_fit_are_refused():
    three, four = np.zeros(3), np.zeros(4)
    with pytest.raises(ValueError, match=r"^lower: expected shape \(3,\), got \(4,\)\.$"):
        pivoting.bounded(np.eye(3), three, four, three, three)
    with pytest.raises(ValueError, match=r"^hessian: expected shape \(4, 4\), got \(3, 3\)\.$"):
        pivoting.follow(np.eye(3), four[None], four, four, four)


def test_it_runs_where_nothing_can_be_kept(monkeypatch):
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # as where no folder can be written
    compiled = pivoting._compiled.__wrapped__()
    assert compiled.stats.cache_path is None
    result, sound = compiled(np.eye(2), np.ones((1, 2)), np.zeros(2), np.full(2, 0.5), np.zeros(2), 0.0, 10)
    assert sound
    assert result.tolist() == [[0.5, 0.5]]
