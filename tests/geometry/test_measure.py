"""What `measure` promises: pose does not leak in, gaze has the stated signs, features are an inverse pair."""

import copy

import numpy as np
import pytest
import torch

from tdmm_lm import landmarks, rotations
from tdmm_lm.geometry import measure
from tdmm_lm.motion import face


def clip_of(rig, frames=12, seed=0, **parts):
    rng = np.random.default_rng(seed)
    expression = rng.random((frames, len(rig.expressions))).astype(np.float32) * (rng.random((frames, 1)) < 0.9)
    pose = {"head": rng.normal(0, 0.3, (frames, 3)), "translation": rng.normal(0, 0.1, (frames, 3))} | parts
    return face.assemble({"expression": expression, **pose}, fps=25, rig=rig.name)


def test_displacement_is_the_shapes_own_without_the_pose(shapes_rig):
    clip = clip_of(shapes_rig)
    geometry = measure.measure(clip, shapes_rig)
    expected = np.einsum("fe,elc->flc", face.part(clip, "expression"), shapes_rig.basis.numpy())
    assert np.abs(geometry.displacement - expected / measure.units(shapes_rig)[:, None]).max() < 1e-5
    assert geometry.fps == 25
    assert geometry.frames == 12


def test_neutral_is_the_clips_own_identity(shapes_rig):
    clip = clip_of(shapes_rig)
    other = face.assemble(
        {name: face.part(clip, name) for name in ("expression", "head", "translation")},
        fps=25, rig=clip.rig, shape=np.array([2.0, -1.0], np.float32),
    )
    first, second = measure.measure(clip, shapes_rig), measure.measure(other, shapes_rig)
    assert np.abs(first.displacement - second.displacement).max() < 1e-5
    assert np.abs(first.gaze - second.gaze).max() < 1e-4


def test_neck_turns_count_as_the_heads(shapes_rig):
    neck = np.full((12, 3), 0.2)
    clip = clip_of(shapes_rig, neck=neck)
    geometry = measure.measure(clip, shapes_rig)
    root = rotations.axis_angle_to_matrix(torch.from_numpy(face.part(clip, "head")))
    expected = root @ rotations.axis_angle_to_matrix(torch.tensor([0.2, 0.2, 0.2]))
    assert np.abs(geometry.head - rotations.matrix_to_six(expected).numpy()).max() < 1e-5
    # the same place in space is reached by the head alone, moved by the geometry's translation
    alone = face.assemble(
        {"expression": face.part(clip, "expression"), "translation": geometry.translation * shapes_rig.interocular,
         "head": rotations.matrix_to_axis_angle(expected).numpy()}, fps=25, rig=clip.rig,
    )
    posed = [shapes_rig.vertices(torch.from_numpy(c.values)).numpy() for c in (clip, alone)]
    assert np.abs(posed[0] - posed[1]).max() < 1e-5


def test_a_whole_blink_is_as_long_on_every_head(shapes_rig, joints_rig):
    """The unit of the lids is the rig's own blink; all else, and a rig without blinks, is in inter-ocular distances."""
    lids = list(landmarks.region("lids"))
    upper, lower = ([landmarks.NAMES.index(f"lid_{lid}_left_{i}") for i in three]
                    for lid, three in (("upper", (3, 4, 5)), ("lower", (2, 3, 4))))
    for length in (0.006, 0.012):
        rig = copy.copy(shapes_rig)
        rig.basis = shapes_rig.basis.clone()
        for side in ("left", "right"):
            shape = face.ARKIT.index(f"eyeBlink{side.capitalize()}")
            rig.basis[shape] = 0
            rig.basis[shape, [i for i in lids if f"_upper_{side}" in landmarks.NAMES[i]], 1] = -length
        expression = np.zeros((1, 52), np.float32)
        expression[0, face.ARKIT.index("eyeBlinkLeft")] = 1
        moved = measure.measure(face.assemble({"expression": expression}, fps=25, rig="x"), rig).displacement[0]
        assert moved[lower, 1] - moved[upper, 1] == pytest.approx(measure.BLINK, abs=1e-5)
        units = measure.units(rig)
        assert units[lids] == pytest.approx(length / measure.BLINK)
        assert np.delete(units, lids) == pytest.approx(rig.interocular)
    rest = measure.places(torch.zeros(1, 38), joints_rig)[0]
    both = [([i for i in lids if f"lid_{lid}_" in landmarks.NAMES[i] and landmarks.NAMES[i][-1] in digits])
            for lid, digits in (("upper", "345"), ("lower", "234"))]
    opening = np.linalg.norm(rest[sorted(both[0])] - rest[sorted(both[1])], axis=1).mean()
    assert measure.units(joints_rig)[lids] == pytest.approx(opening / measure.BLINK, rel=0.01)


@pytest.mark.parametrize(("shape", "axis", "sign"), [
    ("eyeLookOutLeft", 0, 1), ("eyeLookInLeft", 0, -1), ("eyeLookUpLeft", 1, -1), ("eyeLookDownLeft", 1, 1),
])
def test_gaze_signs(shapes_rig, shape, axis, sign):
    expression = np.zeros((1, 52), np.float32)
    expression[0, face.ARKIT.index(shape)] = 0.5
    gaze = measure.measure(face.assemble({"expression": expression}, fps=25, rig="x"), shapes_rig).gaze
    assert gaze[0, 0, axis] * sign == pytest.approx(np.arctan2(0.003, 0.012), abs=1e-4)
    assert np.abs(gaze[0, 1]).max() < 1e-6
    assert np.abs(gaze[0, 0, 1 - axis]) < 1e-6


def test_gaze_of_joints_is_the_joints_angle(joints_rig):
    turn = torch.tensor([[0.3, -0.2, 0.0]])  # yaw, pitch, roll
    eyes = rotations.matrix_to_axis_angle(rotations.euler_yxz_to_matrix(turn)).repeat(1, 2).numpy()
    clip = face.assemble({"expression": np.zeros((1, 20)), "eyes": eyes}, fps=25, rig="x")
    assert measure.measure(clip, joints_rig).gaze == pytest.approx(np.array([[[0.3, -0.2]] * 2]), abs=1e-5)


def test_gaze_angles_and_directions_are_inverse():
    angles = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    assert np.abs(measure.gaze_angles(measure.gaze_directions(angles)) - angles).max() < 1e-12


def test_features_are_an_inverse_pair(shapes_rig):
    geometry = measure.measure(clip_of(shapes_rig), shapes_rig)
    rows = measure.features(geometry)
    assert rows.shape == (12, measure.WIDTH) == (12, 634)
    assert rows.dtype == np.float32
    back = measure.from_features(rows, 25)
    for name in ("displacement", "head", "gaze"):
        assert np.array_equal(getattr(back, name), getattr(geometry, name))
    assert not back.translation.any()
    lip = landmarks.NAMES.index("lip_inner_lower_4")
    assert np.array_equal(rows[:, 3 * lip : 3 * lip + 3], geometry.displacement[:, lip])


def test_errors():
    with pytest.raises(ValueError, match=r"geometry features: expected \(frames, 634\), got \(3, 10\)"):
        measure.from_features(np.zeros((3, 10)), 25)
    rows = np.zeros((3, 634), np.float32)
    rows[1, 5] = np.nan
    with pytest.raises(ValueError, match=r"geometry.displacement: expected finite numbers, got NaN"):
        measure.from_features(rows, 25)
