"""Face clips: layout, validation, resampling."""

import numpy as np
import pytest

from tdmm_lm.motion import MotionClip, face


def test_parts_go_in_and_come_out():
    clip = face.assemble({"expression": np.ones((5, 52)), "head": np.full((5, 3), 0.2)}, fps=25, rig="head")
    assert clip.values.shape == (5, 52 + face.POSE_CHANNELS)
    assert np.allclose(face.part(clip, "head"), 0.2)
    assert not face.part(clip, "eyes").any()
    assert clip.seconds == 0.2
    with pytest.raises(ValueError, match="got hed"):
        face.assemble({"expression": np.ones((5, 52)), "hed": np.zeros((5, 3))}, fps=25, rig="head")


@pytest.mark.parametrize(
    ("values", "fps", "message"),
    [
        (np.zeros((0, 70)), 25, "at least one frame"),
        (np.zeros(70), 25, "at least one frame"),
        (np.full((2, 70), np.nan), 25, "NaN or infinity at frame 0"),
        (np.zeros((2, 70)), 0, "1 to 1000 Hz, got 0"),
        (np.zeros((2, 70)), 1e6, "1 to 1000 Hz"),
    ],
)
def test_bad_clips_are_refused(values, fps, message):
    with pytest.raises(ValueError, match=message):
        MotionClip(values, fps, "face", "head")


def test_resampling_keeps_time_and_goes_round_rotations():
    t = np.arange(60) / 60
    head = np.zeros((60, 3))
    head[:, 1] = 0.8 * np.sin(2 * np.pi * t)
    clip = face.assemble({"expression": t[:, None].repeat(52, 1), "head": head}, fps=60, rig="head")
    slow = face.resample(clip, 25)
    assert slow.frames == 25
    assert slow.fps == 25
    inside = np.arange(24)  # the last frame may lie past the last source frame
    assert np.allclose(face.part(slow, "expression")[inside, 0], inside / 25, atol=1e-6)
    assert np.allclose(face.part(slow, "head")[inside, 1], 0.8 * np.sin(2 * np.pi * inside / 25), atol=3e-3)
    assert face.resample(clip, 60) is clip
