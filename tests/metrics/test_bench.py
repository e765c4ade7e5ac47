"""The benchmark of metrics gives figures in the shape of every report, and exact ones."""

import pytest

from tdmm_lm import report
from tdmm_lm.bench import metrics as bench


def test_figures(monkeypatch):
    monkeypatch.setattr(bench, "SAMPLES", 600)
    monkeypatch.setattr(bench, "ROUNDS", 2)
    monkeypatch.setattr(bench, "REPETITIONS", 3)
    monkeypatch.setattr(bench, "rescored", dict)  # minutes
    figures = bench.run()
    report.report("metrics", settings={}, figures=figures)
    assert {"metrics_time_ratio", "metrics_seconds", "parity_max_relative"} <= set(figures)
    assert figures["parity_max_relative"]["value"] < 1e-9
    seconds = figures["metrics_seconds"]
    assert figures["metrics_time_ratio"]["ratio"] == pytest.approx(seconds["peer_value"] / seconds["value"])


def test_the_peer_and_ours_agree_on_another_set():
    sets = bench.check_set(400, 24)
    assert bench.ours(*sets) == pytest.approx(bench.public(*sets), rel=1e-9)
