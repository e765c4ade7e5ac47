"""Readings: what a head could only come near to is put right, and nothing else."""

import gc
import weakref

import numpy as np
import pytest

from tdmm_lm import bundle, rigs
from tdmm_lm.corpus import perform, prompts
from tdmm_lm.geometry import measure, solve
from tdmm_lm.geometry.reading import read
from tdmm_lm.material import face as material
from tdmm_lm.motion import MotionClip, face


@pytest.fixture(scope="module")
def head() -> rigs.Rig:
    return rigs.load("head")


@pytest.fixture(scope="module", params=["stranger", "scan"])
def other(request: pytest.FixtureRequest, head: rigs.Rig) -> rigs.Rig:
    """Somebody else's head, whose shapes are larger or smaller; the scanned head, whose shapes are other shapes."""
    if request.param == "stranger":
        return material.stranger(head, 3)
    if bundle.data() is None:
        pytest.skip("needs the scanned head: set $TDMM_DATA to the folder of real data")
    return rigs.load("ict")


def performed(seed: int) -> MotionClip:
    return perform.perform(prompts.sample(seed, split="test", seconds=2.0))


def apart_mm(one: measure.Geometry, other: measure.Geometry) -> float:
    return float(np.linalg.norm(one.displacement - other.displacement, axis=-1).mean()) * 63


def test_the_bundled_head_is_read_as_it_is_measured(head: rigs.Rig) -> None:
    clip = performed(1)
    np.testing.assert_array_equal(read(clip, head).displacement, measure.measure(clip, head).displacement)


def test_readings_are_nearer_to_what_was_asked(head: rigs.Rig, other: rigs.Rig) -> None:
    plain, righted = [], []
    for seed in range(6):
        asked = measure.measure(performed(seed), head)
        shown = solve.solve(asked, other)
        plain.append(apart_mm(measure.measure(shown, other), asked))
        righted.append(apart_mm(read(shown, other), asked))
    assert np.mean(plain) > 0.01
    assert np.mean(righted) < (0.5 if other.name == "ict" else 1.0) * np.mean(plain)


def test_an_artists_gains_are_taken_back(head: rigs.Rig, other: rigs.Rig) -> None:
    """Weights of the head's own shapes, each alone, solved there: the reading is what the head does."""
    for name in ("mouthSmileLeft", "browInnerUp", "eyeBlinkRight"):
        weights = np.zeros((3, len(face.ARKIT)))
        weights[:, face.ARKIT.index(name)] = 0.6
        asked = measure.measure(face.assemble({"expression": weights}, fps=25, rig="head"), head)
        moved = float(np.linalg.norm(asked.displacement[-1], axis=-1).mean()) * 63
        last = np.linalg.norm(read(solve.solve(asked, other), other).displacement[-1] - asked.displacement[-1], axis=-1)
        assert float(last.mean()) * 63 < 0.06 * moved, name


def test_a_resting_face_rests(other: rigs.Rig) -> None:
    parts = {"expression": np.zeros((4, len(other.expressions))), "head": np.full((4, 3), 0.2)}
    still = face.assemble(parts, fps=25, rig=other.name)
    seen, measured = read(still, other), measure.measure(still, other)
    assert np.abs(seen.displacement).max() < 1e-6
    np.testing.assert_array_equal(seen.head, measured.head)
    np.testing.assert_array_equal(seen.gaze, measured.gaze)


def test_chunks_are_read_as_wholes(other: rigs.Rig) -> None:
    clip = MotionClip(performed(2).values, 25, "face", other.name)
    whole = read(clip, other).displacement
    parts = [
        read(MotionClip(clip.values[at : at + 7], 25, "face", other.name), other).displacement
        for at in range(0, clip.frames, 7)
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_no_head_is_kept_in_memory(head: rigs.Rig) -> None:
    """A server that reads clips of many imported heads does not hold on to them."""
    one = material.stranger(head, 4)
    read(MotionClip(performed(3).values, 25, "face", one.name), one)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_another_heads_channels_are_refused(other: rigs.Rig) -> None:
    with pytest.raises(ValueError, match=r"expected values of shape \(frames, 52 \+ 18\), got \(1, 30\)"):
        read(MotionClip(np.zeros((3, 30), np.float32), 25, "face", other.name), other)
