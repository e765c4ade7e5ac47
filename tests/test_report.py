"""Reports have one shape, and the page for people is made from it."""

import json

import pytest

from tdmm_lm import report


def test_a_report_has_the_one_shape_and_a_page(tmp_path):
    made = report.report(
        "x", settings={"a": 1}, figures={"speed": report.figure(2.5, "frames/s", n=3, interval=(2, 3))}
    )
    report.write(made, tmp_path)
    kept = json.loads((tmp_path / "report.json").read_text())
    assert set(kept) == {"name", "version", "when", "machine", "settings", "figures"}
    assert set(kept["figures"]["speed"]) == set(report.KEYS)
    page = (tmp_path / "report.md").read_text()
    assert "| speed | 2.5 | frames/s | 3 | 2 to 3 |" in page


def test_figures_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"figures.speed: expected the keys value, unit"):
        report.report("x", settings={}, figures={"speed": {"value": 1}})
