"""A codec in chunks: what it says of a whole, a little at a time, with constant memory.

    coder = Encoding(codec)
    for chunk in chunks: codes = coder(chunk)      # those that nothing to come can change
    codes = coder.finish()                         # the rest

`Decoding` likewise from codes to features, `Performing` from a face's codes to a clip on a rig. Each lags behind by the
codec's ``look_ahead`` code frames and gives the numbers of the whole, up to rounding.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdmm_lm.codec import Codec
from tdmm_lm.flow import Flow
from tdmm_lm.geometry.measure import from_features
from tdmm_lm.geometry.solve import Solver, together
from tdmm_lm.motion import MotionClip
from tdmm_lm.rigs import Rig


class _Windows:
    """What a network must look at: what came last and a little before.

        kept:   [ seen before | new, final | new, waits for what follows ]
    """

    def __init__(self, sight: tuple[int, int], inputs: int, outputs: int) -> None:
        self.before, self.after = sight
        self.inputs, self.outputs = inputs, outputs  # rows in and out of one code frame
        self.kept: Tensor | None = None
        self.done = 0  # code frames of `kept` that were given out
        self.whole = True  # `kept` still begins where the motion does
        self.ended = False

    def add(self, rows: Tensor) -> None:
        if self.ended:
            raise ValueError("stream: expected nothing after finish(), got more; make another for another clip.")
        self.kept = rows if self.kept is None else torch.cat([self.kept, rows])

    def end(self) -> None:
        self.ended = True

    @property
    def ready(self) -> int:
        """Code frames that nothing to come can change and that were not given out yet."""
        if self.kept is None:
            return 0
        known = -(-len(self.kept) // self.inputs) if self.ended else len(self.kept) // self.inputs - self.after
        return max(0, known - self.done)

    def final(self, made: Tensor) -> Tensor:
        """The new part of what the network says of ``kept``; what no later frame looks at is forgotten."""
        assert self.kept is not None
        ready = self.done + self.ready
        new = made[self.done * self.outputs : ready * self.outputs]
        spare = max(0, ready - self.before)
        self.whole = self.whole and not spare
        self.kept, self.done = self.kept[spare * self.inputs :], ready - spare
        return new


class Encoding:
    """Features to codes."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._windows = _Windows(codec.sight["encoding"], codec.frames_per_code, 1)

    def __call__(self, rows: Float[np.ndarray, "frames features"]) -> Int[np.ndarray, "n books"]:
        """Takes any number of frames; gives the codes that have become final, possibly none."""
        if rows.ndim != 2 or rows.shape[1] != self.codec.features:
            raise ValueError(f"stream: expected rows of {self.codec.features} features, got {rows.shape}.")
        self._windows.add(torch.from_numpy(np.asarray(rows, np.float32)))
        return self._codes()

    def finish(self) -> Int[np.ndarray, "n books"]:
        self._windows.end()
        return self._codes()

    @torch.no_grad()
    def _codes(self) -> Int[np.ndarray, "n books"]:
        windows = self._windows
        if not windows.ready or windows.kept is None:
            return np.zeros((0, self.codec.books), np.int64)
        return windows.final(self.codec.encode(windows.kept[None])[0]).numpy()


class Decoding:
    """Codes to features. ``flow`` is the codec's network (`Flow`); without it, it is made anew."""

    def __init__(self, codec: Codec, flow: Flow | None = None) -> None:
        self.codec, self.flow = codec, flow or Flow(codec.decoder)
        self._state = self.flow.begin()
        self._ahead = codec.sight["decoding"][1]
        self._waiting: list[Tensor] = []  # codes that came since the last call
        self._early: Tensor | None = None  # frames that were final before all of their code frame was
        self._came = self._given = 0  # code frames

    def __call__(self, codes: Int[np.ndarray, "n books"]) -> Float[np.ndarray, "frames features"]:
        """Takes any number of code frames; gives the frames that have become final, possibly none.

        Raises:
            ValueError: a code out of range, or not ``books`` a frame.
        """
        self.add(codes)
        return self.take()

    def finish(self) -> Float[np.ndarray, "frames features"]:
        self.end()
        return self.take()

    def add(self, codes: Int[np.ndarray, "n books"]) -> None:
        """The first half of a call: takes codes and decodes nothing yet; `take` or `decode` does."""
        if self._state.ended:
            raise ValueError("stream: expected nothing after finish(), got more; make another for another clip.")
        if len(codes):
            new = torch.from_numpy(np.asarray(codes, np.int64))
            self.codec.check(new[None])
            self._waiting.append(new)
            self._came += len(new)

    def end(self) -> None:
        """No more codes will come."""
        self._state.ended = True

    @property
    def ready(self) -> int:
        """Code frames that `take` would decode now."""
        return max(0, self._came - (0 if self._state.ended else self._ahead) - self._given)

    def take(self) -> Float[np.ndarray, "frames features"]:
        return decode([self])[0]

    def _given_out(self, rows: Tensor) -> Float[np.ndarray, "frames features"]:
        rows = rows if self._early is None else torch.cat([self._early, rows])
        frames = self.ready * self.codec.frames_per_code
        self._early, self._given = rows[frames:], self._given + self.ready
        return np.asarray(rows[:frames].numpy())


@torch.inference_mode()
def decode(streams: Sequence[Decoding]) -> list[Float[np.ndarray, "frames features"]]:
    """What has become final in each of some streams of one codec and one `Flow`, all of them together."""
    results = [np.zeros((0, stream.codec.features), np.float32) for stream in streams]
    due = [i for i, stream in enumerate(streams) if stream.ready]
    if not due:
        return results
    codec, flow, counts, codes = streams[due[0]].codec, streams[due[0]].flow, [], []
    for i in due:
        counts.append(sum(map(len, streams[i]._waiting)))
        codes += streams[i]._waiting
        streams[i]._waiting = []
    whole = torch.cat([*codes, torch.zeros(0, codec.books, dtype=torch.int64)])
    made, ready = flow([streams[i]._state for i in due], codec.quantizer.vectors(whole[None])[0], counts)
    for i, rows in zip(due, codec.restore(made).split(ready)):
        results[i] = streams[i]._given_out(rows)
    return results


class Performing:
    """A face's codes to clips on a rig: decoded, then solved, each chunk going on where the last one ended."""

    def __init__(self, codec: Codec, rig: Rig) -> None:
        self.decoding, self.solver, self.fps = Decoding(codec), Solver(rig), codec.fps

    def __call__(self, codes: Int[np.ndarray, "n books"]) -> MotionClip | None:
        """The frames that have become final; None while there are none."""
        return self.solved(self.decoding(codes))

    def again(self) -> "Performing":
        """Another stream on the same codec and rig, from its beginning; what depends on the rig alone is shared."""
        other = copy.copy(self)
        other.decoding, other.solver = Decoding(self.decoding.codec, self.decoding.flow), self.solver.again()
        return other

    def finish(self) -> MotionClip | None:
        return self.solved(self.decoding.finish())

    def solved(self, rows: Float[np.ndarray, "frames features"]) -> MotionClip | None:
        """Decoded rows on the rig, going on where the last ones ended."""
        return self.solver(from_features(rows, self.fps)) if len(rows) else None


def perform(streams: Sequence[Performing]) -> list[MotionClip | None]:
    """What has become final in each of some streams of one codec: decoded and solved together where that may be."""
    rows = decode([stream.decoding for stream in streams])
    due = [i for i, row in enumerate(rows) if len(row)]
    results: list[MotionClip | None] = [None] * len(streams)
    if due:
        geometry = from_features(np.concatenate([rows[i] for i in due]), streams[0].fps)
        clips = together([streams[i].solver for i in due], geometry, [len(rows[i]) for i in due])
        for i, clip in zip(due, clips):
            results[i] = clip
    return results
