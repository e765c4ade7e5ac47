"""A few steps of training from nothing and with an adapter: resumed runs agree, merged models say the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tdmm_lm import bundle, codec, config
from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.lm import data, export, generate, muon, text, vocab
from tdmm_lm.train import sft

SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "intermediate_size": 48, "max_position_embeddings": 512, "tie_word_embeddings": True,
}
STEADY = {
    "per_device_train_batch_size": 2, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "disable_tqdm": True
}


class FakeCodec:
    """What `extend` asks of a codec: one book of 512 codes."""

    books, codebook_size, code_fps = 1, 512, 25.0

    def codebook(self):
        return torch.randn(1, 512, 8, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Settings for a short run: eight rows of a corpus with random codes, a codec's folder, a tokenizer."""
    rng = np.random.default_rng(0)
    rows, lines = [], []
    for number in range(8):
        known = labels.of_score(prompts.sample(number, seconds=2.0))
        asked, said = caption.prompt(known, rng), caption.describe(known, rng)
        lines += [asked, said] * 5
        rows.append({
            "id": f"row{number}", "split": "test" if number == 7 else "train", "labels": known.model_dump(),
            "texts": [said], "prompts": [asked], "codes": rng.integers(0, 512, 50).tolist(),
            "edit": {"instruction": "make it slower", "codes": rng.integers(0, 512, 50).tolist()},
        })
    (tmp_path / "corpus").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus" / "rows.parquet")
    (tmp_path / "face").mkdir()
    save_file({"codebook": FakeCodec().codebook()}, tmp_path / "face" / "model.safetensors")
    (tmp_path / "face" / "config.json").write_text("{}")
    monkeypatch.setattr(codec, "load", lambda folder: FakeCodec())
    text.save(text.train(lines, text.TextSettings.model_validate({"pieces": 500})), tmp_path / "text")
    return {
        "corpus": [str(tmp_path / "corpus")], "codecs": {"face": str(tmp_path / "face")},
        "tokenizer": str(tmp_path / "text"), "qwen3": SHAPE, "length": 256, "per_row": 3, "save_minutes": 1e-9,
        "trainer": {**STEADY, "max_steps": 2},
    }


def run(given, output, **changes):
    sft.main(config.check(sft.Settings, {**given, **changes}, "test"), Path(output))
    return Path(output)


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=name)


@pytest.mark.parametrize("optimizer", ["muon", "trainer"])
def test_an_interrupted_run_ends_as_one_in_one_go(given, tmp_path, optimizer):
    whole = run(given, tmp_path / "whole", optimizer=optimizer, trainer={**STEADY, "max_steps": 4})
    cut = run(given, tmp_path / "cut", optimizer=optimizer)
    assert (cut / "checkpoint-2").is_dir()
    before = weights(cut)
    run(given, cut, optimizer=optimizer, trainer={**STEADY, "max_steps": 4})
    same(weights(whole), weights(cut))
    assert any((before[name] != weights(cut)[name]).any() for name in before)


def test_what_a_run_leaves(given, tmp_path):
    steps = {**STEADY, "max_steps": 2, "logging_steps": 1}
    out = run(given, tmp_path / "out", optimizer="muon", compute="bfloat16", trainer=steps)
    lm = generate.load(out / "model")
    assert generate.perform(lm, "a woman smiles", 30, seed=1).shape == (30, 1)
    assert lm.model.config.vocab_size % 64 == 0
    assert all(weight.dtype == torch.float32 for weight in weights(out).values())
    resolved = json.loads((out / "settings.json").read_text())
    assert (resolved["optimizer"], resolved["minutes"], resolved["trainer"]["max_steps"]) == ("muon", None, 2)
    losses = [entry["answer_loss"] for entry in json.loads((out / "log.json").read_text()) if "answer_loss" in entry]
    assert len(losses) == 2
    assert all(4 < loss < 9 for loss in losses)


def test_a_blend_lies_between_its_base_and_what_was_learned(given, tmp_path):
    run(given, tmp_path / "first")
    base, more = weights(tmp_path / "first"), given | {"qwen3": None, "base": str(tmp_path / "first" / "model")}
    learned = weights(run(more, tmp_path / "all"))
    blended = weights(run(more, tmp_path / "some", blend=0.25))
    assert any((learned[name] - base[name]).abs().max() > 1e-4 for name in base)
    same(blended, {name: 0.75 * base[name] + 0.25 * learned[name] for name in base})


def test_the_clock_ends_a_run(given, tmp_path):
    out = run(given, tmp_path / "out", minutes=1e-6, trainer={**STEADY, "max_steps": 50})
    assert json.loads((out / "log.json").read_text())[-1]["step"] == 1


def test_the_clock_counts_across_interruptions(given, tmp_path):
    out = run(given, tmp_path / "out", minutes=60)
    said = json.loads((out / "clock.json").read_text())
    assert said["step"] == 2
    assert 0 < said["seconds"] < 3600
    (out / "clock.json").write_text(json.dumps({"seconds": 3600, "step": 2}))
    run(given, out, minutes=60, trainer={**STEADY, "max_steps": 9})
    assert json.loads((out / "log.json").read_text())[-1]["step"] == 3  # the hour was over


def trained(given, tmp_path, **changes):
    """A trainer before its first step, and a batch."""
    settings = config.check(sft.Settings, {**given, **changes}, "test")
    folders = {name: Path(folder) for name, folder in settings.codecs.items()}
    torch.manual_seed(0)
    model, tokenizer, grown = sft.start(settings, folders)
    rows = sft.packed(settings, tokenizer, grown, tmp_path / "rows_out")
    trainer = sft.make_trainer(settings, model, tokenizer, rows, tmp_path / "trainer_out")
    return trainer, model, sft.collate([rows[0], rows[1]])


@pytest.mark.parametrize("prompt_weight", [0.0, 0.25])
def test_the_loss_weighs_answers_and_prompts(given, tmp_path, prompt_weight):
    trainer, model, batch = trained(given, tmp_path, prompt_weight=prompt_weight)
    logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.mT, batch["input_ids"][:, 1:], reduction="none")
    weight = torch.tensor([prompt_weight, 1.0, 0.0])[batch["answers"][:, 1:]]  # 0 prompt, 1 answer, -1 padding
    expected = (losses * weight).sum() / weight.sum()
    torch.testing.assert_close(trainer.compute_loss(model, dict(batch)), expected)


def test_bfloat16_learns_float32_weights(given, tmp_path):
    trainer, model, batch = trained(given, tmp_path)
    exact = trainer.compute_loss(model, dict(batch))
    exact.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    trainer.settings = trainer.settings.model_copy(update={"compute": "bfloat16"})
    rough = trainer.compute_loss(model, dict(batch))
    rough.backward()
    assert abs(rough.item() - exact.item()) < 0.02
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == torch.float32
        cosine = torch.nn.functional.cosine_similarity(parameter.grad.flatten(), expected[name].flatten(), 0)
        assert cosine > 0.98, name


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_compiled_layers_say_the_same(given, tmp_path):
    """In packed rows too: conversations that share a row do not see each other."""
    trainer, model, batch = trained(given, tmp_path)
    expected = trainer.compute_loss(model, dict(batch))
    sft.compile_layers(model)
    compiled = trainer.compute_loss(model, dict(batch))
    compiled.backward()
    torch.testing.assert_close(compiled, expected, atol=1e-4, rtol=1e-4)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_training_rows_only_and_labels_in_words(given):
    rows = list(sft.rows(tuple(given["corpus"])))
    assert len(rows) == 7
    for row in rows:
        assert {"full", "plain", "brief", "speech", "nods", "blinks"} <= row["labels"].keys()
        assert "_" not in row["labels"]["gesture"] + row["labels"]["family"]
        assert caption.parse(row["labels"]["full"]).gesture == row["labels"]["gesture"].replace(" ", "_")


def test_adapter_merged_and_reloaded_gives_the_same_logits(given, tmp_path):
    """A tied base that knows no motion, grown, trained by LoRA with its new rows, exported."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

    tokenizer = text.load(given["tokenizer"])
    torch.manual_seed(1)
    shape = Qwen3Config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, bos_token_id=None, **SHAPE)
    Qwen3ForCausalLM(shape).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    changes = {
        "base": str(tmp_path / "base"), "qwen3": None,
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
        "trainer": {**STEADY, "learning_rate": 1e-2, "max_steps": 3},
    }
    out = run(given, tmp_path / "out", **changes)
    grown = AutoModelForCausalLM.from_pretrained(out / "base")
    probe = torch.arange(40)[None] * 17 % grown.config.vocab_size
    with torch.no_grad():
        untrained = grown(input_ids=probe).logits
        wrapped = PeftModel.from_pretrained(grown, out / "adapter").eval()(input_ids=probe).logits
        said = export.export(out / "adapter", tmp_path / "served", dtype="float32")
        served = AutoModelForCausalLM.from_pretrained(tmp_path / "served").eval()(input_ids=probe).logits
    assert "float32" in said
    torch.testing.assert_close(served, wrapped, atol=1e-4, rtol=1e-4)
    assert (served - untrained).abs().max() > 0.05
    before, after = load_file(out / "base" / "model.safetensors"), load_file(tmp_path / "served" / "model.safetensors")
    kind = vocab.load(tmp_path / "served")["face"]
    rows, words = slice(kind.first_id, kind.first_id + 512), slice(0, kind.begin_id)
    name = "model.embed_tokens.weight"
    assert (before[name][rows] != after[name][rows]).any()  # the motion's rows are trained
    torch.testing.assert_close(before[name][words], after[name][words])  # and no word's
    lm = generate.load(tmp_path / "served")
    assert generate.perform(lm, "a man nods", 20).shape == (20, 1)


@pytest.mark.parametrize(("changes", "said"), [
    ({"base": "there"}, "expected either base or qwen3"),
    ({"qwen3": None}, "expected either base or qwen3"),
    ({"lora": {}}, "lora: expected a base"),
    ({"blend": 0.5}, "blend: expected a base and no lora"),
    ({"lenght": 5}, "lenght: unknown key"),
    ({"trainer": {"learning_rat": 1}}, "trainer: expected SFTConfig's names"),
    ({"length": 20}, "expected conversations of at most 20 tokens"),
    ({"corpus": ["nowhere"]}, "nowhere"),
])
def test_mistakes(given, tmp_path, changes, said):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        run(given, tmp_path / "out", **changes)
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["sft", "lora"])
def test_bundled_recipes(name):
    settings = config.read(bundle.path(f"recipes/{name}.yaml"))
    assert settings.pop("step") == "sft"
    config.check(sft.Settings, settings, name)


def test_orthogonal_updates():
    """Muon moves every matrix by nearly the same amount in all directions, and leaves vectors to Adam."""
    wide = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))
    for matrices in (wide, wide.mT.contiguous()):
        values = torch.linalg.svdvals(muon.orthogonal(matrices))
        assert values.min() > 0.5
        assert values.max() < 1.3
    layer = torch.nn.Sequential(torch.nn.Embedding(6, 4), torch.nn.Linear(4, 4))
    hidden, others = muon.groups(layer)
    assert [tuple(p.shape) for p in hidden["params"]] == [(4, 4)]
    assert sorted(tuple(p.shape) for p in others["params"]) == [(4,), (6, 4)]
    optimizer = muon.Muon(muon.groups(layer), lr=0.05)
    first = loss = layer(torch.arange(6)).square().mean()
    for _ in range(60):
        optimizer.zero_grad()
        loss = layer(torch.arange(6)).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < first / 10


def test_a_conversation_of_the_recipe_is_packed_whole(given, tmp_path):
    _, _, batch = trained(given, tmp_path)
    assert batch["input_ids"].shape == (2, 256)
    assert set(batch["answers"].unique().tolist()) <= {-1, 0, 1}
    assert (batch["labels"][batch["answers"] == -1] == -100).all()
    assert isinstance(next(data.pack([data.Encoded(np.arange(5), np.ones(5, int))], 8, 0)), dict)
