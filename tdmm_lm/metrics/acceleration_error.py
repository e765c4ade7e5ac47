"""Mean size of the difference of the joints' accelerations, m/s², over joints and all inner frames of all clips.

As in HMMR (Kanazawa et al. 2019) and VIBE, second differences, but per second and not per frame: public code leaves the
frame rate out. Low is smooth in the same way; what drifts slowly costs nothing.
"""

import numpy as np

from tdmm_lm.metrics import Clips, Values

BETTER = "lower"
UNIT = "m/s²"
TAKES = "joints"
REFERENCE = "paired"
LEAST = {"frames": 3}
whole = None


def each(predicted: Clips, reference: Clips, *, fps: float) -> Values:
    return np.array([
        np.linalg.norm(np.diff(one - other, 2, axis=0), axis=-1).mean() * fps**2
        for one, other in zip(predicted, reference)
    ])


def weights(predicted: Clips) -> Values:
    return np.array([len(clip) - 2 for clip in predicted])
