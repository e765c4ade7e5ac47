"""Whose face it is: a head's identity coefficients, from MediaPipe's landmarks averaged over a clip.

One camera does not know how large a head is, so size, place and turn are fitted along with the coefficients; a head
keeps the size of its template, and the residual is counted on that. Expression is taken out: the landmarks are
compared with the head under the clip's mean weights.

MediaPipe's own canonical face lies 4.1 mm from the mean head and 3.3 mm from the fitted one: so far apart do the two
put places of one name, and most of a real clip's residual is that.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import landmarks, rigs
from tdmm_lm.geometry import measure
from tdmm_lm.motion import face

# Places that keep their distances whatever the face does: corners of the eyes, bridge and tip of the nose, brow's
# middle, temples. MediaPipe's indices.
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 98, 327, 127, 356, 234, 454, 10, 151, 9)
LEFT_OUT = ("lips", "pupils", "tongue")  # moved by speech and gaze more than by identity
_NAMES = tuple(name for name in landmarks.MEDIAPIPE if not any(
    landmarks.NAMES.index(name) in landmarks.region(region) for region in LEFT_OUT
))
NOISE_MM = (6.0, 6.0, 12.0)  # of a landmark across, up, in depth; its errors go together with its neighbours'
ROUNDS = 20


@dataclass(frozen=True)
class Fit:
    """``shape`` are the coefficients; ``residual_mm`` is the mean distance left, ``mean_mm`` that of the mean head."""

    shape: Float[np.ndarray, " identity"]
    residual_mm: float
    mean_mm: float


def similarity(
    source: Float[np.ndarray, "*b points 3"], target: Float[np.ndarray, "*b points 3"]
) -> tuple[Float[np.ndarray, "*b"], Float[np.ndarray, "*b 3 3"], Float[np.ndarray, "*b 3"]]:
    """Scale s, rotation R and shift t with s R source + t nearest to target in least squares (Umeyama 1991)."""
    middles = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    a, b = source - middles[0], target - middles[1]
    left, values, right = np.linalg.svd(np.swapaxes(b, -1, -2) @ a)
    signs = np.ones(values.shape)
    signs[..., -1] = np.sign(np.linalg.det(left @ right))
    turn = (left * signs[..., None, :]) @ right
    scale = (values * signs).sum(-1) / np.maximum((a**2).sum((-1, -2)), 1e-12)
    shift = middles[1][..., 0, :] - scale[..., None] * (turn @ middles[0][..., 0, :, None])[..., 0]
    return scale, turn, shift


def moved(
    points: Float[np.ndarray, "*b points 3"], by: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Float[np.ndarray, "*b points 3"]:
    scale, turn, shift = by
    return scale[..., None, None] * (points @ np.swapaxes(turn, -1, -2)) + shift[..., None, :]


def upright(places: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, "frames 478 3"]:
    """Landmarks in pixels (y down, z away from the camera) in our axes: Y up, Z towards it, frontal and of one size.

    All frames are laid onto the first by their `RIGID` places, then onto the mean of that.
    """
    points = places.astype(np.float64) * (1, -1, -1)
    rigid = list(RIGID)
    onto = points[:1, rigid]
    for _ in range(2):
        laid = moved(points, similarity(points[:, rigid], np.broadcast_to(onto, (len(points), len(rigid), 3))))
        onto = laid[:, rigid].mean(0, keepdims=True)
    return laid


@lru_cache(maxsize=8)
def _basis(name: str) -> Float[np.ndarray, "identities places 3"]:
    """How far one of each coefficient moves the fitted places, metres."""
    rig = rigs.load(name)
    row = torch.zeros(1, len(rig.expressions) + face.POSE_CHANNELS)
    still = measure.places(row, rig)[0]
    each = [measure.places(row, rig, one)[0] - still for one in torch.eye(rig.identities)]
    return np.stack(each)[:, [landmarks.NAMES.index(name) for name in _NAMES]].astype(np.float64)


def fit(
    laid: Float[np.ndarray, "frames 478 3"], weights: Float[np.ndarray, "frames expressions"], rig: str = "head"
) -> Fit:
    """The identity of a clip from its landmarks as `upright` gives them and its expression weights.

    Regularised least squares: a coefficient of 1 costs as much as one landmark that is `NOISE_MM` off.
    """
    head = rigs.load(rig)
    row = torch.zeros(1, len(head.expressions) + face.POSE_CHANNELS)
    row[0, : weights.shape[1]] = torch.from_numpy(weights.mean(0).astype(np.float32))
    chosen = [landmarks.NAMES.index(name) for name in _NAMES]
    mean = measure.places(row, head)[0, chosen].astype(np.float64)
    seen = laid.mean(0)[[landmarks.MEDIAPIPE[name] for name in _NAMES]]
    basis = _basis(rig)
    exact = 1000 / np.tile(NOISE_MM, len(chosen))  # from metres to standard deviations
    left = basis.reshape(len(basis), -1).T * exact[:, None]
    inverse = np.linalg.inv(left.T @ left + np.eye(len(basis)))
    shape = np.zeros(len(basis))

    def rest() -> Float[np.ndarray, "places 3"]:
        now = mean + np.tensordot(shape, basis, 1)
        return moved(seen, similarity(seen, now)) - now

    before = rest()
    for _ in range(ROUNDS):
        shape = shape + inverse @ (left.T @ (rest().reshape(-1) * exact) - shape)
    distances = [float(np.linalg.norm(gap, axis=-1).mean() * 1000) for gap in (rest(), before)]
    return Fit(shape.astype(np.float32), *distances)
