"""What reports say of a codec: errors by action beside both peers, intervals only where there are clips enough."""

import pytest
import torch

from tdmm_lm import config
from tdmm_lm.eval import codec as evaluation


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = config.find("codec", "vq").build({"groups": {"all": [6, 4]}, "codebook_size": 16, "width": 8, "code_dim": 8})
    x = torch.randn(8, 24, 6)
    made.fit(x.flatten(0, 1), {"all": torch.eye(6)})
    made.start(made.project(x))
    return made.eval()


def away(one, other):
    return (one - other).norm(dim=-1)


def test_by_action(model) -> None:
    clips = [("nod", torch.randn(20, 6)), ("smile", torch.randn(30, 6)), ("nod", torch.randn(10, 6))]
    centres = evaluation.kmeans(model.project(torch.randn(400, 6)), 32)
    figures = evaluation.by_action(model, away, clips, centres)
    assert set(figures) == {f"{before}by_action_{name}" for before in ("", "mean_frame_") for name in ("nod", "smile")}
    nod = figures["by_action_nod"]
    with torch.no_grad():
        errors = [away(rows, model.decode(model.encode(rows[None]))[0]) for name, rows in clips if name == "nod"]
    assert nod["value"] == pytest.approx(float(torch.cat(errors).mean()))
    assert nod["n"] == 30
    assert nod["peer"] == "k-means 32, frame by frame"
    assert nod["ratio"] == pytest.approx(nod["peer_value"] / nod["value"])
    low, high = nod["interval"]
    assert low < sum(float(error.mean()) for error in errors) / 2 < high
    assert figures["by_action_smile"]["interval"] is None  # one clip
    means = [away(rows, model.mean.expand_as(rows)) for name, rows in clips if name == "nod"]
    assert figures["mean_frame_by_action_nod"]["value"] == pytest.approx(float(torch.cat(means).mean()))


def test_intervals() -> None:
    assert evaluation.interval([2.0]) is None
    low, high = evaluation.interval([1.0, 2.0, 3.0, 2.0])
    assert (low + high) / 2 == pytest.approx(2)
    assert high - low == pytest.approx(2 * 1.96 * 0.8164966 / 2)
