"""A codec in chunks: what it says of a whole, a little at a time, with constant memory.

    coder = Encoding(codec)
    for chunk in chunks: codes = coder(chunk)      # those that nothing to come can change
    codes = coder.finish()                         # the rest

`Decoding` likewise from codes to features, `Performing` from a face's codes to a clip on a rig. Each lags behind by the
codec's ``look_ahead`` code frames and gives the numbers of the whole, up to rounding.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdmm_lm.codec import Codec
from tdmm_lm.geometry.measure import from_features
from tdmm_lm.geometry.solve import Solver
from tdmm_lm.motion import MotionClip
from tdmm_lm.rigs import Rig


class _Windows:
    """Runs a network on what came last and a little before; keeps what a later window needs to see.

        kept:   [ seen before | new, final | new, waits for what follows ]
    """

    def __init__(self, run: Callable[[Tensor], Tensor], sight: tuple[int, int], inputs: int, outputs: int) -> None:
        self.run, (self.before, self.after) = run, sight
        self.inputs, self.outputs = inputs, outputs  # rows in and out of one code frame
        self.kept: Tensor | None = None
        self.done = 0  # code frames of `kept` that were given out
        self.ended = False

    def __call__(self, rows: Tensor) -> Tensor | None:
        if self.ended:
            raise ValueError("stream: expected nothing after finish(), got more; make another for another clip.")
        self.kept = rows if self.kept is None else torch.cat([self.kept, rows])
        return self._give(len(self.kept) // self.inputs - self.after)

    def finish(self) -> Tensor | None:
        self.ended = True
        return None if self.kept is None else self._give(-(-len(self.kept) // self.inputs))

    @torch.no_grad()
    def _give(self, ready: int) -> Tensor | None:
        if self.kept is None or ready <= self.done:
            return None
        made = self.run(self.kept[None])[0][self.done * self.outputs : ready * self.outputs]
        spare = max(0, ready - self.before)
        self.kept, self.done = self.kept[spare * self.inputs :], ready - spare
        return made


class Encoding:
    """Features to codes."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._windows = _Windows(codec.encode, codec.sight["encoding"], codec.frames_per_code, 1)

    def __call__(self, rows: Float[np.ndarray, "frames features"]) -> Int[np.ndarray, "n books"]:
        """Takes any number of frames; gives the codes that have become final, possibly none."""
        if rows.ndim != 2 or rows.shape[1] != self.codec.features:
            raise ValueError(f"stream: expected rows of {self.codec.features} features, got {rows.shape}.")
        return self._codes(self._windows(torch.from_numpy(np.asarray(rows, np.float32))))

    def finish(self) -> Int[np.ndarray, "n books"]:
        return self._codes(self._windows.finish())

    def _codes(self, made: Tensor | None) -> Int[np.ndarray, "n books"]:
        return np.zeros((0, self.codec.books), np.int64) if made is None else made.numpy()


class Decoding:
    """Codes to features."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._windows = _Windows(codec.decode, codec.sight["decoding"], 1, codec.frames_per_code)

    def __call__(self, codes: Int[np.ndarray, "n books"]) -> Float[np.ndarray, "frames features"]:
        """Takes any number of code frames; gives the frames that have become final, possibly none.

        Raises:
            ValueError: a code out of range, or not ``books`` a frame.
        """
        new = torch.from_numpy(np.asarray(codes, np.int64))
        if len(new):
            self.codec.check(new[None])
        return self._rows(self._windows(new))

    def finish(self) -> Float[np.ndarray, "frames features"]:
        return self._rows(self._windows.finish())

    def _rows(self, made: Tensor | None) -> Float[np.ndarray, "frames features"]:
        return np.zeros((0, self.codec.features), np.float32) if made is None else made.numpy()


class Performing:
    """A face's codes to clips on a rig: decoded, then solved, each chunk going on where the last one ended."""

    def __init__(self, codec: Codec, rig: Rig) -> None:
        self.decoding, self.solver, self.fps = Decoding(codec), Solver(rig), codec.fps

    def __call__(self, codes: Int[np.ndarray, "n books"]) -> MotionClip | None:
        """The frames that have become final; None while there are none."""
        return self._solved(self.decoding(codes))

    def finish(self) -> MotionClip | None:
        return self._solved(self.decoding.finish())

    def _solved(self, rows: Float[np.ndarray, "frames features"]) -> MotionClip | None:
        return self.solver(from_features(rows, self.fps)) if len(rows) else None
