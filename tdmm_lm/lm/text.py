"""The nano text tokenizer: SentencePiece pieces (byte pairs, byte fallback) as a fast Hugging Face tokenizer with a
chat template. Text comes back exactly as it went in.

    tdmm train tokenizers/text.yaml
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import sentencepiece
from pydantic import Field

from tdmm_lm.config import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TURNS = ("<|system|>", "<|user|>", "<|assistant|>")
END = "<|end|>"
PAD = "<|pad|>"

# One line a turn: <|role|>content<|end|>. Content may also come as OpenAI's list of text parts.
TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role not in ['system', 'user', 'assistant'] -%}"
    "{{ raise_exception('role: expected system, user or assistant, got ' ~ message.role) }}{%- endif -%}"
    "{{ '<|' ~ message.role ~ '|>' }}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}{{ part.text }}{%- endfor -%}{%- endif -%}"
    "{{ '<|end|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)


class TextSettings(Settings):
    """How the pieces are learned."""

    pieces: int = Field(2048, ge=300)  # at most; 256 of them are bytes
    sentences: int = Field(200_000, gt=0)  # at most so many lines are read
    character_coverage: float = Field(0.9995, gt=0, le=1)


def train(lines: Iterable[str], settings: TextSettings) -> bytes:
    """A SentencePiece model file learned from lines of text, single-threaded so that the same lines give the same file.

    Raises:
        ValueError: too little text.
    """
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) < 2:
        raise ValueError(f"text tokenizer: expected lines of text to learn from, got {len(lines)}.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, vocab_size=settings.pieces, hard_vocab_limit=False,
            model_type="bpe", byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=True,
            remove_extra_whitespaces=False, split_digits=True, character_coverage=settings.character_coverage,
            input_sentence_size=settings.sentences, shuffle_input_sentence=False, num_threads=1,
            unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1, minloglevel=2,
        )
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"text tokenizer: expected more varied text; SentencePiece says {said}") from None
    return model.getvalue()


def tokenizer(model: bytes) -> "PreTrainedTokenizerBase":
    """The SentencePiece model as a fast tokenizer, its ids kept, with turns, end and padding added behind them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    source = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = {source.id_to_piece(i): i for i in range(source.get_piece_size())}
    fast = Tokenizer(models.BPE(
        ids, _merges(ids), unk_token=source.id_to_piece(source.unk_id()), byte_fallback=True, fuse_unk=True
    ))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # special=False: a served model's answer would otherwise lose them before it reaches the client.
    fast.add_tokens([AddedToken(turn, normalized=False, special=False) for turn in TURNS])
    fast.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in (END, PAD)])
    grown = PreTrainedTokenizerFast(
        tokenizer_object=fast, eos_token=END, pad_token=PAD, unk_token=source.id_to_piece(source.unk_id()),
        clean_up_tokenization_spaces=False, model_max_length=4096, padding_side="left",
    )
    grown.chat_template = TEMPLATE
    return grown


def _merges(ids: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs that make each piece. SentencePiece joins the pair whose piece it learned first, the lowest id."""
    ranked = []
    for piece, rank in ids.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids and not piece.startswith("<0x"):
                ranked.append((rank, ids[left], ids[right], (left, right)))
    return [pair for *_, pair in sorted(ranked)]


def save(model: bytes, folder: str | Path) -> None:
    """The SentencePiece file and the fast tokenizer's files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.model").write_bytes(model)
    tokenizer(model).save_pretrained(folder)


def load(folder: str | Path) -> "PreTrainedTokenizerBase":
    """A tokenizer from a folder of Hugging Face files.

    Raises:
        FileNotFoundError: no tokenizer there.
    """
    from transformers import AutoTokenizer

    if not (Path(folder) / "tokenizer.json").is_file():
        raise FileNotFoundError(f"{folder}: expected a tokenizer (tokenizer.json), found none.")
    return AutoTokenizer.from_pretrained(folder)
