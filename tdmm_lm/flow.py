"""A decoder's network over streams: every frame goes through every layer once, whatever the chunks.

A convolution keeps, of each stream, the rows that its next outputs look back at; the ends of a motion are repeated
outward at every layer, as the network itself does it. Streams that have rows to go at the same time go together: what
looks at one row alone is one product of matrices for all of them.

    kept of a stream at a layer of dilation d:   t-d  .  t  .  t+d   gives  t, once t+d is there
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdmm_lm.convolutions import Block, Convolution, Decoder


@dataclass
class State:
    """One stream in a network: what its layers keep, in the order of the network, and what waits beside it."""

    kept: list[Tensor | None]
    straight: Tensor | None = None  # rows of the straight line whose convolved part has not come
    ended: bool = False


@dataclass
class _Rows:
    """Rows of several streams behind one another, ``counts`` of each."""

    rows: Tensor  # (n, channels)
    counts: list[int]

    def parts(self) -> Sequence[Tensor]:
        return self.rows.split(self.counts)


Layer = Callable[[Sequence[State], _Rows], _Rows]


class _Around:
    """A convolution that looks around itself: gives its outputs, and the inputs that they are outputs of."""

    def __init__(self, layer: Convolution, place: int, *, activated: bool) -> None:
        self.place, self.activated = place, activated
        self.before, self.after = layer.before_after
        self.taps, self.step = layer.kernel_size[0], layer.dilation[0]
        self.weight = layer.weight.detach().permute(0, 2, 1).flatten(1).contiguous()  # (out, taps * in)
        self.bias = layer.bias.detach() if layer.bias is not None else None

    def __call__(self, states: Sequence[State], given: _Rows) -> tuple[_Rows, Tensor]:
        patches, middles, counts = [], [], []
        for state, new in zip(states, given.parts()):
            kept = state.kept[self.place]
            kept = torch.cat([new[:1].repeat(self.before, 1) if kept is None else kept, new])
            if state.ended:
                kept = torch.cat([kept, kept[-1:].repeat(self.after, 1)])
            count = max(0, len(kept) - self.before - self.after)
            seen = functional.silu(kept) if self.activated else kept
            patches.append(torch.cat([seen[i * self.step : i * self.step + count] for i in range(self.taps)], 1))
            middles.append(kept[self.before : self.before + count])
            counts.append(count)
            state.kept[self.place] = kept[count:] if len(kept) else None
        return _Rows(functional.linear(torch.cat(patches), self.weight, self.bias), counts), torch.cat(middles)


class _Residual:
    """A `Block`."""

    def __init__(self, layer: Block, place: int) -> None:
        self.around = _Around(layer.around, place, activated=True)
        self.weight, self.bias = _flat(layer.mix)

    def __call__(self, states: Sequence[State], given: _Rows) -> _Rows:
        made, middle = self.around(states, given)
        return _Rows(middle + functional.linear(functional.silu(made.rows), self.weight, self.bias), made.counts)


class _Wider:
    """A transposed convolution whose stride is its kernel: a row becomes ``stride`` rows, and none meets another."""

    def __init__(self, layer: nn.ConvTranspose1d) -> None:
        self.stride = layer.stride[0]
        self.weight = layer.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous()  # (stride * out, in)
        self.bias = layer.bias.detach().repeat(self.stride) if layer.bias is not None else None

    def __call__(self, states: Sequence[State], given: _Rows) -> _Rows:
        made = functional.linear(given.rows, self.weight, self.bias).unflatten(1, (self.stride, -1)).flatten(0, 1)
        return _Rows(made, [count * self.stride for count in given.counts])


class Flow:
    """The network of a decoder, whose weights must not change any more."""

    def __init__(self, network: Decoder) -> None:
        self._whole = network.whole
        self._line = _flat(network.line)
        self._last = _flat(network.last)
        self._first = _Around(network.first, 0, activated=False)
        self._layers: list[Layer] = []
        self._places = 1
        for layer in network.blocks:
            if isinstance(layer, Block):
                self._layers.append(_Residual(layer, self._places))
                self._places += 1
            else:
                assert isinstance(layer, nn.ConvTranspose1d)
                self._layers.append(_Wider(layer))

    def begin(self) -> State:
        return State([None] * self._places)

    def __call__(self, states: Sequence[State], vectors: Tensor, counts: list[int]) -> tuple[Tensor, list[int]]:
        """Code vectors (n, inputs) of some streams behind one another, ``counts`` of each, to the frames that have
        become final (m, outputs), likewise."""
        flow, _ = self._first(states, _Rows(vectors, counts))
        for layer in self._layers:
            flow = layer(states, flow)
        bent = functional.linear(functional.silu(flow.rows), *self._last)
        straight = functional.linear(vectors, *self._line).unflatten(1, (self._whole, -1)).flatten(0, 1)
        due = []
        for state, new, count in zip(states, straight.split([n * self._whole for n in counts]), flow.counts):
            waiting = new if state.straight is None else torch.cat([state.straight, new])
            due.append(waiting[:count])
            state.straight = waiting[count:]
        return torch.cat(due) + bent, flow.counts


def _flat(layer: nn.Conv1d) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution that looks at one row alone, for rows."""
    return layer.weight.detach().flatten(1), layer.bias.detach() if layer.bias is not None else None
