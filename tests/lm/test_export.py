"""A checkpoint becomes a servable folder only if its parts belong together. Adapters: tests/train/test_sft.py."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tdmm_lm.lm import export, extend, generate, vocab


@pytest.fixture
def trained(tiny, codec_folder, tmp_path):
    folder = tmp_path / "trained"
    extend.save(*tiny, folder, {"face": codec_folder})
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint(trained, tmp_path, dtype):
    said = export.export(trained, tmp_path / "out", dtype=dtype)
    assert dtype in said
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {str(weight.dtype) for weight in weights.values()} == {f"torch.{dtype}"}
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {
        "config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "motion_vocab.json",
        "codec_face/config.json", "codec_face/model.safetensors",
    } <= files
    assert generate.perform(generate.load(tmp_path / "out"), "nods", 11).shape == (11, 2)


def test_only_weights_are_rounded(trained, tmp_path, monkeypatch):
    """A rotary table in bfloat16 turns long texts by other angles than the loaded folder does."""
    seen, kept = [], extend.save
    monkeypatch.setattr(export.extend, "save", lambda model, *rest: (seen.append(model), kept(model, *rest)))
    export.export(trained, tmp_path / "out")
    assert {weight.dtype for weight in seen[0].parameters()} == {torch.bfloat16}
    assert {table.dtype for name, table in seen[0].named_buffers() if "inv_freq" in name} == {torch.float32}


def test_nothing_to_export(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"an adapter_config\.json or a model's config\.json, found neither"):
        export.export(tmp_path, tmp_path / "out")


def test_numbers_of_no_known_kind(trained, tmp_path):
    with pytest.raises(ValueError, match=r"^dtype: expected bfloat16 or float32, got 'int3'\.$"):
        export.export(trained, tmp_path / "out", dtype="int3")
    assert not (tmp_path / "out").exists()


def test_parts_of_different_models(trained, tmp_path):
    said = json.loads((trained / vocab.FILE).read_text())
    moved = json.loads(json.dumps(said))
    moved["modalities"]["face"]["first_id"] += 1
    (trained / vocab.FILE).write_text(json.dumps(moved))
    with pytest.raises(ValueError, match=r"expected the face tokens where motion_vocab\.json says"):
        export.export(trained, tmp_path / "out")
    (trained / vocab.FILE).write_text(json.dumps(said))
    weights = trained / "codec_face" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(ValueError, match="expected the face codec that this model was trained with"):
        export.export(trained, tmp_path / "out")
    weights.unlink()
    weights.with_name("config.json").unlink()
    weights.parent.rmdir()
    with pytest.raises(FileNotFoundError, match="expected the face codec, found none"):
        export.export(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_comes_back_otherwise_is_not_kept(trained, tmp_path, monkeypatch):
    genuine = export._model
    loads = []

    def broken(folder):
        model = genuine(folder)
        loads.append(folder)
        if len(loads) == 2:  # what was written, loaded again
            with torch.no_grad():
                model.model.norm.weight[0] += 0.1
        return model

    monkeypatch.setattr(export, "_model", broken)
    with pytest.raises(ValueError, match="not kept"):
        export.export(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_chat_template(trained, tmp_path):
    (trained / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="expected a tokenizer with a chat template"):
        export.export(trained, tmp_path / "out")
