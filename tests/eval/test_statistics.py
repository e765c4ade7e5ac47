"""Intervals that hold what they promise, clusters kept together, paired tests, and simulated raters."""

import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from tdmm_lm.eval import power, statistics


def noise(n, columns=1, seed=0):
    return np.random.default_rng(seed).normal(3.0, 1.0, (n, columns))


def test_few_clusters_of_one_sample_give_students_interval():
    values = noise(8)[:, 0]
    found = statistics.mean(values)
    low, high = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    assert (found.method, found.n, found.clusters, found.resamples, found.reason) == ("t", 8, 8, 0, "")
    assert found.interval == pytest.approx((low, high))


def test_clusters_of_one_size_are_worth_their_means():
    values, clusters = noise(30)[:, 0], np.repeat(list("abcdef"), 5)
    middles = values.reshape(6, 5).mean(axis=1)
    assert statistics.mean(values, clusters).interval == pytest.approx(
        stats.t.interval(0.95, 5, middles.mean(), stats.sem(middles))
    )


def test_many_clusters_are_drawn_again():
    values = noise(200)[:, 0]
    found = statistics.mean(values, seed=1)
    assert (found.method, found.resamples, found.seed) == ("percentile", 1000, 1)
    assert found.interval == pytest.approx(stats.t.interval(0.95, 199, values.mean(), stats.sem(values)), abs=0.02)
    assert statistics.mean(values, seed=1) == found
    assert statistics.mean(values, seed=2).interval != found.interval


def test_samples_of_a_cluster_stay_together():
    speaker = noise(25, seed=3)[:, 0]
    values, clusters = np.repeat(speaker, 8), np.repeat(np.arange(25), 8)
    together, apart = statistics.mean(values, clusters), statistics.mean(values)
    assert np.ptp(together.interval) > 2 * np.ptp(apart.interval)
    assert together.interval == pytest.approx(statistics.mean(speaker).interval)  # repeats teach nothing


def test_the_order_of_samples_and_the_names_of_clusters_do_not_matter():
    values, clusters = noise(300)[:, 0], np.random.default_rng(0).integers(0, 30, 300)
    turn = np.random.default_rng(1).permutation(300)
    first = statistics.mean(values, clusters)
    second = statistics.mean(values[turn], [f"{name:03d}" for name in clusters[turn]])
    assert second.interval == pytest.approx(first.interval, rel=1e-12)


@pytest.mark.parametrize("method", statistics.METHODS)
def test_missing_values_are_left_out(method):
    values = np.where(np.random.default_rng(0).random((60, 3)) < 0.3, np.nan, noise(60, 3))
    values[:, 2] = np.nan
    found = statistics.means(values, np.arange(60) // 2, method=method)
    for k in (0, 1):
        there = values[np.isfinite(values[:, k]), k]
        assert found[k].n == len(there)
        assert found[k].value == pytest.approx(there.mean())
        assert found[k].interval[0] < there.mean() < found[k].interval[1]
    assert (found[2].value, found[2].interval, found[2].reason) == (None, None, "no samples")


def test_one_cluster_has_no_interval_and_says_why():
    values = noise(5)[:, 0]
    wanted = (None, "1 cluster: an interval needs at least two")
    for found in (
        statistics.mean(values, ["a"] * 5),
        statistics.share(np.ones(5), ["a"] * 5),
        statistics.statistic(lambda picked: values[picked].std(), 5, ["a"] * 5),
    ):
        assert (found.interval, found.reason) == wanted
        assert found.value is not None
    nothing = statistics.mean(np.array([]))
    assert (nothing.value, nothing.interval, nothing.n, nothing.reason) == (None, None, 0, "no samples")


def test_a_thousand_resamples_of_many_columns_are_quick():
    values, clusters = noise(2000, 50), np.random.default_rng(0).integers(0, 500, 2000)
    start = time.process_time()
    statistics.means(values, clusters)
    assert time.process_time() - start < 1.0


def test_bca_follows_the_skew():
    values = np.random.default_rng(0).exponential(1.0, 60)
    plain, skewed = (statistics.mean(values, method=name).interval for name in ("percentile", "bca"))
    assert skewed[0] > plain[0]
    assert skewed[1] > plain[1]
    ours = statistics.mean(values, method="bca", resamples=20000).interval
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="BCa", rng=0).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03)  # ours lies a little further out, as n asks


def test_a_set_function_gets_the_interval_of_the_mean_where_it_is_the_mean():
    values, clusters = noise(240)[:, 0], np.arange(240) // 4
    for method in ("percentile", "bca"):
        found = statistics.statistic(lambda picked: values[picked].mean(), 240, clusters, method=method)
        assert found.interval == pytest.approx(statistics.mean(values, clusters, method=method).interval, abs=0.05)
    few = statistics.statistic(lambda picked: values[picked].mean(), 240, np.arange(240) // 24)
    assert few.interval == pytest.approx(statistics.mean(values, np.arange(240) // 24).interval)


def test_resampled_sets_hold_whole_clusters():
    sizes = [1, 4, 2, 3] * 6
    clusters = np.random.default_rng(0).permutation(np.repeat(np.arange(24), sizes))
    seen = []

    def note(picked):
        seen.append(picked)
        return float(len(picked))

    statistics.statistic(note, len(clusters), clusters, resamples=50)
    for picked in seen[1:]:
        for name in set(clusters[picked]):
            often = {int((picked == sample).sum()) for sample in np.flatnonzero(clusters == name)}
            assert len(often) == 1
        assert sum(len(set(picked[clusters[picked] == name])) == sizes[name] for name in range(24)) > 5


def test_a_figure_that_is_often_undefined_has_no_interval():
    found = statistics.statistic(lambda picked: 1.0 if 0 in picked else math.nan, 40)
    assert found.value == 1.0
    assert found.interval is None
    assert found.reason.startswith("undefined in ")
    assert found.reason.endswith(" of 1000 resamples")
    found = statistics.statistic(lambda picked: 1.0 if 0 in picked else math.nan, 5)
    assert found.reason == "undefined in 1 of 5 parts of the samples"
    found = statistics.statistic(lambda picked: math.nan, 5)
    assert (found.value, found.reason) == (None, "undefined on these samples")
    assert statistics.statistic(lambda picked: 0.0, 0).reason == "no samples"


def test_bounds_end_an_interval():
    values = np.array([0.9, 1.0, 0.2, 1.0])
    assert statistics.statistic(lambda picked: values[picked].mean(), 4, bounds=(0, 1)).interval[1] == 1


def test_leaving_out_does_not_see_less_variety_where_drawing_again_does():
    a, b = noise(400, 6), noise(400, 6, seed=1)

    def distance(picked):
        return float(((a[picked].mean(0) - b[picked].mean(0)) ** 2).sum())

    drawn = statistics.statistic(distance, 400, method="percentile")
    kept = statistics.statistic(distance, 400, method="t")
    assert np.mean(drawn.interval) > drawn.value
    assert np.mean(kept.interval) == pytest.approx(kept.value)


def test_a_share_keeps_a_width_where_all_agree():
    found = statistics.share(np.ones(40), np.arange(40) // 2)
    assert (found.value, found.interval[1], found.method) == (1.0, 1.0, "wilson")
    assert 0.75 < found.interval[0] < 0.9  # 20 clusters, not 40 samples
    low, high = statistics.share(np.repeat([1.0, 0.0], [30, 70])).interval
    theirs = stats.binomtest(30, 100).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    with pytest.raises(ValueError, match=r"^values: expected shares in 0..1, got 0 to 2.$"):
        statistics.share(np.array([0.0, 2.0]))


def test_two_systems_on_the_same_samples():
    base = noise(60, 3)
    better = base + np.array([0.5, 0.0, 0.0]) + 0.3 * noise(60, 3, seed=1) - 0.9
    better[3, 1] = np.nan
    found = statistics.compare(base, better, np.arange(60) // 2)
    assert [one.difference.n for one in found] == [60, 59, 60]
    assert found[0].difference.value == pytest.approx(found[0].b - found[0].a)
    assert found[0].difference.interval[0] > 0
    assert found[0].p == pytest.approx(1 / 10000)
    assert found[0].holm == pytest.approx(3 / 10000)
    assert found[0].wilcoxon < 1e-4
    assert all(one.p > 0.01 for one in found[1:])
    assert found[0].flips == 9999
    assert statistics.compare(base, better, np.arange(60) // 2) == found
    back = statistics.compare(better, base, np.arange(60) // 2)
    assert [one.p for one in back] == [one.p for one in found]


def test_flips_of_few_clusters_are_counted_exactly():
    gaps, clusters = noise(12)[:, 0] - 2.5, np.arange(12) // 2
    sums = gaps.reshape(6, 2).sum(axis=1)
    every = [abs(np.dot(signs, sums)) for signs in itertools.product([1, -1], repeat=6)]
    p, tried = statistics.sign_flips(gaps[:, None], clusters)
    assert tried == 64
    assert p[0] == pytest.approx(np.mean(np.array(every) >= abs(sums.sum()) - 1e-9))
    one = statistics.compare(np.zeros((4, 1)), np.ones((4, 1)), ["a"] * 4)[0]
    assert (one.p, one.holm, one.difference.value) == (None, None, 1.0)


def test_systems_that_do_not_differ():
    same = statistics.compare(noise(40, 1), noise(40, 1))[0]
    assert (same.difference.value, same.difference.interval, same.p, same.wilcoxon) == (0.0, (0.0, 0.0), 1.0, None)


def test_false_alarms_are_as_rare_as_p_says():
    gaps = np.random.default_rng(0).normal(0, 1, (120, 400)) + np.repeat(
        np.random.default_rng(1).normal(0, 1, (24, 400)), 5, axis=0
    )
    p, _ = statistics.sign_flips(gaps, np.arange(120) // 5, flips=999)
    assert 0.025 < np.mean(np.array(p) <= 0.05) < 0.08


def test_holms_correction():
    assert statistics.holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert statistics.holm([0.6, 0.5]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_what_is_wrong_is_said():
    values = noise(4)
    with pytest.raises(ValueError, match=r"^method: expected one of auto, percentile, bca, t, got 'normal'.$"):
        statistics.means(values, method="normal")
    with pytest.raises(ValueError, match=r"^method: expected one of auto, t, got 'bca'.$"):
        statistics.means(values, crossed=[1, 1, 2, 2], method="bca")
    with pytest.raises(ValueError, match=r"^method: expected one of auto, percentile, bca, t, got 'x'.$"):
        statistics.statistic(len, 4, method="x")
    with pytest.raises(ValueError, match=r"^clusters: expected 4, one a sample, got 3.$"):
        statistics.means(values, [1, 2, 3])
    with pytest.raises(ValueError, match=r"^values: expected numbers, or nan where missing, got 1 infinite.$"):
        statistics.means(np.array([[1.0], [np.inf]]))
    with pytest.raises(ValueError, match=r"^values: expected \(samples, columns\), got \(4,\).$"):
        statistics.means(values[:, 0])
    with pytest.raises(ValueError, match=r"^b: expected 4 samples of 1 columns as in a, got \(3, 1\).$"):
        statistics.compare(values, values[:3])


def test_the_truth_of_simulated_raters_is_exact():
    design = power.Design(taste=0.3)
    made = power.grades(design, 4000, np.random.default_rng(0))
    assert made.shape == (4000, 2, 12, 40)
    assert set(np.unique(made)) == {1, 2, 3, 4, 5}
    assert (made[:, 1] - made[:, 0]).mean() == pytest.approx(power.truth(design), abs=0.008)


@pytest.mark.parametrize("design", [power.Design(), power.Design(clips=8), power.Design(raters=3, clips=100)], ids=str)
def test_intervals_over_clips_hold_the_truth(design):
    found = power.simulate(design, repetitions=600, resamples=400)
    assert 0.925 < found.covered < 0.975


def test_raters_with_tastes_need_both_clusterings():
    design = power.Design(taste=0.3)
    assert power.simulate(design, repetitions=400, resamples=200).covered < 0.88
    assert 0.93 < power.simulate(design, clusters="both", repetitions=600).covered < 0.985
    with pytest.raises(ValueError, match=r"^clusters: expected one of clip, rater, both, got 'item'.$"):
        power.simulate(design, clusters="item")


def test_p_over_both_clusterings_is_the_intervals():
    design = power.Design(taste=0.3, difference=0.0)
    made = power.grades(design, 300, np.random.default_rng(2)).reshape(300, 2, -1).astype(float)
    rater, clip = (axis.reshape(-1) for axis in np.indices((design.raters, design.clips)))
    found = statistics.compare(made[:, 0].T, made[:, 1].T, clip, crossed=rater)
    off = [not one.difference.interval[0] <= 0 <= one.difference.interval[1] for one in found]
    assert [one.p < 0.05 for one in found] == off
    assert np.mean(off) < 0.08
    assert {(one.difference.method, one.flips) for one in found} == {("two-way t", 0)}
    same = statistics.compare(np.ones((4, 1)), np.ones((4, 1)), [1, 1, 2, 2], crossed=[1, 2, 1, 2])[0]
    assert (same.p, same.difference.interval) == (1.0, (0.0, 0.0))
    alone = statistics.compare(np.ones((4, 1)), np.ones((4, 1)), [1, 1, 2, 2], crossed=[1] * 4)[0]
    assert (alone.p, alone.difference.reason) == (None, "1 cluster: an interval needs at least two")


def test_more_clips_find_more():
    few, many = (power.simulate(power.Design(clips=clips), repetitions=200, resamples=200) for clips in (10, 80))
    assert many.found > few.found + 0.2
    assert many.width < few.width / 2
