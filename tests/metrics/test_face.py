"""Metrics of faces: each convention against loops in plain words, and against torchmetrics where it has the same."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.multimodal import lip_vertex_error

from tdmm_lm import metrics

LIPS, UPPER = [1, 4, 6], [0, 2, 3]


@pytest.fixture
def clips():
    """Three clips of different lengths, predicted and true, metres, and the faces at rest."""
    random = np.random.default_rng(0)
    true = [random.normal(0, 0.05, (frames, 8, 3)) for frames in (20, 35, 50)]
    predicted = [one + random.normal(0, 0.003 * i, one.shape) for i, one in enumerate(true, 1)]
    return predicted, true, random.normal(0, 0.05, (3, 8, 3))


def largest(one, other):
    """Of each frame, the largest distance of a lip vertex."""
    return [max(np.sqrt(((a[v] - b[v]) ** 2).sum()) for v in LIPS) for a, b in zip(one, other)]


def test_lip_vertex_errors(clips):
    predicted, true, _ = clips
    frames = [d for one, other in zip(predicted, true) for d in largest(one, other)]  # of all clips, one after another
    squared, metres, mm = (
        metrics.measure(name, predicted, true, lips=LIPS) for name in ("lve_squared", "lve_metres", "lve_mm")
    )
    assert squared.value == pytest.approx(np.mean(np.square(frames)), rel=1e-12)
    assert metres.value == pytest.approx(np.mean(frames), rel=1e-12)
    assert mm.value == pytest.approx(1000 * np.mean(frames), rel=1e-12)
    assert squared.each == pytest.approx([np.mean(np.square(largest(*pair))) for pair in zip(predicted, true)])
    assert squared.weights.tolist() == [20, 35, 50]
    whole = [torch.from_numpy(np.concatenate(one)) for one in (predicted, true)]
    assert squared.value == pytest.approx(float(lip_vertex_error(*whole, LIPS)), rel=1e-9)
    for one, other, value in zip(predicted, true, squared.each):
        theirs = lip_vertex_error(torch.from_numpy(one), torch.from_numpy(other), LIPS)
        assert value == pytest.approx(float(theirs), rel=1e-9)


def test_mean_distances(clips):
    predicted, true, _ = clips
    frames = [
        np.mean([np.linalg.norm(a[v] - b[v]) for v in LIPS])
        for one, other in zip(predicted, true) for a, b in zip(one, other)
    ]
    assert metrics.measure("lip_error_mm", predicted, true, lips=LIPS).value == pytest.approx(1000 * np.mean(frames))
    assert metrics.measure("lid_error_mm", predicted, true, lids=LIPS).value == pytest.approx(1000 * np.mean(frames))


def test_upper_face_dynamics(clips):
    predicted, true, rest = clips

    def moves(clip, template, power):
        total = 0.0
        for v in UPPER:
            total += np.std([np.linalg.norm(frame[v] - template[v]) ** power for frame in clip])
        return total / len(UPPER)

    differences = {
        power: [moves(other, t, power) - moves(one, t, power) for one, other, t in zip(predicted, true, rest)]
        for power in (1, 2)
    }
    options = {"template": rest, "upper": UPPER}
    signed = metrics.measure("fdd_signed", predicted, true, **options)
    assert signed.value == pytest.approx(np.mean(differences[1]), rel=1e-9)
    assert signed.target == 0
    squared = metrics.measure("fdd_signed_squared", predicted, true, **options)
    assert squared.value == pytest.approx(np.mean(differences[2]), rel=1e-9)
    absolute = metrics.measure("fdd_absolute", predicted, true, **options)
    assert absolute.value == pytest.approx(np.mean(np.abs(differences[1])), rel=1e-9)
    absolute = metrics.measure("fdd_absolute_squared", predicted, true, **options)
    assert absolute.value == pytest.approx(np.mean(np.abs(differences[2])), rel=1e-9)
    still = [np.repeat(one[:1], len(one), 0) for one in true]
    assert metrics.measure("fdd_signed", still, true, **options).value > 0  # moves too little: positive
    assert metrics.measure("fdd_signed", true, still, **options).value < 0
    one = metrics.measure("fdd_signed", predicted, true, template=rest[0], upper=UPPER)
    assert one.value == metrics.measure("fdd_signed", predicted, true, template=rest[[0, 0, 0]], upper=UPPER).value


def test_parameters():
    one, other = [np.zeros((2, 4)), np.zeros((3, 4))], [np.full((2, 4), 1.0), np.full((3, 4), 0.5)]
    measured = metrics.measure("face_l2", one, other)
    assert measured.each.tolist() == [2, 1]
    assert measured.value == pytest.approx((2 * 2 + 3 * 1) / 5)
