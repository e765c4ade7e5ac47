"""Motion <-> codes. The contract is `Codec`; every other file is one quantizer with a final ``Model(Codec)``,
its ``ModelSettings`` and ``build(settings) -> Model``.

A codec on disk is a folder: ``config.json`` (name, modality, model settings, format version) and
``model.safetensors`` (weights and statistics), beside them the report of its training.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tdmm_lm import config, rigs
from tdmm_lm.config import Settings
from tdmm_lm.geometry.measure import FEATURES, Geometry, from_features, measure
from tdmm_lm.geometry.measure import features as geometry_features
from tdmm_lm.motion import MotionClip, face

VERSION = 1  # of the folder's format


class Codec(nn.Module, ABC):
    """What the rest of the house may know of a codec. Statistics (mean, scale) are buffers of it.

    Attributes:
        features: width d of what is coded.
        books: codebooks a code frame.
        codebook_size: codes a book.
        code_fps: code frames a second of motion.
        settings: what it was built from; saved in its ``config.json``.
    """

    features: int
    books: int
    codebook_size: int
    code_fps: float
    settings: Settings

    @abstractmethod
    def encode(self, x: Float[Tensor, "b t features"]) -> Int[Tensor, "b n books"]:
        """Codes 0..codebook_size - 1, int64."""

    @abstractmethod
    def decode(self, codes: Int[Tensor, "b n books"]) -> Float[Tensor, "b t features"]:
        """Features again.

        Raises:
            ValueError: a code out of range, or not ``books`` of them a frame.
        """

    @abstractmethod
    def codebook(self) -> Float[Tensor, "books codes dim"]:
        """The vectors behind the codes, e.g. to initialise a language model's embeddings."""

    def check(self, codes: Tensor) -> None:
        """Raises ValueError where `decode` has to."""
        if codes.ndim != 3 or codes.shape[-1] != self.books or codes.dtype != torch.int64:
            raise ValueError(
                f"codes: expected int64 (batch, frames, {self.books}), got {str(codes.dtype)[6:]} {tuple(codes.shape)}."
            )
        if not codes.numel():
            raise ValueError("codes: expected at least one frame, got none.")
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= self.codebook_size:
            raise ValueError(f"codes: expected 0 to {self.codebook_size - 1}, got {low if low < 0 else high}.")


def save(codec: Codec, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` into an existing or new folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = type(codec).__module__.removeprefix(f"{__name__}.")
    described = {"version": VERSION, "name": name, "modality": "face", "model": codec.settings.model_dump(mode="json")}
    save_file({key: value.contiguous() for key, value in codec.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n")


def load(folder: str | Path) -> Codec:
    """A codec from its folder, in evaluation mode, strictly: every weight must be there and fit, and no other.

    Raises:
        FileNotFoundError: no such folder, or a file is missing in it.
        ValueError: the config or the weights are not a codec's.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: expected a codec's folder with {name}, found none.")
    described = _described(folder / "config.json")
    module = config.find("codec", described["name"])
    codec = module.build(described["model"])
    try:
        codec.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    except (RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{folder}/model.safetensors: expected this codec's weights; {said}") from None
    return codec.eval()


def weights_sha256(folder: str | Path) -> str:
    """Of ``model.safetensors``, in hex: what a language model's `motion_vocab.json` names its codec by."""
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()


@torch.no_grad()
def tokenize(codec: Codec, clip: MotionClip, rig: rigs.Rig | None = None) -> Int[np.ndarray, "n books"]:
    """A face clip as codes, int64. ``rig`` is the clip's own, loaded by its name where it is left out.

    Raises:
        ValueError: not a face clip, or a codec of other features.
    """
    _needs_face(codec, clip.modality)
    clip = face.resample(clip, codec.code_fps)
    rows = geometry_features(measure(clip, rigs.load(clip.rig) if rig is None else rig))
    return codec.encode(torch.from_numpy(rows)[None])[0].numpy()


@torch.no_grad()
def geometry(codec: Codec, codes: Int[np.ndarray, "n books"]) -> Geometry:
    """The rig-free motion that codes stand for, at ``code_fps``. Translation is 0: codes do not hold it."""
    _needs_face(codec, "face")
    if not isinstance(codes, np.ndarray) or codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"codes: expected an integer array (frames, {codec.books}), got {np.asarray(codes).shape}.")
    rows = codec.decode(torch.from_numpy(codes.astype(np.int64))[None])[0].numpy()
    return from_features(rows, codec.code_fps)


def detokenize(codec: Codec, codes: Int[np.ndarray, "n books"], rig: rigs.Rig) -> MotionClip:
    """Codes as a clip on any rig, at ``code_fps``: decoded to geometry, which is then solved for that rig.

    Raises:
        ValueError: codes out of range, or not ``books`` a frame.
    """
    from tdmm_lm.geometry.solve import solve

    return solve(geometry(codec, codes), rig)


def _needs_face(codec: Codec, modality: str) -> None:
    if modality != "face":
        raise ValueError(f"tokenize: expected a face clip, got {modality!r}.")
    width = FEATURES["gaze"].stop
    if codec.features != width:
        raise ValueError(f"codec.features: expected {width}, the face's, got {codec.features}.")


def _described(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}.") from None
    expected = {"version", "name", "modality", "model"}
    if not isinstance(described, dict) or set(described) != expected:
        raise ValueError(f"{path}: expected the keys {', '.join(sorted(expected))}.")
    if described["version"] != VERSION:
        raise ValueError(f"{path}: expected version {VERSION}, got {described['version']!r}.")
    # A folder may come from anywhere, so it may only name a codec of this package, never a module to import.
    known = config.known("codec")
    if described["name"] not in known:
        raise ValueError(f"{path}: name: expected one of {', '.join(known)}, got {described['name']!r}.")
    return described
