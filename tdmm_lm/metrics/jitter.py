"""Mean size of the joints' jerk, the third derivative of place, m/s³, over joints and all inner frames of all clips
(Flash and Hogan 1985; TransPose, Yi et al. 2021). Lower as published, but a body that stands still has none: see the
target."""

import numpy as np

from tdmm_lm.metrics import Clips, Values

BETTER = "lower"
UNIT = "m/s³"
TAKES = "joints"
REFERENCE = "none"
LEAST = {"frames": 4}
whole = None


def each(predicted: Clips, *, fps: float) -> Values:
    return np.array([np.linalg.norm(np.diff(clip, 3, axis=0), axis=-1).mean() * fps**3 for clip in predicted])


def weights(predicted: Clips) -> Values:
    return np.array([len(clip) - 3 for clip in predicted])
