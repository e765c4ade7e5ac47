"""Beat consistency, motion -> audio: AIST++'s beat alignment (Li et al. 2021). Of a body's beats, how near each is to a
beat of the audio, mean over its beats of

    exp(-(t - nearest audio beat)² / (2 sigma²))

averaged over clips; sigma is 3 frames at 60 fps. Audio beats without a beat of the body cost nothing. The released code
of BEAT and of Bailando goes the other way, from audio beats to the body's, BEAT's with a sigma of 0.3 s: other numbers.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage, signal

from tdmm_lm.metrics import Clips, Values

BETTER = "higher"
UNIT = "share"
TAKES = "beats"
REFERENCE = "paired"
LEAST = {"frames": 4}
whole = weights = None

APART = 10 / 60  # seconds before and after a beat in which the body is faster: AIST++'s 10 frames at 60 fps


def each(
    predicted: Clips, reference: list[Float[np.ndarray, " times"]], *, fps: float, sigma_seconds: float = 0.05
) -> Values:
    """0 for a clip without a beat: what does not move keeps no time."""
    found = []
    for clip, audio in zip(predicted, reference):
        beats = motion_beats(clip, fps)
        away = np.abs(beats[:, None] - audio).min(1)
        found.append(np.exp(-np.square(away / sigma_seconds) / 2).mean() if len(beats) else 0.0)
    return np.array(found)


def motion_beats(clip: Float[np.ndarray, "frames points 3"], fps: float) -> Float[np.ndarray, " times"]:
    """Seconds at which the points' mean speed is at a minimum: where a movement stops or turns.

    A speed belongs to the middle between its two frames, and of equal speeds side by side the middle counts. AIST++
    puts a speed at the later frame and finds nothing among equal ones, so that a turn right on a frame is lost.
    """
    speed = np.linalg.norm(np.diff(clip, axis=0), axis=-1).mean(1)
    _, flat = signal.find_peaks(-speed, plateau_size=1)
    left, right = flat["left_edges"], flat["right_edges"]
    lowest = ndimage.minimum_filter1d(speed, 2 * max(1, round(APART * fps)) + 1, mode="nearest")
    kept = speed[left] == lowest[left]
    return ((left + right)[kept] / 2 + 0.5) / fps
