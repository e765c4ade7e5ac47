"""Identity from landmarks, on landmarks of known identities, and the measures of good landmarks."""

import numpy as np
import pytest
import torch

from tdmm_lm import landmarks, rigs, rotations
from tdmm_lm.corpus.capture import faces, filters, identity
from tdmm_lm.geometry import measure
from tdmm_lm.motion import face

TRUE = np.array([1.2, -0.8, 0.5, -1.0, 0.7, 0.9, -0.6, 0.4, 1.1, 0.0], np.float32)


def filmed(shape: np.ndarray, weights: np.ndarray, turns: np.ndarray, noise_mm: float = 0.0) -> np.ndarray:
    """MediaPipe's 478 landmarks in pixels as a far camera sees the bundled head; those it has no place for are zero."""
    rig, rng = rigs.load("head"), np.random.default_rng(0)
    rows = torch.zeros(len(turns), len(rig.expressions) + face.POSE_CHANNELS)
    rows[:, : weights.shape[1]] = torch.from_numpy(weights.astype(np.float32))
    places = measure.places(rows, rig, torch.from_numpy(shape)).astype(np.float64)
    matrices = rotations.axis_angle_to_matrix(torch.from_numpy(turns.astype(np.float32))).numpy()
    places = places @ np.swapaxes(matrices, 1, 2) + rng.normal(0, noise_mm / 1000, places.shape)
    points = np.zeros((len(turns), 478, 3))
    for i, name in enumerate(landmarks.NAMES):
        if name in landmarks.MEDIAPIPE:
            points[:, landmarks.MEDIAPIPE[name]] = places[:, i] * (1000, -1000, -1000) + (180, 140, 0)
    return points


@pytest.fixture
def rigid(monkeypatch):
    """The fixed places that the bundled head has landmarks at."""
    known = tuple(index for index in identity.RIGID if index in landmarks.MEDIAPIPE.values())
    assert len(known) >= 12
    monkeypatch.setattr(identity, "RIGID", known)
    monkeypatch.setattr(filters, "RIGID", known)


def test_similarity_is_undone():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4, 20, 3))
    turn = rotations.axis_angle_to_matrix(torch.tensor(rng.normal(size=(4, 3)))).numpy()
    by = (np.array([0.5, 1.0, 2.0, 3.0]), turn, rng.normal(size=(4, 3)))
    found = identity.similarity(points, identity.moved(points, by))
    for got, wanted in zip(found, by):
        np.testing.assert_allclose(got, wanted, atol=1e-10)
    mirrored = points * (-1, 1, 1)
    assert np.linalg.det(identity.similarity(points, mirrored)[1]).min() > 0.99  # never a reflection


def test_a_known_identity_is_found(rigid):
    turns = np.random.default_rng(1).uniform(-0.3, 0.3, (30, 3))
    weights = np.zeros((30, 52), np.float32)
    weights[:, [face.ARKIT.index("jawOpen"), face.ARKIT.index("browInnerUp")]] = 0.6  # must not be taken for identity
    seen = filmed(TRUE, weights, turns, noise_mm=1.0)
    found = identity.fit(identity.upright(seen), weights)
    mean = identity.fit(identity.upright(filmed(0 * TRUE, weights, turns, noise_mm=1.0)), weights)
    assert np.linalg.norm(mean.shape) < 0.15
    rig = rigs.load("head")
    left = np.linalg.norm(rig.identity(found.shape) - rig.identity(TRUE), axis=1).mean()
    before = np.linalg.norm(rig.identity() - rig.identity(TRUE), axis=1).mean()
    assert left < 0.6 * before  # its size is not seen by one camera, and the prior holds back
    assert found.residual_mm < 1.0 < found.mean_mm
    alike = found.shape @ TRUE / np.linalg.norm(found.shape) / np.linalg.norm(TRUE)
    assert alike > 0.9
    blind = identity.fit(identity.upright(seen), np.zeros_like(weights))
    assert np.linalg.norm(blind.shape - TRUE) > np.linalg.norm(found.shape - TRUE)


def stretch(points: np.ndarray, **known) -> faces.Stretch:
    count = len(points)
    table = np.zeros((count, 68), np.float32)
    table[:, 52:] = np.eye(4).reshape(-1)
    times = np.arange(count) / 25
    given = {"seconds": times, "looked": times, "changes": np.full(count, 20.0), "scores": np.array([0.9]),
             "shares": np.array([0.3]),
             "widths": np.array([200.0]), "sharpness": np.array([0.1]), "table": table, **known}
    return faces.Stretch(0.0, count / 25, landmarks=points.astype(np.float32), **given)


def reasons(made: faces.Stretch, **bounds) -> list[str]:
    settings = filters.Settings(**bounds)
    figures = filters.measured(made, identity.upright(made.landmarks), settings.turned)
    return [reason for reason, _ in filters.faults(figures, settings, faces.Settings())]


def test_bounds_of_pictures_and_landmarks(rigid):
    turns = np.zeros((50, 3))
    turns[:, 1] = 0.3 * np.sin(np.arange(50) / 8)  # a head that turns smoothly
    points = filmed(TRUE, np.zeros((50, 52)), turns)
    good = stretch(points)
    assert reasons(good) == []
    assert reasons(stretch(points[:20])) == ["too_short"]
    assert reasons(good, box_share=0.5, face_pixels=300) == ["small_box", "small_face"]
    assert reasons(stretch(points, sharpness=np.array([0.001]))) == ["blurred"]
    assert reasons(stretch(points, changes=np.zeros(50))) == ["frozen"]
    seen = np.arange(50) % 4 > 0
    assert reasons(_holed(good, seen)) == ["face_comes_and_goes"]
    away = good.table.copy()
    turn = rotations.euler_yxz_to_matrix(torch.tensor([1.2, 0.0, 0.0])).numpy()
    away[:20, 52:] = np.block([[turn, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]).reshape(-1)
    assert reasons(stretch(points, table=away)) == ["turned_away"]
    rng = np.random.default_rng(0)
    shaken = points + rng.normal(0, 3, (50, 1, 3)) * (1, 1, 0)
    assert reasons(stretch(shaken)) == ["jitter"]
    melted = points.copy()
    melted[25:, [33, 133, 168]] += (0, 12, 0)
    assert "implausible" in reasons(stretch(melted))


def _holed(whole: faces.Stretch, seen: np.ndarray) -> faces.Stretch:
    return faces.Stretch(
        whole.start, whole.end, seconds=whole.seconds[seen], table=whole.table[seen],
        landmarks=whole.landmarks[seen], looked=whole.looked, changes=whole.changes, scores=whole.scores,
        shares=whole.shares, widths=whole.widths, sharpness=whole.sharpness,
    )
