"""One codebook: a convolutional VQ-VAE with one code a frame (van den Oord et al. 2017), EMA codebook and dead-code reset.

Features pass through a fixed linear map first: weighted principal components, so that plain Euclidean distance in
there is the error one cares about in millimetres, and the convolutions stay narrow. Both sides see time around a
frame, so a code says what moves the neighbourhood, and the decoder spreads head and lips over frames.
"""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from vector_quantize_pytorch import VectorQuantize

from tdmm_lm.codec import Codec
from tdmm_lm.config import Settings, check


class ModelSettings(Settings):
    """The network. Frames are at ``code_fps``: one code each."""

    features: int = Field(gt=0)  # d, the width of what is coded
    code_fps: float = Field(25.0, gt=0)
    codebook_size: int = Field(512, gt=1)
    components: int = Field(64, gt=0)  # principal components kept of the features
    width: int = Field(128, gt=0)
    dilations: tuple[int, ...] = (1, 2, 4)  # one residual block each; kernel 3, so a block sees +- its dilation
    look_ahead: bool = True  # False: the decoder is causal (each frame from codes up to its own)
    code_dim: int = Field(32, gt=0)  # of a codebook vector
    decay: float = Field(0.99, gt=0, lt=1)  # of the codebook's moving averages
    dead_below: int = Field(1, ge=0)  # a code used less often than this (moving average a batch) is replaced


class Convolution(nn.Conv1d):
    """Keeps the length; the ends are repeated outward. Causal where it may not look ahead.

    kernel 3, dilation d:   frames  t-d  t  t+d      causal:   t-2d  t-d  t
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, ahead: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation)
        span = (kernel - 1) * dilation
        self.before_after = (span // 2, span - span // 2) if ahead else (span, 0)

    def forward(self, x: Tensor) -> Tensor:  # (b, c, t)
        return super().forward(functional.pad(x, self.before_after, mode="replicate"))


class Block(nn.Module):
    """Pre-activated residual block: dilated convolution, then a mix of channels."""

    def __init__(self, width: int, dilation: int, ahead: bool) -> None:
        super().__init__()
        self.around = Convolution(width, width, 3, dilation, ahead)
        self.mix = Convolution(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:  # (b, c, t)
        return x + self.mix(functional.silu(self.around(functional.silu(x))))


def _network(inputs: int, outputs: int, settings: ModelSettings, dilations: tuple[int, ...], ahead: bool) -> nn.Sequential:
    blocks = [Block(settings.width, dilation, ahead) for dilation in dilations]
    return nn.Sequential(
        Convolution(inputs, settings.width, 3, ahead=ahead), *blocks, nn.SiLU(), Convolution(settings.width, outputs, 1)
    )


class Model(Codec):
    """Features -> components -> encoder -> nearest of ``codebook_size`` vectors -> decoder -> components -> features."""

    books = 1

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        if settings.components > settings.features:
            raise ValueError(
                f"codec.components: expected at most the {settings.features} features, got {settings.components}."
            )
        self.settings = settings
        self.features, self.codebook_size, self.code_fps = settings.features, settings.codebook_size, settings.code_fps
        self.register_buffer("mean", torch.zeros(settings.features))
        self.register_buffer("importance", torch.ones(settings.features))
        self.register_buffer("basis", torch.eye(settings.features, settings.components))
        self.register_buffer("spread", torch.ones(()))
        self.encoder = _network(settings.components, settings.code_dim, settings, settings.dilations, True)
        self.decoder = _network(
            settings.code_dim, settings.components, settings, settings.dilations[::-1], settings.look_ahead
        )
        self.quantizer = VectorQuantize(
            dim=settings.code_dim, codebook_size=settings.codebook_size, decay=settings.decay, kmeans_init=True,
            threshold_ema_dead_code=settings.dead_below, commitment_weight=1.0, rotation_trick=False,
        )

    @torch.no_grad()
    def fit(self, x: Float[Tensor, "frames features"], importance: Float[Tensor, " features"]) -> float:
        """Set the linear map from examples; ``importance`` is what one unit of each feature weighs in the error.

        Returns the share of the weighted variance that the kept components hold.
        """
        self.mean.copy_(x.mean(0))
        self.importance.copy_(importance)
        weighted = ((x - self.mean) * importance).double()
        values, vectors = torch.linalg.eigh(weighted.mT @ weighted / len(x))
        kept = vectors.flip(-1)[:, : self.settings.components]
        signs = kept.gather(0, kept.abs().argmax(0, keepdim=True)).sign()  # eigenvectors have no sign: fix it
        self.basis.copy_(kept * signs)
        variance = values.flip(-1).clamp_min(0)
        held = variance[: self.settings.components].sum()
        self.spread.copy_((held / self.settings.components).sqrt())
        return float(held / variance.sum())

    def project(self, x: Float[Tensor, "b t features"]) -> Float[Tensor, "b t components"]:
        """Features -> components; Euclidean distance there is weighted error over ``spread``."""
        return ((x - self.mean) * self.importance) @ self.basis / self.spread

    def restore(self, z: Float[Tensor, "b t components"]) -> Float[Tensor, "b t features"]:
        """Inverse of `project` on the kept components."""
        return (z * self.spread) @ self.basis.mT / self.importance + self.mean

    def forward(self, z: Float[Tensor, "b t components"]) -> tuple[Tensor, Tensor, Tensor]:
        """Components -> (components again, codes (b, t), commitment loss). The codebook learns in training mode."""
        hidden = rearrange(self.encoder(rearrange(z, "b t c -> b c t")), "b c t -> b t c")
        quantized, codes, commitment = self.quantizer(hidden)
        return self._decoded(quantized), codes, commitment.sum()

    def encode(self, x: Float[Tensor, "b t features"]) -> Int[Tensor, "b t 1"]:
        hidden = rearrange(self.encoder(rearrange(self.project(x), "b t c -> b c t")), "b c t -> b t c")
        return torch.cdist(hidden, self.codebook()[0][None]).argmin(-1, keepdim=True)

    def decode(self, codes: Int[Tensor, "b t 1"]) -> Float[Tensor, "b t features"]:
        self.check(codes)
        return self.restore(self._decoded(self.codebook()[0][codes[..., 0]]))

    def codebook(self) -> Float[Tensor, "1 codes dim"]:
        return self.quantizer.codebook[None]

    def _decoded(self, quantized: Tensor) -> Tensor:
        return rearrange(self.decoder(rearrange(quantized, "b t c -> b c t")), "b c t -> b t c")


def build(settings: dict[str, Any]) -> Model:
    """A model from the ``model`` section of a recipe or of a ``config.json``."""
    return Model(check(ModelSettings, settings, "codec.model"))
