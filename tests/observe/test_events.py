"""Curves to spans."""

from itertools import pairwise

import numpy as np
import pytest

from tdmm_lm.observe import events

FPS = 25.0


def bump(onset: float, attack: float, hold: float, release: float, seconds: float = 4.0) -> np.ndarray:
    """A ramp up, a plateau of height one and a ramp down."""
    t = np.arange(round(seconds * FPS)) / FPS
    return np.clip(np.minimum((t - onset) / attack, (onset + attack + hold + release - t) / release), 0, 1)


def test_held_keeps_what_lasts_and_cuts_what_does_not():
    smile, blink = bump(0.5, 0.3, 1.0, 0.3), bump(3.0, 0.08, 0.04, 0.12)
    result = events.held(np.stack([smile, blink], 1), FPS, 0.35)
    assert result[:, 0].max() == pytest.approx(1)
    assert result[:, 1].max() < 0.3
    assert (result <= np.stack([smile, blink], 1) + 1e-12).all()


def test_held_of_a_clip_shorter_than_the_window():
    assert events.held(np.full((3, 2), 0.7), FPS, 0.5) == pytest.approx(np.full((3, 2), 0.7))


def test_onset_apex_and_offset():
    (rise,) = events.rises(0.8 * bump(1.0, 0.4, 1.0, 0.5), FPS, high=0.3, low=0.05, shortest=0.2)
    assert rise.onset / FPS == pytest.approx(1.04, abs=0.02)  # a tenth of the way up
    assert rise.apex / FPS == pytest.approx(1.38, abs=0.05)
    assert rise.offset / FPS == pytest.approx(2.85, abs=0.02)
    assert rise.height == pytest.approx(0.8)


def test_hysteresis_keeps_a_wavering_rise_whole():
    curve = np.array([0, 0, 0.4, 0.5, 0.2, 0.5, 0.4, 0, 0, 0.25, 0, 0], float)
    assert len(events.rises(curve, FPS, high=0.3, low=0.1, shortest=0)) == 1
    assert len(events.rises(curve, FPS, high=0.3, low=0.3, shortest=0)) == 2
    assert events.rises(curve, FPS, high=0.3, low=0.1, shortest=1.0) == []


def test_a_rise_cut_by_the_clip_ends_with_it():
    (rise,) = events.rises(np.ones(10), FPS, high=0.3, low=0.1, shortest=0)
    assert (rise.onset, rise.offset) == (0, 9)


def test_turns_alternate_and_ignore_small_waves():
    t = np.arange(95) / FPS
    curve = np.sin(2 * np.pi * t) + 0.05 * np.sin(2 * np.pi * 7 * t)
    found = events.turns(curve, 0.5)
    kinds = [turn.kind for turn in found]
    assert all(a == -b for a, b in pairwise(kinds))
    assert sum(kind > 0 for kind in kinds) == 4  # 3.8 seconds of one hertz
    assert events.turns(0.2 * curve, 0.5) == []


def test_spans():
    assert events.spans(np.array([1, 1, 0, 1], bool)) == [(0, 2), (3, 4)]
    assert events.spans(np.zeros(3, bool)) == []
