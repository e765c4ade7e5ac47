"""The networks between features and code vectors: dilated residual convolutions over time, strided by one list.

Both keep a straight line beside what the convolutions add, and those add nothing at the start: an untrained codec is a
quantizer of principal components of windows already, and training starts from there.
"""

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional


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


class Encoder(nn.Module):
    """Frames -> code vectors. For each stride: ``stride`` frames become one, then a block a dilation."""

    def __init__(self, inputs: int, outputs: int, width: int, strides: tuple[int, ...], dilations: tuple[int, ...]):
        super().__init__()
        whole = math.prod(strides)
        self.line = nn.Conv1d(inputs, outputs, whole, stride=whole)
        self.first = Convolution(inputs, width, 3)
        layers: list[nn.Module] = []
        for stride in strides:
            if stride > 1:
                layers.append(nn.Conv1d(width, width, stride, stride=stride))
            layers += [Block(width, dilation, True) for dilation in dilations]
        self.blocks = nn.Sequential(*layers)
        self.last = Convolution(width, outputs, 1)
        _start_straight(self.line, self.last)
        if whole == 1:
            with torch.no_grad():
                self.line.weight.copy_(torch.eye(outputs, inputs)[..., None])

    def forward(self, x: Tensor) -> Tensor:  # (b, whole * n, inputs) -> (b, n, outputs)
        x = rearrange(x, "b t c -> b c t")
        y = self.line(x) + self.last(functional.silu(self.blocks(self.first(x))))
        return rearrange(y, "b c n -> b n c")


class Decoder(nn.Module):
    """Code vectors -> frames: the encoder's mirror. Causal where it may not look ahead."""

    def __init__(
        self, inputs: int, outputs: int, width: int, strides: tuple[int, ...], dilations: tuple[int, ...], ahead: bool
    ):
        super().__init__()
        whole = math.prod(strides)
        self.whole = whole
        self.line = nn.Conv1d(inputs, whole * outputs, 1)  # a code vector -> its frames, side by side
        self.first = Convolution(inputs, width, 3, ahead=ahead)
        layers: list[nn.Module] = []
        for stride in reversed(strides):
            layers += [Block(width, dilation, ahead) for dilation in reversed(dilations)]
            if stride > 1:
                layers.append(nn.ConvTranspose1d(width, width, stride, stride=stride))
        self.blocks = nn.Sequential(*layers)
        self.last = Convolution(width, outputs, 1)
        _start_straight(self.line, self.last)
        if whole == 1:
            with torch.no_grad():
                self.line.weight.copy_(torch.eye(outputs, inputs)[..., None])

    def forward(self, z: Tensor) -> Tensor:  # (b, n, inputs) -> (b, whole * n, outputs)
        z = rearrange(z, "b n c -> b c n")
        straight = rearrange(self.line(z), "b (s c) n -> b c (n s)", s=self.whole)
        y = straight + self.last(functional.silu(self.blocks(self.first(z))))
        return rearrange(y, "b c t -> b t c")


def _start_straight(line: nn.Conv1d, last: nn.Conv1d) -> None:
    with torch.no_grad():
        for parameter in (line.bias, last.weight, last.bias):
            assert parameter is not None
            parameter.zero_()


def sight(strides: tuple[int, ...], dilations: tuple[int, ...], *, decoder: bool, ahead: bool) -> tuple[int, int]:
    """How far a network sees, in whole code frames before and after the one at hand.

    Neighbours are 1 frame apart where the motion comes in and farther by every stride; a level's blocks see +- their
    dilations, the first convolution +- 1 (causal ones twice as far, and back only).
    """
    whole = math.prod(strides)
    levels = [math.prod(strides[: i + 1]) for i in range(len(strides))]  # frames between neighbours at each level
    reach = (whole if decoder else 1) + sum(step * sum(dilations) for step in levels)
    if not ahead:
        return math.ceil(2 * reach / whole), 0
    return math.ceil(reach / whole), math.ceil(reach / whole)
