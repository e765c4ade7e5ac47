"""Syllables are speech; expressions, however large, are not."""

import numpy as np
import pytest

from tdmm_lm.observe import speech


def times(fps: float = 25.0, seconds: float = 4.0) -> np.ndarray:
    return np.arange(round(seconds * fps)) / fps


def syllables(t: np.ndarray, start: float, stop: float, hertz: float = 4.0, size: float = 0.12) -> np.ndarray:
    return np.where((t > start) & (t < stop), size * np.sin(np.pi * hertz * (t - start)) ** 2, 0)


def ramp(t: np.ndarray, onset: float, attack: float, hold: float, release: float, size: float) -> np.ndarray:
    return size * np.clip(np.minimum((t - onset) / attack, (onset + attack + hold + release - t) / release), 0, 1)


def mouth(gap, width=0.0) -> np.ndarray:
    return np.stack(np.broadcast_arrays(gap, width), -1).astype(float)


@pytest.mark.parametrize("fps", [15.0, 25.0, 60.0])
@pytest.mark.parametrize("hertz", [2.5, 4.0, 5.5])
@pytest.mark.parametrize(("start", "stop"), [(1.0, 3.0), (0.5, 1.7)])
def test_share_of_the_time(fps, hertz, start, stop):
    stop = start + round((stop - start) * hertz) / hertz
    found = speech.find(mouth(syllables(times(fps), start, stop, hertz)), fps)
    assert speech.share(found, 4.0) == pytest.approx((stop - start) / 4, abs=0.1)


def test_speech_from_the_first_to_the_last_frame():
    (event,) = speech.find(mouth(syllables(times(), 0, 4)), 25)
    assert (event.onset, event.offset) == (0, 4)
    assert speech.mask([event], 100, 25).all()


def test_rounding_alone_is_speech():
    t = times()
    assert speech.share(speech.find(mouth(0.0, -syllables(t, 1, 3)), 25), 4) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("attack", "hold", "release", "size"), [(0.1, 1.0, 0.3, 0.5), (0.4, 1.5, 0.6, 0.2), (0.5, 0.8, 0.5, 0.4)]
)
def test_expressions_are_no_speech(attack, hold, release, size):
    t = times()
    gap = ramp(t, 0.6, attack, hold, release, size)
    sway = 1 + 0.05 * np.sin(2 * np.pi * 0.8 * t)
    assert speech.find(mouth(gap * sway, gap / 3), 25) == []


def test_jitter_is_no_speech():
    rng = np.random.default_rng(0)
    assert speech.find(mouth(rng.normal(0, 0.003, 100), rng.normal(0, 0.003, 100)), 25) == []


def test_speech_over_an_open_mouth_and_a_smile():
    t = times()
    gap = ramp(t, 0.2, 0.4, 2.8, 0.4, 0.1) + syllables(t, 1.2, 2.7)
    found = speech.find(mouth(gap, ramp(t, 0.2, 0.4, 2.8, 0.4, 0.15)), 25)
    assert speech.share(found, 4) == pytest.approx(1.5 / 4, abs=0.15)


def test_words_apart_are_speech_and_a_lone_opening_is_not():
    t = times(seconds=6.0)
    words = [ramp(t, onset, 0.12, 0.2, 0.15, 0.12) for onset in (0.5, 1.6, 2.7, 3.8)]
    found = speech.find(mouth(np.sum(words, 0)), 25)
    assert len(found) == 4
    assert speech.find(mouth(words[0]), 25) == []


def test_two_spans_do_not_overlap():
    t = times(seconds=6.0)
    found = speech.find(mouth(syllables(t, 0.5, 2.0) + syllables(t, 2.75, 4.75)), 25)
    assert len(found) == 2
    assert found[0].offset <= found[1].onset


def test_no_speech_has_an_empty_mask():
    assert not speech.mask([], 10, 25).any()
    assert speech.share([], 3) == 0
    assert speech.find(np.zeros((1, 2)), 25) == []
