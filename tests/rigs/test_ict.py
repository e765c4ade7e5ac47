"""The scanned head as a rig; needs the real data."""

from functools import cache

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, rigs
from tdmm_lm.landmarks import NAMES
from tdmm_lm.motion import face
from tdmm_lm.rigs import ict

needs_data = pytest.mark.skipif(
    bundle.data() is None, reason="needs scanned_head/ of the real data: set $TDMM_DATA to their folder"
)


@cache
def rig() -> rigs.Rig:
    return rigs.load("ict")


def driven(**weights: float) -> np.ndarray:
    """Landmarks minus neutral ones, metres, by name of the shape."""
    values = torch.zeros(2, 52 + face.POSE_CHANNELS)
    for name, weight in weights.items():
        values[1, face.ARKIT.index(name)] = weight
    places = rig().landmarks.of(rig().vertices(values)).numpy()
    return places[1] - places[0]


@needs_data
def test_it_is_a_head_in_metres_facing_us() -> None:
    head = rig()
    assert head.expressions == face.ARKIT
    assert head.authority == "shapes"
    assert head.identities == 100
    assert 0.055 < head.interocular < 0.07  # adults: 54 to 74 mm
    assert head.eyes[0, 0] > 0 > head.eyes[1, 0]  # left first
    nose, chin = NAMES.index("nose_bridge_5"), NAMES.index("oval_bottom_0")
    places = head.landmarks.of(torch.from_numpy(head.template)).numpy()
    assert places[nose, 2] > head.eyes[0, 2]
    assert places[chin, 1] < head.eyes[0, 1]
    assert head.colours.shape == head.template.shape
    assert 0 <= head.colours.min() < head.colours.max() <= 1
    assert head.uv is not None
    assert head.uv.min() >= 0


@needs_data
def test_triangles_face_outwards() -> None:
    head = rig()
    corners = head.template[head.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    skin = (head.faces < ict.FACE.stop).all(1)
    front = corners[skin].mean(1)[:, 2] > 0.1
    facing = normals[skin][front][:, 2]
    assert facing[facing > 0].sum() > -10 * facing[facing < 0].sum()  # by area; nostrils and lips curl inwards


@needs_data
def test_vertices_are_linear_in_the_weights_and_then_turned() -> None:
    head = rig()
    g = torch.Generator().manual_seed(0)
    values = torch.zeros(3, 70)
    values[1:, :52] = torch.rand(2, 52, generator=g)
    values[0, :52] = (values[1, :52] + values[2, :52]) / 2
    still = head.vertices(values)
    assert torch.allclose(still[0], (still[1] + still[2]) / 2, atol=1e-6)
    values[:, face.layout(70)["head"]] = torch.tensor([0.0, 0.5, 0.0])
    turned = head.vertices(values)
    pivot = torch.tensor([ict.PIVOT["root"]]) * ict.CENTIMETRE
    sine, cosine = np.sin(0.5), np.cos(0.5)
    turn = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], dtype=torch.float32)
    assert torch.allclose(turned, (still - pivot) @ turn.T + pivot, atol=1e-6)


@needs_data
def test_every_shape_but_the_tongue_moves_the_surface() -> None:
    values = torch.zeros(53, 70)
    values[1:, :52] = torch.eye(52)
    moved = rig().vertices(values)
    travel = (moved[1:] - moved[:1]).norm(dim=-1).amax(1)
    still = [name for name, far in zip(face.ARKIT, travel) if far < 1e-3]
    assert still == ["tongueOut"]


@needs_data
@pytest.mark.parametrize(("shape", "place", "axis", "sign"), [
    ("jawOpen", "oval_bottom_0", 1, -1),
    ("jawLeft", "oval_bottom_0", 0, 1),
    ("eyeBlinkLeft", "lid_upper_left_4", 1, -1),
    ("mouthSmileRight", "lip_outer_upper_0", 1, 1),
    ("mouthFrownLeft", "lip_outer_upper_10", 1, -1),
    ("browInnerUp", "brow_upper_left_0", 1, 1),
    ("browInnerUp", "brow_upper_right_0", 1, 1),
    ("eyeLookUpLeft", "pupil_left", 1, 1),
    ("eyeLookDownRight", "pupil_right", 1, -1),
    ("eyeLookOutLeft", "pupil_left", 0, 1),
    ("eyeLookInLeft", "pupil_left", 0, -1),
    ("eyeLookOutRight", "pupil_right", 0, -1),
    ("eyeLookInRight", "pupil_right", 0, 1),
])
def test_shapes_move_their_places_the_right_way(shape: str, place: str, axis: int, sign: int) -> None:
    moved = driven(**{shape: 1.0})[NAMES.index(place)]
    assert moved[axis] * sign > 0.002, moved


@needs_data
def test_joints_follow_the_identity() -> None:
    head = rig()
    assert np.allclose(head.joints()[3:], head.eyes, atol=1e-6)
    shape = np.random.default_rng(0).normal(size=100).astype(np.float32)
    shifted = head.joints(shape)[3] - head.joints()[3]
    ball = (head.identity(shape) - head.template)[ict.EYES["Left"]].mean(0)
    assert np.abs(shifted - ball).max() < 2e-3


def test_where_it_is_missing_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.delenv("TDMM_DATA", raising=False)
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"the scanned head at .*found none; get it with `tdmm doctor"):
        rigs.load("ict")
