"""The text tokenizer gives text back exactly, cuts it as SentencePiece does, and knows turns."""

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tdmm_lm.lm import text

TEXTS = (
    "A woman smiles broadly.", " two  blanks ", "tab\tand\nnew line", "日本 ü 🎭 zzz", "", "1234 [4.0 s]", "a<|end"
)


@pytest.mark.parametrize("line", TEXTS)
def test_round_trip_and_same_pieces_as_sentencepiece(text_model, line):
    tokenizer, source = text.tokenizer(text_model), sentencepiece.SentencePieceProcessor(model_proto=text_model)
    tokens = tokenizer(line)["input_ids"]
    assert tokens == source.encode(line)
    assert tokenizer.decode(tokens) == line


@given(st.text(st.characters(blacklist_characters="\u2581", blacklist_categories=["Cs"])))
def test_any_text_comes_back(text_model, line):
    tokenizer = text.tokenizer(text_model)
    if "<|" not in line:
        assert tokenizer.decode(tokenizer(line)["input_ids"]) == line


def test_turns_are_one_token_each_and_saving_keeps_all(text_model, tmp_path):
    text.save(text_model, tmp_path)
    for tokenizer in (text.tokenizer(text_model), text.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        parts = [{"type": "text", "text": "twice"}]
        said = [{"role": "user", "content": "nods"}, {"role": "assistant", "content": parts}]
        tokens = tokenizer.apply_chat_template(said, return_dict=False)
        assert tokenizer.convert_ids_to_tokens(tokens) == [
            "<|user|>", "▁nods", "<|end|>", "<|assistant|>", "▁twice", "<|end|>"
        ]
        assert tokenizer.eos_token == "<|end|>"
        asked = tokenizer.apply_chat_template(said[:1], tokenize=False, add_generation_prompt=True)
        assert asked == "<|user|>nods<|end|><|assistant|>"


def test_unknown_role(text_model):
    with pytest.raises(Exception, match="role: expected system, user or assistant, got tool"):
        text.tokenizer(text_model).apply_chat_template([{"role": "tool", "content": "x"}])


def test_the_same_lines_give_the_same_file(text_model):
    lines = ["one two three four", "two three four five"] * 50
    settings = text.TextSettings.model_validate({"pieces": 300})
    assert text.train(lines, settings) == text.train(lines, settings)


def test_no_text():
    with pytest.raises(ValueError, match="expected lines of text to learn from, got 0"):
        text.train(["", "  "], text.TextSettings.model_validate({}))


def test_no_tokenizer(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a tokenizer \(tokenizer.json\)"):
        text.load(tmp_path)
