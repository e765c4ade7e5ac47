"""The 22-joint skeleton that body clips drive: rest offsets, forward kinematics, and rotations from joints' places.

Metres, Y up, facing Z+, the body's own left is +X. A joint's rotation turns everything below it (as in BVH and SMPL;
HumanML3D's own rotations turn the bone that ends at the joint: `tdmm_lm.geometry.humanml3d`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm import rotations
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


def fit(
    places: Float[Tensor, "frames joints 3"], *, fps: float, rest: Skeleton | None = None
) -> MotionClip:
    """The body clip whose joints come closest to ``places`` (world, metres), on the default skeleton or on ``rest``.

    From the root outwards: pelvis and chest turn to all three of their bones (Kabsch 1976), every other joint the
    shortest way to the next joint's place as seen from where this one came to lie, so errors of lengths do not add up.
    Turns about a bone's own axis cannot be seen and stay those of the bone above. Hands and toes keep their parent's.

    Raises:
        ValueError: not (frames, 22, 3), or no frames, or not finite.
    """
    if places.ndim != 3 or places.shape[1:] != (len(body.JOINTS), 3) or not len(places):
        raise ValueError(f"skeleton fit: expected (frames, {len(body.JOINTS)}, 3) joints, got {tuple(places.shape)}.")
    if not places.isfinite().all():
        raise ValueError("skeleton fit: expected finite places, got NaN or infinity.")
    own = load() if rest is None else rest
    offsets = places.new_tensor(own.offsets)
    here: list[Tensor] = [places[:, 0]] * len(body.JOINTS)
    turns: list[Tensor] = [torch.eye(3, dtype=places.dtype).expand(len(places), 3, 3)] * len(body.JOINTS)
    local = torch.stack(turns, 1)
    for joint, children in enumerate(CHILDREN):
        above = turns[body.PARENTS[joint]] if joint else turns[0]
        if len(children) > 1:
            turns[joint] = _kabsch(offsets[list(children)], places[:, children] - here[joint][:, None])
        elif children:
            seen = above @ offsets[children[0]]
            turns[joint] = rotations.quaternion_to_matrix(
                rotations.between(seen, places[:, children[0]] - here[joint])
            ) @ above
        else:
            turns[joint] = above
        local[:, joint] = above.mT @ turns[joint] if joint else turns[joint]
        for child in children:
            here[child] = here[joint] + turns[joint] @ offsets[child]
    shape = None if rest is None else rest.shape
    return body.assemble(places[:, 0].numpy(), local, fps=fps, shape=shape)


def measured(places: Float[Tensor, "frames joints 3"]) -> Skeleton:
    """The skeleton of someone whose joints were recorded: mean bone lengths, and pelvis and chest as they are.

    Other bones keep the T-pose's directions. On it, `fit` follows a rigid body's joints exactly.

    Raises:
        ValueError: not (frames, 22, 3), no frames, not finite, or a bone without length.
    """
    if places.ndim != 3 or places.shape[1:] != (len(body.JOINTS), 3) or not len(places):
        raise ValueError(f"skeleton: expected (frames, {len(body.JOINTS)}, 3) joints, got {tuple(places.shape)}.")
    bones = places[:, 1:] - places[:, body.PARENTS[1:]]
    rest = _directions()
    rest[1:] *= bones.norm(dim=-1).mean(0)[:, None].double().numpy()
    offsets = places.new_tensor(rest)
    for joint, children in enumerate(CHILDREN):
        if len(children) > 1:
            seen = places[:, children] - places[:, joint, None]
            own = offsets[list(children)]
            for _ in range(3):  # turn every frame to the mean, take the mean again
                own = (seen @ _kabsch(own, seen)).mean(0)
            turn = _kabsch(own, offsets[list(children)][None])[0]  # the mean may have drifted from the T-pose
            own = own @ turn.mT
            own = torch.nn.functional.normalize(own, dim=-1) * offsets[list(children)].norm(dim=-1, keepdim=True)
            offsets[list(children)] = own
    return Skeleton(offsets.numpy())


def _kabsch(start: Float[Tensor, "some 3"], end: Float[Tensor, "frames some 3"]) -> Float[Tensor, "frames 3 3"]:
    """The rotations that bring ``start`` closest to ``end``, least squares about the origin."""
    u, _, v = torch.linalg.svd(end.mT @ start)
    mirrored = torch.linalg.det(u @ v) < 0
    u = torch.where(mirrored[:, None, None], u * u.new_tensor([1, 1, -1]), u)
    return u @ v


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
