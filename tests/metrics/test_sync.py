"""Motion and sound: mouths that are late by a known time, bodies that stop on known beats."""

import numpy as np
import pytest

from tdmm_lm import metrics
from tdmm_lm.metrics import beat_consistency, lip_sync_lag_seconds

FPS = 25.0


def voice(frames, seed):
    random = np.random.default_rng(seed)
    return np.convolve(random.random(frames + 4), [0.1, 0.2, 0.4, 0.2, 0.1], "valid")


@pytest.mark.parametrize("late", [-5, -1, 0, 3, 12])
def test_lag(late):
    loud = voice(200, 0)
    mouth = 3 * loud[20 - late : 180 - late] + 1
    assert lip_sync_lag_seconds.lag(mouth, loud[20:180], FPS) == late / FPS
    measured = metrics.measure("lip_sync_lag_seconds", [mouth], [loud[20:180]], fps=FPS)
    assert measured.value == abs(late) / FPS


def test_correlation():
    loud = [voice(100, 0), voice(80, 1)]
    assert metrics.measure("lip_sync_correlation", [2 * loud[0] + 1, loud[1]], loud).value == pytest.approx(1)
    assert metrics.measure("lip_sync_correlation", [-loud[0], loud[1]], loud).each == pytest.approx([-1, 1])
    other = voice(100, 2)
    value = metrics.measure("lip_sync_correlation", [other], loud[:1]).value
    assert value == pytest.approx(np.corrcoef(other, loud[0])[0, 1])


def test_a_still_mouth_is_worst():
    still, loud = [np.full(100, 0.3)], [voice(100, 0)]
    assert metrics.measure("lip_sync_correlation", still, loud).value == 0
    assert metrics.measure("lip_sync_lag_seconds", still, loud, fps=FPS).value == round(0.5 * FPS) / FPS


def swings(beats_per_second, frames, fps):
    """Points that go to and fro and turn at each beat, the first at 1 / beats_per_second."""
    seconds = np.arange(frames) / fps
    return np.cos(np.pi * beats_per_second * seconds)[:, None, None] * np.ones((1, 4, 3))


@pytest.mark.parametrize("fps", [20.0, 60.0])
def test_beats(fps):
    clip = swings(2, int(3 * fps), fps)
    assert beat_consistency.motion_beats(clip, fps) == pytest.approx([0.5, 1, 1.5, 2, 2.5], abs=0.6 / fps)
    on = [np.arange(0.5, 3, 0.5)]
    off = on[0] + 0.15

    def by_loop(audio, sigma):
        beats = beat_consistency.motion_beats(clip, fps)
        return np.mean([np.exp(-min((t - a) ** 2 for a in audio) / 2 / sigma**2) for t in beats])

    assert metrics.measure("beat_consistency", [clip], on, fps=fps).value == pytest.approx(by_loop(on[0], 0.05))
    assert metrics.measure("beat_consistency", [clip], on, fps=fps).value > 0.8
    assert metrics.measure("beat_consistency", [clip], [off], fps=fps).value < 0.1
    wide = metrics.measure("beat_consistency", [clip], [off], fps=fps, sigma_seconds=0.3).value
    assert wide == pytest.approx(by_loop(off, 0.3))
    more = [np.arange(0.25, 3, 0.25)]  # audio beats without one of the body cost nothing
    assert metrics.measure("beat_consistency", [clip], more, fps=fps).value > 0.8
    assert metrics.measure("beat_consistency", [clip[:1].repeat(30, 0)], on, fps=fps).value == 0
