"""Any Hugging Face causal LM, grown by a codec's tokens: rows padded to a multiple of 64 and started from the codebook.

    tdmm extend Qwen/Qwen3-0.6B -o runs/qwen-motion
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm import codec
from tdmm_lm.files import replacing
from tdmm_lm.lm import vocab

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MULTIPLE = 64  # of rows: an engine's grammar kernel corrupts memory at 3,050 rows and not at 3,072


def extend(base: str, output: str | Path, *, codecs: dict[str, Path]) -> str:
    """A model folder with everything in it: the grown model and tokenizer, `motion_vocab.json`, the codecs.

    Raises:
        ValueError: ``base`` is no causal LM, or has motion tokens already.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    except (OSError, ValueError) as error:
        raise ValueError(f"{base}: expected a Hugging Face causal LM; {' '.join(str(error).split())}") from None
    grown = grow(model, tokenizer, codecs)
    save(model, tokenizer, grown, output, codecs)
    codes = sum(kind.codes for kind in grown.modalities.values())
    return f"{codes} codes in {model.config.vocab_size} rows -> {output}"


def grow(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", codecs: dict[str, Path], *, seed: int = 0
) -> vocab.MotionVocab:
    """Add the tokens of every codec to the tokenizer and their rows to the model, in place.

    Raises:
        ValueError: a token is there already.
    """
    kinds = {}
    loaded = {modality: codec.load(folder) for modality, folder in codecs.items()}
    for modality, network in loaded.items():
        kinds[modality] = _add(tokenizer, modality, network, codec.weights_sha256(codecs[modality]))
    grown = vocab.MotionVocab(modalities=kinds)
    rows = max(len(tokenizer), model.config.vocab_size)
    model.resize_token_embeddings(-(-rows // MULTIPLE) * MULTIPLE, mean_resizing=False)
    for modality, network in loaded.items():
        _start(model, grown[modality], network.codebook().detach().float(), seed)
    return grown


def save(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", grown: vocab.MotionVocab, output: str | Path,
    codecs: dict[str, Path],
) -> None:
    """An ordinary Hugging Face folder with `motion_vocab.json` and the codecs in subfolders, whole or not at all.

    Raises:
        ValueError: a codec is not the one that the vocabulary names.
    """
    for modality, folder in codecs.items():
        vocab.match(grown, modality, codec.weights_sha256(folder), str(folder))
    with replacing(output) as folder:
        model.save_pretrained(folder)
        for weights in folder.glob("*.safetensors"):
            weights.chmod(0o644)  # safetensors leaves them readable by their owner alone
        tokenizer.save_pretrained(folder)
        vocab.save(grown, folder)
        for modality, source in codecs.items():
            inside = folder / grown[modality].codec
            inside.mkdir()
            for name in ("config.json", "model.safetensors"):
                shutil.copyfile(Path(source) / name, inside / name)


def _add(
    tokenizer: "PreTrainedTokenizerBase", modality: str, network: codec.Codec, sha256: str
) -> vocab.Modality:
    from tokenizers import AddedToken

    names = vocab.names(modality, network.books, network.codebook_size)
    first = len(tokenizer)
    added = tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in names])
    found = tokenizer.convert_tokens_to_ids(names)
    if added != len(names) or found != list(range(first, first + len(names))):
        raise ValueError(f"tokenizer: expected none of the {modality} tokens in it, found {len(names) - added}.")
    return vocab.Modality(
        books=network.books, codebook_size=network.codebook_size, code_fps=network.code_fps,
        begin_id=first, end_id=first + 1, first_id=first + 2, codec=f"codec_{modality}", codec_sha256=sha256,
    )


@torch.no_grad()
def _start(
    model: "PreTrainedModel", kind: vocab.Modality, codebook: Float[Tensor, "books codes dim"], seed: int
) -> None:
    """New rows where near codes lie near: the codebook, turned at random, spread and centred like the rows before."""
    matrices: list[Any] = [model.get_input_embeddings().weight]
    if not model.config.tie_word_embeddings:
        matrices.append(model.get_output_embeddings().weight)
    for matrix in matrices:
        old = matrix[: kind.begin_id].float()
        centre, spread = old.mean(0), old.std()
        begin = kind.first_id
        matrix[kind.begin_id] = centre + spread * _noise(1, matrix.shape[1], seed)[0]
        matrix[kind.end_id] = centre + spread * _noise(1, matrix.shape[1], seed + 1)[0]
        for book, vectors in enumerate(codebook):
            vectors = vectors - vectors.mean(0)
            turned = vectors @ _noise(vectors.shape[1], matrix.shape[1], seed + 2 + book)
            rows = centre + spread * turned / turned.std()
            start = begin + book * kind.codebook_size
            matrix[start : start + kind.codebook_size] = rows.to(matrix.dtype)


def _noise(rows: int, columns: int, seed: int) -> Float[Tensor, "rows columns"]:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
