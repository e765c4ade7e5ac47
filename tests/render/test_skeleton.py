"""Pictures of bodies: a figure stands on the ground, moves as driven, is followed, and its contacts are shown."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, rotations, video
from tdmm_lm.motion import MotionClip, body, face
from tdmm_lm.rigs import skeleton as rig_skeleton

pytest.importorskip("pyvista")
from tdmm_lm.geometry import figure
from tdmm_lm.render import skeleton

SIZE = (128, 160)


def standing(frames: int = 2, fps: float = 20, places=None, **turns) -> MotionClip:
    """Upright; ``turns`` are axis-angles of joints, held through the clip."""
    angles = torch.zeros(frames, 22, 3)
    for name, turn in turns.items():
        angles[:, body.JOINTS.index(name)] = torch.tensor(turn, dtype=torch.float32)
    places = np.tile([0, 0.95, 0], (frames, 1)) if places is None else places
    return body.assemble(places, rotations.axis_angle_to_matrix(angles), fps=fps)


def coloured(picture: np.ndarray, side: str) -> np.ndarray:
    """Where a side's colour shows, as (row, column) pairs."""
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    return np.argwhere(red - blue > 60 if side == "left" else blue - red > 70)


def test_a_body_stands_in_the_picture_its_left_to_the_viewers_right():
    first, second = skeleton.frames(standing(), size=SIZE)
    assert first.shape == (160, 128, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    left, right = coloured(first, "left"), coloured(first, "right")
    assert min(len(left), len(right)) > 200
    assert left[:, 1].mean() > 64 > right[:, 1].mean()
    rows = np.concatenate([left, right])[:, 0]
    assert rows.min() > 5
    assert rows.max() < 155
    assert rows.max() - rows.min() > 70


def test_the_picture_follows_the_motion():
    arms = 1.2
    down = next(skeleton.frames(standing(left_shoulder=[0, 0, -arms]), size=SIZE))
    up = next(skeleton.frames(standing(left_shoulder=[0, 0, arms]), size=SIZE))
    assert coloured(up, "left")[:, 0].min() < coloured(down, "left")[:, 0].min() - 20


def test_the_camera_follows_the_body_and_the_ground_stays():
    path = np.stack([np.linspace(0, 4, 21), np.full(21, 0.95), np.zeros(21)], 1)
    pictures = list(skeleton.frames(standing(21, places=path), size=SIZE))
    for picture in (pictures[0], pictures[10], pictures[-1]):
        assert 30 < np.concatenate([coloured(picture, side) for side in ("left", "right")])[:, 1].mean() < 98
    assert np.abs(pictures[8].astype(int) - pictures[10])[120:].mean() > 1  # tiles pass by


def test_yaw_shows_the_other_side():
    front, back = (next(skeleton.frames(standing(), size=SIZE, yaw=yaw)) for yaw in (0, np.pi))
    assert coloured(front, "left")[:, 1].mean() > 64 > coloured(back, "left")[:, 1].mean()


def test_contacts_are_low_and_slow():
    still = rig_skeleton.joints(standing(10)).numpy()
    assert skeleton.contacts(still, 20).all()
    sliding = still + np.linspace(0, 1, 10)[:, None, None] * [1, 0, 0]  # over 2 m/s
    assert not skeleton.contacts(sliding, 20).any()
    raised = rig_skeleton.joints(standing(10, left_hip=[-1.2, 0, 0], left_knee=[1, 0, 0])).numpy()
    np.testing.assert_array_equal(skeleton.contacts(raised, 20), np.tile([False, True], (10, 1)))


def test_contacts_of_a_real_walk_alternate():
    data = bundle.data()
    if data is None or not (data / "cmu_mocap" / "bvh").is_dir():
        pytest.skip("CMU's captures are not here: set TDMM_DATA to a folder with cmu_mocap/bvh")
    from tdmm_lm.formats import bvh

    clip = bvh.read(data / "cmu_mocap" / "bvh" / "07_01.bvh", units=0.056444)
    places = rig_skeleton.joints(clip).numpy()[1:]
    touching = skeleton.contacts(places, clip.fps)
    assert touching.any(1).mean() > 0.9  # somebody who walks always has a foot on the ground
    assert 0.3 < touching[:, 0].mean() < 0.85
    assert 0.3 < touching[:, 1].mean() < 0.85
    assert (touching[:, 0] != touching[:, 1]).mean() > 0.3


def test_rings_are_drawn_under_feet_in_contact(monkeypatch):
    clip = standing()
    shown = next(skeleton.frames(clip, size=SIZE)).astype(int)
    monkeypatch.setattr(skeleton, "contacts", lambda places, fps: np.zeros((len(places), 2), bool))
    without = next(skeleton.frames(clip, size=SIZE)).astype(int)
    changed = np.argwhere(np.abs(shown - without).sum(-1) > 40)
    assert len(changed) > 10
    assert changed[:, 0].min() > 100  # at the feet only


def test_written_at_the_clips_own_rate(tmp_path: Path):
    skeleton.write(standing(12, fps=60), tmp_path / "a.mp4", size=SIZE, audio=np.zeros(3200, np.float32))
    told = video.info(tmp_path / "a.mp4")
    assert (told.fps, told.size, told.frames, told.has_audio) == (60, SIZE, 12, True)


def test_what_cannot_be_drawn_is_said(tmp_path: Path):
    other = face.assemble({"expression": np.zeros((2, 1))}, fps=25, rig="head")
    with pytest.raises(ValueError, match="expected a body clip, got a face clip"):
        skeleton.write(other, tmp_path / "x.mp4")
    with pytest.raises(ValueError, match="even sides of 32 to 4096 pixels, got 127x128"):
        skeleton.write(standing(), tmp_path / "x.mp4", size=(127, 128))
    assert not list(tmp_path.iterdir())


def test_the_figure_is_closed_and_looks_outwards():
    shown = figure.make(rig_skeleton.load())
    corners = shown.points.astype(float)[shown.faces]
    volume = np.einsum("fa,fa->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.02 < volume < 0.1  # cubic metres; inside out it would be negative
    edges = np.sort(np.concatenate([shown.faces[:, [0, 1]], shown.faces[:, [1, 2]], shown.faces[:, [2, 0]]]), 1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
