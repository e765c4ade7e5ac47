"""glTF 2.0 binary out, for animators: the rig as one skinned mesh with basis morph targets, animated by the clip.

Morph targets carry the rig's expression names (``mesh.extras.targetNames``); a FLAME-format head has the joints root,
neck, jaw and both eyes, any other rig a root alone. One animation drives weights and joints at the clip's rate, so the
motion stays editable: nothing is baked into vertices. Metres, Y up, facing Z+, as ours. `read` takes such a file back.
Bodies go by `tdmm_lm.geometry.gltf_body`, which reads other people's skeletons too.
"""

import json
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from tdmm_lm import files, rigs, rotations
from tdmm_lm.formats import pivot
from tdmm_lm.geometry import gltf_body
from tdmm_lm.gltf import Accessors, array, chunks
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Rig
from tdmm_lm.rigs.flame import FlameRig
from tdmm_lm.rigs.glb import GlbRig, animated, played

SUFFIXES = (".glb",)
MODALITIES = ("face", "body")
JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 1, 1)
TURNS = {"root": ("head", 0), "neck": ("neck", 0), "jaw": ("jaw", 0), "left_eye": ("eyes", 0), "right_eye": ("eyes", 3)}
STILL_METRES = 5e-6  # what a morph target moves less than this is left out of it
STILL_TURN = 1e-7  # radians
MOST_NUMBERS = 2**27  # that `read` makes room for


@dataclass(frozen=True)
class _Body:
    """What is skinned: vertices that a face uses, their morph targets and joints."""

    points: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    kept: Int[np.ndarray, " vertices"]  # their places among the rig's own
    targets: dict[str, Float[np.ndarray, "vertices 3"]]
    weights: Float[np.ndarray, "frames targets"]
    joints: Float[np.ndarray, "joints 3"]  # at rest
    skin: Float[np.ndarray, "vertices joints"]
    places: Float[np.ndarray, "frames joints 3"]  # world position of every joint while the clip plays
    turns: Float[np.ndarray, "frames joints 3"]  # local rotation of every joint, axis-angle


def sniff(head: bytes, path: Path) -> bool:
    return head.startswith(b"glTF")


def write(clip: MotionClip, path: str | Path, *, rig: Rig | None = None, all_shapes: bool = True) -> None:
    """The rig playing the clip; without ``rig`` the one that the clip names.

    ``all_shapes`` keeps a morph target for every expression, so that the file can be animated further; without it only
    those that the clip moves are kept and the file is smaller. An imported avatar is its owner's file, whole, and the
    animation (`rigs.glb.animated`).

    Raises:
        ValueError: the clip does not fit the rig.
    """
    if clip.modality == "body":
        with files.replacing(path) as beside:
            beside.write_bytes(gltf_body.written(clip))
        return
    rig = rigs.load(clip.rig) if rig is None else rig
    if clip.values.shape[1] != len(rig.expressions) + face.POSE_CHANNELS:
        wanted = len(rig.expressions) + face.POSE_CHANNELS
        raise ValueError(f"{path}: expected {wanted} channels for rig {rig.name}, got {clip.values.shape[1]}.")
    if isinstance(rig, GlbRig):
        with files.replacing(path) as beside:
            beside.write_bytes(animated(rig, clip))
        return
    body = _body(clip, rig, all_shapes)
    data = Accessors()
    document = _scene(body, rig, data)
    document["animations"] = [_animation(body, clip.fps, data)]
    document["asset"] = {
        "version": "2.0", "generator": "tdmm_lm",
        "extras": {"tdmm_lm": {
            "fps": clip.fps, "rig": clip.rig, "shape": clip.shape.tolist(), "expressions": list(rig.expressions),
        }},
    }
    with files.replacing(path) as beside, beside.open("wb") as file:
        file.write(data.finish(document))


def _body(clip: MotionClip, rig: Rig, all_shapes: bool) -> _Body:
    expression = face.part(clip, "expression")
    chosen = [k for k in range(len(rig.expressions)) if all_shapes or expression[:, k].any()]
    kept, faces = np.unique(rig.faces, return_inverse=True)
    faces = faces.reshape(-1, 3)
    if isinstance(rig, FlameRig):
        neutral = rig.identity(clip.shape)
        basis = rig.arrays.shapedirs_expression
        rest, skin = rig.joints(clip.shape), rig.arrays.weights
        turns = np.stack([face.part(clip, group)[:, at : at + 3] for group, at in TURNS.values()], 1)
        carried = np.tensordot(rig.arrays.J_regressor, basis, 1)  # (j, c, e)
        moving = np.einsum("jce,fe->fjc", carried, expression)  # joints follow expressions
    else:
        with torch.no_grad():
            width = clip.values.shape[1]
            poses = torch.cat([torch.zeros(1, width), torch.eye(len(rig.expressions), width)])
            identity = torch.from_numpy(clip.shape) if len(clip.shape) else None
            shown = rig.vertices(poses, identity).numpy()
        neutral, basis = shown[0], (shown[1:] - shown[0]).transpose(1, 2, 0)
        rest, skin = pivot(rig, clip.shape)[None], np.ones((len(neutral), 1), np.float32)
        turns, moving = face.part(clip, "head")[:, None], np.zeros((clip.frames, 1, 3))
        for group in ("neck", "jaw", "eyes"):
            if face.part(clip, group).any():
                raise ValueError(f"clip: expected no {group} rotation, which rig {rig.name} has no known joint for.")
    targets = {rig.expressions[k]: np.ascontiguousarray(basis[kept, :, k]) for k in chosen}
    weights = expression[:, chosen]
    if isinstance(rig, FlameRig) and rig.arrays.posedirs.any():
        targets, weights = _with_correctives(targets, weights, turns, rig.arrays.posedirs[kept])
    places = _places(rest, rest + moving, turns, face.part(clip, "translation"))
    return _Body(neutral[kept], faces, kept, targets, weights, rest, skin[kept], places, turns)


def _with_correctives(
    targets: dict[str, np.ndarray], weights: Float[np.ndarray, "frames targets"],
    turns: Float[np.ndarray, "frames joints 3"], posedirs: Float[np.ndarray, "vertices 3 36"],
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "frames more"]]:
    """FLAME's pose correctives as further morph targets, nine for each joint that turns, weighted by (R - I)."""
    columns = [weights]
    for joint in range(1, len(JOINTS)):
        if np.abs(turns[:, joint]).max() > STILL_TURN:
            matrix = rotations.axis_angle_to_matrix(torch.from_numpy(turns[:, joint].astype(np.float32))).numpy()
            columns.append((matrix - np.eye(3, dtype=np.float32)).reshape(-1, 9))
            for k in range(9):
                targets[f"pose_{JOINTS[joint]}_{k}"] = np.ascontiguousarray(posedirs[:, :, 9 * (joint - 1) + k])
    return targets, np.concatenate(columns, 1)


def _places(
    rest: Float[np.ndarray, "joints 3"], moved: Float[np.ndarray, "frames joints 3"],
    turns: Float[np.ndarray, "frames joints 3"], translation: Float[np.ndarray, "frames 3"],
) -> Float[np.ndarray, "frames joints 3"]:
    """Where each joint's node must be so that its skin turns about ``moved`` although it is bound at ``rest``.

    FLAME poses a point v as R (v - J) + P with J the joint under this frame's expression and P where it is carried to;
    glTF poses it as R (v - rest) + T, so T = P - R (J - rest).
    """
    local = rotations.axis_angle_to_matrix(torch.from_numpy(turns.astype(np.float64))).numpy()
    world, carried = [local[:, 0]], [moved[:, 0] + translation]
    for joint in range(1, rest.shape[0]):
        parent = PARENTS[joint]
        carried.append(carried[parent] + np.einsum("fij,fj->fi", world[parent], moved[:, joint] - moved[:, parent]))
        world.append(world[parent] @ local[:, joint])
    return np.stack(carried, 1) - np.einsum("fjab,fjb->fja", np.stack(world, 1), moved - rest)


def _scene(body: _Body, rig: Rig, data: Accessors) -> dict[str, Any]:
    """Everything of the document but the animation. Nodes: the mesh, then the joints."""
    count = body.joints.shape[0]
    attributes = {"POSITION": data.vertices(body.points), "NORMAL": data.vertices(_normals(body.points, body.faces))}
    if rig.uv is not None:  # glTF counts v downwards
        attributes["TEXCOORD_0"] = data.vertices((rig.uv[body.kept] * [1, -1] + [0, 1]).astype(np.float32))
    colours = np.concatenate([_linear(rig.colours[body.kept]), np.ones((len(body.kept), 1))], 1)
    attributes["COLOR_0"] = data.vertices(np.round(colours * 65535).astype(np.uint16), normalized=True)
    index, weight = _strongest(body.skin)
    attributes["JOINTS_0"], attributes["WEIGHTS_0"] = data.vertices(index), data.vertices(weight)
    mesh: dict[str, Any] = {"name": rig.name, "primitives": [{
        "attributes": attributes, "indices": data.indices(body.faces), "material": 0,
    }]}
    if body.targets:
        mesh["primitives"][0]["targets"] = [
            {"POSITION": data.sparse(np.where(np.abs(d).max(1, keepdims=True) < STILL_METRES, 0, d).astype(np.float32))}
            for d in body.targets.values()
        ]
        mesh["weights"] = [0.0] * len(body.targets)
        mesh["extras"] = {"targetNames": list(body.targets)}
    bind = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    bind[:, :3, 3] = -body.joints
    nodes: list[dict[str, Any]] = [{"name": rig.name, "mesh": 0, "skin": 0}]
    for joint in range(count):
        parent = PARENTS[joint]
        offset = body.joints[joint] - (body.joints[parent] if parent >= 0 else 0)
        below = [1 + child for child in range(count) if PARENTS[child] == joint]
        children: dict[str, Any] = {"children": below} if below else {}
        nodes.append({"name": JOINTS[joint], "translation": [float(x) for x in offset], **children})
    return {
        "scene": 0, "scenes": [{"nodes": [0, 1]}], "nodes": nodes, "meshes": [mesh],
        "skins": [{
            "joints": list(range(1, 1 + count)), "skeleton": 1,
            "inverseBindMatrices": data.add(bind.transpose(0, 2, 1).reshape(count, 16), "MAT4"),
        }],
        "materials": [{
            "name": "skin", "doubleSided": True,
            "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 0.6},
        }],
    }


def _animation(body: _Body, fps: float, data: Accessors) -> dict[str, Any]:
    frames = len(body.places)
    times = data.add((np.arange(frames) / fps).astype(np.float32)[:, None], "SCALAR", bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def channel(node: int, what: str, output: int) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": what}})
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})

    if body.targets:
        channel(0, "weights", data.add(body.weights.astype(np.float32).reshape(-1, 1), "SCALAR"))
    quaternions = rotations.axis_angle_to_quaternion(torch.from_numpy(body.turns.astype(np.float64))).numpy()
    matrices = rotations.axis_angle_to_matrix(torch.from_numpy(body.turns.astype(np.float64))).numpy()
    world: list[np.ndarray] = []
    for joint in range(len(body.joints)):
        parent = PARENTS[joint]
        above = np.broadcast_to(np.eye(3), (frames, 3, 3)) if parent < 0 else world[parent]
        world.append(above @ matrices[:, joint])
        turn = _continuous(quaternions[:, joint])[:, [1, 2, 3, 0]]  # glTF has the real part last
        if joint == 0 or np.abs(body.turns[:, joint]).max() > STILL_TURN:
            channel(1 + joint, "rotation", data.add(turn.astype(np.float32), "VEC4"))
        offset = body.places[:, joint] - (0 if parent < 0 else body.places[:, parent])
        offset = np.einsum("fji,fj->fi", above, offset)  # in the parent's frame
        rest = body.joints[joint] - (body.joints[parent] if parent >= 0 else 0)
        if joint == 0 or np.abs(offset - rest).max() > STILL_METRES:
            channel(1 + joint, "translation", data.add(offset.astype(np.float32), "VEC3"))
    return {"name": "motion", "samplers": samplers, "channels": channels}


def _continuous(quaternions: Float[np.ndarray, "frames 4"]) -> Float[np.ndarray, "frames 4"]:
    """The same turns with signs that do not jump, since players interpolate the numbers."""
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0)
    return quaternions * np.concatenate([[1.0], np.cumprod(flips)])[:, None]


def _normals(
    points: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Unit normals per vertex, triangles weighted by area."""
    corners = points.astype(np.float64)[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros(points.shape)
    np.add.at(total, faces, across[:, None])
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-20, total / np.maximum(length, 1e-20), [0, 0, 1]).astype(np.float32)


def _linear(colours: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """sRGB 0..1 to linear light, which glTF's vertex colours are in (IEC 61966-2-1)."""
    low = colours / 12.92
    return np.clip(np.where(colours <= 0.04045, low, ((colours + 0.055) / 1.055) ** 2.4), 0, 1)


def _strongest(skin: Float[np.ndarray, "vertices joints"]) -> tuple[np.ndarray, np.ndarray]:
    """The four strongest joints of each vertex and their weights, which sum to one; unused places are joint 0."""
    wide = np.pad(skin, ((0, 0), (0, max(0, 4 - skin.shape[1]))))
    index = np.argsort(-wide, axis=1, kind="stable")[:, :4]
    weight = np.take_along_axis(wide, index, 1).astype(np.float32)
    weight /= weight.sum(1, keepdims=True)
    return np.where(weight > 0, index, 0).astype(np.uint8), weight


def read(path: str | Path, *, fps: float | None = None) -> MotionClip:
    """The clip out of a file that `write` made, from its animation; shapes that it left out are zero. Or a body's,
    out of anyone's file whose skeleton has known names.

    Translation is the root node's; where a rig's root joint moves with its expression, that is in it.

    Raises:
        ValueError: no GLB, cut off, or neither written by this package nor a body's.
    """
    document, binary = chunks(path)
    try:
        about = document["asset"].get("extras", {}).get("tdmm_lm", {})
        if not about or about.get("kind") == "body":
            return _body_of(path, document, binary, foreign=not about)
        if about.get("kind") == "avatar":
            return played(document, binary)
        animation = document["animations"][0]
        names = document["meshes"][0].get("extras", {}).get("targetNames", [])
        joints = {node["name"]: node for node in document["nodes"][1:]}
        expressions = [str(name) for name in about["expressions"]]
        frames = len(array(document, binary, animation["samplers"][0]["input"]))
        if frames * len(expressions) > MOST_NUMBERS:
            raise ValueError(f"expected at most {MOST_NUMBERS} weights, got {frames} frames of {len(expressions)}.")
        columns = {name: k for k, name in reversed(list(enumerate(expressions)))}  # a list would be searched for each
        parts = {"expression": np.zeros((frames, len(expressions)), np.float32)}
        for channel in animation["channels"]:
            what, node = channel["target"]["path"], document["nodes"][channel["target"]["node"]]["name"]
            values = array(document, binary, animation["samplers"][channel["sampler"]]["output"])
            if what == "weights":
                for k, name in enumerate(names):
                    if name in columns:
                        parts["expression"][:, columns[name]] = values.reshape(frames, -1)[:, k]
            elif what == "rotation":
                group, at = TURNS[node]
                turn = rotations.quaternion_to_axis_angle(torch.from_numpy(values[:, [3, 0, 1, 2]])).numpy()
                parts.setdefault(group, np.zeros((frames, face.POSE[group]), np.float32))[:, at : at + 3] = turn
            elif node == "root":
                parts["translation"] = values - np.array(joints["root"]["translation"], np.float32)
        return face.assemble(
            parts, fps=float(about["fps"]), rig=str(about["rig"]), shape=np.asarray(about["shape"], np.float32)
        )
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise ValueError(f"{path}: expected a GLB written by tdmm, got another or a damaged one ({error!r}).") from None
    except (ValueError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _body_of(path: str | Path, document: dict[str, Any], binary: bytes, *, foreign: bool) -> MotionClip:
    try:
        clip, said = gltf_body.read(document, binary)
    except ValueError as error:
        if not foreign:
            raise
        raise ValueError(f"expected a GLB written by tdmm, got another, which is no moving body: {error}") from None
    if said:
        warnings.warn(f"{path}: {said}.", stacklevel=4)
    return clip
