"""One codebook of free vectors (van den Oord et al. 2017), learnt as moving averages, dead codes put where data is."""

from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from tdmm_lm import codec
from tdmm_lm.config import check


class ModelSettings(codec.ModelSettings):
    """The network and its codebook."""

    codebook_size: int = Field(512, gt=1)
    decay: float = Field(0.99, gt=0, lt=1)  # of the codebook's moving averages
    diversity: float = Field(0.0, ge=0)  # weight of using all codes alike, part of the commitment loss
    rotation_trick: bool = False  # gradients turned and scaled onto the code (Fifty et al. 2024), not passed straight
    dead_below: float = Field(0.1, ge=0)  # a code used less often than this (moving average a batch) is replaced


class Quantizer(VectorQuantize, codec.Quantizer):
    """The library's quantizer under the contract's names."""

    books = 1

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(
            dim=settings.code_dim, codebook_size=settings.codebook_size, decay=settings.decay, kmeans_init=True,
            threshold_ema_dead_code=settings.dead_below, commitment_weight=1.0, rotation_trick=settings.rotation_trick,
            codebook_diversity_loss_weight=settings.diversity,
        )
        self.size = settings.codebook_size

    def learn(self, z: Float[Tensor, "b n dim"]) -> tuple[Tensor, Tensor, Tensor]:
        vectors, codes, commitment = VectorQuantize.forward(self, z)
        return vectors, codes[..., None], commitment.sum()

    def codes(self, z: Float[Tensor, "b n dim"]) -> Int[Tensor, "b n 1"]:
        return torch.cdist(z, self.all_vectors()).argmin(-1, keepdim=True)

    def vectors(self, codes: Int[Tensor, "b n 1"]) -> Float[Tensor, "b n dim"]:
        return self.all_vectors()[0][codes[..., 0]]

    def all_vectors(self) -> Float[Tensor, "1 codes dim"]:
        return self._codebook.embed  # type: ignore[union-attr,return-value]


def build(settings: dict[str, Any]) -> codec.Codec:
    """A codec from the ``model`` section of a recipe or of a ``config.json``."""
    checked = check(ModelSettings, settings, "codec.model")
    return codec.Codec(checked, Quantizer(checked))
