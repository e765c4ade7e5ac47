"""The head benchmark's figures, on few frames."""

import pytest

from tdmm_lm.bench import head
from tdmm_lm.report import KEYS


def test_figures_have_the_agreed_keys_and_the_three_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("smplx")
    pytest.importorskip("flame_pytorch", reason="pip install --no-deps flame-pytorch")
    monkeypatch.setattr(head, "FRAMES", 20)
    monkeypatch.setattr(head, "ROUNDS", 3)
    figures = head.run()
    for name in ("smplx", "flame_pytorch"):
        figure = figures[f"head_speedup_{name}"]
        assert tuple(figure) == KEYS
        low, high = figure["interval"]
        assert low <= figure["value"] <= high
        assert figure["peer"].startswith(name.replace("_", "-"))
        assert figures[f"head_apart_{name}"]["value"] < 1e-5
    assert figures["head_fps"]["value"] / figures["head_fps_smplx"]["value"] == pytest.approx(
        figures["head_speedup_smplx"]["value"]
    )
