"""The bundled head: whole, symmetric, closes eyes and lips, moves what a shape's name says."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tdmm_lm import bundle, landmarks, rigs
from tdmm_lm.anatomy import assemble, parts, places, sphere, topology
from tdmm_lm.motion.face import ARKIT, POSE_CHANNELS
from tdmm_lm.rigs import head as rig_head
from tdmm_lm.rigs.flame import FlameRig

MM = 1000.0


@pytest.fixture(scope="module")
def rig() -> FlameRig:
    return rigs.load("head")


@pytest.fixture(scope="module")
def regions() -> dict[str, slice]:
    return dict(rig_head.assembled(bundle.path("assets/head")).regions)


def posed(rig: FlameRig, **weights: float) -> np.ndarray:
    row = torch.zeros(1, len(ARKIT) + POSE_CHANNELS)
    for name, weight in weights.items():
        row[0, ARKIT.index(name)] = weight
    return rig.vertices(row)[0].numpy()


def marks(rig: FlameRig, points: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(landmarks.NAMES, rig.landmarks.of(torch.from_numpy(points)).numpy()))


def test_it_is_a_whole_head(rig: FlameRig) -> None:
    assert len(rig.template) >= 3000
    assert rig.expressions == ARKIT
    assert rig.authority == "shapes"
    assert rig.identities == 10
    size = np.ptp(rig.template, axis=0)
    assert 0.15 < size[0] < 0.22  # metres
    assert 0.22 < size[1] < 0.35
    assert 0.058 < rig.interocular < 0.068  # adults: 54 to 74 mm
    assert rig.uv is not None
    assert rig.uv.min() >= 0
    assert rig.uv.max() <= 1
    assert rig.colours.min() >= 0
    assert rig.colours.max() <= 1


def test_it_is_about_ten_thousand_numbers() -> None:
    stored = load_file(bundle.path("assets/head") / "model.safetensors")
    fitted = sum(array.size for array in stored.values() if array.dtype == np.float32)
    report = json.loads((bundle.path("assets/head") / "report.json").read_text())
    assert fitted == report["figures"]["numbers"]["value"] < 15000
    assert "MIT" in report["settings"]["fitted_to"]


def test_skin_and_landmarks_are_symmetric(rig: FlameRig) -> None:
    mirror = topology.skin().mirror
    skin = rig.template[: len(mirror)]
    np.testing.assert_allclose(skin[mirror], skin * [-1, 1, 1], atol=1e-6)
    points = rig.landmarks.of(torch.from_numpy(rig.template)).numpy()
    np.testing.assert_allclose(points[list(landmarks.mirrored())], points * [-1, 1, 1], atol=5e-4)


def test_right_shapes_mirror_left_ones(rig: FlameRig) -> None:
    mirror = topology.skin().mirror
    for name in ("eyeBlink", "mouthSmile", "browOuterUp", "noseSneer"):
        left = (posed(rig, **{f"{name}Left": 1.0}) - rig.template)[: len(mirror)]
        right = (posed(rig, **{f"{name}Right": 1.0}) - rig.template)[: len(mirror)]
        np.testing.assert_allclose(right[mirror], left * [-1, 1, 1], atol=1e-6)
        assert left[skin_side(rig, mirror, 1)].max() > 5 * abs(left[skin_side(rig, mirror, -1)]).max()


def skin_side(rig: FlameRig, mirror: np.ndarray, sign: int) -> np.ndarray:
    return rig.template[: len(mirror), 0] * sign > 0.02


def test_every_shape_moves_the_surface(rig: FlameRig) -> None:
    for name in ARKIT:
        moved = np.linalg.norm(posed(rig, **{name: 1.0}) - rig.template, axis=1).max() * MM
        assert 1.5 < moved < 60, f"{name} moves {moved:.1f} mm"


def test_a_blink_closes_the_lids_and_they_stay_outside_the_eyeball(rig: FlameRig) -> None:
    skin = topology.skin()
    open_, shut = marks(rig, rig.template), marks(rig, posed(rig, eyeBlinkLeft=1.0))
    before = open_["lid_upper_left_4"][1] - open_["lid_lower_left_3"][1]
    after = shut["lid_upper_left_4"][1] - shut["lid_lower_left_3"][1]
    assert before * MM > 7
    assert abs(after) * MM < 1.5
    margin = skin.eyes[0][topology.EYE_LOOPS.index(sphere.EYE_MARGIN) - 2 :]
    for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
        points = posed(rig, eyeBlinkLeft=weight)[margin.ravel()]
        assert (np.linalg.norm(points - parts.EYE_CENTRE, axis=1) > parts.EYE_RADIUS).all()


def test_lips_meet_at_rest_and_part_with_the_jaw(rig: FlameRig, regions: dict[str, slice]) -> None:
    rest, opened = marks(rig, rig.template), posed(rig, jawOpen=1.0)
    assert abs(rest["lip_inner_upper_5"][1] - rest["lip_inner_lower_4"][1]) * MM < 3
    parted = marks(rig, opened)
    assert (parted["lip_inner_upper_5"][1] - parted["lip_inner_lower_4"][1]) * MM > 20
    moved = np.linalg.norm(opened - rig.template, axis=1) * MM
    assert moved[regions["teeth_lower"]].min() > 10
    assert moved[regions["tongue"]].max() > 10
    assert moved[regions["teeth_upper"]].max() < 0.01


def test_mouth_close_undoes_what_jaw_open_does_to_the_lips(rig: FlameRig) -> None:
    closed = marks(rig, posed(rig, jawOpen=1.0, mouthClose=1.0))
    assert abs(closed["lip_inner_upper_5"][1] - closed["lip_inner_lower_4"][1]) * MM < 2


@pytest.mark.parametrize(
    ("name", "pupil", "axis", "sign"),
    [("eyeLookUpLeft", "left", 1, 1), ("eyeLookDownRight", "right", 1, -1), ("eyeLookInLeft", "left", 0, -1),
     ("eyeLookInRight", "right", 0, 1), ("eyeLookOutLeft", "left", 0, 1), ("eyeLookOutRight", "right", 0, -1)],
)
def test_eyes_turn_where_the_name_says(rig: FlameRig, name: str, pupil: str, axis: int, sign: int) -> None:
    moved = marks(rig, posed(rig, **{name: 1.0}))[f"pupil_{pupil}"] - marks(rig, rig.template)[f"pupil_{pupil}"]
    assert moved[axis] * sign == pytest.approx(parts.EYE_RADIUS * np.sin(np.radians(30)), rel=1e-3)


def test_the_tongue_comes_out(rig: FlameRig) -> None:
    out, rest = marks(rig, posed(rig, tongueOut=1.0)), marks(rig, rig.template)
    assert out["tongue_tip"][2] > rest["lip_outer_lower_4"][2] + 0.005
    assert out["tongue_tip"][1] < out["lip_inner_upper_5"][1]


def test_joints_lie_where_they_should_for_every_identity(rig: FlameRig) -> None:
    joints = rig.joints()
    np.testing.assert_allclose(joints[3:], rig.eyes, atol=1e-6)
    np.testing.assert_allclose(joints[2], assemble.PIVOT, atol=1e-6)
    other = rig.joints(np.array([2.0, -1.0], np.float32))
    assert 0.0005 < np.linalg.norm(other[3] - joints[3]) < 0.03


def test_eyeballs_stay_behind_the_lids_in_other_people(rig: FlameRig) -> None:
    skin = topology.skin()
    margin = skin.eyes[0][topology.EYE_LOOPS.index(sphere.EYE_MARGIN)]
    for i in range(rig.identities):
        shape = np.zeros(rig.identities, np.float32)
        shape[i] = 2.0
        person, centre = rig.identity(shape), rig.joints(shape)[3]
        ball = np.linalg.norm(person[rig.landmarks.vertices[landmarks.NAMES.index("pupil_left"), 0]] - centre)
        assert (np.linalg.norm(person[margin] - centre, axis=1) > ball - 0.0005).all()


def test_numbers_survive_writing(tmp_path, rig: FlameRig) -> None:
    numbers = rig_head.numbers(bundle.path("assets/head"))
    rig_head.write(numbers, tmp_path / "copy")
    np.testing.assert_array_equal(rig_head.read(tmp_path / "copy").template, rig.template)


def test_numbers_of_another_format_are_refused(tmp_path) -> None:
    folder = tmp_path / "old"
    rig_head.write(rig_head.numbers(bundle.path("assets/head")), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": 0}))
    with pytest.raises(ValueError, match=r"expected head format 1, got 0; run tdmm train recipes/head\.yaml"):
        rig_head.read(folder)
    (folder / "config.json").write_text(json.dumps(config | {"controls": 3}))
    with pytest.raises(ValueError, match=r"expected numbers for [0-9]+ control points, got 3"):
        rig_head.read(folder)


def test_a_landmark_off_the_skin_is_refused() -> None:
    with pytest.raises(ValueError, match="landmark 0 on the skin, found its place in no triangle"):
        places.locate(topology.skin(), sphere.NECK[None])
