"""Which stretches are good enough to be clips: what can be measured of pictures and landmarks, and the bounds.

MediaPipe's landmarks come without a confidence. What stands for it: how often there are any, how sure its detector is
of the same face, how much the landmarks tremble when all smooth motion is taken out, and whether places that keep their
distances on every skull keep them here.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field

from tdmm_lm import config, rotations
from tdmm_lm.corpus.capture.faces import Settings as Following
from tdmm_lm.corpus.capture.faces import Stretch
from tdmm_lm.corpus.capture.identity import RIGID
from tdmm_lm.motion import face

SMOOTH = 7  # frames over which motion is taken for a parabola
EYES = ((33, 133), (362, 263))  # corners of the right and the left eye
STILL = 3.0  # grey levels: two small pictures that nowhere differ by more are the same one, shown twice


class Settings(config.Settings):
    """Bounds of a good clip; a bound of 0 (of 1 for shares that are at most) lets everything pass."""

    box_share: float = Field(default=0.15, ge=0, le=1)  # of the frame's area, at least: the face detector's box
    face_pixels: float = Field(default=80, ge=0)  # width of that box, at least
    score: float = Field(default=0.7, ge=0, le=1)  # the detector's own confidence, at least
    face_share: float = Field(default=0.9, ge=0, le=1)  # of the frames, at least, have a face
    source_fps: float = Field(default=15, ge=0)  # frames a second, at least
    frozen_share: float = Field(default=0.5, ge=0, le=1)  # of the frames, at most, are the one before again
    sharpness: float = Field(default=0.015, ge=0)  # of the face at 128 pixels, at least
    turned_share: float = Field(default=0.2, ge=0, le=1)  # of the frames, at most, look away by over `turned`
    turned: float = Field(default=0.8, gt=0)  # radians to either side, up or down; beyond, half the face is guessed
    jitter: float = Field(default=0.01, gt=0)  # inter-ocular distances, at most
    rigidity: float = Field(default=0.02, gt=0)  # inter-ocular distances, at most


def measured(stretch: Stretch, laid: Float[np.ndarray, "frames 478 3"], turned: float) -> dict[str, float]:
    """The figures that `faults` judges, under the names of `Settings`; ``jitter`` is 0 for under seven frames.

    ``laid`` are the landmarks as `identity.upright` gives them; ``turned`` is in radians.
    """
    seconds = stretch.end - stretch.start
    points = stretch.landmarks.astype(np.float64)
    apart = np.linalg.norm(_between_eyes(points[..., :2]), axis=-1)
    matrices = torch.from_numpy(stretch.table[:, len(face.ARKIT) :].reshape(-1, 4, 4)[:, :3, :3].astype(np.float32))
    away = rotations.matrix_to_euler_yxz(matrices)[:, :2].abs().amax(1).numpy()
    return {
        "seconds": seconds,
        "source_fps": len(stretch.looked) / seconds,
        "face_share": len(stretch.seconds) / len(stretch.looked),
        "score": _median(stretch.scores),
        "box_share": _median(stretch.shares[stretch.shares > 0]),
        "face_pixels": _median(stretch.widths[stretch.widths > 0]),
        "sharpness": _median(stretch.sharpness),
        "frozen_share": float((stretch.changes[1:] < STILL).mean()) if len(stretch.changes) > 1 else 0.0,
        "turned_share": float((away > turned).mean()),
        "jitter": _jitter(points[:, list(RIGID), :2], stretch.seconds, apart),
        "rigidity": rigidity(laid),
    }


def rigidity(laid: Float[np.ndarray, "frames 478 3"]) -> float:
    """How far the places that are fixed on a skull stray from their mean: root mean square, inter-ocular distances."""
    fixed = laid[:, list(RIGID)]
    apart = np.linalg.norm(_between_eyes(laid.mean(0)))
    return float(np.sqrt(((fixed - fixed.mean(0)) ** 2).sum(-1).mean()) / apart)


def faults(figures: dict[str, float], settings: Settings, following: Following) -> Iterator[tuple[str, str]]:
    """Reason and detail of each bound that a clip breaks, the cheapest to understand first."""
    least = (
        ("too_short", "seconds", following.shortest_seconds, "seconds"),
        ("low_rate", "source_fps", settings.source_fps, "frames a second"),
        ("unsure", "score", settings.score, "of the detector's confidence"),
        ("small_box", "box_share", settings.box_share, "of the frame's area for the face"),
        ("small_face", "face_pixels", settings.face_pixels, "pixels across the face"),
        ("face_comes_and_goes", "face_share", settings.face_share, "of the frames with a face"),
        ("blurred", "sharpness", settings.sharpness, "sharpness"),
    )
    most = (
        ("frozen", "frozen_share", settings.frozen_share, "of the frames the same as the one before"),
        ("turned_away", "turned_share", settings.turned_share, "of the frames turned away"),
        ("jitter", "jitter", settings.jitter, "inter-ocular distances of jitter"),
        ("implausible", "rigidity", settings.rigidity, "inter-ocular distances between a skull's fixed places"),
    )
    for reason, name, bound, what in least:
        if figures[name] < bound - 1e-6:
            yield reason, f"expected at least {bound:g} {what}, got {figures[name]:.3g}."
    for reason, name, bound, what in most:
        if figures[name] > bound + 1e-6:
            yield reason, f"expected at most {bound:g} {what}, got {figures[name]:.3g}."


def _median(values: Float[np.ndarray, " some"]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _between_eyes(points: Float[np.ndarray, "*b 478 d"]) -> Float[np.ndarray, "*b d"]:
    right, left = (points[..., list(corners), :].mean(-2) for corners in EYES)
    return left - right


def _jitter(
    points: Float[np.ndarray, "frames places 2"],
    seconds: Float[np.ndarray, " frames"],
    apart: Float[np.ndarray, " frames"],
) -> float:
    """What is left of the skull's places in the picture without their smooth motion, root mean square.

    Smooth is the parabola through `SMOOTH` frames about each, by their own times: videos need not be even.
    """
    if len(points) < SMOOTH:
        return 0.0
    half = SMOOTH // 2
    times = np.lib.stride_tricks.sliding_window_view(seconds, SMOOTH) - seconds[half:-half, None]
    times = times / np.abs(times).max()
    at_middle = np.linalg.pinv(np.stack([np.ones_like(times), times, times**2], -1))[:, 0]  # (windows, SMOOTH)
    smooth = np.einsum("wk,wpdk->wpd", at_middle, np.lib.stride_tricks.sliding_window_view(points, SMOOTH, axis=0))
    rest = points[half:-half] - smooth
    return float(np.sqrt((rest**2).sum(-1).mean()) / np.median(apart))
