"""Variations of one tiny recipe, compared."""

import json
from pathlib import Path

import pytest
import yaml

from tdmm_lm import bundle, codec, config
from tdmm_lm.train import codec as training
from tdmm_lm.train import compare

PLAIN = "losses={reconstruction: 1.0, velocity: 1.0, commitment: 30.0}"


def settings(folder: Path, **changes: object) -> compare.Settings:
    base = {
        "step": "codec", "model": {"width": 8, "dilations": [1], "code_dim": 20},
        "quantizer": {"codebook_size": 16}, "window": 24, "batch": 8, "steps": 3,
        "data": {"shares": {"performances": 1.0}, "performances": 12, "rigs": {"head": 1.0}, "test_performances": 4},
        "losses": {"reconstruction": 1.0, "commitment": 1.0},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    groups = "model.groups={displacement: [624, 12], head: [6, 6], gaze: [4, 2]}"
    runs = {
        "one": [groups], "three": [groups, "codec=rvq", "quantizer.books=3"],
        "levels": [groups, "codec=fsq", "quantizer={levels: [4, 4]}"],
        "coefficients": ["material=coefficients", PLAIN, "model.groups={expression: [52, 14], head: [6, 6]}"],
    }
    return config.check(compare.Settings, {
        "base": str(folder / "base.yaml"), "changes": ["data.test_performances=3"], "runs": runs,
        "paired": {"geometry_vs_coefficients": ["one", "coefficients"]}, "sources": ["performances"], **changes,
    }, "test")


def test_a_comparison(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare.main(settings(tmp_path), tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "report.json").read_text())["figures"]
    bits = 25 * 4  # a book of 16 codes at 25 a second
    at = {name: [key for key in figures if key.startswith(f"{name}_")] for name in ("one", "three", "levels")}
    assert at["one"] == [f"one_{bits}_bits_performed_landmark_error_mm"]
    assert at["three"] == [f"three_{n * bits}_bits_performed_landmark_error_mm" for n in (1, 2, 3)]
    assert at["levels"] == [f"levels_{bits}_bits_performed_landmark_error_mm"]
    paired = figures["geometry_vs_coefficients_performances"]
    key = f"{bits}_bits_performed_landmark_error_mm"
    one, other = (figures[f"{name}_{key}"]["value"] for name in ("one", "coefficients"))
    low, high = paired["interval"]
    assert low <= paired["value"] <= high
    assert paired["n"] == 3
    assert (paired["value"] > 1) == (other > one)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| three | 300 bits performed landmark error mm |" in text
    assert "| mean frame | performed landmark error mm |" in text
    assert (tmp_path / "out" / "rate.png").stat().st_size > 5000
    monkeypatch.setattr(training, "main", None)  # what is trained is not trained again
    compare.main(settings(tmp_path), tmp_path / "out")


def test_settings_are_checked(tmp_path) -> None:
    with pytest.raises(ValueError, match="paired: expected names among one, three, levels, coefficients, got two"):
        compare.main(settings(tmp_path, paired={"x": ["one", "two"]}), tmp_path / "out")
    with pytest.raises(ValueError, match=r"runs\.one: steps: .*greater than or equal to 1"):
        compare.main(settings(tmp_path, runs={"one": ["steps=0"]}, paired={}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["face_compare", "body_compare"])
def test_the_recipes(name: str) -> None:
    """Every variation is a recipe, and its codec can be built."""
    data = config.read(bundle.path(f"tokenizers/{name}.yaml"))
    assert data.pop("step") == "compare"
    made = config.check(compare.Settings, data, name)
    base = config.override(config.read(bundle.path(made.base)), made.changes)
    base.pop("step")
    for changes in made.runs.values():
        recipe = config.check(training.Settings, config.override(base, changes), name)
        config.find("codec", recipe.codec).build({**recipe.model, **recipe.quantizer})
        config.check(config.find("material", recipe.material).Data, recipe.data, "data")


def test_into_a_released_report(tmp_path) -> None:
    """Named figures, the table and the picture join the report of a codec, once, however often it is done."""
    recipe = settings(tmp_path).base
    data = config.read(recipe)
    data.pop("step")
    made = config.check(training.Settings, {**data, "model": {**data["model"], "groups": {
        "displacement": [624, 12], "head": [6, 6], "gaze": [4, 2]}}}, "base")
    training.main(made, tmp_path / "released")
    folder = tmp_path / "released" / "codec"
    before = (folder / "report.md").read_text()
    merged = settings(
        tmp_path, into=str(folder), named={"rvq3_landmark_error_mm": "three_300_bits_performed_landmark_error_mm"}
    )
    for _ in range(2):
        compare.main(merged, tmp_path / "out")
    report = json.loads((folder / "report.json").read_text())
    compared = json.loads((tmp_path / "out" / "report.json").read_text())["figures"]
    assert report["figures"]["rvq3_landmark_error_mm"] == compared["three_300_bits_performed_landmark_error_mm"]
    text = (folder / "report.md").read_text()
    assert text.count("## Rates, all trained alike and shortly") == 1
    assert all(line in text for line in before.splitlines() if line.startswith("| mean frame |"))
    assert (folder / "rate.png").stat().st_size > 5000
    codec.load(folder)
