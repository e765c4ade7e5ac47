"""A real vLLM on a CPU loads the exported nano model and answers as transformers does. Run by `make test-vllm`."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from tdmm_lm import bundle
from tdmm_lm.lm import data, export, generate, vocab

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
MAX_TOKENS, FRAMES, FORCED = 48, 100, 4
TEXTS = (
    "a woman smiles broadly, then nods twice", "a man frowns and shakes his head", "a girl looks surprised [4.0 s]",
    "someone winks with the left eye", "a boy looks angry, then looks down", "a person opens the mouth wide [2.0 s]",
    "a sad man slowly tilts his head to the left", "the lady laughs", "a guy blinks three times",
    "a child puffs out the cheeks",
)


def greedy(lm: generate.LM, prompt: list[int]) -> list[int]:
    """Plain greedy tokens of transformers, nothing forbidden, the end included."""
    ids = torch.tensor([prompt])
    out = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=MAX_TOKENS,
        eos_token_id=lm.tokenizer.eos_token_id, pad_token_id=lm.tokenizer.pad_token_id,
    )
    return out[0, len(prompt) :].tolist()


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """The bundled model exported in float32, what was asked, and what vLLM said."""
    if not PYTHON.is_file():
        pytest.fail(f"{PYTHON}: expected the environment that `make test-vllm` makes, found none.")
    folder = tmp_path_factory.mktemp("vllm")
    export.export(bundle.path("assets/lm"), folder / "model", dtype="float32")
    lm = generate.load(folder / "model")
    motions = generate.perform_batch(lm, TEXTS, [60] * len(TEXTS), seeds=range(len(TEXTS)))
    contents = [*TEXTS, *(f"{vocab.text(codes)} {generate.QUESTION}" for codes in motions)]
    prompts = [data.prompt([{"role": "user", "content": text}], lm.tokenizer, lm.vocab) for text in contents]
    job = {
        "model": str(folder / "model"), "prompts": prompts, "max_tokens": MAX_TOKENS, "chat": contents,
        "forced": FORCED, "grammar": generate.lark_grammar(lm.vocab, FRAMES),
    }
    said = subprocess.run(
        [str(PYTHON), str(Path(__file__).with_name("vllm_answers.py")), str(folder / "answers.json")],
        input=json.dumps(job), text=True, capture_output=True, timeout=600,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert said.returncode == 0, said.stderr[-3000:]
    return lm, contents, prompts, json.loads((folder / "answers.json").read_text())


def test_the_same_greedy_tokens_as_transformers(answered):
    lm, contents, prompts, said = answered
    assert len(contents) == 20
    for content, prompt, tokens in zip(contents, prompts, said["free"], strict=True):
        assert tokens == greedy(lm, prompt), content[-60:]


def test_its_chat_template_gives_the_same_prompts(answered):
    _, _, prompts, said = answered
    assert said["asked"] == prompts


def test_the_grammar_fixes_the_length(answered):
    lm, _, _, said = answered
    kind = lm.vocab["face"]
    assert len(said["forced"]) == FORCED
    for tokens in said["forced"]:
        tokens = [token for token in tokens if token != lm.tokenizer.eos_token_id]
        assert (tokens[0], tokens[-1]) == (kind.begin_id, kind.end_id)
        assert vocab.codes(tokens, lm.vocab).shape == (FRAMES, kind.books)
