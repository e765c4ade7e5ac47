"""Landmarks by sight: rays meet what they should, and a head nobody marked gets landmarks near the marked ones."""

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, landmarks, rigs
from tdmm_lm.formats import video
from tdmm_lm.geometry import sight
from tdmm_lm.motion import face

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
SIDES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
                  [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])


@pytest.mark.parametrize("yaw", [0.0, 30.0, -60.0])
def test_rays_through_the_picture_of_a_point_lead_to_it(yaw):
    camera = sight._Camera(np.array([0.1, 0.2, 0.3]), 9.0, yaw)
    points = np.random.default_rng(0).normal(0, 0.5, (20, 3))
    local = (points - camera.position) @ camera.axes.T
    half = np.tan(np.radians(sight.LENS_DEGREES) / 2)
    seen = np.stack([0.5 - local[:, 0] / local[:, 2] / half / 2, 0.5 + local[:, 1] / local[:, 2] / half / 2], 1)
    away = points - camera.position
    assert camera.rays(seen) == pytest.approx(away / np.linalg.norm(away, axis=1, keepdims=True))
    assert camera.position[0] == pytest.approx(0.1 + 9 * np.sin(np.radians(yaw)))


def test_a_ray_meets_the_first_face():
    camera = sight._Camera(np.zeros(3), 5.0, 0)
    hits, distances = sight._cast(camera, np.array([[0.5, 0.5], [0.0, 0.0], [0.99, 0.01]]), CUBE * 0.2, SIDES)
    assert distances[0] == pytest.approx(4.8)
    assert set(SIDES[hits[0]]) <= {1, 3, 5, 7}  # the side towards Z+
    assert np.isinf(distances[1:]).all()


def test_parts():
    assert len(set(sight._parts(np.concatenate([SIDES, SIDES + 8]), 16).tolist())) == 2


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("mediapipe")
    pytest.importorskip("pyvista")
    try:
        return video.landmarker()
    except FileNotFoundError:
        pytest.skip(
            "needs face_landmarker/ of the real data: set $TDMM_DATA to their folder, or run `tdmm doctor --fetch`"
        )


def test_no_face(model):
    with pytest.raises(ValueError, match="expected an upright head that faces Z\\+, MediaPipe saw no face"):
        sight.landmark(CUBE, SIDES, CUBE * [1, 1.2, 1], np.zeros((208, 3)), model)


def test_the_scanned_head_is_marked_as_by_hand(model):
    if bundle.data() is None:
        pytest.skip("needs scanned_head/ of the real data: set $TDMM_DATA to their folder")
    rig = rigs.load("ict")
    row = torch.zeros(1, 70)
    row[0, face.ARKIT.index("jawOpen")] = 0.5
    opened = rig.vertices(row)[0].numpy()
    truth = sight.places_of(rig.landmarks, rig.template)
    found = sight.landmark(rig.template, rig.faces, opened, truth * [1.05, 0.95, 1.0], model)
    gaps = 1000 * np.linalg.norm(sight.places_of(found, rig.template) - truth, axis=1)  # mm
    assert gaps.mean() < 4.5  # most of it brows, which nobody painted here, and the outline
    for region, most in (("lips", 3), ("lids", 2.5), ("cheeks", 3), ("pupils", 3)):
        assert gaps[list(landmarks.region(region))].mean() < most, region
    drop = dict(zip(landmarks.NAMES, 1000 * sight.places_of(found, opened - rig.template)[:, 1], strict=True))
    assert drop["lip_inner_lower_4"] < -12 < -5 < drop["lip_inner_upper_5"]
