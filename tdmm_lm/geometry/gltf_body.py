"""A body clip as glTF and back: 22 nodes with rotations, and a figure bound to them so that every viewer shows it.

Writes the T-pose as the nodes' rest, one animation with all rotations and the root's places at the clip's rate. Reads
that exactly, and the first animation of anyone's skeleton by its joints' names (`tdmm_lm.geometry.hierarchy`), sampled
evenly at the rate of its keys. Metres, Y up.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import gltf, joint_names, rotations
from tdmm_lm.geometry import figure, hierarchy
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton

MOST_PLACES = 4_000_000  # frames x nodes
COMMON_FPS = (24000 / 1001, 24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60, 90, 100, 120, 240)


def written(clip: MotionClip) -> bytes:
    """The whole file. Raises ValueError for what is no body clip."""
    own = skeleton.of(clip)
    shown = figure.make(own)
    rest = _standing(own)
    data = gltf.Accessors()
    count = len(body.JOINTS)
    colours = np.concatenate([_linear(shown.colours), np.ones((len(shown.points), 1))], 1)
    weight = np.tile(np.array([1, 0, 0, 0], np.float32), (len(shown.points), 1))
    index = np.zeros((len(shown.points), 4), np.uint8)
    index[:, 0] = shown.joint
    attributes = {
        "POSITION": data.vertices((shown.points + rest[shown.joint]).astype(np.float32)),
        "NORMAL": data.vertices(_normals(shown)),
        "COLOR_0": data.vertices(np.round(colours * 65535).astype(np.uint16), normalized=True),
        "JOINTS_0": data.vertices(index), "WEIGHTS_0": data.vertices(weight),
    }
    bind = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    bind[:, :3, 3] = -rest
    nodes: list[dict[str, Any]] = [{"name": "figure", "mesh": 0, "skin": 0}]
    for joint, name in enumerate(body.JOINTS):
        below = [1 + child for child in skeleton.CHILDREN[joint]]
        offset = own.offsets[joint] if joint else rest[0]
        children: dict[str, Any] = {"children": below} if below else {}
        nodes.append({"name": name, "translation": [float(x) for x in offset], **children})
    return data.finish({
        "asset": {"version": "2.0", "generator": "tdmm_lm", "extras": {"tdmm_lm": {
            "kind": "body", "fps": clip.fps, "rig": clip.rig, "shape": clip.shape.tolist(),
        }}},
        "scene": 0, "scenes": [{"nodes": [0, 1]}], "nodes": nodes,
        "meshes": [{"name": "figure", "primitives": [{
            "attributes": attributes, "indices": data.indices(shown.faces), "material": 0,
        }]}],
        "skins": [{
            "joints": list(range(1, 1 + count)), "skeleton": 1,
            "inverseBindMatrices": data.add(bind.transpose(0, 2, 1).reshape(count, 16), "MAT4"),
        }],
        "materials": [{
            "name": "figure",
            "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 0.7},
        }],
        "animations": [_animation(clip, data)],
    })


def _animation(clip: MotionClip, data: gltf.Accessors) -> dict[str, Any]:
    times = data.add((np.arange(clip.frames) / clip.fps).astype(np.float32)[:, None], "SCALAR", bounds=True)
    quaternions = rotations.matrix_to_quaternion(body.local_rotations(clip).double()).numpy()
    signs = np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0)  # players interpolate the numbers
    quaternions[1:] *= np.cumprod(signs, 0)[..., None]
    samplers = [{"input": times, "output": data.add(body.translation(clip), "VEC3"), "interpolation": "LINEAR"}]
    channels = [{"sampler": 0, "target": {"node": 1, "path": "translation"}}]
    for joint in range(len(body.JOINTS)):
        turn = quaternions[:, joint, [1, 2, 3, 0]].astype(np.float32)  # glTF has the real part last
        channels.append({"sampler": len(samplers), "target": {"node": 1 + joint, "path": "rotation"}})
        samplers.append({"input": times, "output": data.add(turn, "VEC4"), "interpolation": "LINEAR"})
    return {"name": "motion", "samplers": samplers, "channels": channels}


def _standing(own: skeleton.Skeleton) -> Float[np.ndarray, "joints 3"]:
    """The joints of the T-pose, the lowest at 0."""
    rest = np.zeros((len(body.JOINTS), 3), np.float32)
    for joint, parent in enumerate(body.PARENTS[1:], 1):
        rest[joint] = rest[parent] + own.offsets[joint]
    rest[:, 1] -= rest[:, 1].min()
    return rest


def _normals(shown: figure.Figure) -> Float[np.ndarray, "vertices 3"]:
    corners = shown.points.astype(float)[shown.faces]
    total = np.zeros(shown.points.shape)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    np.add.at(total, shown.faces, across[:, None])
    return (total / np.linalg.norm(total, axis=1, keepdims=True)).astype(np.float32)


def _linear(colours: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """sRGB to linear light (IEC 61966-2-1)."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def read(document: dict[str, Any], binary: bytes) -> tuple[MotionClip, str]:
    """The clip of a file that `written` made, or else of anyone's skeleton, and what its user should know, if anything.

    Raises:
        ValueError: no animation, too long a one, no body's joints, or keys that make no sense.
        KeyError, IndexError, TypeError: the document is damaged.
    """
    own = document["asset"].get("extras", {}).get("tdmm_lm", {})
    nodes = document.get("nodes", [])
    order, above = _order(document)
    if not document.get("animations"):
        raise ValueError("expected an animation, got none.")
    animation = document["animations"][0]
    start, stop, rate = _span(document, binary, animation)
    rate = float(own.get("fps", rate))
    if not 1 <= rate <= 1000:
        raise ValueError(f"expected keys at 1 to 1000 Hz, got {rate:g}.")
    frames = round((stop - start) * rate) + 1
    if frames * len(order) > MOST_PLACES:
        raise ValueError(f"expected at most {MOST_PLACES // len(order)} frames, got {frames}.")
    rest = np.stack([gltf.local(nodes[node]) for node in order])
    moving = _animated(document, binary, animation, order, rest, start + np.arange(frames) / rate)
    if own:
        return _ours(own, [nodes[node]["name"] for node in order], moving, rate), ""
    rest_world, world = _world(above, rest), _world(above, moving)
    names = [str(nodes[node].get("name", "")) for node in order]
    return hierarchy.clip(
        hierarchy.Hierarchy(names, above, rest_world[:, :3, 3], _turns(rest_world), world[..., :3, 3], _turns(world)),
        fps=rate,
    )


def _order(document: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Nodes that may be joints, parents first, and each one's parent as a place in that list.

    Those are a skin's joints, or what the animation moves, and everything above them: a mesh may well be named Head.
    """
    parents = gltf.parents(document)
    chosen = {int(node) for skin in document.get("skins", []) for node in skin["joints"]}
    if not chosen:
        targets = [channel["target"] for one in document.get("animations", [])[:1] for channel in one["channels"]]
        chosen = {int(target["node"]) for target in targets if "node" in target}
    for node in list(chosen):
        while parents[node] >= 0 and parents[node] not in chosen:
            node = parents[node]
            chosen.add(node)
    if not chosen:
        raise ValueError("expected a skin or moving nodes, got none.")
    if len(chosen) > joint_names.MOST_JOINTS:
        raise ValueError(f"expected at most {joint_names.MOST_JOINTS} joints, got {len(chosen)}.")

    def depth(node: int) -> int:
        return 0 if parents[node] < 0 else 1 + depth(parents[node])

    order = sorted(chosen, key=depth)
    place = {node: k for k, node in enumerate(order)}
    return order, [place.get(parents[node], -1) for node in order]


def _span(document: dict[str, Any], binary: bytes, animation: dict[str, Any]) -> tuple[float, float, float]:
    """First and last key's seconds over all channels, and the rate of the densest one."""
    inputs = {int(sampler["input"]) for sampler in animation["samplers"]}
    keys = [gltf.rows(document, binary, number)[:, 0].astype(float) for number in sorted(inputs)]
    if not keys or any(not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any() for times in keys):
        raise ValueError("expected keys at growing times, got others.")
    steps = [float(np.median(np.diff(times))) for times in keys if len(times) > 1]
    rate = 1 / max(min(steps), 1e-9) if steps else 30.0
    near = min(COMMON_FPS, key=lambda known: abs(known - rate))
    rate = near if abs(near - rate) < 2e-3 * rate else rate
    return min(times[0] for times in keys), max(times[-1] for times in keys), rate


def _animated(
    document: dict[str, Any], binary: bytes, animation: dict[str, Any], order: list[int],
    rest: Float[np.ndarray, "nodes 4 4"], seconds: Float[np.ndarray, " frames"],
) -> Float[np.ndarray, "frames nodes 4 4"]:
    """Local transforms at the given times; what is not animated stays at rest."""
    moving = np.tile(rest, (len(seconds), 1, 1, 1))
    scales = np.linalg.norm(rest[:, :3, :3], axis=1)
    place = {node: k for k, node in enumerate(order)}
    for channel in animation["channels"]:
        what, node = channel["target"]["path"], place.get(channel["target"].get("node", -1))
        if node is None or what not in ("translation", "rotation"):
            continue
        sampler = animation["samplers"][channel["sampler"]]
        times = gltf.rows(document, binary, sampler["input"])[:, 0].astype(float)
        values = gltf.rows(document, binary, sampler["output"]).astype(float)
        values = _sampled(times, values, seconds, sampler.get("interpolation", "LINEAR"), turns=what == "rotation")
        if what == "translation":
            moving[:, node, :3, 3] = values
        else:
            turn = rotations.quaternion_to_matrix(torch.from_numpy(values[:, [3, 0, 1, 2]])).numpy()
            moving[:, node, :3, :3] = turn * scales[node]
    return moving


def _sampled(
    times: Float[np.ndarray, " keys"], values: Float[np.ndarray, "rows width"], seconds: Float[np.ndarray, " frames"],
    way: str, *, turns: bool,
) -> Float[np.ndarray, "frames width"]:
    """Keys at other times, as the specification's appendix C says; ends are held."""
    width = {True: 4, False: 3}[turns]
    rows = 3 if way == "CUBICSPLINE" else 1
    if values.shape != (rows * len(times), width) or not np.isfinite(values).all():
        raise ValueError(f"expected {rows * len(times)} finite rows of {width} for {len(times)} keys, got others.")
    if len(times) == 1:
        return np.repeat(values[rows // 2 : rows // 2 + 1], len(seconds), 0)
    near = 1e-3 * np.diff(times).min() if way == "STEP" else 0  # keys are float32: one that is meant may lie just after
    at = (seconds + near).clip(times[0], times[-1])
    left = (np.searchsorted(times, at, side="right") - 1).clip(0, len(times) - 2)
    step = times[left + 1] - times[left]
    share = ((at - times[left]) / step)[:, None]
    if way == "STEP":
        return np.where(share >= 1, values[left + 1], values[left])
    if way == "CUBICSPLINE":
        before, value, after = values[0::3], values[1::3], values[2::3]
        s, s2, s3 = share, share**2, share**3
        return (
            (2 * s3 - 3 * s2 + 1) * value[left] + step[:, None] * (s3 - 2 * s2 + s) * after[left]
            + (3 * s2 - 2 * s3) * value[left + 1] + step[:, None] * (s3 - s2) * before[left + 1]
        )
    if not turns:
        return (1 - share) * values[left] + share * values[left + 1]
    ends = [torch.nn.functional.normalize(torch.from_numpy(values[rows_]), dim=-1) for rows_ in (left, left + 1)]
    return rotations.slerp(ends[0], ends[1], torch.from_numpy(share)).numpy()


def _world(above: list[int], local: Float[np.ndarray, "*b nodes 4 4"]) -> Float[np.ndarray, "*b nodes 4 4"]:
    world = local.copy()
    for node, parent in enumerate(above):
        if parent >= 0:
            world[..., node, :, :] = world[..., parent, :, :] @ local[..., node, :, :]
    return world


def _turns(world: Float[np.ndarray, "*b nodes 4 4"]) -> Float[np.ndarray, "*b nodes 3 3"]:
    """The rotations, without scales."""
    first = world[..., :3, 0] / np.linalg.norm(world[..., :3, 0], axis=-1, keepdims=True).clip(1e-12)
    second = world[..., :3, 1] - (world[..., :3, 1] * first).sum(-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True).clip(1e-12)
    return np.stack([first, second, np.cross(first, second)], -1)


def _ours(
    own: dict[str, Any], names: list[str], moving: Float[np.ndarray, "frames nodes 4 4"], rate: float
) -> MotionClip:
    """Our own file's channels as they are."""
    at: Callable[[str], int] = names.index
    local = np.stack([moving[:, at(name), :3, :3] for name in body.JOINTS], 1)
    shape = np.asarray(own["shape"], np.float32)
    clip = body.assemble(moving[:, at(body.JOINTS[0]), :3, 3], torch.from_numpy(local), fps=rate, shape=shape)
    skeleton.of(clip)  # refuses a shape that is none
    return clip
