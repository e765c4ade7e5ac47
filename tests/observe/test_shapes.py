"""Shapes as events, the two sides together."""

import numpy as np
import pytest

from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import shapes

FPS = 30.0


def moved(**heights: float) -> np.ndarray:
    """(frames, 52): each named shape rises to a height from second 1 to 2 of three."""
    t = np.arange(90) / FPS
    weights = np.zeros((90, len(ARKIT)))
    for name, height in heights.items():
        weights[:, ARKIT.index(name)] = height * np.clip(np.minimum((t - 1) / 0.2, (2 - t) / 0.2), 0, 1)
    return weights


def test_every_shape_is_a_pair_or_alone():
    columns = [i for pair in shapes.PAIRS.values() for i in pair] + list(shapes.SINGLE.values())
    assert sorted(columns) == list(range(len(ARKIT)))
    assert {"jawLeft", "jawRight", "mouthLeft", "mouthRight"} <= set(shapes.SINGLE)


@pytest.mark.parametrize(("left", "right", "side"), [(0.8, 0.75, "both"), (0.8, 0.3, "left"), (0.0, 0.5, "right")])
def test_sides(left, right, side):
    (event,) = shapes.find(moved(mouthSmileLeft=left, mouthSmileRight=right), FPS)
    assert (event.kind, event.name, event.side) == ("shape", "mouthSmile", side)
    assert event.intensity == pytest.approx(max(left, right), abs=0.02)
    assert event.onset == pytest.approx(1.0, abs=0.06)
    assert event.offset == pytest.approx(2.0, abs=0.06)


def test_singles_and_what_is_too_small():
    found = shapes.find(moved(jawOpen=0.5, browInnerUp=0.05, tongueOut=0.9), FPS)
    assert {event.name for event in found} == {"jawOpen", "tongueOut"}  # the brow stays under `HIGH`
