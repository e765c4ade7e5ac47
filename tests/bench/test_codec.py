"""The codec's benchmark on the bundled face codec and a small body codec: its keys, and what must be so anywhere."""

import pytest
import torch

from tdmm_lm import bundle, codec, config
from tdmm_lm.bench import codec as bench


@pytest.fixture
def body(tmp_path):
    model = config.find("codec", "vq").build({
        "modality": "body", "groups": {"motion": [263, 8]}, "fps": 20, "strides": [2, 2], "codebook_size": 16,
        "width": 8, "code_dim": 8,
    })
    model.start(torch.randn(4, 40, 8))
    codec.save(model, tmp_path)
    return tmp_path


def test_figures(body, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 4.0)
    monkeypatch.setattr(bench, "ROUNDS", 1)
    figures = bench.run({"face": bundle.path("tokenizers/face"), "body": body})
    assert {
        "face_realtime_factor", "solve_realtime_factor", "body_realtime_factor", "streaming_max_difference",
        "look_ahead_frames", "megabytes_per_minute", "memory_linearity",
    } == set(figures)
    assert figures["streaming_max_difference"]["value"] < 1e-5
    assert figures["streaming_max_difference"]["n"] == 100
    network = codec.load(bundle.path("tokenizers/face"))
    assert figures["look_ahead_frames"]["value"] == sum(network.look_ahead)
