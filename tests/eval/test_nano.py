"""The nano evaluation's arithmetic; the bundled model's figures come from `tdmm bench nano`."""

import pytest

from tdmm_lm.eval import nano


def test_shares_carry_wilsons_interval():
    figure = nano.share([True] * 45 + [False] * 5)
    assert figure["value"] == 0.9
    assert figure["n"] == 50
    # Wilson (1927) for 45 of 50 at 95 %
    assert figure["interval"] == pytest.approx([0.7864, 0.9565], abs=5e-4)
    assert nano.share([True] * 10)["interval"][1] == 1.0


def test_the_bundled_model_names_most_expressions_and_gestures():
    figures = nano.described(nano.load(), n=40)
    assert figures["family_accuracy"]["value"] >= 0.8
    assert figures["gesture_accuracy"]["value"] >= 0.75
