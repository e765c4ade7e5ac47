"""The standard text-to-motion metrics: the public script's values, and what other libraries compute."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from torchmetrics.image import fid as torch_fid
from torchmetrics.image import kid as torch_kid

from tdmm_lm import metrics
from tdmm_lm.bench import metrics as bench
from tdmm_lm.metrics import fd, kid, r_precision_1


def test_the_public_scripts_values():
    text, real, made = bench.check_set(640, 512)
    assert bench.ours(text, real, made) == pytest.approx(bench.CHECKS, rel=1e-9)
    assert bench.public(text, real, made) == pytest.approx(bench.CHECKS, rel=1e-9)
    random = np.random.RandomState(123)
    first, second = (random.choice(640, 300, replace=False) for _ in range(2))
    mean = np.mean([np.linalg.norm(made[i] - made[j]) for i, j in zip(first, second)])
    assert mean == pytest.approx(bench.CHECKS["diversity"], rel=1e-12)
    assert metrics.measure("fd", made, real).value == metrics.measure("fid", made, real).value


def by_sqrtm(one, other):
    with warnings.catch_warnings(action="ignore"):  # that the matrix is singular
        root = linalg.sqrtm(np.cov(one, rowvar=False) @ np.cov(other, rowvar=False)).real
    shift = one.mean(0) - other.mean(0)
    return shift @ shift + np.trace(np.cov(one, rowvar=False) + np.cov(other, rowvar=False)) - 2 * np.trace(root)


@pytest.mark.parametrize(("n", "m", "tolerance"), [(300, 200, 1e-10), (33, 34, 1e-10), (20, 25, 1e-6), (2, 40, 1e-6)])
def test_frechet_agrees_with_scipy_and_torchmetrics(n, m, tolerance):
    """Also of sets that are smaller than their 32 features are wide, where sqrtm itself is only so exact."""
    random = np.random.default_rng(0)
    one, other = random.normal(0, 2, (n, 32)) @ random.normal(0, 1, (32, 32)), random.normal(1, 3, (m, 32))
    value = metrics.measure("fd", one, other).value
    assert value == pytest.approx(by_sqrtm(one, other), rel=tolerance)
    theirs = torch_fid._compute_fid(*(
        torch.from_numpy(moment) for x in (one, other) for moment in (x.mean(0), np.cov(x, rowvar=False))
    ))
    assert value == pytest.approx(float(theirs), rel=tolerance)
    assert metrics.measure("fd", other, one).value == pytest.approx(value, rel=1e-12)


def test_frechet_of_few_and_of_flat_features_is_exact():
    random = np.random.default_rng(0)
    few = random.normal(0, 1, (10, 64))
    assert metrics.measure("fd", few, few).value == pytest.approx(0, abs=1e-11)
    assert metrics.measure("fd", few + 3, few).value == pytest.approx(64 * 9, rel=1e-12)
    assert metrics.measure("fd", 2 * few, few).value == pytest.approx(
        np.square(few.mean(0)).sum() + np.trace(np.cov(few, rowvar=False)), rel=1e-12
    )
    turn = np.linalg.qr(random.normal(0, 1, (40, 40)))[0]
    flat = random.normal(0, 1, (500, 40)) * np.exp(-np.arange(40)) @ turn  # widths over 17 powers of ten
    assert metrics.measure("fd", flat, flat[::-1]).value == pytest.approx(0, abs=1e-14)
    assert abs(by_sqrtm(flat, flat)) > 1e-9
    same = np.ones((50, 4))
    assert metrics.measure("fd", same, same).value == 0
    assert metrics.measure("fd", same, same * [1, 3, 1, 1]).value == 4


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6), st.integers(0, 1000), st.floats(0.01, 100))
def test_frechet_of_any_sizes(n, m, width, seed, scale):
    random = np.random.default_rng(seed)
    one, other = random.normal(0, scale, (n, width)), random.normal(0, scale, (m, width))
    turn = np.linalg.qr(random.normal(0, 1, (width, width)))[0]
    value = fd.frechet(one, other)
    size = np.square(one).sum() + np.square(other).sum()
    assert value > -1e-12 * size
    assert fd.frechet(one @ turn + 1, other @ turn + 1) == pytest.approx(value, rel=1e-7, abs=1e-8 * size)


def test_kid_is_torchmetrics_on_the_whole_sets():
    random = np.random.default_rng(0)
    one, other = random.normal(0, 1, (1500, 8)), random.normal(0.2, 1, (1500, 8))
    theirs = torch_kid.poly_mmd(torch.from_numpy(one), torch.from_numpy(other))
    value = metrics.measure("kid", one, other).value
    assert value == pytest.approx(float(theirs), rel=1e-9)
    assert metrics.measure("kid", one[:40], other).value != pytest.approx(value, rel=1e-3)
    alike = [kid.whole(random.normal(0, 1, (30, 8)), random.normal(0, 1, (50, 8))) for _ in range(400)]
    assert abs(np.mean(alike)) < 3 * np.std(alike) / 20  # unbiased
    assert min(alike) < 0


def test_r_precision_counts_as_the_published_loop_does():
    random = np.random.default_rng(1)
    motions, texts = random.normal(0, 1, (100, 4)), random.normal(0, 1, (100, 4))
    for k in (1, 2, 3):
        hits = 0
        for start in (0, 32, 64):
            for i in range(start, start + 32):
                nearest = np.argsort([np.linalg.norm(texts[i] - motions[j]) for j in range(start, start + 32)])
                hits += i - start in nearest[:k]
        measured = metrics.measure(f"r_precision_{k}", motions, texts)
        assert measured.value == pytest.approx(hits / 96)
        assert measured.n == 96
        assert measured.weights[96:].sum() == 0
    near = metrics.measure("mm_dist", motions, texts)
    assert near.value == pytest.approx(np.linalg.norm(motions - texts, axis=1)[:96].mean())
    assert near.n == 96


def test_r_precision_shuffles_by_seed_and_takes_texts_as_queries():
    random = np.random.default_rng(1)
    motions, texts = random.normal(0, 1, (70, 4)), random.normal(0, 1, (70, 4))
    order = np.random.RandomState(7).permutation(70)
    for name in ("r_precision_3", "mm_dist"):
        value = metrics.measure(name, motions, texts, seed=7).value
        assert value == pytest.approx(metrics.measure(name, motions[order], texts[order]).value)
    assert metrics.measure("r_precision_3", motions, texts, seed=7).weights[order[64:]].sum() == 0
    one, other = np.zeros((32, 1)), np.zeros((32, 1))
    one[:, 0] = np.arange(32)  # each text at 15, its motion is one of 32 at 0 .. 31: three are the nearest
    other[:] = 15
    assert metrics.measure("r_precision_1", one, other).value == 1 / 32
    assert metrics.measure("r_precision_1", other, one).value == 1 / 32  # all equally near: the first of the batch
    assert (r_precision_1.ranks(other, one, None) == np.arange(32)).all()


def test_multimodality_shares_its_pairs():
    made = np.random.default_rng(0).normal(0, 1, (100, 30, 8))
    random = np.random.RandomState(5)
    first, second = (random.choice(30, 10, replace=False) for _ in range(2))
    mean = np.mean([np.linalg.norm(one[i] - one[j]) for one in made for i, j in zip(first, second)])
    measured = metrics.measure("multimodality", made, seed=5)
    assert measured.value == pytest.approx(mean, rel=1e-12)
    assert measured.each.shape == (100,)


def test_diversity_is_compared_with_the_references():
    made = np.random.default_rng(0).normal(0, 1, (50, 8))
    measured = metrics.measure("diversity", made, 2 * made, pairs=20)
    assert measured.target == pytest.approx(2 * measured.value)
    assert metrics.measure("diversity", made, pairs=20).target is None
    assert metrics.measure("diversity", made, pairs=20, seed=1).value != measured.value


def ranks_by_loop(queries, candidates):
    found = []
    for i, one in enumerate(queries):
        near = [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in candidates]
        found.append(1 + sum(value > near[i] for value in near))
    return np.array(found)


@pytest.mark.parametrize("query", ["text", "motion"])
def test_retrieval_ranks_in_the_whole_set(query):
    random = np.random.default_rng(0)
    texts = random.normal(0, 1, (60, 6))
    motions = texts + random.normal(0, 1, (60, 6))
    ranks = ranks_by_loop(*((texts, motions) if query == "text" else (motions, texts)))
    assert metrics.measure("median_rank", motions, texts, query=query).value == np.median(ranks)
    for k in (1, 5, 10):
        assert metrics.measure(f"recall_{k}", motions, texts, query=query).value == (ranks <= k).mean()


def test_retrieval_of_equal_and_of_similar_texts():
    random = np.random.default_rng(0)
    texts, motions = random.normal(0, 1, (12, 6)), random.normal(0, 1, (12, 6))
    texts[1], motions[1] = texts[0], motions[0]  # the same twice: both share the places 1 and 2
    motions[2:] = texts[2:] = np.eye(6).repeat(2, 0)[:10]
    found = metrics.measure("recall_1", texts[:2].repeat(6, 0), texts[:2].repeat(6, 0))
    assert found.value == 0  # twelve equal ones: the mean place is 6.5
    alike = np.zeros((12, 12), bool)
    alike[0, 5] = alike[5, 0] = True
    other = motions.copy()
    other[0], other[5] = texts[5], texts[0]
    before = metrics.measure("recall_1", other, texts)
    after = metrics.measure("recall_1", other, texts, alike=alike)
    assert before.each[0] == 0
    assert after.each[0] == 1
    assert after.value > before.value
