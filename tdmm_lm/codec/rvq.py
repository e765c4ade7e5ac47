"""Residual codebooks (Zeghidour et al. 2021): each codes what the ones before it left, so that books buy precision.

Books are left out at random in training (all from some book on), so that the first books alone decode well too.
"""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from vector_quantize_pytorch import ResidualVQ

from tdmm_lm import codec
from tdmm_lm.config import check


class ModelSettings(codec.ModelSettings):
    """The network and its books."""

    books: int = Field(4, gt=0)
    codebook_size: int = Field(512, gt=1)
    decay: float = Field(0.99, gt=0, lt=1)  # of the codebooks' moving averages
    rotation_trick: bool = False  # gradients turned and scaled onto the code (Fifty et al. 2024), not passed straight
    dead_below: float = Field(0.1, ge=0)  # a code used less often than this (moving average a batch) is replaced
    dropout: bool = True  # leave out the last books at random in training
    beams: int = Field(8, gt=0)  # sums of codes that are kept while the next book is gone through; 1: the nearest alone


class Quantizer(ResidualVQ, codec.Quantizer):
    """The library's quantizer under the contract's names."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(
            dim=settings.code_dim, num_quantizers=settings.books, codebook_size=settings.codebook_size,
            decay=settings.decay, kmeans_init=True, threshold_ema_dead_code=settings.dead_below, commitment_weight=1.0,
            rotation_trick=settings.rotation_trick, quantize_dropout=settings.dropout and settings.books > 1,
        )
        self.books, self.size, self.beams = settings.books, settings.codebook_size, settings.beams

    def learn(self, z: Float[Tensor, "b n dim"]) -> tuple[Tensor, Tensor, Tensor]:
        vectors, codes, commitment = ResidualVQ.forward(self, z)
        return vectors, codes, commitment.sum()

    def codes(self, z: Float[Tensor, "b n dim"]) -> Int[Tensor, "b n books"]:
        """The best of the sums that a search with ``beams`` finds: what is nearest at first may leave more behind."""
        left = rearrange(z, "b n d -> (b n) 1 d")  # of each beam
        codes = left.new_zeros((len(left), 1, 0), dtype=torch.int64)
        for book in self.all_vectors():
            away = torch.cdist(left, book[None]).square().flatten(1)  # (b n, beams size)
            best = away.topk(min(self.beams, away.shape[1]), largest=False).indices
            beam, code = best // self.size, best % self.size
            left = left.gather(1, beam[..., None].expand(-1, -1, left.shape[-1])) - book[code]
            codes = torch.cat([codes.gather(1, beam[..., None].expand(-1, -1, codes.shape[-1])), code[..., None]], -1)
        return rearrange(codes[:, 0], "(b n) books -> b n books", b=len(z))

    def vectors(self, codes: Int[Tensor, "b n some"]) -> Float[Tensor, "b n dim"]:
        return torch.stack([book[chosen] for book, chosen in zip(self.all_vectors(), codes.unbind(-1))]).sum(0)

    def all_vectors(self) -> Float[Tensor, "books codes dim"]:
        return torch.cat([layer._codebook.embed for layer in self.layers])  # type: ignore[union-attr]


def build(settings: dict[str, Any]) -> codec.Codec:
    """A codec from the ``model`` section of a recipe or of a ``config.json``."""
    checked = check(ModelSettings, settings, "codec.model")
    return codec.Codec(checked, Quantizer(checked))
