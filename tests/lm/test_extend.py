"""Growing a model: ids where they are said to be, old rows untouched, near codes near, files whole."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from tdmm_lm import codec
from tdmm_lm.lm import extend, text, vocab


def base(tokenizer, tied=True, rows=None):
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(
        vocab_size=rows or len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, head_dim=16,
        num_key_value_heads=2, intermediate_size=32, tie_word_embeddings=tied, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    ))


@pytest.mark.parametrize(("tied", "rows"), [(True, None), (False, None), (True, 700)])
def test_rows_and_ids(text_model, codec_folder, tied, rows):
    tokenizer = text.tokenizer(text_model)
    model, words = base(tokenizer, tied, rows), len(tokenizer)
    before = model.get_input_embeddings().weight.detach().clone()
    grown = extend.grow(model, tokenizer, {"face": codec_folder})
    kind = grown["face"]
    assert (kind.begin_id, kind.end_id, kind.first_id, kind.codes) == (words, words + 1, words + 2, 140)
    assert tokenizer.convert_tokens_to_ids(["<|face|>", "<|face_1_069|>"]) == [words, words + 141]
    assert model.config.vocab_size == (704 if rows else -(-len(tokenizer) // 64) * 64)
    assert model.get_input_embeddings().num_embeddings == model.config.vocab_size
    assert kind.codec_sha256 == codec.weights_sha256(codec_folder)
    after = model.get_input_embeddings().weight
    torch.testing.assert_close(after[:words], before[:words])
    vectors = codec.load(codec_folder).codebook()
    for matrix in {after, model.get_output_embeddings().weight}:
        rows_ = matrix[kind.first_id : kind.first_id + 70]
        old = matrix[:words]
        assert 0.8 < rows_.std() / old.std() < 1.25
        near = np.corrcoef(torch.pdist(rows_.detach()).numpy(), torch.pdist(vectors[0]).numpy())[0, 1]
        assert near > 0.7  # codes that lie near in the codec lie near here
    assert (model.get_output_embeddings().weight is after) == tied


def test_motion_tokens_are_ordinary_and_come_back(tiny):
    _, tokenizer, grown = tiny
    content = f"nods {vocab.text(np.array([[3, 4], [5, 6]]))}"
    tokens = tokenizer(content)["input_ids"]
    assert tokens[-6:] == vocab.ids(np.array([[3, 4], [5, 6]]), grown)
    assert tokenizer.decode(tokens, skip_special_tokens=True) == content  # special ones would be lost


def test_folder(text_model, codec_folder, tmp_path):
    tokenizer = text.tokenizer(text_model)
    base(tokenizer).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    said = extend.extend(str(tmp_path / "base"), tmp_path / "grown", codecs={"face": codec_folder})
    assert said.startswith("140 codes in ")
    grown = vocab.load(tmp_path / "grown")
    assert codec.weights_sha256(tmp_path / "grown" / grown["face"].codec) == grown["face"].codec_sha256
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "grown")
    words = AutoTokenizer.from_pretrained(tmp_path / "grown")
    assert again.config.vocab_size % 64 == 0
    assert words.convert_tokens_to_ids("<|/face|>") == grown["face"].end_id
    assert words.chat_template == text.TEMPLATE
    assert (tmp_path / "grown" / "model.safetensors").stat().st_mode & 0o044 == 0o044
    with pytest.raises(ValueError, match="expected none of the face tokens in it, found 142"):
        extend.extend(str(tmp_path / "grown"), tmp_path / "twice", codecs={"face": codec_folder})
    assert not (tmp_path / "twice").exists()


def test_no_model(tmp_path, codec_folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: expected a Hugging Face causal LM"):
        extend.extend(str(tmp_path / "empty"), tmp_path / "out", codecs={"face": codec_folder})


def test_another_codec_is_not_saved(tiny, codec_folder, tmp_path):
    weights = codec_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(ValueError, match="expected the face codec that this model was trained with"):
        extend.save(*tiny, tmp_path / "out", {"face": codec_folder})
    assert not (tmp_path / "out").exists()
