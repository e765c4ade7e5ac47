"""The face modality: FLAME-format parameters of a head, one row a frame.

Layout of ``clip.values``: the rig's expression weights, then the eighteen numbers of `POSE`.
Rotations are axis-angle in radians, translation is in metres. Y up, facing Z+; the person's own left is +X.
``head`` is FLAME's root joint; captures leave ``neck`` at zero, since one camera cannot tell them apart.
On rigs with ARKit-named shapes the jaw and eye *shapes* are authoritative and those joints stay zero.
"""

import re
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import rotations
from tdmm_lm.motion import MotionClip

CODE_FPS = 25.0  # the rate of the face codec; clips keep their own

POSE = {"jaw": 3, "neck": 3, "head": 3, "eyes": 6, "translation": 3}  # eyes: left 3, then right 3
POSE_CHANNELS = sum(POSE.values())

# Apple's 52 names in the column order of Live Link Face's CSV files.
ARKIT = (
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    "jawForward",
    "jawRight",
    "jawLeft",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthRight",
    "mouthLeft",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)

_SIDES = {"Left": "Right", "Right": "Left"}
_OTHER_SIDE = re.compile("Left|Right")


def layout(channels: int) -> dict[str, slice]:
    """Where each group lies in a row of ``channels`` numbers: ``expression`` and the keys of `POSE`."""
    if channels <= POSE_CHANNELS:
        raise ValueError(f"face clip: expected over {POSE_CHANNELS} channels, got {channels}.")
    slices, start = {"expression": slice(0, channels - POSE_CHANNELS)}, channels - POSE_CHANNELS
    for name, size in POSE.items():
        slices[name] = slice(start, start + size)
        start += size
    return slices


def part(clip: MotionClip, name: str) -> Float[np.ndarray, "frames size"]:
    """One group of a face clip by name, e.g. ``part(clip, "head")``."""
    return clip.values[:, layout(clip.values.shape[1])[name]]


def assemble(
    parts: Mapping[str, Float[np.ndarray, "frames size"]], *, fps: float, rig: str, shape: np.ndarray | None = None
) -> MotionClip:
    """A face clip from its groups; ``expression`` is required, pose groups left out are zero."""
    expression = np.asarray(parts["expression"], np.float32)
    unknown = set(parts) - {"expression", *POSE}
    if unknown:
        raise ValueError(
            f"face clip: expected parts among expression, {', '.join(POSE)}; got {', '.join(sorted(unknown))}."
        )
    values = np.zeros((len(expression), expression.shape[1] + POSE_CHANNELS), np.float32)
    slices = layout(values.shape[1])
    for name, value in parts.items():
        values[:, slices[name]] = value
    return MotionClip(values, fps, "face", rig, np.zeros(0, np.float32) if shape is None else shape)


def mirrored(clip: MotionClip) -> MotionClip:
    """The clip seen in a mirror: left and right change places, in shapes, turns, eyes and translation.

    Raises:
        ValueError: a clip whose expression is not the 52 ARKit shapes, which alone say which side they are on.
    """
    slices = layout(clip.values.shape[1])
    if slices["expression"].stop != len(ARKIT):
        raise ValueError(f"face clip: expected {len(ARKIT)} ARKit shapes, got {slices['expression'].stop} weights.")
    values = clip.values.copy()
    other = [ARKIT.index(_OTHER_SIDE.sub(lambda side: _SIDES[side[0]], name)) for name in ARKIT]
    values[:, slices["expression"]] = clip.values[:, other]
    eyes = slices["eyes"].start
    values[:, eyes : eyes + 6] = np.roll(clip.values[:, eyes : eyes + 6], 3, axis=1)
    for start in range(slices["jaw"].start, slices["translation"].start, 3):
        values[:, start + 1 : start + 3] *= -1  # a turn about X stays, those about Y and Z go the other way
    values[:, slices["translation"].start] *= -1
    return MotionClip(values, clip.fps, clip.modality, clip.rig, clip.shape)


def resample(clip: MotionClip, fps: float) -> MotionClip:
    """The clip at another rate, ends kept at its own times: weights and translation linearly, rotations by slerp.

    Frame i of the result lies at i / fps seconds; a clip of n frames at rate r lasts n / r seconds before and after
    (rounded to whole frames, at least one).
    """
    if fps == clip.fps:
        return clip
    frames = max(1, round(clip.frames * fps / clip.fps))
    position = np.minimum(np.arange(frames) * (clip.fps / fps), clip.frames - 1)
    left = np.floor(position).astype(int)
    right = np.minimum(left + 1, clip.frames - 1)
    share = (position - left)[:, None].astype(np.float32)
    values = (1 - share) * clip.values[left] + share * clip.values[right]
    slices = layout(clip.values.shape[1])
    first = slices["jaw"].start
    for start in range(first, first + 15, 3):  # jaw, neck, head, left eye, right eye
        turn = slice(start, start + 3)
        ends = [rotations.axis_angle_to_quaternion(torch.from_numpy(clip.values[i][:, turn])) for i in (left, right)]
        mixed = rotations.slerp(ends[0], ends[1], torch.from_numpy(share))
        values[:, turn] = rotations.quaternion_to_axis_angle(mixed).numpy()
    return MotionClip(values, fps, clip.modality, clip.rig, clip.shape)
