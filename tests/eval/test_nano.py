"""The nano evaluation's arithmetic; the bundled model's figures come from `tdmm bench nano`."""

import math

import pytest

from tdmm_lm.bench import corpora
from tdmm_lm.eval import nano, wording


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
    assert figures["well_worded"]["value"] >= 0.95


def test_words_that_do_not_belong_are_found():
    """True captions are well worded, and none of them from its end to its beginning."""
    texts = wording.exact(nano.unseen(40, None))
    assert sum(map(wording.well_worded, texts)) >= 38
    assert not wording.well_worded("they look very eyes.")
    assert not any(wording.well_worded(" ".join(reversed(text.split()))) for text in texts)


def test_the_bundled_model_follows_instructions_more_often_than_not():
    figures = nano.edited(nano.load(), n=100)
    assert figures["edited_family"]["n"] == figures["edited_gesture"]["n"] == 100
    assert 0 < figures["edited_word"]["n"] < 100
    assert figures["edited_family"]["value"] > 0.5
    assert figures["edited_gesture"]["value"] > 0.5


def test_a_model_gains_nothing_on_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TDMM_DATA", raising=False)
    bench = nano.load()
    figures = corpora.against(bench, bench, n=4)
    for name in (
        "first_family_accuracy", "all_gaze_accuracy", "first_performed_family", "all_performed_gesture",
        "all_performed_counted",
    ):
        assert figures[name]["value"] == figures[name]["peer_value"], name
        assert figures[f"{name}_gain"]["value"] == 0, name
    assert "real_head_agreement" not in figures


def test_comparing_with_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("TDMM_BEFORE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="TDMM_BEFORE: expected the folder of an earlier language model"):
        corpora.run()


def test_right_and_wrong_answers_make_the_gain() -> None:
    """Of four samples the earlier model has two right and the later three, all of the two among them."""
    figures = corpora._gains({"family": [True, True, False, False]}, {"family": [True, True, True, False]})
    assert figures["family"]["value"] == 0.75
    assert figures["family"]["peer_value"] == 0.5
    assert figures["family"]["ratio"] == 1.5
    low, high = figures["family_gain"]["interval"]
    assert figures["family_gain"]["value"] == 0.25
    assert low <= 0.25 <= high


def test_samples_that_say_nothing_of_one_model_are_no_pairs() -> None:
    """Two performances each are counted, one of them by both: there the later model is right and the earlier wrong."""
    figures = corpora._gains({"count": [math.nan, 0.0, 1.0]}, {"count": [1.0, 1.0, math.nan]})
    assert (figures["count"]["peer_value"], figures["count"]["value"], figures["count"]["n"]) == (0.5, 1.0, 2)
    assert (figures["count_gain"]["value"], figures["count_gain"]["n"]) == (1.0, 1)
    nobody = corpora._gains({"count": [math.nan]}, {"count": [math.nan]})
    assert nobody["count"]["value"] is nobody["count_gain"]["value"] is None


def test_counts_are_of_performances_that_were_asked_for_them() -> None:
    bench, scores = nano.load(), nano.unseen(24, None, first=10)
    asks = [len(score.head) == 1 and score.head[0].gesture in ("nod", "shake") for score in scores]
    hits = nano.performed_hits(bench, scores)
    assert 0 < sum(asks) < 24
    assert [not math.isnan(hit) for hit in hits["performed_counted"]] == asks
    for asked, gesture, counted, count in zip(
        asks, hits["performed_gesture"], hits["performed_counted"], hits["performed_count"]
    ):
        if asked and gesture:
            assert count == counted
        else:
            assert math.isnan(count)
            assert not asked or counted == 0
