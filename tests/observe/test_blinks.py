"""Blinks that are known to be there, and closings that are none."""

import numpy as np
import pytest

from tdmm_lm.observe import blinks


def closing(fps: float, moments: list[tuple[float, float]], seconds: float = 4.0) -> np.ndarray:
    """(frames,) 0..1: a cosine bump of a width in seconds around each moment."""
    t = np.arange(round(seconds * fps)) / fps
    bumps = [np.where(np.abs(t - m) < w / 2, np.cos(np.pi * (t - m) / w) ** 2, 0) for m, w in moments]
    return np.max([np.zeros_like(t), *bumps], 0)


@pytest.mark.parametrize("fps", [15.0, 25.0, 30.0, 60.0, 120.0])
@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_counts_at_every_rate(fps, count):
    moments = [(0.6 + 0.8 * i, 0.32) for i in range(count)]
    found = blinks.find(np.repeat(closing(fps, moments)[:, None], 2, 1), fps)
    assert len(found) == count
    for event, (moment, _) in zip(found, moments):
        assert event.apex == pytest.approx(moment, abs=1 / fps)
        assert event.onset < event.apex < event.offset
        assert event.intensity > 0.8


def test_a_wink_and_a_long_closing_are_none():
    shut, wide = closing(25, [(1.0, 0.3)]), closing(25, [(2.0, 2.0)])
    assert blinks.find(np.stack([shut, np.zeros_like(shut)], 1), 25) == []
    assert blinks.find(np.stack([wide, wide], 1), 25) == []


def test_blinks_over_narrowed_eyes():
    lids = np.maximum(0.3, closing(25, [(1.0, 0.3), (2.5, 0.3)]))
    assert len(blinks.find(np.stack([lids, lids], 1), 25)) == 2
    assert blinks.find(np.full((100, 2), 0.5), 25) == []  # a squint held through the clip


def test_a_blink_cut_by_the_clip_counts_once():
    lids = np.repeat(closing(25, [(1.0, 0.3)])[25:, None], 2, 1)
    assert lids[0, 0] == 1
    assert len(blinks.find(lids, 25)) == 1


def test_two_equal_frames_at_the_top_are_one_blink():
    lids = np.array([0, 0, 0.3, 0.95, 0.94, 0.95, 0.3, 0, 0, 0])
    assert len(blinks.find(np.stack([lids, lids], 1), 60)) == 1
