"""The skeleton: rest pose, forward kinematics against a plain chain of matrices, errors."""

import numpy as np
import pytest
import torch

from tdmm_lm import rigs, rotations
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton


def moving(frames: int = 6, seed: int = 0, *, shape: np.ndarray | None = None) -> MotionClip:
    random = torch.Generator().manual_seed(seed)
    turns = rotations.axis_angle_to_matrix(torch.randn(frames, len(body.JOINTS), 3, generator=random))
    places = torch.randn(frames, 3, generator=random).numpy()
    return body.assemble(places, turns, fps=30, shape=shape)


def test_the_default_stands_in_a_t_pose_facing_z():
    rest = skeleton.load()
    clip = body.assemble(np.zeros((1, 3)), torch.eye(3).expand(1, 22, 3, 3), fps=30)
    place = dict(zip(body.JOINTS, skeleton.joints(clip)[0]))
    assert place["left_wrist"][0] > 0.6
    assert place["right_wrist"][0] < -0.6
    assert place["head"][1] > 0.5
    assert place["left_foot"][2] - place["left_ankle"][2] > 0.1
    assert np.abs(rest.lengths - skeleton.LENGTHS).max() < 1e-7
    assert 1.5 < place["head"][1] - place["left_foot"][1] < 1.7  # a person without the top of the head


def test_forward_kinematics_is_the_chain_of_matrices():
    rest = skeleton.Skeleton(np.random.default_rng(1).normal(0, 0.2, (22, 3)))
    clip = moving(shape=rest.shape)
    local, root = body.local_rotations(clip).double().numpy(), body.translation(clip)
    got, turned = skeleton.joints(clip).numpy(), skeleton.global_rotations(clip).numpy()
    for frame in range(clip.frames):
        worlds: list[np.ndarray] = []
        for joint, parent in enumerate(body.PARENTS):
            step = np.eye(4)
            step[:3, :3] = local[frame, joint]
            step[:3, 3] = rest.offsets[joint] if joint else root[frame]
            worlds.append(worlds[parent] @ step if joint else step)
        assert np.abs(np.stack(worlds)[:, :3, 3] - got[frame]).max() < 1e-5
        assert np.abs(np.stack(worlds)[:, :3, :3] - turned[frame]).max() < 1e-5


def test_a_clip_brings_its_skeleton_or_gets_the_default():
    own = skeleton.Skeleton(skeleton.load().offsets * 1.1)
    assert np.array_equal(skeleton.of(moving(shape=own.shape)).offsets, own.offsets)
    assert np.array_equal(skeleton.of(moving()).offsets, skeleton.load().offsets)
    taller = skeleton.joints(moving(), own) - skeleton.joints(moving())
    assert taller.abs().max() > 0.05


def calm(frames: int = 20, *, size: float = 0.4, shape: np.ndarray | None = None) -> MotionClip:
    """Turns that a body can do."""
    random = torch.Generator().manual_seed(3)
    turns = rotations.axis_angle_to_matrix(size * torch.randn(frames, len(body.JOINTS), 3, generator=random))
    return body.assemble(torch.randn(frames, 3, generator=random).numpy(), turns, fps=30, shape=shape)


def test_a_fit_finds_the_joints_again():
    for shape in (None, skeleton.load().shape * 1.2):
        clip = moving(200, shape=shape)
        rest = None if shape is None else skeleton.of(clip)
        found = skeleton.fit(skeleton.joints(clip), fps=30, rest=rest)
        assert (skeleton.joints(found) - skeleton.joints(clip)).norm(dim=-1).max() < 1e-4
        assert len(found.shape) == (0 if shape is None else 66)
        pelvis = body.local_rotations(found)[:, 0] - body.local_rotations(clip)[:, 0]
        assert pelvis.abs().max() < 1e-3  # three bones leave no turn open


def test_a_fit_on_other_bones_still_aims_at_the_joints():
    clip = calm(shape=skeleton.load().shape * np.random.default_rng(0).uniform(0.9, 1.1, 66))
    found = skeleton.fit(skeleton.joints(clip), fps=30)
    apart = (skeleton.joints(found) - skeleton.joints(clip)).norm(dim=-1)
    assert apart.mean() < 0.03
    assert apart.max() < 0.12


def test_a_measured_skeleton_is_that_of_the_body():
    random = np.random.default_rng(2)
    offsets = skeleton.load().offsets * random.uniform(0.8, 1.2, (22, 1))
    offsets[[1, 2, 3, 12, 13, 14]] += random.normal(0, 0.02, (6, 3))  # pelvis and chest of another shape
    clip = moving(60, shape=skeleton.Skeleton(offsets).shape)
    places = skeleton.joints(clip)
    rest = skeleton.measured(places)
    assert np.abs(rest.lengths - skeleton.of(clip).lengths).max() < 1e-5
    found = skeleton.fit(places, fps=30, rest=rest)
    assert (skeleton.joints(found) - places).norm(dim=-1).max() < 1e-4
    stands = body.assemble(np.zeros((1, 3)), torch.eye(3).expand(1, 22, 3, 3), fps=30, shape=rest.shape)
    rested = skeleton.joints(stands)
    assert rested[0, body.JOINTS.index("left_hip"), 0] > 0.02  # still faces Z+
    assert rested[0, body.JOINTS.index("neck"), 1] > 0.3


def test_a_fit_of_what_is_no_body_is_refused():
    with pytest.raises(ValueError, match=r"^skeleton fit: expected \(frames, 22, 3\) joints, got \(5, 24, 3\)\.$"):
        skeleton.fit(torch.zeros(5, 24, 3), fps=30)
    with pytest.raises(ValueError, match=r"^skeleton fit: expected finite places, got NaN or infinity\.$"):
        skeleton.fit(torch.full((5, 22, 3), torch.nan), fps=30)
    with pytest.raises(ValueError, match=r"^skeleton: expected \(frames, 22, 3\) joints, got \(0, 22, 3\)\.$"):
        skeleton.measured(torch.zeros(0, 22, 3))
    with pytest.raises(ValueError, match=r"^skeleton\.offsets: expected bones with a length, got none at left_hip, "):
        skeleton.measured(torch.zeros(3, 22, 3))


def test_errors_say_what_was_expected():
    face = MotionClip(np.zeros((2, 70)), 25, "face", "head")
    with pytest.raises(ValueError, match=r"^skeleton: expected a body clip, got a face clip\.$"):
        skeleton.joints(face)
    with pytest.raises(ValueError, match=r"^skeleton: expected clip\.shape of 66 numbers, got 10\.$"):
        skeleton.of(moving(shape=np.zeros(10)))
    with pytest.raises(ValueError, match=r"^skeleton\.offsets: expected 22 finite places, got \(24, 3\)\.$"):
        skeleton.Skeleton(np.ones((24, 3)))
    flat = skeleton.load().offsets.copy()
    flat[4] = 0
    with pytest.raises(ValueError, match=r"^skeleton\.offsets: expected bones with a length, got none at left_knee\.$"):
        skeleton.Skeleton(flat)
    with pytest.raises(ValueError, match=r"^rig: expected a head, got 'skeleton', which body clips drive; .*\.$"):
        rigs.load(moving().rig)
