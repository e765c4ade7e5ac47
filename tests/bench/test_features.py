"""The benchmark of features: the peer is the published algorithm, and both give the same."""

import numpy as np
import pytest

from tdmm_lm import bundle, report
from tdmm_lm.bench import features


def test_the_peer_gives_the_published_features():
    if bundle.data() is None:
        pytest.skip("$TDMM_DATA is unset: HumanML3D's sample is not here")
    folder = bundle.data() / "humanml3d_sample"
    joints, published = (np.load(folder / f"012314_{what}.npy") for what in ("joints", "features"))
    assert np.abs(features.published_features(joints) - published[:-1])[:100].max() < 1e-5
    assert np.abs(features.published_recovery(published) - joints).max() < 1e-6


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
