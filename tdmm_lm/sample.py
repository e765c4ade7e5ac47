"""One row of a dataset."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from tdmm_lm.motion import MotionClip


@dataclass(frozen=True)
class Sample:
    """One performance or recording with what is known about it.

    ``texts`` are captions of the whole; ``clips`` has one clip a modality; ``audio`` is mono float32 at 16 kHz;
    ``labels`` are exact where the motion was made by code. ``split`` is train, dev or test. ``speaker`` is who is
    seen or heard, "" where nobody knows; ``provenance`` is plain data for JSON: the file, its seconds, the generator.
    """

    id: str
    texts: tuple[str, ...]
    clips: dict[str, MotionClip]
    split: str
    source: str
    licence: str
    labels: dict[str, Any] = field(default_factory=dict)
    audio: Float[np.ndarray, " samples"] | None = None
    speaker: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
