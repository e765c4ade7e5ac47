"""Body clips: assembling, rotations back, resampling, errors."""

import numpy as np
import pytest
import torch

from tdmm_lm import rotations
from tdmm_lm.motion import MotionClip, body


def turning(frames: int, fps: float, *, rate: float = 1.0) -> MotionClip:
    """Every joint turns evenly about an axis of its own, ``rate`` radians a second; the root goes along X."""
    axes = torch.nn.functional.normalize(torch.randn(22, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    now = np.arange(frames) / fps
    turns = rotations.axis_angle_to_matrix(torch.from_numpy(now).float()[:, None, None] * rate * axes)
    return body.assemble(now[:, None] * [1.0, 0, 0], turns, fps=fps, shape=np.arange(66))


def test_assembling_and_taking_apart_are_inverse():
    clip = turning(30, 30)
    assert clip.values.shape == (30, body.CHANNELS)
    again = body.assemble(body.translation(clip), body.local_rotations(clip), fps=30, shape=clip.shape)
    assert np.abs(again.values - clip.values).max() < 1e-6
    assert len(body.JOINTS) == len(body.PARENTS) == 22
    assert all(parent < joint for joint, parent in enumerate(body.PARENTS))


@pytest.mark.parametrize(("source", "target"), [(120, 20), (30, 20), (29.97, 20), (20, 120), (24, 25)])
def test_resampling_keeps_even_turns_even(source, target):
    clip = turning(round(4 * source), source)
    made = body.resample(clip, target)
    want = turning(made.frames, target)
    assert made.frames == round(clip.frames * target / source)
    assert made.fps == target
    assert np.array_equal(made.shape, clip.shape)
    inside = np.arange(made.frames) / target <= (clip.frames - 1) / source  # beyond the last frame it stands still
    assert inside.sum() >= made.frames - np.ceil(target / source)
    assert np.abs(made.values - want.values)[inside].max() < 1e-4


def test_the_same_rate_is_the_same_clip():
    clip = turning(10, 30)
    assert body.resample(clip, 30) is clip


def test_one_frame_stays_one_frame():
    assert body.resample(turning(1, 120), 20).frames == 1
    assert body.resample(turning(1, 20), 120).frames == 6


@pytest.mark.parametrize("fps", [0, 1e6, -20, float("nan"), float("inf")])
def test_rates_out_of_range_are_refused(fps):
    with pytest.raises(ValueError, match=r"^resample: expected 1 to 1000 Hz, got .*\.$"):
        body.resample(turning(10, 30), fps)
    with pytest.raises(ValueError, match=r"^clip\.fps: expected 1 to 1000 Hz, got .*\.$"):
        body.assemble(np.zeros((2, 3)), torch.eye(3).expand(2, 22, 3, 3), fps=fps)


def test_other_clips_and_other_joints_are_refused():
    with pytest.raises(
        ValueError, match=r"^body clip: expected 135 channels of modality body, got a face clip of 70 channels\.$"
    ):
        body.translation(MotionClip(np.zeros((2, 70)), 25, "face", "head"))
    with pytest.raises(ValueError, match=r"^body clip: expected \(frames, 22, 3, 3\) rotations, got \(2, 21, 3, 3\)\."):
        body.assemble(np.zeros((2, 3)), torch.eye(3).expand(2, 21, 3, 3), fps=20)
    with pytest.raises(ValueError, match=r"^body clip: expected 2 places of the root, got \(3, 3\)\.$"):
        body.assemble(np.zeros((3, 3)), torch.eye(3).expand(2, 22, 3, 3), fps=20)
    with pytest.raises(ValueError, match=r"^clip\.values: expected finite numbers, got NaN or infinity at frame 1\.$"):
        body.assemble(np.array([[0, 0, 0], [0, np.nan, 0]]), torch.eye(3).expand(2, 22, 3, 3), fps=20)
