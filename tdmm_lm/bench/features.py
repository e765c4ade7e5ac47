"""How fast motions become HumanML3D's features and come back: ours against the published way, clip by clip.

    tdmm bench features

The peer is the published algorithm in numpy and in our own words: one clip at a time, quaternions along the five
chains, inverse kinematics once for the bones and once for the features. Both work on the same motions, on one core, and
take turns; what counts is the processor's time, so that a busy machine changes little.
"""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from tdmm_lm import bundle, report
from tdmm_lm.geometry import humanml3d
from tdmm_lm.rigs import skeleton

CLIPS, FRAMES = 100, 200
AT_ONCE = 16  # clips recovered in one call
ROUNDS = 9
CHAINS = ((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20))
AXES = np.array([
    (0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, -1, 0), (0, 1, 0), (0, -1, 0), (0, -1, 0), (0, 1, 0),
    (0, 0, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0), (-1, 0, 0), (0, 0, 1), (0, -1, 0), (0, -1, 0), (0, -1, 0), (0, -1, 0),
    (0, -1, 0), (0, -1, 0),
], np.float32)
Array = np.ndarray


def run() -> dict[str, dict[str, Any]]:
    """``features_speedup``, ``recover_speedup``, clips a second of both, and how far the two are apart.

    Raises:
        ValueError: there is no data folder to take real motion from.
    """
    motions = real_motions()
    arrays = [motion.numpy() for motion in motions]
    rows = humanml3d.batch(motions)
    plain = [row.numpy() for row in rows]

    def recover() -> list[Tensor]:
        return [one for some in torch.stack(rows).split(AT_ONCE) for one in humanml3d.recover_joints(some)]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            **_against(
                "features", ours=lambda: humanml3d.batch(motions),
                theirs=lambda: [published_features(array) for array in arrays],
            ),
            **_against("recover", ours=recover, theirs=lambda: [published_recovery(row) for row in plain]),
        }
    finally:
        torch.set_num_threads(threads)


def real_motions() -> list[Float[Tensor, "frames joints 3"]]:
    """`CLIPS` motions of `FRAMES` frames at 20 fps, made of HumanML3D's published sample: there and back from somewhere
    in it, each turned, moved and scaled in its own way."""
    data = bundle.data()
    path = None if data is None else data / "humanml3d_sample" / "012314_joints.npy"
    if path is None or not path.is_file():
        raise ValueError("bench features: expected humanml3d_sample/012314_joints.npy below $TDMM_DATA, found none.")
    sample = np.load(path)
    there_and_back = np.concatenate([sample, sample[-2:0:-1]])
    random = np.random.default_rng(0)
    motions = []
    for start, angle, scale in zip(random.integers(0, len(sample), CLIPS), 6.3 * random.random(CLIPS),
                                   random.uniform(0.8, 1.2, CLIPS)):
        looped = there_and_back[(start + np.arange(FRAMES)) % len(there_and_back)]
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        motions.append(torch.from_numpy((scale * looped @ turn.T + random.normal(0, 2, 3)).astype(np.float32)))
    return motions


def _against(
    name: str, *, ours: Callable[[], list[Tensor]], theirs: Callable[[], list[Array]]
) -> dict[str, dict[str, Any]]:
    calls: dict[str, Callable[[], Any]] = {"ours": ours, "published": theirs}
    apart = max(float(np.abs(a.numpy() - b).max()) for a, b in zip(ours(), theirs()))  # warms up, too
    taken = {who: np.empty(ROUNDS) for who in calls}
    for turn in range(ROUNDS):
        for who, call in calls.items():
            start = time.thread_time()
            call()
            taken[who][turn] = time.thread_time() - start
    speeds = {who: CLIPS / float(np.median(seconds)) for who, seconds in taken.items()}
    speedup = speeds["ours"] / speeds["published"]
    picks = np.random.default_rng(0).integers(0, ROUNDS, (2000, ROUNDS))
    ratios = np.median(taken["published"][picks], 1) / np.median(taken["ours"][picks], 1)
    interval = (float(np.quantile(ratios, 0.025)), float(np.quantile(ratios, 0.975)))
    peer = "the published algorithm in numpy, a clip at a time"
    return {
        f"{name}_speedup": report.figure(
            speedup, "times as fast", n=ROUNDS, interval=interval, peer=peer, peer_value=1.0, ratio=speedup
        ),
        f"{name}_clips": report.figure(
            speeds["ours"], "clips/s", n=ROUNDS, peer=peer, peer_value=speeds["published"], ratio=speedup
        ),
        f"{name}_apart": report.figure(apart, "largest difference", n=CLIPS * FRAMES),
    }


def published_features(joints: Float[Array, "frames joints 3"]) -> Float[Array, "rows features"]:
    """Guo et al. 2022, step by step, one clip."""
    lengths = np.zeros(22)
    for chain in CHAINS:
        for above, joint in pairwise(chain):
            lengths[joint] = np.linalg.norm(joints[0, joint] - joints[0, above])
    target = np.array(skeleton.LENGTHS)
    scale = (target[5] + target[8]) / (lengths[5] + lengths[8])
    turns = _solve_chains(joints, smooth=False)
    joints = _forward(turns, joints[:, 0] * scale, target[:, None] * AXES)

    joints[:, :, 1] -= joints[:, :, 1].min()
    joints = joints - joints[0, 0] * [1, 0, 1]
    across = joints[0, 2] - joints[0, 1] + joints[0, 17] - joints[0, 16]
    faces = np.cross([[0, 1, 0]], across / np.linalg.norm(across))
    faces = faces / np.linalg.norm(faces)
    joints = _rotate(np.broadcast_to(_between(faces, np.array([[0, 0, 1]])), (*joints.shape[:2], 4)), joints)
    steps = joints[1:] - joints[:-1]

    turns = _solve_chains(joints, smooth=True)
    heading = turns[:, 0]
    root_steps = _rotate(heading[1:], steps[:, 0])
    yaw = np.arcsin(_multiply(heading[1:], heading[:-1] * [1, -1, -1, -1])[:, 2:3])
    local = joints.copy()
    local[..., 0] -= local[:, :1, 0]
    local[..., 2] -= local[:, :1, 2]
    headings = np.repeat(heading[:, None], 22, 1)
    local = _rotate(headings, local)
    velocities = _rotate(headings[:-1], steps)
    contacts = [((steps[:, feet] ** 2).sum(-1) < humanml3d.STILL).astype(float) for feet in ([7, 10], [8, 11])]
    rows = len(steps)
    return np.concatenate([
        yaw, root_steps[:, [0, 2]], local[:-1, 0, 1:2], local[:-1, 1:].reshape(rows, -1),
        _columns(turns[:-1, 1:]).reshape(rows, -1), velocities.reshape(rows, -1), *contacts,
    ], 1)


def published_recovery(rows: Float[Array, "rows features"]) -> Float[Array, "rows joints 3"]:
    """Joints from the root's steps and the joints' places, one clip."""
    angle = np.zeros(len(rows))
    angle[1:] = rows[:-1, 0]
    angle = np.cumsum(angle)
    back = np.zeros((len(rows), 4))
    back[:, 0], back[:, 2] = np.cos(angle), -np.sin(angle)
    root = np.zeros((len(rows), 3))
    root[1:, [0, 2]] = rows[:-1, 1:3]
    root = np.cumsum(_rotate(back, root), 0)
    root[:, 1] = rows[:, 3]
    places = _rotate(np.repeat(back[:, None], 21, 1), rows[:, 4:67].reshape(-1, 21, 3))
    places[..., 0] += root[:, :1]
    places[..., 2] += root[:, 2:]
    return np.concatenate([root[:, None], places], 1)


def _solve_chains(joints: Array, *, smooth: bool) -> Float[Array, "frames joints 4"]:
    across = joints[:, 1] - joints[:, 2] + joints[:, 17] - joints[:, 16]  # hips and shoulders the other way round
    across = -across / np.linalg.norm(across, axis=-1, keepdims=True)
    faces = np.cross(np.array([[0, 1, 0]]), -across)
    if smooth:
        faces = ndimage.gaussian_filter1d(faces, 20, axis=0, mode="nearest")
    faces = faces / np.linalg.norm(faces, axis=-1, keepdims=True)
    root = _between(faces, np.array([[0, 0, 1]]).repeat(len(faces), 0))
    root[0] = [1, 0, 0, 0]
    turns = np.zeros((*joints.shape[:2], 4))
    turns[:, 0] = root
    for chain in CHAINS:
        world = root
        for above, joint in pairwise(chain):
            bone = joints[:, joint] - joints[:, above]
            bone = bone / np.linalg.norm(bone, axis=-1, keepdims=True)
            turn = _between(AXES[joint][None].repeat(len(joints), 0), bone)
            local = _multiply(world * [1, -1, -1, -1], turn)
            turns[:, joint] = local
            world = _multiply(world, local)
    return turns


def _forward(turns: Array, root: Array, offsets: Array) -> Float[Array, "frames joints 3"]:
    joints = np.zeros((*turns.shape[:2], 3))
    joints[:, 0] = root
    for chain in CHAINS:
        world = turns[:, 0]
        for above, joint in pairwise(chain):
            world = _multiply(world, turns[:, joint])
            joints[:, joint] = _rotate(world, np.broadcast_to(offsets[joint], root.shape)) + joints[:, above]
    return joints


def _between(start: Array, end: Array) -> Float[Array, "frames 4"]:
    real = np.sqrt((start**2).sum(-1) * (end**2).sum(-1)) + (start * end).sum(-1)
    turn = np.concatenate([real[..., None], np.cross(start, end)], -1)
    return turn / np.linalg.norm(turn, axis=-1, keepdims=True)


def _multiply(first: Array, second: Array) -> Array:
    terms = first[..., :, None] * second[..., None, :]
    return np.stack([
        terms[..., 0, 0] - terms[..., 1, 1] - terms[..., 2, 2] - terms[..., 3, 3],
        terms[..., 0, 1] + terms[..., 1, 0] + terms[..., 2, 3] - terms[..., 3, 2],
        terms[..., 0, 2] - terms[..., 1, 3] + terms[..., 2, 0] + terms[..., 3, 1],
        terms[..., 0, 3] + terms[..., 1, 2] - terms[..., 2, 1] + terms[..., 3, 0],
    ], -1)


def _rotate(turn: Array, points: Array) -> Array:
    once = np.cross(turn[..., 1:], points)
    return points + 2 * (turn[..., :1] * once + np.cross(turn[..., 1:], once))


def _columns(turn: Array) -> Array:
    """Columns 0 and 1 of the matrices."""
    w, x, y, z = np.moveaxis(turn, -1, 0)
    return np.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
        2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x),
    ], -1)
