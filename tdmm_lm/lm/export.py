"""An adapter or a checkpoint -> an ordinary Hugging Face folder that transformers and vLLM load: weights merged,
tokenizer and chat template, `motion_vocab.json`, codecs in subfolders. Loaded again and compared before it is kept.

    tdmm export runs/lora/adapter runs/servable
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tdmm_lm import codec
from tdmm_lm.files import replacing
from tdmm_lm.lm import extend, vocab

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("bfloat16", "float32")
PROBES = ("A woman smiles broadly, then nods twice.", "What happens here?", "<|face|>")
NEW_TOKENS = 16


def export(adapter: str | Path, output: str | Path, *, dtype: str = "bfloat16") -> str:
    """Write ``output`` from a PEFT adapter (its base is the folder that it names) or from a model folder.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: a ``dtype`` not in `DTYPES`, parts that do not belong together, or the written folder answers
            otherwise than the model did.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected {' or '.join(DTYPES)}, got {dtype!r}.")
    adapter = Path(adapter)
    if (adapter / "adapter_config.json").is_file():
        base = _base(adapter)
        model, tokenizer = _merged(adapter, base), _tokenizer(base)
    elif (adapter / "config.json").is_file():
        base = adapter
        model, tokenizer = _model(adapter), _tokenizer(adapter)
    else:
        raise FileNotFoundError(f"{adapter}: expected an adapter_config.json or a model's config.json, found neither.")
    grown = vocab.load(base)
    _fits(model, tokenizer, grown, base)
    codecs = {modality: base / kind.codec for modality, kind in grown.modalities.items()}
    number = getattr(torch, dtype)
    for weight in model.parameters():  # and no buffers: a rotary table in bfloat16 would be another model's
        if weight.is_floating_point():
            weight.data = weight.data.to(number)
    model.config.dtype = number
    before = answers(model, tokenizer)
    with replacing(output) as folder:
        extend.save(model, tokenizer, grown, folder, codecs)
        again = _model(folder)
        after = answers(again, _tokenizer(folder))
        if before != after:
            raise ValueError(f"{output}: expected the written model to answer as before, got other tokens; not kept.")
        _same(model, again, output)
    return f"{again.num_parameters():,} parameters, {model.config.vocab_size} rows, {dtype} -> {output}"


@torch.inference_mode()
def answers(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """Greedy tokens for a few prompts."""
    made = []
    for probe in PROBES:
        ids: Any = tokenizer.apply_chat_template(
            [{"role": "user", "content": probe}], add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        for _ in range(NEW_TOKENS):
            chosen = model(input_ids=ids).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, chosen], 1)
        made.append(ids[0, -NEW_TOKENS:].tolist())
    return made


def _base(adapter: Path) -> Path:
    config = json.loads((adapter / "adapter_config.json").read_text())
    named = str(config["base_model_name_or_path"])
    for base in (Path(named), adapter.parent / "base"):
        if (base / vocab.FILE).is_file():
            return base
    raise FileNotFoundError(f"{adapter}: expected its base, a folder with {vocab.FILE}, at {named}; found none.")


def _merged(adapter: Path, base: Path) -> "PreTrainedModel":
    """The base with the adapter's weights added into it, token rows included, and checked to give the same logits."""
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(_model(base), adapter).eval()
    probe = torch.arange(1, 33)[None] % wrapped.config.vocab_size
    with torch.inference_mode():
        expected = wrapped(input_ids=probe).logits
        merged: Any = wrapped.merge_and_unload(safe_merge=True)
        error = (merged(input_ids=probe).logits - expected).abs().max().item()
    if error > 1e-3 * max(1.0, expected.abs().max().item()):
        raise ValueError(f"{adapter}: expected the merged model's logits to stay the same, they moved by {error:.2g}.")
    return merged


def _same(model: "PreTrainedModel", again: "PreTrainedModel", where: str | Path) -> None:
    """Raises ValueError where a weight came back other than it was (a merged tied head can)."""
    expected, found = model.state_dict(), again.state_dict()
    wrong = [name for name, weight in expected.items() if name not in found or not torch.equal(weight, found[name])]
    if wrong:
        names = ", ".join(wrong[:3])
        raise ValueError(f"{where}: expected every weight back as it was written, got others in {names}; not kept.")


def _fits(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", grown: vocab.MotionVocab, base: Path) -> None:
    if tokenizer.chat_template is None:
        raise ValueError(f"{base}: expected a tokenizer with a chat template, got one without.")
    if model.config.vocab_size % extend.MULTIPLE or model.config.vocab_size < len(tokenizer):
        raise ValueError(
            f"{base}: expected {len(tokenizer)} rows or more, in {extend.MULTIPLE}s, got {model.config.vocab_size}."
        )
    for modality, kind in grown.modalities.items():
        names = vocab.names(modality, kind.books, kind.codebook_size)
        ids = [kind.begin_id, kind.end_id, *range(kind.first_id, kind.first_id + kind.codes)]
        if tokenizer.convert_tokens_to_ids(names) != ids:
            raise ValueError(f"{base}: expected the {modality} tokens where {vocab.FILE} says, found them elsewhere.")
        folder = base / kind.codec
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: expected the {modality} codec, found none.")
        vocab.match(grown, modality, codec.weights_sha256(folder), str(folder))


def _model(folder: Path) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


def _tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
