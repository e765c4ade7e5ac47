"""Clip -> frames. The contract is `Renderer`; every other file is one renderer, named by its file name.

A renderer's file is a module with the contract's names; `find("render", "mesh")` returns it. ``MODALITIES`` says which
clips it shows: faces on their rig, bodies on their own skeleton (``rig`` is then not needed).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from tdmm_lm.motion import MotionClip
from tdmm_lm.rigs import Rig


class Renderer(Protocol):
    """What every file of this folder offers. Sizes are (width, height) in pixels, even; pictures are RGB.

    Both functions raise ValueError for a clip that is not the rig's, an odd or absurd size, and sound that cannot be
    read.
    """

    MODALITIES: tuple[str, ...]

    @staticmethod
    def frames(
        clip: MotionClip, rig: Rig, *, size: tuple[int, int] = (512, 512), yaw: float = 0.0
    ) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """One picture for every frame of the clip, in constant memory. ``yaw`` (radians) shows the whole head turned
        by so much to its own left."""
        ...

    @staticmethod
    def write(
        clip: MotionClip,
        path: Path,
        rig: Rig,
        *,
        audio: Path | np.ndarray | None = None,
        size: tuple[int, int] = (512, 512),
    ) -> None:
        """An mp4 at the clip's own rate; ``audio`` is a file or mono float32 at 16 kHz that starts with the clip."""
        ...
