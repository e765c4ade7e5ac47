"""Where a video cuts from one shot to the next: PySceneDetect's adaptive detector on small copies of frames we have.

Its own readers would decode the video a second time; here it is handed what our one pass has decoded.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

SIDE = 96  # pixels of the longer side it sees; cuts are changes of the whole picture


class Cuts:
    """Call it with frames in order; it answers with the numbers of frames that begin a new shot.

    A cut is told two frames late, since a frame is compared with two on either side of it; one in the first or the
    last two frames is not told. ``threshold`` says how many times more than its neighbours a frame must change.

    Raises:
        ValueError: scenedetect is missing.
    """

    def __init__(self, threshold: float) -> None:
        try:
            from scenedetect import AdaptiveDetector, FrameTimecode
        except ImportError as error:
            raise ValueError(f'scene cuts need scenedetect ({error}); pip install "tdmm-lm[capture]".') from None
        # every cut counts, however near the last: two people must not share a clip; what gets too short is left out
        self._detector = AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=0)
        self._timecode: Any = FrameTimecode
        self._count = 0

    def __call__(self, small: UInt8[np.ndarray, "height width 3"]) -> list[int]:
        now = self._timecode(self._count, fps=25.0)  # the rate is of no account: numbers go in and numbers come out
        self._count += 1
        return [cut.frame_num for cut in self._detector.process_frame(now, small)]
