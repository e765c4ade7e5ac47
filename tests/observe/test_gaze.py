"""Glances of known direction and length."""

import numpy as np
import pytest

from tdmm_lm.observe import gaze

FPS = 25.0
OPEN = np.zeros((100, 2))


def eyes(yaw: float = 0.0, pitch: float = 0.0, start: float = 1.0, stop: float = 2.5) -> np.ndarray:
    """Four seconds in which both eyes turn by degrees for a while."""
    t = np.arange(100) / FPS
    inside = ((t >= start) & (t < stop))[:, None]
    return np.radians(np.repeat((inside * [yaw, pitch])[:, None], 2, 1))


@pytest.mark.parametrize(
    ("yaw", "pitch", "name"), [(15, 0, "left"), (-15, 0, "right"), (0, -12, "up"), (0, 12, "down")]
)
def test_directions(yaw, pitch, name):
    (event,) = gaze.find(eyes(yaw, pitch), OPEN, FPS)
    assert event.name == name
    assert (event.onset, event.offset) == (pytest.approx(1.0, abs=0.1), pytest.approx(2.5, abs=0.1))
    assert gaze.salient([event]) == name


def test_flicker_and_small_turns_are_front():
    assert gaze.salient(gaze.find(eyes(20, 0, 1.0, 1.2), OPEN, FPS)) == "front"
    assert gaze.salient(gaze.find(eyes(5, 4), OPEN, FPS)) == "front"


def test_a_constant_few_degrees_are_this_persons_rest():
    assert gaze.salient(gaze.find(eyes(15) + np.radians(-4), OPEN, FPS)) == "left"
    assert gaze.find(np.full((100, 2, 2), np.radians(4)), OPEN, FPS) == []


def test_a_glance_through_the_whole_clip_is_seen():
    assert gaze.salient(gaze.find(eyes(20, 0, 0, 9), OPEN, FPS)) == "left"


def test_eyes_are_not_read_through_shut_lids():
    lids = OPEN.copy()
    lids[24:38] = 0.8
    down = eyes(0, 20, 1.0, 1.5)
    assert gaze.find(down, lids, FPS) == []
    assert gaze.find(down, OPEN, FPS) != []
    assert gaze.find(down, np.ones((100, 2)), FPS) == []  # asleep


def test_the_longest_and_farthest_is_named():
    both = eyes(20, 0, 0.2, 2.4) + eyes(-10, 0, 2.8, 3.4)
    assert gaze.salient(gaze.find(both, OPEN, FPS)) == "left"
    assert [event.name for event in gaze.find(both, OPEN, FPS)] == ["left", "right"]
