"""Codes <-> tokens, the one place that does it, and `motion_vocab.json`, which says what a model's motion tokens are.

A motion is ``<|face|>``, then its codes, then ``<|/face|>``. A code is ``<|face_B_CCC|>`` (book, code); the books of a
frame stand one after another:

    frame    0         0         1         1                      id = first_id + book * codebook_size + code
    token    face_0_   face_1_   face_0_   face_1_   ...
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field, model_validator

from tdmm_lm import config
from tdmm_lm.config import Settings

FILE = "motion_vocab.json"
SECONDS = (1.0, 10.0)  # how long a motion may be, where the model chooses


class Modality(Settings):
    """One kind of motion in a model's vocabulary."""

    books: int = Field(gt=0)
    codebook_size: int = Field(gt=1)
    code_fps: float = Field(gt=0)
    first_id: int = Field(ge=0)  # of book 0, code 0
    begin_id: int = Field(ge=0)
    end_id: int = Field(ge=0)
    codec: str  # the codec's folder, beside this file
    codec_sha256: str = Field(pattern="^[0-9a-f]{64}$")  # of its model.safetensors

    @property
    def codes(self) -> int:
        return self.books * self.codebook_size

    def frames(self, seconds: float) -> int:
        """Code frames in ``seconds``, rounded.

        Raises:
            ValueError: not over 0 seconds, or over the longest motion.
        """
        if not 0 < seconds <= SECONDS[1]:
            raise ValueError(f"seconds: expected over 0 and at most {SECONDS[1]:g}, got {seconds:g}.")
        return max(1, round(seconds * self.code_fps))


class MotionVocab(Settings):
    """What `motion_vocab.json` holds."""

    version: Literal[1] = 1
    modalities: dict[str, Modality] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> "MotionVocab":
        taken: dict[int, str] = {}
        for name, modality in self.modalities.items():
            inside = range(modality.first_id, modality.first_id + modality.codes)
            for token in (modality.begin_id, modality.end_id, *inside):
                if token in taken:
                    raise ValueError(f"token {token} belongs to {taken[token]} and to {name}")
                taken[token] = name
        return self

    def __getitem__(self, modality: str) -> Modality:
        if modality not in self.modalities:
            raise ValueError(f"modality: this model has {', '.join(self.modalities)}, got {modality!r}.")
        return self.modalities[modality]


def begin(modality: str) -> str:
    return f"<|{modality}|>"


def end(modality: str) -> str:
    return f"<|/{modality}|>"


def names(modality: str, books: int, codebook_size: int) -> list[str]:
    """The modality's tokens in the order of their ids: begin, end, then every code book by book."""
    codes = [f"<|{modality}_{book}_{code:03d}|>" for book in range(books) for code in range(codebook_size)]
    return [begin(modality), end(modality), *codes]


def text(codes: Int[np.ndarray, "n books"], modality: str = "face") -> str:
    """Codes as they stand in a message's content.

    Raises:
        ValueError: not integers (frames, books), no frame, or a negative code.
    """
    codes = _checked(codes)
    inside = "".join(f"<|{modality}_{book}_{code:03d}|>" for frame in codes.tolist() for book, code in enumerate(frame))
    return f"{begin(modality)}{inside}{end(modality)}"


def ids(codes: Int[np.ndarray, "n books"], vocab: MotionVocab, modality: str = "face") -> list[int]:
    """Codes as token ids, begin and end included.

    Raises:
        ValueError: codes that the model's codec does not have.
    """
    codes, kind = _checked(codes), vocab[modality]
    if codes.shape[1] != kind.books:
        raise ValueError(f"codes: expected {kind.books} books a frame for {modality}, got {codes.shape[1]}.")
    if codes.max() >= kind.codebook_size:
        raise ValueError(f"codes: expected 0 to {kind.codebook_size - 1} for {modality}, got {codes.max()}.")
    inside = kind.first_id + np.arange(kind.books) * kind.codebook_size + codes
    return [kind.begin_id, *inside.reshape(-1).tolist(), kind.end_id]


def codes(tokens: Sequence[int], vocab: MotionVocab, modality: str = "face") -> Int[np.ndarray, "n books"]:
    """The codes in token ids that are one motion; begin and end may be left out.

    Raises:
        ValueError: another token among them, a book out of turn, an unfinished frame, or none.
    """
    kind, tokens = vocab[modality], list(tokens)
    if tokens and tokens[0] == kind.begin_id:
        tokens = tokens[1:]
    if tokens and tokens[-1] == kind.end_id:
        tokens = tokens[:-1]
    if not tokens or len(tokens) % kind.books:
        raise ValueError(f"{modality} tokens: expected whole frames of {kind.books}, got {len(tokens)} tokens.")
    flat = np.asarray(tokens, np.int64).reshape(-1, kind.books)
    flat = flat - kind.first_id - np.arange(kind.books) * kind.codebook_size
    wrong = np.argwhere((flat < 0) | (flat >= kind.codebook_size))
    if len(wrong):
        frame, book = wrong[0]
        got = tokens[frame * kind.books + book]
        raise ValueError(f"{modality} tokens: expected a code of book {book} at frame {frame}, got token {got}.")
    return flat


def split(content: str) -> list[str | tuple[str, Int[np.ndarray, "n books"]]]:
    """A message's content as its plain texts and its motions ``(modality, codes)``, in order.

    Raises:
        ValueError: a motion that is cut, empty or holds anything but its own codes.
    """
    pieces: list[str | tuple[str, np.ndarray]] = []
    position = 0
    for match in re.finditer(r"<\|([a-z]+)\|>((?:<\|\1_\d+_\d{3,}\|>)+)<\|/\1\|>", content):
        pieces.append(content[position : match.start()])
        pieces.append((match[1], _frames(match[2], match[1])))
        position = match.end()
    pieces.append(content[position:])
    for piece in pieces:
        stray = re.search(r"<\|/?[a-z]+(?:_\d+_\d+)?\|>", piece) if isinstance(piece, str) else None
        if stray:
            raise ValueError(f"content: expected whole motions <|face|>...<|/face|> or words, got a stray {stray[0]}.")
    return [piece for piece in pieces if not isinstance(piece, str) or piece.strip()]


def _frames(inside: str, modality: str) -> Int[np.ndarray, "n books"]:
    flat = [(int(book), int(code)) for book, code in re.findall(r"_(\d+)_(\d+)\|", inside)]
    books = 1 + max(book for book, _ in flat)
    if [book for book, _ in flat] != [i % books for i in range(len(flat))] or len(flat) % books:
        raise ValueError(f"content: expected the {books} books of {modality} in turn, got another order.")
    return np.asarray([code for _, code in flat], np.int64).reshape(-1, books)


def _checked(codes: Int[np.ndarray, "n books"]) -> Int[np.ndarray, "n books"]:
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"codes: expected integers (frames, books), over 0 frames, got {codes.dtype} {codes.shape}.")
    if codes.min() < 0:
        raise ValueError(f"codes: expected 0 or more, got {codes.min()}.")
    return codes.astype(np.int64)


def save(vocab: MotionVocab, folder: str | Path) -> None:
    (Path(folder) / FILE).write_text(json.dumps(vocab.model_dump(mode="json"), indent=2) + "\n")


def load(folder: str | Path) -> MotionVocab:
    """The motion vocabulary of a model folder.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: the file is not one.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected a model grown by `tdmm extend` ({FILE} beside it), found none.")
    try:
        data = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}.") from None
    return config.check(MotionVocab, data, str(path))


def match(vocab: MotionVocab, modality: str, sha256: str, where: str) -> None:
    """Raises ValueError unless the codec is the one that the model was trained with."""
    expected = vocab[modality].codec_sha256
    if sha256 != expected:
        raise ValueError(
            f"{where}: expected the {modality} codec that this model was trained with (sha256 {expected[:12]}...), "
            f"got {sha256[:12]}...; use the codec in the model's folder."
        )
