"""Face clips: layout, validation, resampling."""

import numpy as np
import pytest

from tdmm_lm import rigs
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.observe import run as observing


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


def test_a_mirror_turns_the_person_and_is_undone_by_another():
    rng = np.random.default_rng(0)
    parts = {"expression": rng.random((4, 52)), **{name: rng.normal(size=(4, n)) for name, n in face.POSE.items()}}
    clip = face.assemble(parts, fps=25, rig="head")
    other = face.mirrored(clip)
    assert np.array_equal(face.mirrored(other).values, clip.values)
    weights, shown = (face.part(one, "expression") for one in (clip, other))
    assert np.array_equal(shown[:, face.ARKIT.index("mouthLeft")], weights[:, face.ARKIT.index("mouthRight")])
    assert np.array_equal(shown[:, face.ARKIT.index("jawOpen")], weights[:, face.ARKIT.index("jawOpen")])
    assert np.array_equal(face.part(other, "eyes")[:, :3], face.part(clip, "eyes")[:, 3:] * [1, -1, -1])
    assert np.array_equal(face.part(other, "translation"), face.part(clip, "translation") * np.float32([-1, 1, 1]))
    with pytest.raises(ValueError, match="expected 52 ARKit shapes, got 100 weights"):
        face.mirrored(face.assemble({"expression": np.zeros((1, 100))}, fps=25, rig="flame"))


def test_in_a_mirror_the_other_side_is_observed():
    weights, head = np.zeros((75, 52)), np.zeros((75, 3))
    for name in ("eyeLookOutLeft", "eyeLookInRight"):
        weights[20:60, face.ARKIT.index(name)] = 0.7
    head[:, 1] = 0.5 * np.interp(np.arange(75), [10, 20, 60, 70], [0, 1, 1, 0])  # to the person's own left
    clip = face.assemble({"expression": weights, "head": head}, fps=25, rig="head")
    told, turned = (observing.run(one, rigs.load("head")) for one in (clip, face.mirrored(clip)))
    assert (told.gaze, turned.gaze) == ("left", "right")
    assert (told.gesture, turned.gesture) == ("turn_left", "turn_right")
