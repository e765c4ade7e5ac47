"""A codec, a tokenizer and a language model small enough to make in a second, of random weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tdmm_lm import codec
from tdmm_lm.lm import extend, generate, text

SENTENCE = "the a woman man smiles broadly nods twice shakes head looks left up slowly blinks frowns describe 0 1"
WORDS = SENTENCE.split()


class FakeCodec:
    """What `extend` asks of a codec: two books of 70 codes."""

    books, codebook_size, code_fps = 2, 70, 25.0

    def codebook(self) -> torch.Tensor:
        return torch.randn(2, 70, 6, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def codec_folder(tmp_path, monkeypatch):
    """A codec's folder as far as a model folder cares: weights with a sha256, and a config."""
    folder = tmp_path / "codec"
    folder.mkdir()
    save_file({"codebook": FakeCodec().codebook()}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(codec, "load", lambda folder: FakeCodec())
    return folder


@pytest.fixture(scope="session")
def text_model():
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(WORDS, 9)) for _ in range(400)]
    return text.train([line.capitalize() + "." for line in lines], text.TextSettings.model_validate({"pieces": 420}))


@pytest.fixture
def tiny(text_model, codec_folder):
    """(model, tokenizer, vocabulary) grown by the fake codec; untrained."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = text.tokenizer(text_model)
    torch.manual_seed(0)
    shape = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, intermediate_size=48, max_position_embeddings=512, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )
    model = Qwen3ForCausalLM(shape).eval()
    grown = extend.grow(model, tokenizer, {"face": codec_folder})
    return model, tokenizer, grown


@pytest.fixture
def lm(tiny):
    return generate.assembled(*tiny)
