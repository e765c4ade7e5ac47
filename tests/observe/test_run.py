"""Clips to observations, through geometry, on rigs."""

import json
import time

import numpy as np
import pytest

from tdmm_lm import rigs
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import run
from tdmm_lm.rigs.flame import FlameRig


@pytest.fixture(scope="module")
def rig() -> rigs.Rig:
    return rigs.load("head")


def smile_and_nod(name: str, fps: float = 25.0) -> MotionClip:
    """Four seconds: a smile from 0.5 to 2.2, a blink at 1, two nods from 2.5 on, eyes to the left at the end."""
    t = np.arange(round(4 * fps)) / fps
    weights = np.zeros((len(t), len(ARKIT)), np.float32)
    rise = np.clip(np.minimum((t - 0.5) / 0.3, (2.2 - t) / 0.3), 0, 1)
    shut = np.clip(1.3 - np.abs(t - 1) / 0.1, 0, 1)
    glance = ((t > 3) & (t < 3.8)).astype(float)
    for stem, curve in (("mouthSmile", 0.8 * rise), ("cheekSquint", 0.4 * rise), ("eyeBlink", shut)):
        for side in ("Left", "Right"):
            weights[:, ARKIT.index(stem + side)] = curve
    weights[:, ARKIT.index("eyeLookOutLeft")] = weights[:, ARKIT.index("eyeLookInRight")] = 0.8 * glance
    head = np.zeros((len(t), 3), np.float32)
    head[:, 0] = np.radians(12) * np.where((t > 2.5) & (t < 3.7), np.sin(np.pi * (t - 2.5) / 0.6) ** 2, 0)
    return face.assemble({"expression": weights, "head": head}, fps=fps, rig=name)


@pytest.mark.parametrize("fps", [25.0, 60.0])
def test_everything_at_once(rig, fps):
    seen = run.run(smile_and_nod("head", fps), rig)
    assert (seen.family, seen.gesture, seen.count, seen.gaze, seen.blinks) == ("joy", "nod", 2, "left", 1)
    assert seen.intensity == pytest.approx(0.85, abs=0.1)
    assert (seen.seconds, seen.fps, seen.speech_share) == (4.0, fps, 0.0)
    assert [event.onset for event in seen.events] == sorted(event.onset for event in seen.events)
    assert {event.kind for event in seen.events} == {"shape", "family", "blink", "gaze", "head"}
    (smile,) = [event for event in seen.events if event.name == "mouthSmile"]
    assert (smile.onset, smile.offset) == (pytest.approx(0.5, abs=0.1), pytest.approx(2.2, abs=0.1))


def test_a_rig_of_joints_shows_the_same_things(rig):
    joints = FlameRig(
        rig.arrays, name="joints", expressions=rig.expressions, authority="joints", lower=rig.lower, upper=rig.upper,
        uv=rig.uv, colours=rig.colours, landmarks=rig.landmarks, eyes=rig.eyes,
    )
    t = np.arange(100) / 25
    jaw, eyes = np.zeros((100, 3)), np.zeros((100, 6))
    jaw[:, 0] = 0.3 * np.clip(np.minimum((t - 0.5) / 0.3, (2.2 - t) / 0.3), 0, 1)
    eyes[:, [1, 4]] = np.radians(18) * ((t > 2.6) & (t < 3.6))[:, None]
    clip = face.assemble({"expression": np.zeros((100, 52)), "jaw": jaw, "eyes": eyes}, fps=25.0, rig="joints")
    seen = run.run(clip, joints)
    assert (seen.family, seen.gaze, seen.blinks, seen.gesture) == ("mouth_open", "left", 0, "none")


def test_the_same_clip_gives_the_same_observation(rig):
    clip = smile_and_nod("head")
    assert run.run(clip, rig) == run.run(clip, rig)


def test_to_json_is_plain_data(rig):
    data = run.to_json(run.run(smile_and_nod("head"), rig))
    again = json.loads(json.dumps(data))
    assert again == data
    assert again["family"] == "joy"
    assert set(again["events"][0]) == {"kind", "name", "onset", "apex", "offset", "intensity", "side", "count"}


def test_one_frame_is_enough(rig):
    clip = smile_and_nod("head")
    seen = run.run(MotionClip(clip.values[:1], 25, "face", "head"), rig)
    assert (seen.family, seen.gesture, seen.count, seen.gaze, seen.blinks) == ("neutral", "none", 0, "front", 0)


def test_a_body_is_refused(rig):
    with pytest.raises(ValueError, match=r"observe: expected a face clip, got modality 'body'\."):
        run.run(MotionClip(np.zeros((3, 70)), 25, "body", "head"), rig)


def test_at_least_500_frames_a_second(rig):
    clip = smile_and_nod("head")
    long = MotionClip(np.tile(clip.values, (10, 1)), 25, "face", "head")
    run.run(clip, rig)
    start = time.process_time()
    run.run(long, rig)
    assert long.frames / (time.process_time() - start) > 500
