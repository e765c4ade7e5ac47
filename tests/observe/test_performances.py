"""Performances whose truth is known: `observe` must find what the corpus says it performed."""

from collections import Counter

import numpy as np
import pytest

from tdmm_lm import rigs
from tdmm_lm.corpus import labels, perform, prompts
from tdmm_lm.observe import run

COUNT = 120


@pytest.fixture(scope="module")
def pairs() -> list[tuple[labels.Labels, run.Observation]]:
    rig = rigs.load("head")
    scores = [prompts.sample(seed, split="dev") for seed in range(COUNT)]
    return [(labels.of_score(score), run.run(perform.perform(score), rig)) for score in scores]


def test_family(pairs):
    wrong = Counter((truth.word, truth.level, seen.family) for truth, seen in pairs if seen.family != truth.family)
    assert sum(wrong.values()) <= 0.03 * COUNT, wrong


def test_intensity(pairs):
    gaps = [abs(seen.intensity - truth.intensity) for truth, seen in pairs if seen.family == truth.family]
    assert np.mean(gaps) < 0.06


def test_gesture_and_count(pairs):
    wrong = Counter((truth.gesture, seen.gesture) for truth, seen in pairs if seen.gesture != truth.gesture)
    assert sum(wrong.values()) <= 0.03 * COUNT, wrong
    counted = [(truth.count, seen.count) for truth, seen in pairs if truth.gesture == seen.gesture in ("nod", "shake")]
    assert len(counted) > 20
    assert sum(a != b for a, b in counted) <= 0.05 * len(counted), counted


def test_gaze_blinks_and_speech(pairs):
    assert sum(seen.gaze != truth.gaze for truth, seen in pairs) <= 0.05 * COUNT
    assert sum(seen.blinks != truth.blinks for truth, seen in pairs) <= 0.05 * COUNT
    assert sum(abs(seen.speech_share - truth.speech_share) > 0.1 for truth, seen in pairs) <= 0.05 * COUNT
