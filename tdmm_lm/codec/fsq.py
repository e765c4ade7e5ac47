"""Finite scalar quantization (Mentzer et al. 2023): a few numbers a frame, each rounded to a few levels; no codebook to
learn, none to die."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from vector_quantize_pytorch import FSQ

from tdmm_lm import codec
from tdmm_lm.config import check


class ModelSettings(codec.ModelSettings):
    """The network and its levels; the codebook's size is their product."""

    levels: tuple[int, ...] = Field((8, 8, 8), min_length=1)


class Quantizer(FSQ, codec.Quantizer):
    """The library's quantizer under the contract's names, between two linear maps from and to ``code_dim``."""

    books = 1

    def __init__(self, settings: ModelSettings) -> None:
        if min(settings.levels) < 2:
            raise ValueError(f"codec.model.levels: expected whole numbers of 2 or more, got {list(settings.levels)}.")
        super().__init__(list(settings.levels), dim=settings.code_dim)
        self.size = math.prod(settings.levels)

    def learn(self, z: Float[Tensor, "b n dim"]) -> tuple[Tensor, Tensor, Tensor]:
        vectors, codes = FSQ.forward(self, z)
        return vectors, codes.long()[..., None], z.new_zeros(())

    def codes(self, z: Float[Tensor, "b n dim"]) -> Int[Tensor, "b n 1"]:
        return FSQ.forward(self, z)[1].long()[..., None]

    def vectors(self, codes: Int[Tensor, "b n 1"]) -> Float[Tensor, "b n dim"]:
        return FSQ.indices_to_codes(self, codes[..., 0])

    def all_vectors(self) -> Float[Tensor, "1 codes dim"]:
        return FSQ.indices_to_codes(self, torch.arange(self.size))[None]


def build(settings: dict[str, Any]) -> codec.Codec:
    """A codec from the ``model`` section of a recipe or of a ``config.json``."""
    checked = check(ModelSettings, settings, "codec.model")
    return codec.Codec(checked, Quantizer(checked))
