"""Agreement against slow transcriptions, published values and other people's code; degenerate cases in words."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from tdmm_lm.eval import agreement

_ = np.nan
# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): twelve units, four observers
PUBLISHED = np.array([
    [1, 1, _, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [_, 5, 5, 5], [_, _, 1, 1], [_, 3, _, _],
])


def panel(n=80, raters=4, seed=0, missing=0.2):
    rng = np.random.default_rng(seed)
    latent = rng.normal(3, 1.2, (n, 1)) + rng.normal(0, 0.7, (n, raters))
    return np.where(rng.random((n, raters)) < missing, np.nan, np.clip(np.rint(latent), 1, 5))


def slow_alpha(ratings, level):
    """1 - observed / expected disagreement, ordered pair by ordered pair."""
    units = [[x for x in row if not math.isnan(x)] for row in ratings]
    units = [row for row in units if len(row) > 1]
    pooled = [x for row in units for x in row]

    def apart(a, b):
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = sum(low <= x <= high for x in pooled)
        return (between - (pooled.count(a) + pooled.count(b)) / 2) ** 2 if a != b else 0.0

    observed = sum(
        sum(apart(a, b) for i, a in enumerate(row) for j, b in enumerate(row) if i != j) / (len(row) - 1)
        for row in units
    ) / len(pooled)
    expected = sum(apart(a, b) for i, a in enumerate(pooled) for j, b in enumerate(pooled) if i != j)
    return 1 - observed / (expected / (len(pooled) * (len(pooled) - 1)))


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_krippendorffs(level, value):
    found = agreement.alpha(PUBLISHED, level=level)
    assert found.value == pytest.approx(value, abs=0.0005)
    assert found.n == 11  # the twelfth unit has one rating
    assert found.interval[0] < found.value < found.interval[1] <= 1


@pytest.mark.parametrize("level", agreement.LEVELS)
def test_alpha_is_what_pairs_say_one_by_one(level):
    ratings = panel(40)
    assert agreement.alpha(ratings, level=level, resamples=20).value == pytest.approx(slow_alpha(ratings, level))


def test_ordinal_alpha_only_knows_the_order():
    ratings = panel(60)
    stretched = np.where(np.isnan(ratings), np.nan, 10.0**ratings)
    assert agreement.alpha(stretched).value == pytest.approx(agreement.alpha(ratings).value)


def test_kappa_is_the_table_of_counts():
    a, b = panel(300, 2, missing=0).T
    found = agreement.kappa(a, b)
    table = np.histogram2d(a, b, bins=np.arange(0.5, 6))[0] / 300
    weights = (np.arange(5)[:, None] - np.arange(5)) ** 2
    chance = np.outer(table.sum(1), table.sum(0))
    assert found.value == pytest.approx(1 - (weights * table).sum() / (weights * chance).sum())
    assert (found.method, found.n, found.clusters) == ("percentile", 300, 300)
    assert found.interval[0] < found.value < found.interval[1]
    assert np.ptp(found.interval) < 0.2


def test_ranks_and_differences_are_scipys():
    a, b = panel(120, 2, seed=1)[:, :2].T
    both = np.isfinite(a) & np.isfinite(b)
    assert agreement.spearman(a, b).value == pytest.approx(stats.spearmanr(a[both], b[both]).statistic)
    assert agreement.kendall(a, b, resamples=100).value == pytest.approx(stats.kendalltau(a[both], b[both]).statistic)
    assert agreement.mae(a, b).value == pytest.approx(np.abs(a - b)[both].mean())
    assert agreement.mae(a, b).n == both.sum()


def test_samples_of_a_source_stay_together():
    a, b = (np.repeat(side, 6) for side in panel(30, 2, missing=0).T)
    together, apart = agreement.kappa(a, b, np.repeat(np.arange(30), 6)), agreement.kappa(a, b)
    assert together.clusters == 30
    assert np.ptp(together.interval) > 1.5 * np.ptp(apart.interval)


def test_the_same_seed_gives_the_same_interval():
    a, b = panel(60, 2).T
    assert agreement.kappa(a, b, seed=3) == agreement.kappa(a, b, seed=3)
    assert agreement.kappa(a, b, seed=3).interval != agreement.kappa(a, b, seed=4).interval


def numbers(estimate):
    return [x for x in dataclasses.astuple(estimate) if isinstance(x, float)] + list(estimate.interval or ())


@pytest.mark.parametrize("function", [agreement.kappa, agreement.spearman, agreement.kendall, agreement.mae])
@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([3.0] * 30, [3.0] * 30, "one"),
        ([_, 1, _], [2, _, 3], "no sample has a score from both"),
        ([], [], "no sample has a score from both"),
        ([4.0], [2.0], "1 cluster: an interval needs at least two"),
    ],
    ids=["constant", "apart", "nothing", "single"],
)
def test_degenerate_pairs_have_reasons(function, a, b, reason):
    found = function(np.array(a, float), np.array(b, float))
    assert all(math.isfinite(x) for x in numbers(found))
    if function is agreement.mae and a[:1] == [3.0]:
        assert (found.value, found.interval) == (0.0, (0.0, 0.0))
        return
    assert found.interval is None
    assert found.reason
    if found.value is not None or found.n == 0:
        assert found.reason == reason


def test_degenerate_panels_have_reasons():
    assert agreement.alpha(np.full((9, 3), 2.0)).reason == "all ratings are the same"
    assert agreement.alpha(np.array([[1, _], [_, 2]])).reason == "no sample has two ratings"
    assert agreement.alpha(np.zeros((0, 3))).reason == "no sample has two ratings"
    single = agreement.alpha(np.array([[1.0, 2.0]]))
    assert (single.value, single.interval, single.reason) == (0.0, None, "1 cluster: an interval needs at least two")
    rare = np.ones((30, 2))
    rare[4] = [1, 2]  # most resamples miss the one sample that differs
    assert agreement.alpha(rare).interval is None
    assert agreement.alpha(rare).reason.startswith("undefined in ")


def test_a_judge_and_people():
    people = panel(120, 3)
    rng = np.random.default_rng(9)
    judge = np.clip(np.rint(np.nanmean(panel(120, 3, missing=0), axis=1) + rng.normal(0, 0.4, 120)), 1, 5)
    found = agreement.with_people(judge, people, resamples=100)
    assert set(found) == {"kappa", "spearman", "kendall", "mae", "people_alpha"}
    assert found["kappa"].value > 0.6
    assert found["people_alpha"].value > 0.5
    nobody = agreement.with_people(judge, np.full((120, 2), np.nan))
    assert {one.value for one in nobody.values()} == {None}


def test_long_captions_are_noticed():
    rng = np.random.default_rng(0)
    captions = ["word " * int(k) for k in rng.integers(1, 30, 100)]
    lengths = np.array([len(text.split()) for text in captions])
    assert agreement.length_bias(lengths / 10 + rng.normal(0, 0.5, 100), captions).interval[0] > 0.5
    low, high = agreement.length_bias(rng.integers(1, 6, 100).astype(float), captions).interval
    assert low < 0 < high
    with pytest.raises(ValueError, match=r"^captions: expected 2, one a score, got 1.$"):
        agreement.length_bias(np.ones(2), ["a"])


def test_both_orders():
    #                 win tie loss flip flip waver missing
    first = np.array([1, 0, -1, 1, -1, 1, _])
    second = np.array([1, 0, -1, -1, 1, 0, 1])
    found = agreement.orders(first, second)
    assert (found.wins, found.ties, found.losses) == (1, 4, 1)
    assert (found.flips, found.wavering, found.left_out) == (2, 1, 1)
    assert found.flip_rate.value == pytest.approx(2 / 6)
    assert found.win_rate.value == pytest.approx(0.5)
    assert found.consistent_wins.value == pytest.approx(1 / 6)
    assert found.first_bias.value == pytest.approx(0.5 / 6)


def test_a_judge_that_always_takes_the_first():
    found = agreement.orders(np.ones(40), -np.ones(40))
    assert (found.flip_rate.value, found.first_bias.value, found.win_rate.value) == (1.0, 1.0, 0.5)
    assert (found.wins, found.losses) == (0, 0)
    nothing = agreement.orders(np.array([_]), np.array([1.0]))
    assert (nothing.win_rate.value, nothing.win_rate.reason) == (None, "no samples")


def test_a_judge_below_the_bar_is_not_validated():
    a, b = panel(300, 2, missing=0).T
    good = agreement.kappa(a, b)
    assert agreement.validated(good, at_least=0.6) == agreement.Validation(True, "")
    low, high = good.interval
    strict = agreement.validated(good, at_least=good.value - 0.001, by="low")
    assert not strict.passed
    assert strict.banner == (
        "judge not validated: the lower end of its kappa with people is below "
        f"{good.value - 0.001:g}: {good.value:.2f} [{low:.2f}, {high:.2f}] on 300 samples."
    )
    assert agreement.validated(good, at_least=0.99).banner.startswith(
        f"judge not validated: its kappa with people is below 0.99: {good.value:.2f} ["
    )


def test_a_judge_without_people_is_not_validated():
    nobody = "judge not validated: there are no human ratings to compare with."
    assert agreement.validated(None).banner == nobody
    assert agreement.validated(agreement.kappa(np.ones(3), np.full(3, np.nan))).banner == nobody
    constant = agreement.validated(agreement.kappa(np.ones(30), np.ones(30)))
    assert constant.banner == (
        "judge not validated: its kappa with people is undefined (both raters give one and the same score throughout)."
    )
    single = agreement.kappa(np.array([1.0]), np.array([2.0]))
    assert agreement.validated(single, by="low").banner == (
        "judge not validated: its kappa with people has no interval (1 cluster: an interval needs at least two)."
    )


def test_what_is_wrong_is_said():
    ones = np.ones(3)
    with pytest.raises(ValueError, match=r"^b: expected \(3,\) scores as in a, got \(2,\).$"):
        agreement.kappa(ones, np.ones(2))
    with pytest.raises(ValueError, match=r"^clusters: expected 3, one a sample, got 2.$"):
        agreement.kappa(ones, ones, ["a", "b"])
    with pytest.raises(ValueError, match=r"^level: expected one of nominal, ordinal, interval, got 'ratio'.$"):
        agreement.alpha(PUBLISHED, level="ratio")
    with pytest.raises(ValueError, match=r"^ratings: expected \(samples, raters\), got \(3,\).$"):
        agreement.alpha(ones)
    with pytest.raises(ValueError, match=r"^verdicts: expected 1, 0, -1 or nan, got 0.5.$"):
        agreement.orders(ones, ones / 2)
    with pytest.raises(ValueError, match=r"^ours_second: expected \(3,\) verdicts as in the first order, got \(2,\).$"):
        agreement.orders(ones, np.ones(2))
    with pytest.raises(ValueError, match=r"^by: expected value or low, got 'median'.$"):
        agreement.validated(None, by="median")
