"""Head gestures with known counts, on a head that rests askew, sways and is noisy."""

import numpy as np
import pytest
import torch

from tdmm_lm import rotations
from tdmm_lm.observe import head


def rotation(yaw=0.0, pitch=0.0, roll=0.0) -> np.ndarray:
    """Matrices of angles in degrees, each a number or (frames,)."""
    angles = np.stack(np.broadcast_arrays(yaw, pitch, roll), -1)
    return rotations.euler_yxz_to_matrix(torch.from_numpy(np.radians(angles))).numpy()


def times(fps: float, seconds: float = 5.0) -> np.ndarray:
    return np.arange(round(seconds * fps)) / fps


def dips(t: np.ndarray, count: int, period: float, size: float, onset: float = 0.8) -> np.ndarray:
    phase = (t - onset) / period
    return np.where((phase > 0) & (phase < count), size * np.sin(np.pi * phase) ** 2, 0)


def swings(t: np.ndarray, count: int, period: float, size: float, onset: float = 0.8) -> np.ndarray:
    phase = (t - onset) / period
    return np.where((phase > 0) & (phase < count), size * np.sin(2 * np.pi * phase), 0)


def stay(t: np.ndarray, size: float, start: float = 1.0, stop: float = 3.0, ramp: float = 0.35) -> np.ndarray:
    return size * np.clip(np.minimum((t - start) / ramp, (stop - t) / ramp), 0, 1)


def idle(t: np.ndarray, seed: int) -> np.ndarray:
    """Degrees (3, frames): rest up to 2 degrees, slow drift of a degree, jitter of a quarter."""
    rng = np.random.default_rng(seed)
    slow = np.sin(2 * np.pi * rng.uniform(0.1, 0.4, (3, 1)) * t + rng.uniform(0, 6, (3, 1)))
    return rng.uniform(-2, 2, (3, 1)) + slow + rng.normal(0, 0.25, (3, len(t)))


def named(matrices: np.ndarray, fps: float) -> tuple[str, int]:
    event = head.salient(head.find(matrices, fps))
    return (event.name, event.count) if event else ("none", 0)


@pytest.mark.parametrize("fps", [15.0, 25.0, 60.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(("period", "size"), [(0.4, 8), (0.6, 14), (0.8, 10)])
def test_nods_are_counted_by_their_dips(fps, count, period, size):
    t = times(fps)
    for seed in range(3):
        yaw, pitch, roll = idle(t, seed)
        assert named(rotation(yaw, pitch + dips(t, count, period, size), roll), fps) == ("nod", count)


@pytest.mark.parametrize("fps", [15.0, 25.0, 60.0])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("period", "size"), [(0.5, 10), (0.75, 14), (0.9, 18)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_shakes_are_counted_by_their_cycles(fps, count, period, size, sign):
    t = times(fps)
    for seed in range(3):
        yaw, pitch, roll = idle(t, seed)
        assert named(rotation(yaw + sign * swings(t, count, period, size), pitch, roll), fps) == ("shake", count)


@pytest.mark.parametrize(("axis", "sign", "name"), [
    ("yaw", 1, "turn_left"), ("yaw", -1, "turn_right"), ("pitch", 1, "look_down"), ("pitch", -1, "look_up"),
    ("roll", 1, "tilt_right"), ("roll", -1, "tilt_left"),
])
def test_poses_that_are_held(axis, sign, name):
    t = times(25)
    for seed in range(5):
        angles = dict(zip(("yaw", "pitch", "roll"), idle(t, seed)))
        angles[axis] = angles[axis] + sign * stay(t, 14)
        (event,) = head.find(rotation(**angles), 25)
        assert (event.name, event.count) == (name, 1)
        assert event.onset == pytest.approx(1.1, abs=0.2)
        assert event.offset == pytest.approx(2.9, abs=0.2)


def test_a_pose_held_through_the_whole_clip():
    assert named(rotation(roll=np.full(100, 14.0)), 25) == ("tilt_right", 1)


def test_idle_heads_do_nothing():
    t = times(25)
    assert [named(rotation(*idle(t, seed)), 25) for seed in range(30)] == [("none", 0)] * 30


def test_a_slow_dip_is_a_look_and_no_nod():
    t = times(25)
    assert named(rotation(pitch=stay(t, 14, 1.0, 2.4)), 25) == ("look_down", 1)


def test_a_quick_look_aside_is_no_shake():
    t = times(25)
    assert named(rotation(yaw=dips(t, 1, 0.6, 14)), 25) == ("none", 0)


def test_nods_of_a_turned_head():
    t = times(25)
    found = head.find(rotation(yaw=stay(t, 20, 0.3, 4.5), pitch=dips(t, 3, 0.6, 12, 1.5)), 25)
    assert {(event.name, event.count) for event in found} == {("turn_left", 1), ("nod", 3)}


def test_the_trace_of_a_shake_in_pitch_is_no_nod():
    t = times(25)
    found = head.find(rotation(yaw=swings(t, 2, 0.7, 18), pitch=dips(t, 4, 0.35, 5)), 25)
    assert [event.name for event in found] == ["shake"]


def test_the_first_of_two_alike_is_named():
    t = times(25)
    found = head.find(rotation(roll=stay(t, 12, 0.3, 1.8), pitch=dips(t, 2, 0.6, 14, 2.6)), 25)
    assert [event.name for event in found] == ["tilt_right", "nod"]
    assert head.salient(found) is found[0]
    assert head.salient([]) is None


def test_one_frame():
    assert head.find(rotation(pitch=np.zeros(1)), 25) == []
