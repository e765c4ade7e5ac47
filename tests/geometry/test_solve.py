"""What `solve` promises: it inverts `measure`, chunks agree with wholes, bounds hold, gaze decides where eyes look."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tdmm_lm import landmarks
from tdmm_lm.geometry import measure, solve
from tdmm_lm.motion import face


def performance(rig, frames=60, seed=0, **parts):
    """A few bumps of a few shapes, with a moving head."""
    rng = np.random.default_rng(seed)
    expression = np.zeros((frames, len(rig.expressions)))
    for _ in range(10):
        bump = np.clip(1 - np.abs(np.arange(frames) - rng.integers(frames)) / rng.integers(5, 20), 0, 1)
        shape = rng.integers(expression.shape[1])
        expression[:, shape] = np.maximum(expression[:, shape], 0.9 * rng.random() * bump)
    head = np.cumsum(rng.normal(0, 0.02, (frames, 3)), 0)
    parts = {"expression": expression, "head": head, "translation": head * 0.1, **parts}
    return face.assemble(parts, fps=25, rig=rig.name)


def part_of(geometry, rows):
    return measure.Geometry(
        geometry.displacement[rows], geometry.head[rows], geometry.gaze[rows], geometry.translation[rows], geometry.fps
    )


def test_shapes_come_back(shapes_rig):
    clip = performance(shapes_rig)
    geometry = measure.measure(clip, shapes_rig)
    result = solve.solve(geometry, shapes_rig)
    assert result.rig == shapes_rig.name
    assert result.fps == 25
    error = np.abs(face.part(result, "expression") - face.part(clip, "expression"))
    assert error.mean() < 0.002
    assert error.max() < 0.02
    for name in ("head", "translation", "neck", "jaw", "eyes"):
        assert np.abs(face.part(result, name) - face.part(clip, name)).max() < 1e-4
    mean, largest = solve.residual_mm(geometry, result, shapes_rig)
    assert mean < 0.05 < 1
    assert mean < largest < 0.5


def test_shapes_that_are_absent_stay_at_zero_under_noise(shapes_rig):
    clip = performance(shapes_rig)
    geometry = measure.measure(clip, shapes_rig)
    noise = np.random.default_rng(1).normal(0, solve.NOISE, geometry.displacement.shape).astype(np.float32)
    noisy = measure.Geometry(geometry.displacement + noise, geometry.head, geometry.gaze, geometry.translation, 25)
    weights, truth = (face.part(c, "expression") for c in (solve.solve(noisy, shapes_rig), clip))
    assert np.abs(weights - truth).mean() < 0.01
    assert (weights[truth == 0] < 0.02).mean() > 0.9
    assert weights.min() >= 0
    assert weights.max() <= 1


@pytest.mark.parametrize("kind", ["shapes", "joints"])
def test_chunks_are_the_whole(kind, shapes_rig, joints_rig):
    rig = {"shapes": shapes_rig, "joints": joints_rig}[kind]
    geometry = measure.measure(performance(rig), rig)
    whole = solve.solve(geometry, rig)
    solver = solve.Solver(rig)
    chunks = [solver(part_of(geometry, rows)) for rows in (slice(0, 7), slice(7, 8), slice(8, 60))]
    assert np.abs(np.concatenate([c.values for c in chunks]) - whole.values).max() < 1e-5


@pytest.mark.parametrize("kind", ["shapes", "joints"])
def test_again_starts_anew_and_streams_share_nothing_but_the_rig(kind, shapes_rig, joints_rig):
    rig = {"shapes": shapes_rig, "joints": joints_rig}[kind]
    geometries = [measure.measure(performance(rig, seed=seed), rig) for seed in range(4)]
    first = solve.Solver(rig)
    first(geometries[0])
    whole = [solve.solve(geometry, rig).values for geometry in geometries]

    def stream(geometry):
        solver = first.again()
        return np.concatenate([solver(part_of(geometry, slice(i, i + 6))).values for i in range(0, 60, 6)])

    with ThreadPoolExecutor(4) as threads:
        for got, expected in zip(threads.map(stream, geometries), whole, strict=True):
            assert np.abs(got - expected).max() < 1e-5


def test_the_future_changes_nothing(shapes_rig):
    geometry = measure.measure(performance(shapes_rig), shapes_rig)
    early = solve.solve(part_of(geometry, slice(0, 20)), shapes_rig)
    assert np.abs(early.values - solve.solve(geometry, shapes_rig).values[:20]).max() < 1e-5


def test_joints_come_back(joints_rig):
    rng = np.random.default_rng(3)
    jaw = np.abs(rng.normal(0, 0.15, (60, 1))) * [1, 0, 0] + rng.normal(0, 0.03, (60, 3))
    eyes = rng.normal(0, 0.2, (60, 1, 3)).repeat(2, 1) * [1, 1, 0]
    clip = performance(joints_rig, jaw=jaw, eyes=eyes.reshape(60, 6))
    geometry = measure.measure(clip, joints_rig)
    result = solve.solve(geometry, joints_rig)
    assert np.abs(face.part(result, "expression") - face.part(clip, "expression")).mean() < 0.01
    assert np.abs(face.part(result, "jaw") - face.part(clip, "jaw")).max() < 0.01
    mean, _ = solve.residual_mm(geometry, result, joints_rig)
    assert mean < 0.02
    assert np.abs(measure.measure(result, joints_rig).gaze - geometry.gaze).max() < 1e-4


def test_retarget_says_what_is_lost(shapes_rig, joints_rig):
    clip = performance(shapes_rig)
    same, mean = solve.retarget(clip, shapes_rig, shapes_rig)
    assert mean < 0.05
    assert np.abs(face.part(same, "expression") - face.part(clip, "expression")).max() < 0.02
    other, lost = solve.retarget(clip, shapes_rig, joints_rig)  # shapes of pure noise share nothing
    assert other.rig == joints_rig.name
    assert lost > 10 * mean
    truth, back = measure.measure(clip, shapes_rig), measure.measure(other, joints_rig)
    assert np.abs(truth.gaze - back.gaze).max() < 1e-3  # but the eyes look the same way
    assert np.abs(truth.head - back.head).max() < 1e-5


def test_gaze_outranks_the_pupils_displacement(shapes_rig):
    """A decoder may give a gaze and pupils that disagree; eyeballs also differ in size: the gaze is what counts."""
    zeros = np.zeros((1, len(landmarks.NAMES), 3), np.float32)
    gaze = np.array([[[0.2, 0.1], [0.2, 0.1]]], np.float32)
    head = np.array([[1, 0, 0, 0, 1, 0]], np.float32)
    clip = solve.solve(measure.Geometry(zeros, head, gaze, np.zeros((1, 3), np.float32), 25), shapes_rig)
    assert measure.measure(clip, shapes_rig).gaze == pytest.approx(gaze, abs=0.05)
    weights = dict(zip(face.ARKIT, face.part(clip, "expression")[0], strict=True))
    assert weights["eyeLookOutLeft"] > 0.3
    assert weights["eyeLookInRight"] > 0.3
    assert weights["eyeLookDownLeft"] > 0.1
    assert weights["eyeLookInLeft"] == 0
