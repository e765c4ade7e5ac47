"""One codebook: a convolutional VQ-VAE, one code a frame (van den Oord et al. 2017), EMA codebook, dead-code reset.

Features pass through a fixed linear map first: the principal components of each group of them under a metric, so that
plain Euclidean distance in there is the error one cares about, and the convolutions stay narrow. Both sides see time
around a frame: a code says what the neighbourhood does, and the decoder spreads head and lips over frames.
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

    groups: dict[str, tuple[int, int]] = Field(min_length=1)  # features and components kept of each
    code_fps: float = Field(25.0, gt=0)
    codebook_size: int = Field(512, gt=1)
    width: int = Field(96, gt=0)
    dilations: tuple[int, ...] = (1, 2, 4)  # one residual block each; kernel 3, so a block sees +- its dilation
    look_ahead: bool = True  # False: the decoder is causal (each frame from codes up to its own)
    code_dim: int = Field(64, gt=0)  # of a codebook vector
    decay: float = Field(0.99, gt=0, lt=1)  # of the codebook's moving averages
    dead_below: float = Field(0.1, ge=0)  # a code used less often than this (moving average a batch) is replaced


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


class Network(nn.Module):
    """A straight line from input to output and beside it what time around a frame adds, nothing at the start.

    So an untrained codec is a frame-wise quantizer of the components already, and training starts from there.
    """

    def __init__(self, inputs: int, outputs: int, width: int, dilations: tuple[int, ...], ahead: bool) -> None:
        super().__init__()
        self.line = Convolution(inputs, outputs, 1)
        self.first = Convolution(inputs, width, 3, ahead=ahead)
        self.blocks = nn.Sequential(*[Block(width, dilation, ahead) for dilation in dilations])
        self.last = Convolution(width, outputs, 1)
        with torch.no_grad():
            self.line.weight.copy_(torch.eye(outputs, inputs)[..., None])
            for parameter in (self.line.bias, self.last.weight, self.last.bias):
                assert parameter is not None
                parameter.zero_()

    def forward(self, x: Tensor) -> Tensor:  # (b, t, inputs) -> (b, t, outputs)
        x = rearrange(x, "b t c -> b c t")
        y = self.line(x) + self.last(functional.silu(self.blocks(self.first(x))))
        return rearrange(y, "b c t -> b t c")


class Model(Codec):
    """Features -> components -> encoder -> nearest vector of the codebook -> decoder -> components -> features."""

    books = 1
    settings: ModelSettings
    mean: Tensor
    analysis: Tensor
    synthesis: Tensor

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        for name, (features, components) in settings.groups.items():
            if not 0 < components <= features:
                raise ValueError(f"codec.groups.{name}: expected 1 to {features} components, got {components}.")
        self.settings = settings
        self.features = sum(features for features, _ in settings.groups.values())
        self.components = sum(components for _, components in settings.groups.values())
        self.codebook_size, self.code_fps = settings.codebook_size, settings.code_fps
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("analysis", torch.eye(self.features, self.components))
        self.register_buffer("synthesis", torch.eye(self.components, self.features))
        self.encoder = Network(self.components, settings.code_dim, settings.width, settings.dilations, True)
        self.decoder = Network(
            settings.code_dim, self.components, settings.width, settings.dilations[::-1], settings.look_ahead
        )
        self.quantizer = VectorQuantize(
            dim=settings.code_dim, codebook_size=settings.codebook_size, decay=settings.decay, kmeans_init=True,
            threshold_ema_dead_code=settings.dead_below, commitment_weight=1.0, rotation_trick=False,
        )

    def parts(self) -> dict[str, tuple[slice, slice]]:
        """For each group, where it lies among the features and among the components."""
        result, feature, component = {}, 0, 0
        for name, (features, components) in self.settings.groups.items():
            result[name] = (slice(feature, feature + features), slice(component, component + components))
            feature, component = feature + features, component + components
        return result

    @torch.no_grad()
    def fit(
        self, x: Float[Tensor, "frames features"], metrics: dict[str, Float[Tensor, "rows group"]]
    ) -> dict[str, float]:
        """Set the linear map from examples. A group's metric L says what matters: the error e of a row weighs |L e|².

        Returns for each group the share of its weighted variance that the kept components hold. All components are
        divided by one number, so that they have variance 1 on average.
        """
        self.mean.copy_(x.mean(0))
        self.analysis.zero_()
        self.synthesis.zero_()
        held = {}
        for name, (features, components) in self.parts().items():
            metric = metrics[name].double()
            root = torch.linalg.cholesky(metric.mT @ metric).mT  # |root e| = |L e|, and root has an inverse
            weighted = (x[:, features] - self.mean[features]).double() @ root.mT
            values, vectors = torch.linalg.eigh(weighted.mT @ weighted / len(x))
            kept = vectors.flip(-1)[:, : components.stop - components.start]
            kept = kept * kept.gather(0, kept.abs().argmax(0, keepdim=True)).sign()  # eigenvectors have no sign: fix it
            self.analysis[features, components] = (root.mT @ kept).float()
            self.synthesis[components, features] = torch.linalg.solve(root, kept).mT.float()
            values = values.flip(-1).clamp_min(0)
            held[name] = float(values[: kept.shape[1]].sum() / values.sum())
        spread = self.project(x).square().mean().sqrt()
        self.analysis /= spread
        self.synthesis *= spread
        return held

    @torch.no_grad()
    def start(self, z: Float[Tensor, "b t components"]) -> None:
        """Put the codebook where examples are (k-means); the first call alone does something."""
        training = self.training
        self.train()
        self.quantizer(self.encoder(z))
        self.train(training)

    def project(self, x: Float[Tensor, "*b t features"]) -> Float[Tensor, "*b t components"]:
        """Features -> components."""
        return (x - self.mean) @ self.analysis

    def restore(self, z: Float[Tensor, "*b t components"]) -> Float[Tensor, "*b t features"]:
        """Components -> features: the inverse of `project` up to what the kept components do not hold."""
        return z @ self.synthesis + self.mean

    def forward(self, z: Float[Tensor, "b t components"]) -> tuple[Tensor, Tensor, Tensor]:
        """Components -> (components again, codes (b, t), commitment loss). The codebook learns in training mode."""
        quantized, codes, commitment = self.quantizer(self.encoder(z))
        return self.decoder(quantized), codes, commitment.sum()

    def encode(self, x: Float[Tensor, "b t features"]) -> Int[Tensor, "b t 1"]:
        return torch.cdist(self.encoder(self.project(x)), self.codebook()).argmin(-1, keepdim=True)

    def decode(self, codes: Int[Tensor, "b t 1"]) -> Float[Tensor, "b t features"]:
        self.check(codes)
        return self.restore(self.decoder(self.codebook()[0][codes[..., 0]]))

    def codebook(self) -> Float[Tensor, "1 codes dim"]:
        return self.quantizer.codebook[None]


def build(settings: dict[str, Any]) -> Model:
    """A model from the ``model`` section of a recipe or of a ``config.json``."""
    return Model(check(ModelSettings, settings, "codec.model"))
