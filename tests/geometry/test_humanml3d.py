"""HumanML3D's features: parity with what its authors publish, inverse pairs, frame counts, errors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, rotations
from tdmm_lm.formats import bvh
from tdmm_lm.geometry import humanml3d
from tdmm_lm.geometry.humanml3d import FEATURES
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton


def folder() -> Path:
    if bundle.data() is None:
        pytest.skip("$TDMM_DATA is unset: HumanML3D's sample is not here")
    return bundle.data() / "humanml3d_sample"


@pytest.fixture(scope="module")
def published() -> torch.Tensor:
    """The features of the sample, (170, 263)."""
    return torch.from_numpy(np.load(folder() / "012314_features.npy"))


@pytest.fixture(scope="module")
def joints() -> torch.Tensor:
    """The joints of the sample, (170, 22, 3)."""
    return torch.from_numpy(np.load(folder() / "012314_joints.npy"))


def walking(frames: int = 60, *, fps: float = 20.0, turns: float = 0.0, scale: float = 1.0) -> MotionClip:
    """Everyone's legs and arms swing, the root goes round in a circle; ``turns`` times round in all."""
    now = np.arange(frames) / fps
    swing = 0.5 * np.sin(2 * np.pi * now[:, None] + np.random.default_rng(0).random((1, 66)) * 6)
    angles = torch.from_numpy(swing.reshape(frames, 22, 3)) * 0.6
    angles[:, 0] = 0
    angles[:, 0, 1] = torch.from_numpy(2 * np.pi * turns * np.arange(frames) / frames)
    places = np.stack([np.sin(now), 0.9 + 0.03 * np.sin(9 * now), 1.3 * now], 1)
    rest = skeleton.Skeleton(skeleton.load().offsets * scale)
    return body.assemble(places * scale, rotations.axis_angle_to_matrix(angles), fps=fps, shape=rest.shape)


def parts(joints: torch.Tensor) -> torch.Tensor:
    return humanml3d._normalise(humanml3d._split(joints))


def test_features_are_those_published(published, joints):
    made = humanml3d.features(joints)
    assert made.shape == (169, 263)
    assert (made[:100] - published[:100]).abs().max() < 1e-5


@pytest.mark.parametrize("quirk", ["crossed", "smoothed", "pinned"])
def test_parity_needs_every_quirk(published, joints, quirk):
    without = humanml3d._rows(parts(joints), humanml3d._Quirks(**{quirk: False}))
    assert (without[:100] - published[:100]).abs().max() > 1e-2


def test_without_quirks_the_heading_is_that_of_hips_and_shoulders(joints):
    half, _ = humanml3d._root(humanml3d.features(joints, quirks=False))
    across = (joints[:, 1] - joints[:, 2] + joints[:, 16] - joints[:, 17])[:-1]
    faces = torch.atan2(-across[:, 2], across[:, 0])
    assert (torch.cos(-2 * half - faces) > 1 - 1e-5).all()


def test_recovered_joints_are_those_published(published, joints):
    assert (humanml3d.recover_joints(published) - joints).abs().max() < 1e-6
    assert (humanml3d.recover_by_rotations(published) - joints).abs().max() < 1e-5


def test_recovered_clips_stand_where_the_joints_were(published, joints):
    clip = humanml3d.recover(published)
    assert (clip.frames, clip.fps, clip.modality, len(clip.shape)) == (170, 20.0, "body", 0)
    assert np.allclose(skeleton.joints(clip)[:, 0], joints[:, 0], atol=1e-6)
    apart = (skeleton.joints(clip) - joints).norm(dim=-1)
    assert apart.max() < 0.002  # metres; the default skeleton's pelvis is alike left and right, a person's is not quite
    assert apart.mean() < 0.0005


@pytest.mark.parametrize("quirks", [True, False])
@pytest.mark.parametrize(("fps", "scale"), [(20, 1), (120, 1.2), (29.97, 0.7)])
def test_places_come_back_on_the_default_bones(quirks, fps, scale):
    clip = walking(round(3 * fps), fps=fps, scale=scale)
    same = walking(60)
    rows = humanml3d.features(skeleton.joints(body.resample(clip, 20)), quirks=quirks)
    back = humanml3d.recover_joints(rows)
    want = humanml3d.normalise(skeleton.joints(same))[: len(back)]
    assert len(rows) == body.resample(clip, 20).frames - 1
    assert (back - want).abs().max() < (1e-5 if fps == 20 else 0.02)  # slerp between 29.97 Hz frames rounds corners
    bones = (back[:, 1:] - back[:, body.PARENTS[1:]]).norm(dim=-1)
    assert (bones - torch.tensor(skeleton.LENGTHS[1:])).abs().max() < 1e-5


def test_recovered_motion_stands_on_the_floor_and_starts_at_the_origin_facing_z():
    turned = walking()
    aside = body.assemble(
        body.translation(turned) @ rotations.axis_angle_to_matrix(torch.tensor([0, 2.0, 0])).numpy().T + [3, 5, -2],
        torch.cat([
            rotations.axis_angle_to_matrix(torch.tensor([0, 2.0, 0])) @ body.local_rotations(turned)[:, :1],
            body.local_rotations(turned)[:, 1:],
        ], 1),
        fps=20,
    )
    rows, moved = humanml3d.from_clip(turned), humanml3d.from_clip(aside)
    assert (rows - moved).abs().max() < 1e-4
    back = humanml3d.recover_joints(rows)
    assert back[0, 0, [0, 2]].abs().max() == 0
    assert abs(float(back[..., 1].min())) < 1e-3


@pytest.mark.parametrize("fps", [20, 30, 120])
def test_a_clip_of_n_frames_gives_n_rows_and_comes_back_with_n_frames(fps):
    clip = walking(2 * fps, fps=fps)
    rows = humanml3d.clip_rows(clip)
    assert len(rows) == 40
    assert len(humanml3d.from_clip(clip)) == 39
    assert (rows[:-1] - humanml3d.from_clip(clip)).abs().max() < 1e-5
    back = humanml3d.recover(rows)
    assert back.frames == 40
    want = humanml3d.joints_of(clip)
    assert (skeleton.joints(back) - want).norm(dim=-1).max() < 1e-4  # the last frame, too


def test_clip_rows_go_on_as_the_motion_did():
    rows = humanml3d.clip_rows(walking())
    steps = rows[:, FEATURES["velocities"]]
    assert (steps[-1] - steps[-2]).abs().max() < 0.02
    assert steps[-1].abs().max() > 0.01


def test_who_turns_round_comes_back_but_not_from_the_published_rows():
    clip = walking(200, turns=2)
    want = humanml3d.normalise(skeleton.joints(clip))
    assert (humanml3d.recover_joints(humanml3d.clip_rows(clip)) - want).abs().max() < 1e-4
    for quirks in (True, False):
        back = humanml3d.recover_joints(humanml3d.from_clip(clip, quirks=quirks))
        assert ((back - want[:-1]).abs().max() > 0.1) == quirks
    steps, wrong = humanml3d.clip_rows(clip)[:-1, 0], humanml3d.from_clip(clip)[:, 0]
    differ = (steps - wrong).abs() > 1e-6
    assert 2 <= differ.sum() <= 8
    assert torch.allclose(wrong[differ], -steps[differ], atol=1e-6)


@pytest.mark.parametrize("name", ["01_13", "02_05", "05_15", "08_01"])
@pytest.mark.filterwarnings("ignore:.*taken to be in CMU's units")
def test_cmu_motion_comes_back(name):
    path = folder().parent / "cmu_mocap" / "bvh" / f"{name}.bvh"
    read = bvh.read(path)
    clip = MotionClip(read.values[1:600], read.fps, read.modality, read.rig, read.shape)  # without the added T-pose
    rows = humanml3d.clip_rows(clip)
    assert len(rows) == round(clip.frames / 6)
    back = humanml3d.recover_joints(rows)
    assert (back - humanml3d.joints_of(clip)).abs().max() < 1e-5
    assert (back - humanml3d.recover_by_rotations(rows)).abs().max() < 1e-5
    assert humanml3d.foot_skate(back, 20) < 0.25  # ballet slides, too
    apart = (skeleton.joints(humanml3d.recover(rows)) - back).norm(dim=-1)
    assert apart.mean() < 0.015  # metres: CMU's hips lie further to the front than the default skeleton's
    own = humanml3d.recover(rows, skeleton.measured(back))
    assert (skeleton.joints(own) - back).norm(dim=-1).max() < 1e-3


def test_batches_are_the_same_as_one_by_one():
    sizes = ((30, 1), (200, 1.1), (2, 1), (90, 0.8))
    motions = [skeleton.joints(walking(frames, scale=scale)) for frames, scale in sizes]
    for one, of_all in zip(motions, humanml3d.batch(motions)):
        alone = humanml3d.features(one)
        assert alone.shape == of_all.shape == (len(one) - 1, 263)
        assert (alone - of_all).abs().max() < 1e-5
    stacked = humanml3d.features(torch.stack([motions[0], motions[0] * 1.3]))
    assert (humanml3d.recover_joints(stacked)[0] - humanml3d.recover_joints(stacked[0])).abs().max() == 0


def test_a_body_upside_down_has_finite_features():
    joints = skeleton.joints(walking())
    joints[5, 21] = joints[5, 19] + torch.tensor([0.0, 0.3, 0.0])  # a forearm exactly against its axis
    turned = humanml3d.recover_by_rotations(humanml3d.features(joints))
    assert humanml3d.features(joints * torch.tensor([-1.0, -1.0, 1.0])).isfinite().all()
    assert (turned - humanml3d.recover_joints(humanml3d.features(joints))).abs().max() < 1e-4


def test_the_layout_covers_every_number_once():
    covered = [i for where in FEATURES.values() for i in range(where.start, where.stop)]
    assert covered == list(range(humanml3d.WIDTH))


def test_contacts_are_feet_that_stand_still():
    clip = walking()
    still = body.assemble(
        np.tile([0, 0.9, 0], (60, 1)), body.local_rotations(clip)[:1].expand(60, -1, -1, -1), fps=20
    )
    assert (humanml3d.from_clip(still)[:, FEATURES["contacts"]] == 1).all()
    runs = body.assemble(np.arange(60)[:, None] * [0, 0, 0.1] + [0, 0.9, 0], body.local_rotations(still), fps=20)
    assert (humanml3d.from_clip(runs)[:, FEATURES["contacts"]] == 0).all()  # 0.1 m a step: 0.01 square metres


def test_foot_skate_counts_feet_that_slide_on_the_floor():
    stand = skeleton.joints(walking(41))[:1].repeat(41, 1, 1)
    stand[..., 1] -= stand[..., 1].min()
    assert humanml3d.foot_skate(stand, 20) == 0
    slide = stand + torch.arange(41)[:, None, None] * torch.tensor([0, 0, 0.03])  # 0.6 m/s
    assert humanml3d.foot_skate(slide, 20) == pytest.approx(36 / 40)  # zeros beyond the ends: 4/5 of 0.6 is under 0.5
    assert humanml3d.foot_skate(slide + torch.tensor([0, 0.3, 0]), 20) == 0  # in the air
    crawl = stand + torch.arange(41)[:, None, None] * torch.tensor([0, 0, 0.02])  # 0.4 m/s
    assert humanml3d.foot_skate(crawl, 20) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda j: j[:, :21], r"features: expected \(frames, 22, 3\) joints, got \(60, 21, 3\)\."),
        (lambda j: j[0], r"features: expected \(frames, 22, 3\) joints, got \(22, 3\)\."),
        (lambda j: j[:1], r"features: expected at least two frames at 20 fps, got 1\."),
        (lambda j: j[:0], r"features: expected at least two frames at 20 fps, got 0\."),
        (lambda j: j.index_fill(0, torch.tensor(7), np.nan), r"features: expected finite places, got .* at frame 7\."),
        (lambda j: j * 1e25, r"features: expected places of a body in metres, got up to .*e\+25\."),
        (lambda j: j * 0, r"features: expected bones with a length, got none at left_hip in frame 0\."),
    ],
)
def test_joints_that_cannot_be_features_are_refused(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        humanml3d.features(change(skeleton.joints(walking())))


def test_clips_that_cannot_be_features_are_refused():
    with pytest.raises(ValueError, match=r"^features: expected at least two frames at 20 fps, got 1\.$"):
        humanml3d.from_clip(walking(6, fps=120))
    with pytest.raises(ValueError, match=r"^features: expected at least two frames at 20 fps, got 1\.$"):
        humanml3d.clip_rows(walking(1))
    with pytest.raises(ValueError, match=r"^body clip: expected 135 channels of modality body, got a face clip of 70"):
        humanml3d.from_clip(MotionClip(np.zeros((50, 70)), 25, "face", "head"))
    with pytest.raises(ValueError, match=r"^motion 1: expected at least two frames at 20 fps, got 1\.$"):
        humanml3d.batch([skeleton.joints(walking()), skeleton.joints(walking(1))])
    with pytest.raises(ValueError, match=r"^foot skate: expected fps of 1 to 1000 Hz, got 0\.$"):
        humanml3d.foot_skate(skeleton.joints(walking()), 0)


def test_recovery_is_differentiable():
    rows = humanml3d.clip_rows(walking()).requires_grad_()
    humanml3d.recover_joints(rows).square().sum().backward()
    felt = rows.grad.abs().amax(0) > 0
    assert felt[: FEATURES["places"].stop].all()
    assert not felt[FEATURES["places"].stop :].any()


def test_rows_that_are_no_features_are_refused():
    rows = humanml3d.from_clip(walking())
    with pytest.raises(ValueError, match=r"^recover: expected \(rows, 263\) features, got \(59, 262\)\.$"):
        humanml3d.recover(rows[:, :262])
    with pytest.raises(ValueError, match=r"^recover: expected \(rows, 263\) features, got \(0, 263\)\.$"):
        humanml3d.recover(rows[:0])
    rows[3, 100] = np.inf
    with pytest.raises(ValueError, match=r"^recover: expected finite features, got NaN or infinity in row 3\.$"):
        humanml3d.recover_joints(rows)
