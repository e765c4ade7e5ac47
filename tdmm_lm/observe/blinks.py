"""Blinks: both lids shut and open again within half a second. A longer closing is a squint, a doze or a glance down."""

import numpy as np
from jaxtyping import Float
from scipy.signal import find_peaks, peak_widths

from tdmm_lm.observe import Event

DEPTH = 0.25  # of the lid's way from open to shut, from the higher valley beside it to the peak
SHUT = 0.35  # the least closing at the peak
NARROW, WIDE = 0.04, 0.5  # seconds at half depth


def find(lids: Float[np.ndarray, "frames 2"], fps: float) -> list[Event]:
    """Blinks of both eyes. ``lids`` is how far the left and the right eye are shut, 0 open to 1 shut.

    The wider open eye counts, so a wink is none. A blink that the clip's beginning or end cuts counts.
    """
    closing = np.concatenate([[0.0], lids.min(1), [0.0]])
    peaks, about = find_peaks(closing, height=SHUT, prominence=DEPTH)
    _, _, left, right = peak_widths(closing, peaks, rel_height=0.5)
    _, _, onset, offset = peak_widths(closing, peaks, rel_height=0.9)
    last = (len(lids) - 1) / fps
    return [
        Event(
            "blink", "blink", max(0.0, (onset[i] - 1) / fps), min(last, (peak - 1) / fps), min(last, (offset[i] - 1) / fps),
            float(min(1.0, about["peak_heights"][i])),
        )
        for i, peak in enumerate(peaks)
        if NARROW <= (right[i] - left[i]) / fps <= WIDE
    ]
