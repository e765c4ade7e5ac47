"""The corpus's bench: its formulas on texts by hand, and its figures of a small run."""

import pytest

from tdmm_lm.bench import corpus
from tdmm_lm.corpus.building import running, shards


def test_self_bleu_knows_copies_from_strangers():
    one = ["they", "smile", "broadly", "and", "nod", "twice"]
    other = ["a", "man", "puffs", "out", "his", "left", "cheek", "slowly"]
    assert corpus.self_bleu([one, one, one]) == pytest.approx(1)
    assert corpus.self_bleu([one, other]) < 0.1
    half = [*one[:3], *other[3:]]
    assert corpus.self_bleu([one, other, half]) > corpus.self_bleu([one, other])


def test_figures_of_a_small_run(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "BALANCED", 280)
    monkeypatch.setattr(corpus, "COMPARED", 20)
    monkeypatch.setattr(corpus, "DESCRIPTIONS", 36)
    own = corpus.settings(12, workers=1)
    assert own.sources["performed"]["clips"] == {"train": 12}
    assert len(list(running.run(list(shards.plan(own)), own, tmp_path / "one0"))) == 1
    figures = corpus.varied() | corpus.balance()
    assert figures["distinct_2_no_digits"]["n"] == 36
    assert 0.2 < figures["distinct_2_no_digits"]["value"] < 1
    assert 0 < figures["self_bleu"]["value"] < 1
    assert figures["label_balance"]["value"] <= 43  # two clips a word for 80 words, one for the others: 1.4 on average
