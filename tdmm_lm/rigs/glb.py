"""Anyone's avatar: a GLB head with ARKit-named morph targets, imported once by `tdmm import avatar.glb -o FOLDER`.

The folder holds ``config.json``, ``model.safetensors`` (the head as clips drive it, its shapes calibrated) and the
owner's ``avatar.glb``, into which `animated` writes a clip: its materials, textures and nodes stay as they are.
`tdmm_lm.geometry.avatar` makes a folder.
"""

import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tdmm_lm import avatar_file, gltf, rotations
from tdmm_lm.files import replacing
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.rigs import Embedding, Rig
from tdmm_lm.rigs.flame import FlameRig

FORMAT_VERSION = 1
SOURCE = "avatar.glb"
MOST = 2.0  # weight of an artist's shape that may be asked for: over 1, where the shape was made small
GAZE = np.radians(30)  # by how much an eyeLook shape turns an eye that no shape of the artist's turns
_LOOKS = {"In": (-1, 0), "Out": (1, 0), "Up": (0, -1), "Down": (0, 1)}  # yaw (outwards), pitch


@dataclass(frozen=True)
class Parts:
    """An avatar as clips drive it. Metres, Y up, facing Z+.

    Attributes:
        template, faces, colours: the mesh at rest; its last five vertices are the joints, which no face uses.
        shapes: displacement at weight 1 of each of `ARKIT`, calibrated: the artist's divided by ``gains``.
        gains: the artist's displacement over that of the bundled head; a file's weight is a clip's divided by it.
        standins: for each shape the weights of those that show it: itself, or, where the file lacks it, others.
        eyeballs: 1 for vertices of the left and of the right eyeball.
        landmark_vertices, landmark_weights: the embedding.
        eyes: centres of the eyeballs.
        pivot: what the head turns about.
        to_rig: takes the file's scene to these coordinates, (4, 4) with a uniform scale.
        bones: nodes of the head, the left and the right eye in the file, -1 where there is none.
        turned: for each eye 1 where the gaze is to turn its bone, since no shape of the artist's turns the eyeball.
    """

    template: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    colours: Float[np.ndarray, "vertices 3"]
    shapes: Float[np.ndarray, "vertices 3 arkit"]
    gains: Float[np.ndarray, " arkit"]
    standins: Float[np.ndarray, "arkit arkit"]
    eyeballs: Float[np.ndarray, "vertices 2"]
    landmark_vertices: Int[np.ndarray, "landmarks 3"]
    landmark_weights: Float[np.ndarray, "landmarks 3"]
    eyes: Float[np.ndarray, "2 3"]
    pivot: Float[np.ndarray, " 3"]
    to_rig: Float[np.ndarray, "4 4"]
    bones: Int[np.ndarray, " bones"]
    turned: Int[np.ndarray, " 2"]


class GlbRig(Rig):
    """An imported avatar.

    ``parts`` is the head, ``source`` the owner's file; ``jointed``: a skeleton carries the head; ``missing``: names of
    `ARKIT` that the file has no morph target for.
    """

    authority = "shapes"
    expressions = ARKIT
    uv = None
    identities = 0
    like = "head"

    def __init__(self, parts: Parts, *, name: str, source: Path, jointed: bool, missing: tuple[str, ...]) -> None:
        self.parts, self.source, self.jointed, self.missing = parts, source, jointed, missing
        count = len(parts.template)
        weights, regressor = np.zeros((count, 5), np.float32), np.zeros((5, count), np.float32)
        weights[:, 1] = 1
        weights[:, 3:] = parts.eyeballs
        weights[:, 1] -= parts.eyeballs.sum(1)
        regressor[np.arange(5), np.arange(count - 5, count)] = 1
        self.lower = np.zeros(len(ARKIT), np.float32)
        self.upper = np.minimum(1, MOST * parts.gains).astype(np.float32)
        arrays = FlameArrays(
            v_template=parts.template, shapedirs_identity=np.zeros((count, 3, 0)), shapedirs_expression=parts.shapes,
            posedirs=np.zeros((count, 3, 36)), J_regressor=regressor, weights=weights,
            parents=np.array([-1, 0, 1, 1, 1]), faces=parts.faces,
        )
        marks = Embedding(parts.landmark_vertices, parts.landmark_weights)
        self._head = FlameRig(
            arrays, name=name, expressions=ARKIT, authority="shapes", lower=self.lower, upper=self.upper, uv=None,
            colours=parts.colours, landmarks=marks, eyes=parts.eyes,
        )
        self.name, self.template, self.faces = name, self._head.template, self._head.faces
        self.colours, self.landmarks, self.eyes = self._head.colours, self._head.landmarks, self._head.eyes

    def vertices(
        self,
        values: Float[Tensor, "frames channels"],
        shape: Float[Tensor, " identity"] | None = None,
        subset: Int[Tensor, " some"] | None = None,
    ) -> Float[Tensor, "frames some 3"]:
        return self._head.vertices(values, shape, subset)


def gaze_shapes(
    around: Float[np.ndarray, "vertices 3"], side: str, angle: float = float(GAZE)
) -> dict[str, Float[np.ndarray, "vertices 3"]]:
    """How points around an eyeball's centre move at each eyeLook shape of the ``Left`` or ``Right`` eye."""
    outwards = 1 if side == "Left" else -1
    moves = {}
    for word, (yaw, pitch) in _LOOKS.items():
        euler = torch.tensor([outwards * yaw * angle, pitch * angle, 0.0], dtype=torch.float64)
        moves[f"eyeLook{word}{side}"] = around @ rotations.euler_yxz_to_matrix(euler).numpy().T - around
    return moves


def save(parts: Parts, folder: str | Path, *, source: Path, jointed: bool, missing: tuple[str, ...]) -> None:
    """Write an avatar as a folder that `load` and ``--rig`` take, its owner's file included."""
    config = {
        "format_version": FORMAT_VERSION, "kind": "glb", "authority": "shapes", "jointed": jointed,
        "missing": list(missing), "gains": {name: round(float(g), 4) for name, g in zip(ARKIT, parts.gains)},
        "licence": "as the owner of the imported file says",
    }
    with replacing(folder) as beside:
        beside.mkdir()
        (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(
            {f.name: np.ascontiguousarray(getattr(parts, f.name)) for f in fields(Parts)}, beside / "model.safetensors"
        )
        shutil.copyfile(source, beside / SOURCE)


def load(folder: str | Path | None = None) -> GlbRig:
    """An imported avatar.

    Raises:
        ValueError: no folder was named, or it was not written by `save`, or is damaged.
        FileNotFoundError: the folder lacks a file.
    """
    if folder is None:
        raise ValueError("rig glb: expected the folder of an avatar; make one with `tdmm import avatar.glb -o FOLDER`.")
    place = Path(folder)
    for name in ("config.json", "model.safetensors", SOURCE):
        if not (place / name).is_file():
            raise FileNotFoundError(
                f"rig {place}: expected {name} in it, found none; run `tdmm import avatar.glb -o {place}` again."
            )
    try:
        config, tensors = json.loads((place / "config.json").read_text()), load_file(place / "model.safetensors")
        if (config["format_version"], config["kind"]) != (FORMAT_VERSION, "glb"):
            got = f"{config['kind']} {config['format_version']}"
            raise ValueError(f"expected an avatar of format {FORMAT_VERSION}, got {got}")
        return GlbRig(
            Parts(**tensors), name=str(place), source=place / SOURCE, jointed=bool(config["jointed"]),
            missing=tuple(config["missing"]),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{place}: expected an avatar written by `tdmm import`, got a damaged one: {error}.") from None


def animated(rig: GlbRig, clip: MotionClip) -> bytes:
    """The owner's GLB with the clip as its first animation: morph weights on every mesh that has ARKit-named targets,
    the head's turn on its bone (without one on the topmost node), the gaze on eye bones where no shape shows it.

    Weights are the clip's divided by the gains, at most `MOST`. The head's place is left to the skeleton where one
    carries it.

    Raises:
        ValueError: jaw or eye joints move, which the avatar does not have.
    """
    for group in ("jaw", "eyes"):
        if face.part(clip, group).any():
            raise ValueError(f"clip: expected no {group} rotation, which rig {rig.name} has no known joint for.")
    document, binary = gltf.chunks(rig.source)
    data, parts, offset = gltf.Accessors(), rig.parts, len(document.get("accessors", []))
    weights = np.minimum(face.part(clip, "expression") @ parts.standins / parts.gains, MOST)
    times = offset + data.add((np.arange(clip.frames) / clip.fps).astype(np.float32)[:, None], "SCALAR", bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def channel(node: int, what: str, values: Float[np.ndarray, "rows width"], kind: str) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": what}})
        output = offset + data.add(np.ascontiguousarray(values, np.float32), kind)
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})

    for number, node in enumerate(document["nodes"]):
        known, rest = _driven(document, node)
        if any(known):
            drawn = np.tile(rest, (clip.frames, 1))
            for column, name in enumerate(known):
                if name is not None:
                    drawn[:, column] = weights[:, ARKIT.index(name)]
            channel(number, "weights", drawn.reshape(-1, 1), "SCALAR")
    world, above = gltf.world(document), gltf.parents(document)
    for number, moved in _moves(rig, clip, world).items():
        before = np.linalg.inv(world[above[number]]) if above[number] >= 0 else np.eye(4)
        own, scale = before @ moved @ world[number], _scale(gltf.local(document["nodes"][number]))
        turn = rotations.matrix_to_quaternion(torch.from_numpy(_turn(own, scale))).numpy()
        channel(number, "rotation", _continuous(turn)[:, [1, 2, 3, 0]], "VEC4")
        channel(number, "translation", own[:, :3, 3], "VEC3")
        _separate(document["nodes"][number], scale)
    document["animations"] = [
        {"name": "motion", "samplers": samplers, "channels": channels}, *document.get("animations", []),
    ]
    about = {
        "kind": "avatar", "fps": clip.fps, "rig": clip.rig, "gains": parts.gains.tolist(),
        "to_rig": parts.to_rig.tolist(), "bones": parts.bones.tolist(), "turned": parts.turned.tolist(),
        "pivot": parts.pivot.tolist(),
    }
    asset = document["asset"]
    document["asset"] = {**asset, "extras": {**asset.get("extras", {}), "tdmm_lm": about}}
    return gltf.packed(*data.into(document, binary))


def played(document: dict[str, Any], binary: bytes) -> MotionClip:
    """The clip back out of a file of `animated`; how it was calibrated stands in the file.

    Raises:
        ValueError, KeyError, IndexError, TypeError: damaged.
    """
    about = document["asset"]["extras"]["tdmm_lm"]
    gains, to_rig = np.array(about["gains"]), np.array(about["to_rig"])
    if gains.shape != (len(ARKIT),) or to_rig.shape != (4, 4) or not (gains > 0).all():
        raise ValueError(f"expected {len(ARKIT)} gains and a 4 x 4 transform, got {gains.shape} and {to_rig.shape}.")
    animation = document["animations"][0]
    samplers = animation["samplers"]
    frames = len(gltf.array(document, binary, samplers[0]["input"]))
    parts = {"expression": np.zeros((frames, len(ARKIT))), "head": np.zeros((frames, 3))}
    local: dict[int, dict[str, np.ndarray]] = {}
    for channel in animation["channels"]:
        number, what = int(channel["target"]["node"]), channel["target"]["path"]
        values = gltf.array(document, binary, samplers[channel["sampler"]]["output"])
        if what == "weights":
            for column, name in enumerate(_driven(document, document["nodes"][number])[0]):
                if name is not None:
                    k = ARKIT.index(name)
                    parts["expression"][:, k] = values.reshape(frames, -1)[:, column] * gains[k]
        else:
            local.setdefault(number, {})[what] = values
    world, above = gltf.world(document), gltf.parents(document)
    scale = float(np.linalg.det(to_rig[:3, :3]) ** (1 / 3))
    attitude = to_rig[:3, :3] / scale
    for place, number in enumerate(about["bones"]):
        if number not in local:
            continue
        own = np.tile(gltf.local(document["nodes"][number]), (frames, 1, 1))
        quaternion = torch.from_numpy(local[number]["rotation"].astype(np.float64)[:, [3, 0, 1, 2]])
        own[:, :3, :3] = rotations.quaternion_to_matrix(quaternion).numpy() * _scale(own[0])
        own[:, :3, 3] = local[number]["translation"]
        before = world[above[number]] if above[number] >= 0 else np.eye(4)
        moved = before @ own @ np.linalg.inv(world[number])
        turn = attitude @ _turn(moved, np.ones(3)) @ attitude.T
        if place == 0:
            parts["head"] = rotations.matrix_to_axis_angle(torch.from_numpy(turn)).numpy()
            pivot = np.array(about["pivot"])
            inside = to_rig @ moved @ np.linalg.inv(to_rig)
            parts["translation"] = inside[:, :3, :3] @ pivot + inside[:, :3, 3] - pivot
        else:
            _looked(parts["expression"], rotations.matrix_to_euler_yxz(torch.from_numpy(turn)).numpy(), place)
    return face.assemble(parts, fps=float(about["fps"]), rig=str(about["rig"]))


def _driven(document: dict[str, Any], node: dict[str, Any]) -> tuple[list[str | None], Float[np.ndarray, " targets"]]:
    """What each morph target of a node is, and its weight at rest; nothing for a node without."""
    mesh = document["meshes"][node["mesh"]] if "mesh" in node else {"primitives": [{}]}
    count = len(mesh["primitives"][0].get("targets", []))
    known = avatar_file.targets(mesh, document)[:count] if count else []
    rest = np.array(node.get("weights", mesh.get("weights", [0.0] * count)), np.float32)
    return known + [None] * (count - len(known)), rest


def _moves(rig: GlbRig, clip: MotionClip, world: Float[np.ndarray, "nodes 4 4"]) -> dict[int, np.ndarray]:
    """How the head's and the eyes' nodes move in the scene, (frames, 4, 4) each; the eyes' as if the head did not."""
    parts = rig.parts
    back = np.linalg.inv(parts.to_rig.astype(np.float64))

    def about(turns: np.ndarray, pivot: np.ndarray, shift: np.ndarray) -> np.ndarray:
        moved = np.tile(np.eye(4), (len(turns), 1, 1))
        moved[:, :3, :3] = turns
        moved[:, :3, 3] = pivot - turns @ pivot + shift
        return back @ moved @ parts.to_rig

    head, neck = (
        rotations.axis_angle_to_matrix(torch.from_numpy(face.part(clip, name).astype(np.float64))).numpy()
        for name in ("head", "neck")
    )
    shift = np.zeros((clip.frames, 3)) if rig.jointed else face.part(clip, "translation").astype(np.float64)
    moves = {int(parts.bones[0]): about(head @ neck, parts.pivot.astype(np.float64), shift)}
    for eye in range(2):
        if parts.turned[eye] and parts.bones[1 + eye] >= 0:
            euler = torch.from_numpy(_look(face.part(clip, "expression"), 1 + eye))
            turns = rotations.euler_yxz_to_matrix(euler).numpy()
            moves[int(parts.bones[1 + eye])] = about(turns, parts.eyes[eye].astype(np.float64), np.zeros(3))
    return moves


def _look(expression: Float[np.ndarray, "frames arkit"], eye: int) -> Float[np.ndarray, "frames 3"]:
    """Yaw, pitch and roll of the left (1) or the right (2) eye, radians."""
    side, outwards = ("Left", 1) if eye == 1 else ("Right", -1)
    of = {word: expression[:, ARKIT.index(f"eyeLook{word}{side}")].astype(np.float64) for word in _LOOKS}
    yaw, pitch = outwards * (of["Out"] - of["In"]) * GAZE, (of["Down"] - of["Up"]) * GAZE
    return np.stack([yaw, pitch, 0 * yaw], 1)


def _looked(expression: Float[np.ndarray, "frames arkit"], euler: Float[np.ndarray, "frames 3"], eye: int) -> None:
    """Inverse of `_look`, for shapes that no morph target has said already."""
    side, outwards = ("Left", 1) if eye == 1 else ("Right", -1)
    yaw, pitch = outwards * euler[:, 0] / GAZE, euler[:, 1] / GAZE
    for word, amount in (("Out", yaw), ("In", -yaw), ("Down", pitch), ("Up", -pitch)):
        column = ARKIT.index(f"eyeLook{word}{side}")
        if not expression[:, column].any():
            expression[:, column] = amount.clip(0, 1)


def _scale(own: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, " 3"]:
    """A node's scale; of a mirrored one the first number is negative."""
    scale = np.linalg.norm(own[:3, :3], axis=0)
    return scale * [np.sign(np.linalg.det(own[:3, :3])) or 1.0, 1, 1]


def _turn(own: Float[np.ndarray, "frames 4 4"], scale: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "frames 3 3"]:
    """The rotation nearest to what is left without the scale."""
    u, _, vt = np.linalg.svd(own[:, :3, :3] / scale)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _separate(node: dict[str, Any], scale: Float[np.ndarray, " 3"]) -> None:
    """A matrix as translation, rotation and scale, since an animated node must have no matrix."""
    if "matrix" in node:
        own = gltf.local(node)
        del node["matrix"]
        quaternion = rotations.matrix_to_quaternion(torch.from_numpy(_turn(own[None], scale)))[0].tolist()
        node["translation"], node["scale"] = own[:3, 3].tolist(), scale.tolist()
        node["rotation"] = quaternion[1:] + quaternion[:1]


def _continuous(quaternions: Float[np.ndarray, "frames 4"]) -> Float[np.ndarray, "frames 4"]:
    """The same turns with signs that do not jump, since players interpolate the numbers."""
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0)
    return quaternions * np.concatenate([[1.0], np.cumprod(flips)])[:, None]
