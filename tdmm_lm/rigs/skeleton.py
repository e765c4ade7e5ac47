"""The 22-joint skeleton that body clips drive: rest offsets, forward kinematics, and rotations from joints' places.

Metres, Y up, facing Z+, the body's own left is +X. A joint's rotation turns everything below it (as in BVH and SMPL;
HumanML3D's own rotations turn the bone that ends at the joint: `tdmm_lm.geometry.humanml3d`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm.motion import MotionClip, body

# Bone lengths of HumanML3D's target skeleton in metres, measured on its published sample: all its motion has them.
LENGTHS = (
    0.0, 0.10307397, 0.10988336, 0.13156823, 0.39362320, 0.39018822, 0.14319022, 0.43243301, 0.42564340, 0.05736474,
    0.14338180, 0.14941906, 0.21936005, 0.13748679, 0.14338282, 0.10303921, 0.13161397, 0.12298437, 0.25683990,
    0.26309186, 0.26601182, 0.26987632,
)
# Where each bone points in the T-pose. Pelvis and chest are rigid: the angles between their three bones were measured
# on the same sample and made alike left and right; legs straight, toes forward, arms out to the sides.
_LEFT = {"hip": (0.5655, -0.8224, -0.0619), "knee": (0, -1, 0), "ankle": (0, -1, 0), "foot": (0.15, -0.42, 0.9),
         "collar": (0.5116, 0.8337, -0.2078), "shoulder": (1, 0.3, -0.08), "elbow": (1, 0, 0), "wrist": (1, 0, 0)}
_MIDDLE = {"pelvis": (0, 0, 0), "spine1": (0, 0.977, -0.213), "spine2": (0, 1, 0), "spine3": (0, 1, 0.2),
           "neck": (0, 0.993, -0.118), "head": (0, 0.87, 0.49)}


def _levels() -> list[tuple[list[int], list[int]]]:
    """Joints by their distance from the root, with their parents: what can be computed at once."""
    depth = [0]
    for parent in body.PARENTS[1:]:
        depth.append(depth[parent] + 1)
    levels = [[joint for joint, d in enumerate(depth) if d == level] for level in range(1, max(depth) + 1)]
    return [(joints, [body.PARENTS[joint] for joint in joints]) for joints in levels]


LEVELS = _levels()
CHILDREN = tuple(tuple(j for j, parent in enumerate(body.PARENTS) if parent == joint) for joint in range(22))


@dataclass(frozen=True)
class Skeleton:
    """A body at rest: where each joint of `tdmm_lm.motion.body.JOINTS` lies relative to its parent, metres.

    Raises:
        ValueError: offsets that are not 22 finite places, or a bone without length.
    """

    offsets: Float[np.ndarray, "joints 3"]
    name: str = "skeleton"

    def __post_init__(self) -> None:
        offsets = np.array(self.offsets, np.float32)
        if offsets.shape != (len(body.JOINTS), 3) or not np.isfinite(offsets).all():
            raise ValueError(f"skeleton.offsets: expected {len(body.JOINTS)} finite places, got {offsets.shape}.")
        offsets[0] = 0
        short = [name for name, bone in zip(body.JOINTS[1:], np.linalg.norm(offsets[1:], axis=-1)) if bone < 1e-6]
        if short:
            raise ValueError(f"skeleton.offsets: expected bones with a length, got none at {', '.join(short)}.")
        object.__setattr__(self, "offsets", offsets)

    @property
    def lengths(self) -> Float[np.ndarray, " joints"]:
        """Of the bones that end at each joint, metres; the root's is 0."""
        return np.linalg.norm(self.offsets, axis=-1)

    @property
    def shape(self) -> Float[np.ndarray, " skeleton"]:
        """The offsets as a clip carries them."""
        return self.offsets.reshape(-1)


def load() -> Skeleton:
    """The default skeleton: HumanML3D's bone lengths in a T-pose."""
    return Skeleton(_directions() * np.array(LENGTHS)[:, None])


def of(clip: MotionClip) -> Skeleton:
    """The clip's own skeleton, or the default where it carries none.

    Raises:
        ValueError: no body clip, or a shape that is not 22 places.
    """
    if clip.modality != "body":
        raise ValueError(f"skeleton: expected a body clip, got a {clip.modality} clip.")
    if not len(clip.shape):
        return load()
    if len(clip.shape) != 3 * len(body.JOINTS):
        raise ValueError(f"skeleton: expected clip.shape of {3 * len(body.JOINTS)} numbers, got {len(clip.shape)}.")
    return Skeleton(clip.shape.reshape(-1, 3))


def forward(
    translation: Float[Tensor, "*b 3"], rotation: Float[Tensor, "*b joints 3 3"], skeleton: Skeleton
) -> tuple[Float[Tensor, "*b joints 3"], Float[Tensor, "*b joints 3 3"]]:
    """World places and world rotations of all joints, from the root's place and local rotations. Differentiable."""
    offsets = rotation.new_tensor(skeleton.offsets)
    places, turns = [translation] * len(body.JOINTS), [rotation[..., 0, :, :]] * len(body.JOINTS)
    for joints, parents in LEVELS:
        above = torch.stack([turns[parent] for parent in parents], -3)
        moved = torch.stack([places[parent] for parent in parents], -2) + (above @ offsets[joints, :, None])[..., 0]
        turned = above @ rotation[..., joints, :, :]
        for i, joint in enumerate(joints):
            places[joint], turns[joint] = moved[..., i, :], turned[..., i, :, :]
    return torch.stack(places, -2), torch.stack(turns, -3)


def joints(clip: MotionClip, skeleton: Skeleton | None = None) -> Float[Tensor, "frames joints 3"]:
    """World places in metres, on the clip's own skeleton unless another is given."""
    return _posed(clip, skeleton)[0]


def global_rotations(clip: MotionClip) -> Float[Tensor, "frames joints 3 3"]:
    """Every joint's rotation in the world."""
    return _posed(clip, None)[1]


def _posed(clip: MotionClip, skeleton: Skeleton | None) -> tuple[Tensor, Tensor]:
    skeleton = of(clip) if skeleton is None else skeleton
    return forward(torch.from_numpy(body.translation(clip)), body.local_rotations(clip), skeleton)


def _directions() -> Float[np.ndarray, "joints 3"]:
    """Unit vectors of the T-pose; the root's is zero."""
    rows = []
    for name in body.JOINTS:
        side, _, part = name.partition("_")
        x, y, z = _LEFT[part] if part else _MIDDLE[name]
        rows.append((-x if side == "right" else x, y, z))
    vectors = np.array(rows, float)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
