"""Metrics of bodies: distances, alignment, derivatives, the floor."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tdmm_lm import metrics
from tdmm_lm.geometry import humanml3d
from tdmm_lm.metrics import pa_mpjpe_mm


@pytest.fixture
def clips():
    random = np.random.default_rng(0)
    true = [random.normal((0, 2, 0), 0.4, (frames, 22, 3)) for frames in (10, 30)]
    return [one + random.normal(0, 0.02, one.shape) for one in true], true


def test_joint_distances(clips):
    predicted, true = clips
    frames = [np.linalg.norm(one - other, axis=-1).mean(1) for one, other in zip(predicted, true)]
    assert metrics.measure("mpjpe_mm", predicted, true).value == pytest.approx(1000 * np.concatenate(frames).mean())
    aside = np.array([1, 0, 0])
    assert metrics.measure("mpjpe_mm", [one + aside for one in true], true).value == pytest.approx(1000)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_alignment_undoes_turns_scales_and_shifts_and_no_mirrors(seed, scale):
    random = np.random.default_rng(seed)
    true = random.normal(0, 0.4, (5, 22, 3))
    turns = Rotation.random(5, rng=random).as_matrix()
    turned = scale * np.einsum("fij,fpj->fpi", turns, true) + random.normal(0, 1, 3)
    assert metrics.measure("pa_mpjpe_mm", [turned], [true]).value == pytest.approx(0, abs=1e-9)
    assert metrics.measure("pa_mpjpe_mm", [turned * [-1, 1, 1]], [true]).value > 50


def test_alignment_is_that_of_scipy(clips):
    predicted, true = clips
    aligned = pa_mpjpe_mm.aligned(predicted[1], true[1])
    for made, one, other in zip(aligned, predicted[1], true[1]):
        a, b = one - one.mean(0), other - other.mean(0)
        turn, _ = Rotation.align_vectors(b, a)
        moved = turn.apply(a)
        scale = (moved * b).sum() / (moved**2).sum()
        assert made == pytest.approx(scale * moved + other.mean(0), abs=1e-9)
    points = np.zeros((4, 22, 3))  # a body that is one point has no size and no direction
    middle = true[1][:4] - true[1][:4].mean(1, keepdims=True)
    value = metrics.measure("pa_mpjpe_mm", [points], [true[1][:4]]).value
    assert value == pytest.approx(1000 * np.linalg.norm(middle, axis=-1).mean())


def test_derivatives_are_per_second():
    seconds = np.arange(40) / 20
    fall = np.zeros((40, 22, 3))
    fall[:, :, 1] = -4.9 * seconds[:, None] ** 2
    still = np.zeros_like(fall)
    assert metrics.measure("acceleration_error", [fall], [still], fps=20).value == pytest.approx(9.8)
    assert metrics.measure("acceleration_error", [fall], [fall + seconds[:, None, None]], fps=20).value < 1e-9
    assert metrics.measure("jitter", [fall], fps=20).value < 1e-9
    cubic = np.zeros((40, 22, 3))
    cubic[:, :, 0] = seconds[:, None] ** 3
    assert metrics.measure("jitter", [cubic], [fall], fps=20).value == pytest.approx(6)
    assert metrics.measure("jitter", [cubic[::2]], fps=10).value == pytest.approx(6)
    pooled = metrics.measure("jitter", [cubic, still[:7]], fps=20)
    assert pooled.value == pytest.approx(6 * 37 / 41)


def test_the_floor():
    clip = np.ones((4, 22, 3))
    clip[0, 3, 1], clip[1, 4, 1], clip[1, 5, 1] = -0.02, -0.01, -0.04
    assert metrics.measure("penetration_mm", [clip]).value == pytest.approx((20 + 40) / 4)
    assert metrics.measure("penetration_mm", [clip], floor_metres=-0.03).value == pytest.approx(10 / 4)
    slide = np.zeros((41, 22, 3)) + np.arange(41)[:, None, None] * [0, 0, 0.03] + [0, 0.7, 0]
    value = humanml3d.foot_skate(torch.from_numpy(slide - [0, 0.7, 0]), 20)
    assert value > 0.5
    clips = [slide, slide[:1].repeat(9, 0)]
    assert metrics.measure("foot_skate", clips, fps=20, floor_metres=0.7).each == pytest.approx([value, 0])
    assert metrics.measure("foot_skate", [slide], fps=20).value == 0  # in the air
