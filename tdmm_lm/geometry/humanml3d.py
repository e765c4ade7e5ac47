"""Bodies as HumanML3D's 263 numbers a frame at 20 fps, and back: what the body codec and the standard metrics see.

The layout and the way to it are those of HumanML3D's published script (Guo et al. 2022): bones take the lengths of the
default skeleton, the lowest joint touches the floor, the motion starts at the XZ origin and faces Z+. Features speak of
steps from one frame to the next, so n frames give n - 1 rows; `clip_rows` continues a motion by a frame and gives n.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm import rotations
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton
from tdmm_lm.rigs.skeleton import Skeleton

FPS = body.CODE_FPS
FEATURES = {
    "yaw": slice(0, 1),  # half the root's turn to the next frame about Y, radians: arcsin of the quaternion's y
    "step": slice(1, 3),  # the root's x and z to the next frame, metres, as the next frame faces
    "height": slice(3, 4),  # of the root, metres
    "places": slice(4, 67),  # 21 joints x 3, metres: x and z from the root, as the frame faces; y from the floor
    "rotations": slice(67, 193),  # 21 bones x 6, each relative to the bone before it in its chain
    "velocities": slice(193, 259),  # 22 joints x 3, metres to the next frame, as this frame faces
    "contacts": slice(259, 263),  # 1 where a joint of `CONTACTS` stands still
}
WIDTH = 263
CONTACTS = tuple(body.JOINTS.index(name) for name in ("left_ankle", "left_foot", "right_ankle", "right_foot"))
STILL = 0.002  # square metres a frame: a foot that moves less is in contact

# For each bone (by the joint it ends at, the root's left out) the joint whose rotation comes before it: its parent, but
# collars are counted from the root, whose turn is the heading alone.
_BEFORE = [0 if name.endswith("collar") else parent for name, parent in zip(body.JOINTS, body.PARENTS)][1:]
# Where a bone points before its rotation. Not a pose: published rotations are defined from these axes.
_AXIS = {
    "left_hip": (1, 0, 0), "right_hip": (-1, 0, 0), "spine1": (0, 1, 0), "spine2": (0, 1, 0), "spine3": (0, 1, 0),
    "left_foot": (0, 0, 1), "right_foot": (0, 0, 1), "neck": (0, 1, 0), "left_collar": (1, 0, 0),
    "right_collar": (-1, 0, 0), "head": (0, 0, 1),
}
_AXES = [_AXIS.get(name, (0, -1, 0)) for name in body.JOINTS[1:]]  # knees, ankles and arms: down
_LEG = [body.JOINTS.index(name) for name in ("right_knee", "right_ankle")]  # whose length scales the root's path
_LEFT = [body.JOINTS.index(name) for name in ("left_hip", "left_shoulder")]
_RIGHT = [body.JOINTS.index(name) for name in ("right_hip", "right_shoulder")]
_SIGMA, _REACH = 20, 80  # frames: the heading's Gaussian and where it is cut off
_AT_ONCE = 16  # motions: what fits a processor's cache
_ABOVE = np.eye(22)  # root and bones to places: the bones that lead to a joint
for _joint in range(1, 22):
    _ABOVE[_joint] += _ABOVE[body.PARENTS[_joint]]


@dataclass(frozen=True)
class _Quirks:
    """What the published script does that its layout does not ask for; files made by it have all of them."""

    crossed: bool = True  # the heading reads left and right hip the wrong way round, so hips count against shoulders
    smoothed: bool = True  # the heading is smoothed over seconds by a Gaussian
    pinned: bool = True  # the first frame's heading is set to Z+ whatever it is
    folded: bool = True  # a step in which the heading passes Z- turns the wrong way


_PUBLISHED, _PLAIN = _Quirks(), _Quirks(crossed=False, smoothed=False, pinned=False, folded=False)
_INVERTIBLE = _Quirks(folded=False)  # a folded step turns all that follows: people who turned round end up metres away


def features(
    joints: Float[Tensor, "*b frames joints 3"], *, quirks: bool = True
) -> Float[Tensor, "*b rows features"]:
    """Joints of `tdmm_lm.motion.body.JOINTS` at 20 fps, metres, as one row for every step between frames.

    ``quirks`` keeps the oddities of the published script, for parity with published features: with them, what comes
    after the heading has passed Z- is recovered turned aside. Without them the heading is that of hips and shoulders.

    Raises:
        ValueError: not 22 joints, fewer than two frames, numbers that are not finite, or a bone without length.
    """
    rows = _rows(_normalise(_split(_checked(joints))), _PUBLISHED if quirks else _PLAIN)
    return _finite(rows, joints)


def from_clip(clip: MotionClip, *, quirks: bool = True) -> Float[Tensor, "rows features"]:
    """`features` of a body clip of any rate and skeleton, its rotations resampled: one row fewer than frames at 20 fps.

    Raises:
        ValueError: no body clip, or one that has fewer than two frames at 20 fps.
    """
    return features(_joints(clip), quirks=quirks).float()


def clip_rows(clip: MotionClip) -> Float[Tensor, "frames features"]:
    """Like `from_clip` with as many rows as the clip has frames at 20 fps: what a codec tokenizes.

    The last row's step is that of a frame which is not there: every joint moves on as it last did, the heading stays.
    The other rows are those of `from_clip` but for steps in which the heading passes Z-, which turn the right way here:
    recovering all rows gives the clip's own frames back.

    Raises:
        ValueError: no body clip, or one that has fewer than two frames at 20 fps.
    """
    joints = _joints(clip)
    return _finite(_rows(_normalise(_split(_checked(joints))), _INVERTIBLE, continued=True), joints).float()


def normalise(joints: Float[Tensor, "*b frames joints 3"]) -> Float[Tensor, "*b frames joints 3"]:
    """The joints that features speak of: default bones, on the floor, from the XZ origin, facing Z+ at first.

    Raises:
        ValueError: as `features`.
    """
    return _finite(_join(_normalise(_split(_checked(joints))).flatten(0, 1)).unflatten(-1, (3, -1)).mT, joints)


def joints_of(clip: MotionClip) -> Float[Tensor, "frames joints 3"]:
    """A clip's joints at 20 fps, normalised: what recovering its `clip_rows` gives back, to measure against.

    Raises:
        ValueError: as `clip_rows`.
    """
    return normalise(_joints(clip)).float()


def recover_joints(rows: Float[Tensor, "*b rows features"]) -> Float[Tensor, "*b rows joints 3"]:
    """World places in metres at 20 fps from the root's steps and the joints' places (the published recovery).

    One frame a row: the frame after the last row's step is not recovered.

    Raises:
        ValueError: rows that are not 263 wide, or not finite.
    """
    half, root = _root(_checked_rows(rows))
    x, y, z = rows[..., FEATURES["places"]].unflatten(-1, (-1, 3)).unbind(-1)
    x, z = _turn(x, z, -half[..., None])
    places = rows.new_empty(*rows.shape[:-1], len(body.JOINTS), 3)
    places[..., 0, :] = root
    places[..., 1:, 0], places[..., 1:, 1], places[..., 1:, 2] = x + root[..., :1], y, z + root[..., 2:]
    return places


def recover(rows: Float[Tensor, "rows features"], rest: Skeleton | None = None) -> MotionClip:
    """A body clip at 20 fps with one frame a row, on the default skeleton unless another is given.

    Rotations are fitted to the recovered places (`tdmm_lm.rigs.skeleton.fit`): the rotation slice says the same of
    clean features and less of decoded ones, whose errors it adds up along a chain.

    Raises:
        ValueError: rows that are not 263 wide, or not finite.
    """
    return skeleton.fit(recover_joints(rows), fps=FPS, rest=rest)


def recover_by_rotations(rows: Float[Tensor, "*b rows features"]) -> Float[Tensor, "*b rows joints 3"]:
    """World places from the rotation slice instead of the places: bones of the default lengths turned along the chains.

    Raises:
        ValueError: rows that are not 263 wide, or not finite.
    """
    half, root = _root(_checked_rows(rows))
    local = rotations.six_to_matrix(rows[..., FEATURES["rotations"]].unflatten(-1, (-1, 6)))
    zero = torch.zeros_like(half)
    turned = [rotations.quaternion_to_matrix(torch.stack([half.cos(), zero, half.sin(), zero], -1))]
    places = [root]
    for bone, before in enumerate(_BEFORE):
        turned.append(turned[before] @ local[..., bone, :, :])
        step = turned[-1] @ rows.new_tensor(_AXES[bone])
        places.append(places[body.PARENTS[bone + 1]] + skeleton.LENGTHS[bone + 1] * step)
    return torch.stack(places, -2)


def batch(motions: Sequence[Float[Tensor, "frames joints 3"]]) -> list[Float[Tensor, "rows features"]]:
    """`features` of motions of different lengths, many times as fast as one after the other.

    Raises:
        ValueError: as `features`; the message names the motion.
    """
    for number, motion in enumerate(motions):
        _checked(motion, f"motion {number}")
    order = sorted(range(len(motions)), key=lambda number: len(motions[number]))
    made: dict[int, Tensor] = {}
    for start in range(0, len(order), _AT_ONCE):
        group = order[start : start + _AT_ONCE]
        # Standing still after the end changes nothing before it: not the floor, and the smoothing ends that way itself.
        parts = motions[0].new_empty(3, len(body.JOINTS), len(group), len(motions[group[-1]]))
        for place, number in enumerate(group):
            motion = _split(motions[number])
            parts[..., place, : motion.shape[-1]] = motion
            parts[..., place, motion.shape[-1] :] = motion[..., -1:]
        for number, rows in zip(group, _rows(_normalise(parts), _PUBLISHED)):
            made[number] = _finite(rows[: len(motions[number]) - 1], motions[number], f"motion {number}")
    return [made[number] for number in range(len(motions))]


def foot_skate(joints: Float[Tensor, "frames joints 3"], fps: float) -> float:
    """Share of steps in which a foot slides: both its frames lie under 5 cm and it moves over 0.5 m/s along the ground.

    The convention of GMD (Karunratanakul et al. 2023): the joints left and right foot, heights from the floor as
    HumanML3D puts it (the lowest joint at 0: subtract it first), speed in this step and averaged over 0.25 s about it.

    Raises:
        ValueError: not 22 joints, fewer than two frames, numbers that are not finite, or a rate outside 1..1000 Hz.
    """
    if not 1 <= fps <= 1000:
        raise ValueError(f"foot skate: expected fps of 1 to 1000 Hz, got {fps}.")
    feet = _checked(joints, "foot skate")[..., [body.JOINTS.index("left_foot"), body.JOINTS.index("right_foot")], :]
    speed = (feet[1:] - feet[:-1])[..., [0, 2]].norm(dim=-1) * fps
    window = max(1, 2 * (round(0.25 * fps) // 2) + 1)
    mean = torch.nn.functional.avg_pool1d(speed.mT, window, 1, window // 2).mT  # zeros beyond the ends count
    low = feet[..., 1] < 0.05
    slides = low[1:] & low[:-1] & (speed > 0.5) & (mean > 0.5)
    return float(slides.any(-1).float().mean())


def _joints(clip: MotionClip) -> Float[Tensor, "frames joints 3"]:
    """At 20 fps, in double precision: some files have bones of almost no length, and only their direction counts."""
    clip = body.resample(clip, FPS)
    root, local = torch.from_numpy(body.translation(clip)), body.local_rotations(clip)
    return skeleton.forward(root.double(), local.double(), skeleton.of(clip))[0]


def _split(joints: Float[Tensor, "*b frames joints 3"]) -> Float[Tensor, "xyz joints *b frames"]:
    """Time last: what follows works on long rows of one coordinate, several times as fast as on triples."""
    return joints.flatten(0, -3).permute(2, 1, 0).contiguous().unflatten(-1, joints.shape[:-2])


def _join(columns: Float[Tensor, "columns *b frames"]) -> Float[Tensor, "*b frames columns"]:
    """Time before what was measured, as everyone reads it."""
    return columns.flatten(1).T.contiguous().unflatten(0, columns.shape[1:])


def _bones(parts: Float[Tensor, "xyz joints *b frames"]) -> Float[Tensor, "xyz bones *b frames"]:
    return parts[:, 1:] - parts[:, body.PARENTS[1:]]


def _normalise(parts: Float[Tensor, "xyz joints *b frames"]) -> Float[Tensor, "xyz joints *b frames"]:
    bones = _bones(parts)
    lengths = bones.square().sum(0).sqrt()
    target = parts.new_tensor(skeleton.LENGTHS).view(-1, *[1] * (lengths.ndim - 1))
    leg = lengths[[joint - 1 for joint in _LEG], ..., 0].sum(0)  # of the first frame alone, as published
    root = parts[:, :1] * (target[_LEG].sum() / leg)[..., None]
    steps = torch.cat([root, bones * (target[1:] / lengths)], 1)
    x, y, z = (parts.new_tensor(_ABOVE) @ steps.flatten(2)).view(parts.shape)
    x, y, z = x - x[0, ..., :1], y - y.amin((0, -1))[..., None], z - z[0, ..., :1]
    x, z = _turn(x, z, _half(_forward(torch.stack([x, y, z])[..., :1], crossed=False)))
    return torch.stack([x, y, z])


def _rows(
    parts: Float[Tensor, "xyz joints *b frames"], quirks: _Quirks, *, continued: bool = False
) -> Float[Tensor, "*b rows features"]:
    """The rows of normalised joints; ``continued`` by a frame they are as many as the frames."""
    forward = _forward(parts, crossed=quirks.crossed)
    if continued:
        parts = torch.cat([parts, 2 * parts[..., -1:] - parts[..., -2:-1]], -1)
        forward = torch.cat([forward, forward[..., -1:]], -1)
    half = _half(_smooth(forward) if quirks.smoothed else forward)
    if quirks.pinned:
        half[..., 0] = 0
    yaw = half[..., 1:] - half[..., :-1]
    yaw = yaw.sin().asin() if quirks.folded else yaw - torch.pi * (yaw / torch.pi).round()
    steps, now = parts[..., 1:] - parts[..., :-1], parts[..., :-1]
    x, z = _turn(steps[0, 0], steps[2, 0], half[..., 1:])
    here = half[..., :-1]
    a, c = _turn(now[0, 1:] - now[0, 0], now[2, 1:] - now[2, 0], here)
    i, k = _turn(steps[0], steps[2], here)
    columns = [
        torch.stack([yaw, x, z, now[1, 0]]),
        torch.stack([a, now[1, 1:], c], 1).flatten(0, 1),
        _rotations(now, here).flatten(0, 1),
        torch.stack([i, steps[1], k], 1).flatten(0, 1),
        (steps[:, CONTACTS].square().sum(0) < STILL).to(parts.dtype),
    ]
    return _join(torch.cat(columns))


def _forward(parts: Float[Tensor, "xyz joints *b frames"], *, crossed: bool) -> Float[Tensor, "xz *b frames"]:
    """Where hips and shoulders face, x and z; as long as they are level."""
    hips, arms = (parts[:, _LEFT] - parts[:, _RIGHT]).unbind(1)
    across = torch.nn.functional.normalize(arms - hips if crossed else arms + hips, dim=0)  # to the left
    return torch.stack([-across[2], across[0]])


def _half(forward: Float[Tensor, "xz *b frames"]) -> Float[Tensor, "*b frames"]:
    """Half the angle about Y that turns ``forward`` to Z+, radians: HumanML3D's heading."""
    return -0.5 * torch.atan2(forward[0], forward[1])


def _turn(x: Tensor, z: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """x and z turned about Y by twice ``half``."""
    cos, sin = (2 * half).cos(), (2 * half).sin()
    return cos * x + sin * z, cos * z - sin * x


def _smooth(forward: Float[Tensor, "*b frames"]) -> Float[Tensor, "*b frames"]:
    """A Gaussian over time; beyond both ends the motion stands still."""
    offsets = torch.arange(-_REACH, _REACH + 1, dtype=forward.dtype)
    kernel = torch.softmax(-0.5 * (offsets / _SIGMA) ** 2, 0)
    lines = torch.nn.functional.pad(forward.reshape(-1, 1, forward.shape[-1]), (_REACH, _REACH), mode="replicate")
    return torch.nn.functional.conv1d(lines, kernel[None, None]).reshape(forward.shape)


def _rotations(
    parts: Float[Tensor, "xyz joints *b frames"], half: Float[Tensor, "*b frames"]
) -> Float[Tensor, "bones 6 *b frames"]:
    """Every bone's rotation relative to the one before: columns 0 and 1 of the matrix.

    A bone turns from its axis the shortest way to where it points, all bones at once: there is nothing to solve along
    a chain. A bone that points exactly against its axis turns about X or Y.
    """
    bones = _bones(parts)
    x, y, z = bones * bones.square().sum(0).rsqrt()
    ux, uy, uz = parts.new_tensor(_AXES).T.reshape(3, -1, *[1] * half.ndim)
    w = 1 + ux * x + uy * y + uz * z
    i, j, k = uy * z - uz * y, uz * x - ux * z, ux * y - uy * x
    against = w < 1e-12
    if against.any():
        w, i, j = torch.where(against, 0, w), torch.where(against, 1 - ux.abs(), i), torch.where(against, ux.abs(), j)
    length = (w * w + i * i + j * j + k * k).rsqrt()
    own = torch.stack([w, i, j, k]) * length
    heading = torch.stack([half.cos(), torch.zeros_like(half), half.sin(), torch.zeros_like(half)])
    w, i, j, k = own
    p, a, b, c = torch.cat([heading[:, None], own], 1)[:, _BEFORE]
    w, i, j, k = (  # the inverse of the one before times the bone's own
        p * w + a * i + b * j + c * k,
        p * i - a * w - b * k + c * j,
        p * j - b * w - c * i + a * k,
        p * k - c * w - a * j + b * i,
    )
    a, b, c = 2 * i, 2 * j, 2 * k
    first = [1 - (b * j + c * k), a * j + c * w, a * k - b * w]
    second = [a * j - c * w, 1 - (a * i + c * k), b * k + a * w]
    return torch.stack(first + second, 1)


def _root(rows: Float[Tensor, "*b rows features"]) -> tuple[Float[Tensor, "*b rows"], Float[Tensor, "*b rows 3"]]:
    """The heading (half angles) and the root's places, summed up from the steps."""
    half = torch.nn.functional.pad(rows[..., :-1, 0].cumsum(-1), (1, 0))
    x, z = rows[..., :-1, FEATURES["step"]].unbind(-1)
    x, z = (torch.nn.functional.pad(step.cumsum(-1), (1, 0)) for step in _turn(x, z, -half[..., 1:]))
    return half, torch.stack([x, rows[..., 3], z], -1)


def _finite(made: Tensor, joints: Float[Tensor, "*b frames joints 3"], where: str = "features") -> Tensor:
    """What was made of ``joints``; where it is not finite, what is wrong with them."""
    if made.sum().isfinite():
        return made
    if not joints.isfinite().all():
        frame = int((~joints.isfinite()).flatten(-2).any(-1).nonzero()[0, -1])
        raise ValueError(f"{where}: expected finite places, got NaN or infinity at frame {frame}.")
    bones = (joints[..., 1:, :] - joints[..., body.PARENTS[1:], :]).abs().amax(-1)
    if not bones.all():
        at = (bones == 0).nonzero()[0]
        name = body.JOINTS[int(at[-1]) + 1]
        raise ValueError(f"{where}: expected bones with a length, got none at {name} in frame {int(at[-2])}.")
    raise ValueError(f"{where}: expected places of a body in metres, got up to {float(joints.abs().max()):.3g}.")


def _checked(joints: Float[Tensor, "*b frames joints 3"], where: str = "features") -> Tensor:
    if joints.ndim < 3 or joints.shape[-2:] != (len(body.JOINTS), 3):
        raise ValueError(f"{where}: expected (frames, {len(body.JOINTS)}, 3) joints, got {tuple(joints.shape)}.")
    if joints.shape[-3] < 2:
        raise ValueError(f"{where}: expected at least two frames at {FPS:g} fps, got {joints.shape[-3]}.")
    return joints


def _checked_rows(rows: Float[Tensor, "*b rows features"]) -> Tensor:
    if rows.ndim < 2 or rows.shape[-1] != WIDTH or not rows.shape[-2]:
        raise ValueError(f"recover: expected (rows, {WIDTH}) features, got {tuple(rows.shape)}.")
    if not rows.sum().isfinite() and not rows.isfinite().all():  # the sum first: it costs a fiftieth
        row = int((~rows.isfinite()).any(-1).nonzero()[0, -1])
        raise ValueError(f"recover: expected finite features, got NaN or infinity in row {row}.")
    return rows
