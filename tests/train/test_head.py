"""The head's recipe makes the head that is bundled, and says how well it fits."""

import json

import numpy as np
import pytest

from tdmm_lm import bundle, config, rigs
from tdmm_lm.rigs import head as rig_head
from tdmm_lm.train import head

DATA = bundle.data()
scan = pytest.mark.skipif(
    DATA is None or not (DATA / "scanned_head").is_dir(),
    reason="needs scanned_head/ of the real data: set $TDMM_DATA to their folder",
)


def recipe() -> head.Settings:
    settings = config.read(bundle.path("recipes/head.yaml"))
    assert settings.pop("step") == "head"
    return config.check(head.Settings, settings, "recipes/head.yaml")


@scan
@pytest.mark.slow
def test_the_recipe_makes_the_bundled_head(tmp_path) -> None:
    head.main(recipe(), tmp_path / "head")
    made, bundled = rig_head.read(tmp_path / "head"), rigs.load("head")
    np.testing.assert_allclose(made.template, bundled.template, atol=5e-5)  # metres
    np.testing.assert_allclose(
        made.arrays.shapedirs_expression, bundled.arrays.shapedirs_expression, atol=2e-4
    )
    figures = json.loads((tmp_path / "head" / "report.json").read_text())["figures"]
    assert figures["neutral_face_mm"]["value"] < 1.0
    assert figures["neutral_lips_mm"]["value"] < 0.5
    worst = max(figures[key]["value"] for key in figures if key.endswith("_mm"))
    assert worst < 1.3


def test_without_data_it_says_what_is_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("TDMM_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"expected the scanned head under \$TDMM_DATA, which is unset"):
        head.main(recipe(), tmp_path / "head")
    assert not (tmp_path / "head").exists()
    monkeypatch.setenv("TDMM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"expected the scanned head \(ICT-FaceKit\), found none"):
        head.main(recipe(), tmp_path / "head")
