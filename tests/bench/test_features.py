"""The benchmark of features: the peer is the published algorithm, and both give the same."""

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, report, rotations
from tdmm_lm.bench import features
from tdmm_lm.geometry import humanml3d
from tdmm_lm.motion import body
from tdmm_lm.rigs import skeleton


def test_the_peer_gives_the_published_features():
    if bundle.data() is None:
        pytest.skip("$TDMM_DATA is unset: HumanML3D's sample is not here")
    folder = bundle.data() / "humanml3d_sample"
    joints, published = (np.load(folder / f"012314_{what}.npy") for what in ("joints", "features"))
    assert np.abs(features.published_features(joints) - published[:-1])[:100].max() < 1e-5
    assert np.abs(features.published_recovery(published) - joints).max() < 1e-6


def test_the_peer_agrees_on_who_turns_round():
    """Also where the published way goes wrong: in the step in which the heading passes Z-."""
    now = torch.arange(150) / 20
    turns = torch.zeros(150, 22, 3)
    turns[:, 0, 1] = now
    turns[:, 1:] = 0.3 * torch.sin(5 * now[:, None, None] + torch.arange(63).view(21, 3))
    clip = body.assemble(0.9 + np.zeros((150, 3)), rotations.axis_angle_to_matrix(turns), fps=20)
    places = skeleton.joints(clip)
    ours, plain = (humanml3d.features(places, quirks=quirks).numpy() for quirks in (True, False))
    peer = features.published_features(places.numpy())
    assert np.abs(ours - peer).max() < 1e-4
    assert np.abs(plain - peer)[:, 0].max() > 0.05


def test_figures(monkeypatch):
    if bundle.data() is None:
        pytest.skip("$TDMM_DATA is unset: HumanML3D's sample is not here")
    monkeypatch.setattr(features, "CLIPS", 16)
    monkeypatch.setattr(features, "ROUNDS", 3)
    figures = features.run()
    report.report("features", settings={}, figures=figures)
    for name in ("features", "recover"):
        speedup = figures[f"{name}_speedup"]
        assert speedup["interval"][0] <= speedup["value"] <= speedup["interval"][1]
        assert speedup["value"] > 1
        clips = figures[f"{name}_clips"]
        assert clips["value"] / clips["peer_value"] == pytest.approx(speedup["value"])
    assert figures["features_apart"]["value"] < 1e-4
    assert figures["recover_apart"]["value"] < 1e-5


def test_without_data_there_is_nothing_to_measure(monkeypatch):
    monkeypatch.delenv("TDMM_DATA", raising=False)
    with pytest.raises(ValueError, match=r"^bench features: expected .* below \$TDMM_DATA, found none\.$"):
        features.run()
