"""Blinks: both lids shut and open again within half a second. A longer closing is a squint, a doze or a glance down."""

import numpy as np
from jaxtyping import Float
from scipy.signal import find_peaks, peak_widths

from tdmm_lm.observe import Event

DEPTH = 0.25  # of the lid's way from open to shut, from the higher valley beside it to the peak
SHUT = 0.35  # the least closing at the peak
APART = 0.15  # seconds between two blinks at least
NARROW, WIDE = 0.03, 0.5  # seconds at half depth


def find(lids: Float[np.ndarray, "frames 2"], fps: float) -> list[Event]:
    """Blinks of both eyes. ``lids`` is how far the left and the right eye are shut, 0 open to 1 shut.

    The wider open eye counts, so a wink is none. A blink that the clip's beginning or end cuts counts.
    """
    closing = np.concatenate([[0.0], lids.min(1), [0.0]])  # the ends open, so that a cut blink has two sides
    peaks, about = find_peaks(closing, height=SHUT, prominence=DEPTH, distance=max(1.0, APART * fps))
    seconds = np.clip((np.array([
        *peak_widths(closing, peaks, rel_height=0.9)[2:], peaks, *peak_widths(closing, peaks, rel_height=0.5)[2:]
    ]) - 1) / fps, 0, (len(lids) - 1) / fps)
    return [
        Event("blink", "blink", float(onset), float(apex), float(offset), float(min(1.0, height)))
        for (onset, offset, apex, left, right), height in zip(seconds.T, about["peak_heights"])
        if NARROW <= right - left + 1e-9 <= WIDE
    ]
