"""The benchmark of measuring and solving gives figures in the shape of every report, and good ones."""

import pytest

from tdmm_lm import bundle, report
from tdmm_lm.bench import solve


def test_figures(monkeypatch):
    if bundle.data() is None:
        pytest.skip("needs scanned_head/ of the real data: set $TDMM_DATA to their folder")
    monkeypatch.setattr(solve, "FRAMES", 300)
    monkeypatch.setattr(solve, "REPEATS", 1)
    figures = solve.run(("ict",))
    report.report("solve", settings={}, figures=figures)
    assert figures["solve_fps_ict"]["ratio"] > 4
    assert figures["solve_fps_ict"]["ratio"] == pytest.approx(figures["solve_fps_ict"]["value"] / 25)
    assert 0 < figures["round_trip_mm_ict"]["value"] < 0.05
    assert figures["weights_error_ict"]["n"] == 51  # all but tongueOut, which this head does not have
    assert figures["weights_error_99_ict"]["value"] < 0.05
