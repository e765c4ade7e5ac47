"""The encoder of texts and motions: it learns what belongs together, goes on where it stopped, and is kept whole."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from tdmm_lm import bundle, codec, config
from tdmm_lm.corpus import build, labels, prompts, table
from tdmm_lm.corpus.perform import perform
from tdmm_lm.lm import retrieval
from tdmm_lm.train import retrieval as training

SMALL = {
    "performances": 48, "test": 32, "batch": 24, "steps": 60, "warmup": 5,
    "model": {"width": 48, "layers": 1, "heads": 2, "dim": 32},
}


def example(score):
    return training.Example(labels.of_score(score), (), lambda: perform(score))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("retrieval")
    training.main(config.check(training.Settings, SMALL, "test"), out)
    return out


def test_a_trained_encoder_knows_what_it_has_seen(trained):
    found = retrieval.load(trained / "encoder")
    scores = [prompts.sample(800_000 + i, split="train") for i in range(48)]
    said = found.of_texts([training.told(example(score), np.random.default_rng(3)) for score in scores])
    shown = found.of_clips([perform(score) for score in scores])
    assert torch.allclose(said.norm(dim=-1), torch.ones(48), atol=1e-4)
    products = said @ shown.mT
    rank = (products > products.diag()[:, None]).sum(1).float().median()
    assert rank < 12  # 24 by chance
    report = json.loads((trained / "encoder" / "report.json").read_text())
    assert 0 <= report["figures"]["r_precision_1"]["value"] <= 1
    assert report["figures"]["median_rank"]["n"] == 32


def test_vectors_do_not_depend_on_the_batch(trained):
    found = retrieval.load(trained / "encoder")
    texts = ["a man smiles", "the person looks very angry, nods twice and then looks up", ""]
    together, alone = found.of_texts(texts), torch.cat([found.of_texts([text]) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)
    clips = [perform(prompts.sample(i, seconds=seconds)) for i, seconds in enumerate((2.0, 3.4, 6.0))]
    assert torch.allclose(found.of_clips(clips), torch.cat([found.of_clips([clip]) for clip in clips]), atol=1e-5)


def test_a_run_that_was_stopped_ends_with_the_same_weights(trained, tmp_path, monkeypatch):
    settings = config.check(training.Settings, {**SMALL, "save_minutes": 1e-9}, "test")
    real, calls = training.contrast, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 31:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "contrast", stopping)
    with pytest.raises(KeyboardInterrupt):
        training.main(settings, tmp_path)
    monkeypatch.setattr(training, "contrast", real)
    training.main(settings, tmp_path)
    one, other = (retrieval.load(folder / "encoder").encoder.state_dict() for folder in (trained, tmp_path))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_pairs_that_no_text_could_tell_apart_are_left_out():
    known = [labels.of_score(prompts.sample(i)) for i in range(60)]
    left = training.alike([*known, known[0]], [str(place) for place in range(61)])
    assert bool(left[0, 60])
    said_twice = training.alike(known[:2], ["a man smiles", "a man smiles"])
    assert said_twice.tolist() == [[False, True], [True, False]]
    assert not left.diag().any()
    products = torch.eye(61) * 5
    products[0, 60] = 100.0  # would ruin the loss
    assert training.contrast(products, left) < training.contrast(products, torch.zeros_like(left))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """One whose clips are kept and one whose clips are performed again from its scores."""
    made = {}
    for name, more in {"clips": {}, "scores": {"clips": False}}.items():
        made[name] = tmp_path_factory.mktemp("corpora") / name
        performed = {"performed": {"clips": {"train": 40, "test": 33}}}
        build.build(build.Settings(sources=performed, workers=1, **more), made[name])
    return made


def test_a_data_set_has_an_encoder_of_its_own(corpora, tmp_path):
    said = {**SMALL, "performances": 30, "steps": 4}
    weights = {}
    for name, folder in corpora.items():
        training.main(config.check(training.Settings, {**said, "corpus": [str(folder)]}, "test"), tmp_path / name)
        weights[name] = retrieval.load(tmp_path / name / "encoder").encoder.state_dict()
    figures = json.loads((tmp_path / "clips" / "encoder" / "report.json").read_text())["figures"]
    assert figures["r_precision_1"]["n"] == 32
    with pytest.raises(ValueError, match=r"clips: expected a run of this codec, corpus, .*; choose another --output"):
        training.main(config.check(training.Settings, {**said, "corpus": [str(folder)]}, "test"), tmp_path / "clips")
    kept, performed = weights.values()  # float16 in the table
    assert all(torch.allclose(kept[key], performed[key], atol=1e-2) for key in kept)
    texts = {text for row in table.rows(corpora["clips"]) for text in row["texts"]}
    settings = config.check(training.Settings, {**said, "corpus": [str(corpora["clips"])]}, "test")
    found = training._examples(settings, "train", 30)
    assert len(found) == 30
    assert {training.told(one, np.random.default_rng(0)) for one in found} <= texts


def test_a_data_set_without_enough_rows_is_refused(corpora, tmp_path):
    few = tmp_path / "few"
    build.build(build.Settings(sources={"performed": {"clips": {"train": 3, "test": 2}}}, workers=1), few)
    for folder, error, line in (
        (few, ValueError, r"expected 32 rows or more of split test with a face and texts in .*few, got 2\."),
        (tmp_path / "none", FileNotFoundError, "none"),
    ):
        with pytest.raises(error, match=line):
            training.main(config.check(training.Settings, {**SMALL, "corpus": [str(folder)]}, "test"), tmp_path / "out")


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a retrieval encoder's folder with config\.json"):
        retrieval.load(tmp_path)
    network = codec.load(bundle.path("tokenizers/face"))
    tokenizer = AutoTokenizer.from_pretrained(bundle.path("tokenizers/text"))
    encoder = retrieval.new(network, tokenizer, width=16, heads=2, layers=1)
    retrieval.save(encoder, tokenizer, tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text('{"name": "vq", "version": 1}')
    with pytest.raises(ValueError, match="expected a retrieval encoder of version 1"):
        retrieval.load(tmp_path / "a")
    with pytest.raises(ValueError, match="depth: unknown key"):
        retrieval.new(network, tokenizer, depth=3)
