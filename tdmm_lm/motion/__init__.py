"""Kinds of motion. The contract is `MotionClip`; every other file names one modality's channels and units."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class MotionClip:
    """Motion as floats, at its source's own rate.

    ``values`` is float32 (frames, channels); the modality's file says which channel is which
    (`tdmm_lm.motion.face`). ``shape`` holds the identity coefficients of the rig, possibly none.

    Raises:
        ValueError: no frames, wrong rank, non-finite values, or a rate outside 1..1000 Hz.
    """

    values: Float[np.ndarray, "frames channels"]
    fps: float
    modality: str
    rig: str
    shape: Float[np.ndarray, " identity"] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, np.float32)
        shape = np.ascontiguousarray(self.shape, np.float32)
        if values.ndim != 2 or not len(values):
            raise ValueError(f"clip.values: expected (frames, channels) with at least one frame, got {values.shape}.")
        if not np.isfinite(values).all():
            frame = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise ValueError(f"clip.values: expected finite numbers, got NaN or infinity at frame {frame}.")
        if shape.ndim != 1 or not np.isfinite(shape).all():
            raise ValueError(f"clip.shape: expected a finite vector, got {shape.shape}.")
        if not 1 <= float(self.fps) <= 1000:
            raise ValueError(f"clip.fps: expected 1 to 1000 Hz, got {self.fps}.")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "fps", float(self.fps))

    @property
    def frames(self) -> int:
        return len(self.values)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps
