"""The body modality: 22 joints of the SMPL and HumanML3D skeleton, one row a frame, at any rate.

Layout of ``clip.values``: the root's translation (metres), then for each of `JOINTS` its rotation relative to its
parent as 6D (columns 0 and 1 of the matrix). The root's rotation and translation are the world's. Y up; at rest the
body stands in a T-pose facing Z+, its own left is +X. ``clip.shape`` holds the skeleton: where each joint lies at rest
relative to its parent, metres, (22 * 3,) in the order of `JOINTS` (the root's own row is zero); empty means the
default skeleton of `tdmm_lm.rigs.skeleton`.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm import rotations
from tdmm_lm.motion import MotionClip

CODE_FPS = 20.0  # the rate of HumanML3D's features, which the body codec sees; clips keep their own

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
CHANNELS = 3 + 6 * len(JOINTS)


def assemble(
    translation: Float[np.ndarray, "frames 3"], rotation: Float[Tensor, "frames joints 3 3"], *, fps: float,
    shape: Float[np.ndarray, " skeleton"] | None = None,
) -> MotionClip:
    """A body clip from the root's places (metres) and every joint's local rotation matrices.

    Raises:
        ValueError: not as many places as rotations, or not of `JOINTS`; and what `MotionClip` refuses.
    """
    if rotation.shape[1:] != (len(JOINTS), 3, 3):
        raise ValueError(
            f"body clip: expected (frames, {len(JOINTS)}, 3, 3) rotations, got {tuple(rotation.shape)}."
        )
    if np.shape(translation) != (len(rotation), 3):
        raise ValueError(f"body clip: expected {len(rotation)} places of the root, got {np.shape(translation)}.")
    six = rotations.matrix_to_six(rotation).flatten(1).numpy()
    values = np.concatenate([np.asarray(translation, np.float32), six.astype(np.float32)], 1)
    return MotionClip(values, fps, "body", "skeleton", np.zeros(0, np.float32) if shape is None else shape)


def translation(clip: MotionClip) -> Float[np.ndarray, "frames 3"]:
    """The root's places in metres."""
    return _checked(clip)[:, :3]


def local_rotations(clip: MotionClip) -> Float[Tensor, "frames joints 3 3"]:
    """Every joint's rotation relative to its parent; the root's in the world."""
    six = torch.from_numpy(_checked(clip)[:, 3:]).unflatten(1, (len(JOINTS), 6))
    return rotations.six_to_matrix(six)


def resample(clip: MotionClip, fps: float) -> MotionClip:
    """The clip at another rate, ends kept at its own times: translation linearly, rotations by slerp.

    Frame i of the result lies at i / fps seconds; a clip of n frames at rate r lasts n / r seconds before and after
    (rounded to whole frames, at least one). What lies beyond the last frame repeats it.

    Raises:
        ValueError: no body clip, or a rate outside 1..1000 Hz.
    """
    if not 1 <= fps <= 1000:
        raise ValueError(f"resample: expected 1 to 1000 Hz, got {fps}.")
    if fps == clip.fps:
        return clip
    frames = max(1, round(clip.frames * fps / clip.fps))
    position = np.minimum(np.arange(frames) * (clip.fps / fps), clip.frames - 1)
    left = np.floor(position).astype(int)
    right = np.minimum(left + 1, clip.frames - 1)
    share = (position - left).astype(np.float32)
    places = translation(clip)
    moved = (1 - share)[:, None] * places[left] + share[:, None] * places[right]
    turns = rotations.matrix_to_quaternion(local_rotations(clip))
    shares = torch.from_numpy(share)[:, None, None].expand(-1, len(JOINTS), 1)
    mixed = rotations.slerp(turns[left], turns[right], shares)
    return assemble(moved, rotations.quaternion_to_matrix(mixed), fps=fps, shape=clip.shape)


def _checked(clip: MotionClip) -> Float[np.ndarray, "frames channels"]:
    if clip.modality != "body" or clip.values.shape[1] != CHANNELS:
        got = f"a {clip.modality} clip of {clip.values.shape[1]} channels"
        raise ValueError(f"body clip: expected {CHANNELS} channels of modality body, got {got}.")
    return clip.values
