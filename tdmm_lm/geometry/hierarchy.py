"""Anyone's animated joint hierarchy -> a body clip: joints by name, those between folded in, rest pose made a T-pose.

Every mapped joint keeps its world rotation, so that where all joints that turn are mapped, ours lie exactly where the
file's do. Where more joints lie between neck and head, the first of them gives the head its place and the head its
rotation. A joint that the file lacks (spine, neck, collar, foot) turns with its parent and lies between its
neighbours. A joint that lies in its parent (CMU's lower back) is set off by `APART`, since our bones have a length.

Rest poses differ: arms down, legs spread, every bone along X. Ours is `tdmm_lm.rigs.skeleton`'s T-pose, so each joint
is turned at rest: arms and legs exactly, trunk, collars and feet only where they point elsewhere by over `LEAN`. Where
a leg points elsewhere by over `FAR` the file's rest is no pose of a body and says nothing of how joints are turned
about their bones: then that is taken such that over the clip it is zero on average. None of this moves a joint.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tdmm_lm import joint_names
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton

APART = 2e-5  # metres
LEAN, FAR = np.radians(45), np.radians(60)
UNITS = {"metres": 1.0, "centimetres": 0.01, "millimetres": 0.001, "inches": 0.0254, "CMU's units": 0.056444}
HEIGHT = (0.8, 2.0)  # metres from ankle over knee, hip, pelvis, spine and neck to the head's joint, along the bones
USUAL_HEIGHT = 1.35


@dataclass(frozen=True)
class Hierarchy:
    """Joints in their own units, parents (-1 for a root) before children; right-handed.

    ``rest`` places and ``rest_turns`` are the world's in the file's own rest pose; ``places`` and ``turns`` the world's
    while it moves.
    """

    names: Sequence[str]
    parents: Sequence[int]
    rest: Float[np.ndarray, "joints 3"]
    rest_turns: Float[np.ndarray, "joints 3 3"]
    places: Float[np.ndarray, "frames joints 3"]
    turns: Float[np.ndarray, "frames joints 3 3"]


def world(
    parents: Sequence[int], places: Float[np.ndarray, "*b joints 3"], turns: Float[np.ndarray, "*b joints 3 3"]
) -> tuple[Float[np.ndarray, "*b joints 3"], Float[np.ndarray, "*b joints 3 3"]]:
    """World places and rotations of local ones."""
    all_places, all_turns = places.copy(), turns.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            above = all_turns[..., parent, :, :]
            all_turns[..., joint, :, :] = above @ turns[..., joint, :, :]
            moved = (above @ places[..., joint, :, None])[..., 0]
            all_places[..., joint, :] = all_places[..., parent, :] + moved
    return all_places, all_turns


def clip(moving: Hierarchy, *, fps: float, metres: float | None = None) -> tuple[MotionClip, str]:
    """A body clip with the file's own skeleton, and what its user should know, if anything: an unusual unit, a joint
    that is over a centimetre off.

    ``metres`` is the length of one unit; without it the first of `UNITS` (of the last two the better one) that gives
    the skeleton a `HEIGHT`, else what makes it `USUAL_HEIGHT`.

    Raises:
        ValueError: joints are missing or hang wrongly, or bones of arms and legs have no length.
    """
    if not all(np.isfinite(array).all() for array in (moving.rest, moving.places, moving.turns)):
        raise ValueError("skeleton: expected finite places and rotations, got NaN or infinity.")
    found = joint_names.mapped(moving.names, moving.parents)
    sources = dict(found)
    if "neck" in found:
        between = joint_names.path(moving.parents, found["head"], found["neck"])
        if between:
            sources["head"] = between[0]  # where it lies; it turns as the head does
    rest, present = _rest(moving.rest, sources)
    unit, said = _unit(rest, metres)
    rest, places = rest * unit, moving.places[:, found["pelvis"]] * unit
    upright = _upright(moving, found)
    turned = np.stack([
        moving.turns[:, found[name]] @ moving.rest_turns[found[name]].T if name in found else
        np.tile(np.eye(3), (len(places), 1, 1)) for name in body.JOINTS
    ], 1)
    rest, places, turned = rest @ upright.T, places @ upright.T, upright @ turned @ upright.T
    offsets, world_turns = _t_pose(rest, turned, present)
    local = world_turns.copy()
    for joint, parent in enumerate(body.PARENTS[1:], 1):
        local[:, joint] = world_turns[:, parent].transpose(0, 2, 1) @ world_turns[:, joint]
    result = body.assemble(
        places, torch.from_numpy(local), fps=fps, shape=offsets.astype(np.float32).reshape(-1)
    )
    compared = list(sources)
    true = moving.places[:, list(sources.values())] * unit
    ours = skeleton.joints(result)[:, [body.JOINTS.index(name) for name in compared]].numpy()
    off = np.linalg.norm(ours - true @ upright.T, axis=-1)
    if off.max() > 0.01:
        name = compared[int(off.max(0).argmax())]
        said += f"{'; ' if said else ''}{name} lies up to {1000 * off.max():.0f} mm off, after joints that ours lack"
    return result, said


def _rest(
    places: Float[np.ndarray, "all 3"], sources: dict[str, int]
) -> tuple[Float[np.ndarray, "joints 3"], Float[np.ndarray, " joints"]]:
    """Our joints in the file's rest pose and whether the file has them; what it lacks lies between its neighbours."""
    rest = np.zeros((len(body.JOINTS), 3))
    for name, source in sources.items():
        rest[body.JOINTS.index(name)] = places[source]
    at = lambda name: rest[body.JOINTS.index(name)]  # noqa: E731
    top = at("neck") if "neck" in sources else (at("left_shoulder") + at("right_shoulder")) / 2
    chain = ["pelvis", "spine1", "spine2", "spine3", "neck", "head"]
    for start, end, stop in ((0, 4, top), (3, 5, at("head"))):
        names = chain[start : end + 1]
        known = [0] + [k for k in range(1, len(names) - 1) if names[k] in sources] + [len(names) - 1]
        ends = {len(names) - 1: stop}
        for low, high in itertools.pairwise(known):
            above, below = at(names[low]), ends.get(high, at(names[high]))
            for k in range(low + 1, high):
                rest[body.JOINTS.index(names[k])] = above + (below - above) * (k - low) / (high - low)
    for side in ("left", "right"):
        if f"{side}_collar" not in sources:
            rest[body.JOINTS.index(f"{side}_collar")] = (at("spine3") + at(f"{side}_shoulder")) / 2
    return rest, np.array([name in sources for name in body.JOINTS])


def _unit(rest: Float[np.ndarray, "joints 3"], metres: float | None) -> tuple[float, str]:
    bones = np.linalg.norm(rest - rest[list(body.PARENTS)], axis=-1)
    part = lambda *names: sum(float(bones[body.JOINTS.index(name)]) for name in names)  # noqa: E731
    leg = part("left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle") / 2
    height = leg + part("spine1", "spine2", "spine3", "neck", "head")
    limbs = [name for name in joint_names.REQUIRED if name.endswith(("knee", "ankle", "elbow", "wrist"))]
    short = [name for name in limbs if part(name) <= 1e-6 * height]
    if short:
        raise ValueError(f"skeleton: expected bones with a length, got none at {', '.join(short)}.")
    if metres is not None:
        if not 0 < metres < np.inf:
            raise ValueError(f"units: expected metres above zero, got {metres}.")
        return metres, ""
    fitting = [name for name, size in UNITS.items() if HEIGHT[0] <= size * height <= HEIGHT[1]]
    if fitting and fitting[0] not in ("metres", "centimetres", "millimetres"):
        fitting.sort(key=lambda name: abs(np.log(UNITS[name] * height / USUAL_HEIGHT)))
    if fitting:
        usual = fitting[0] in ("metres", "centimetres")
        return UNITS[fitting[0]], "" if usual else f"taken to be in {fitting[0]}, from the skeleton's height"
    return USUAL_HEIGHT / height, f"of unknown unit, made {USUAL_HEIGHT} m from ankle to head"


def _upright(moving: Hierarchy, found: dict[str, int]) -> Float[np.ndarray, "3 3"]:
    """The turn that makes Y up: none, unless the trunk points nearer Z than Y both at rest and on average."""
    def up(places: np.ndarray) -> np.ndarray:
        trunk = places[..., found["head"], :] - places[..., found["pelvis"], :]
        return trunk.reshape(-1, 3).mean(0)

    zs = [vector[2] > abs(vector[1]) for vector in (up(moving.rest), up(moving.places))]
    return np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]) if all(zs) else np.eye(3)


def _t_pose(
    rest: Float[np.ndarray, "joints 3"], turned: Float[np.ndarray, "frames joints 3 3"],
    present: Float[np.ndarray, " joints"],
) -> tuple[Float[np.ndarray, "joints 3"], Float[np.ndarray, "frames joints 3 3"]]:
    """Offsets in the T-pose, and world rotations against it, of rotations against the file's rest pose."""
    default = skeleton.load().offsets
    turns = np.zeros((len(body.JOINTS), 3, 3))  # what takes a joint's surroundings from the file's rest to the T-pose
    turns[0] = _pelvis(rest)
    posed = _is_pose(rest @ turns[0].T)
    result, offsets = turned.copy(), np.zeros_like(rest)
    result[:, 0] = turned[:, 0] @ turns[0].T
    for joint, parent in enumerate(body.PARENTS[1:], 1):
        turns[joint] = turns[parent]
        if present[joint]:
            child = _next(joint, present)
            bone = np.zeros(3) if child is None else turns[parent] @ (rest[child] - rest[joint])
            if child is not None:
                turns[joint] = _pointed(bone, child) @ turns[joint]
            if not posed:
                local = result[:, parent].transpose(0, 2, 1) @ turned[:, joint] @ turns[joint].T
                along = None if child is None else turns[joint] @ (rest[child] - rest[joint])
                turns[joint] = _mean(local, along) @ turns[joint]
            result[:, joint] = turned[:, joint] @ turns[joint].T
        else:
            result[:, joint] = result[:, parent]
        offsets[joint] = turns[parent] @ (rest[joint] - rest[parent])
        if not present[joint] and body.JOINTS[joint].endswith("foot"):  # the default's, at this leg's size
            offsets[joint] = default[joint] * np.linalg.norm(offsets[parent]) / np.linalg.norm(default[parent])
        if np.linalg.norm(offsets[joint]) < APART:
            offsets[joint] = APART * default[joint] / np.linalg.norm(default[joint])
    return offsets, result


def _next(joint: int, present: Float[np.ndarray, " joints"]) -> int | None:
    """The joint at the end of the bone that says where a joint points; none for the last ones."""
    name = body.JOINTS[joint]
    children = [body.JOINTS.index("neck")] if name == "spine3" else list(skeleton.CHILDREN[joint])
    known = [child for child in children if present[child] or not body.JOINTS[child].endswith("foot")]
    return known[0] if known else None


def _is_pose(rest: Float[np.ndarray, "joints 3"]) -> bool:
    """Whether the legs point down, more or less."""
    for side in ("left", "right"):
        places = rest[[body.JOINTS.index(f"{side}_{part}") for part in ("hip", "knee", "ankle")]]
        bones = np.diff(places, axis=0)
        if (-bones[:, 1] < np.cos(FAR) * np.linalg.norm(bones, axis=1)).any():
            return False
    return True


def _pelvis(rest: Float[np.ndarray, "joints 3"]) -> Float[np.ndarray, "3 3"]:
    """Left to +X and up to +Y, where the file's rest pose has them elsewhere by over `LEAN`."""
    at = lambda name: rest[body.JOINTS.index(name)]  # noqa: E731
    left = at("left_hip") - at("right_hip")
    up = at("head") - at("pelvis")
    across = np.linalg.norm(np.cross(left, up))
    if not across > 0.1 * np.linalg.norm(left) * np.linalg.norm(up):
        raise ValueError("skeleton: expected hips side by side below the head at rest, got them in one line.")
    left = left / np.linalg.norm(left)
    up = up - (up @ left) * left
    up = up / np.linalg.norm(up)
    if min(left[0], up[1]) > np.cos(LEAN):
        return np.eye(3)
    return np.stack([left, up, np.cross(left, up)])


def _pointed(bone: Float[np.ndarray, " 3"], child: int) -> Float[np.ndarray, "3 3"]:
    """The turn that brings a bone into the T-pose's direction, if need be."""
    length = float(np.linalg.norm(bone))
    if length < APART:
        return np.eye(3)
    default = skeleton.load().offsets[child].astype(float)
    bone, default = bone / length, default / np.linalg.norm(default)
    angle = float(np.arccos(np.clip(bone @ default, -1, 1)))
    exact = body.JOINTS[child].endswith(("knee", "ankle", "elbow", "wrist"))
    if not exact and angle <= LEAN:
        return np.eye(3)
    axis = np.cross(bone, default)
    if np.linalg.norm(axis) < 1e-6:
        axis = np.cross(bone, [0, 0, 1] if abs(bone[2]) < 0.9 else [1, 0, 0])
    return _about(axis, angle)


def _about(axis: Float[np.ndarray, " 3"], angle: float) -> Float[np.ndarray, "3 3"]:
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def _mean(
    local: Float[np.ndarray, "frames 3 3"], axis: Float[np.ndarray, " 3"] | None
) -> Float[np.ndarray, "3 3"]:
    """The mean of rotations; with an axis (longer than `APART`) the mean of their turns about it, swings left out."""
    if axis is None or np.linalg.norm(axis) < APART:
        return Rotation.from_matrix(local).mean().as_matrix()
    quaternion = Rotation.from_matrix(local).as_quat()  # real part last
    half = quaternion[:, 3] + 1j * (quaternion[:, :3] @ (axis / np.linalg.norm(axis)))
    return _about(axis, float(np.angle((half**2).sum())))  # squared: the quaternion's sign does not matter
