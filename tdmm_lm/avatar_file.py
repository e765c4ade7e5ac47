"""A head out of anyone's GLB: what its scene shows at rest, as one mesh with the 52 ARKit shapes as displacements.

Any node hierarchy, several meshes and primitives, skins, node transforms, sparse and quantised accessors. Shapes are
known by the names of their morph targets, in any case, with the sides as ``Left``, ``_L`` or ``.L``.
"""

import io
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError

from tdmm_lm import gltf
from tdmm_lm.motion.face import ARKIT

NEEDED = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight")
LEAST = 20  # of the 52 names
SPLIT = ("browInnerUp", "cheekPuff")  # which some artists make one side at a time
MOST_VERTICES = 400_000
MOST_PIXELS = 8192 * 8192
CLEAR = 0.5  # opacity below which a surface hides nothing: tears, corneas, the gaps between lashes
BONES = ("head", "left_eye", "right_eye")
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_NOT_EYEBALLS = {"lid", "eyelid", "brow", "eyebrow", "lash", "lashes", "eyelash", "socket", "blink", "end", "target"}
_KEYS = {name.lower(): name for name in ARKIT}


@dataclass(frozen=True)
class Avatar:
    """Scene coordinates at rest, in the file's own unit and attitude; vertices that differ in normals alone are one.

    Attributes:
        points, faces, colours: the mesh; colours are those of its textures, RGB 0..1.
        shapes: how far each vertex moves at weight 1 of each of `ARKIT`; zero where the file has no such target.
        carried: how much of a vertex each of `BONES` carries, 0..1.
        bones: the node of each of `BONES`, -1 where there is none; the head's may be a neck or the topmost node.
        jointed: whether the head's node hangs on others of a skeleton, so that its place is theirs to say.
        places: where these nodes lie; NaN where there is none, or none but the topmost.
        missing: names of `ARKIT` that no target has.
    """

    points: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    colours: Float[np.ndarray, "vertices 3"]
    shapes: Float[np.ndarray, "vertices 3 arkit"]
    carried: Float[np.ndarray, "vertices bones"]
    bones: tuple[int, int, int]
    jointed: bool
    places: Float[np.ndarray, "bones 3"]
    missing: tuple[str, ...]


def arkit(name: str) -> str | None:
    """The one of `ARKIT` that a morph target's name means, or None: ``EyeBlink_L``, ``bs.jawOpen``, ``BrowInnerUp_R``.

    A prefix counts as one only if it ends in ``.``, ``_``, ``:``, ``-`` or a blank.
    """
    words = [word.lower() for word in re.split(r"[\s._:\-]+", name) if word]
    if len(words) > 1:
        words[-1] = _SIDES.get(words[-1], words[-1])
    for first in range(len(words)):
        meant = "".join(words[first:])
        if meant in _KEYS:
            return _KEYS[meant]
        for whole in SPLIT:
            if meant in (f"{whole.lower()}left", f"{whole.lower()}right"):
                return whole
    return None


def targets(mesh: dict[str, Any], document: dict[str, Any]) -> list[str | None]:
    """What each morph target of a mesh is: one of `ARKIT` or None. Where two mean the same, the exact name counts."""
    primitive = mesh["primitives"][0]
    names = mesh.get("extras", {}).get("targetNames") or primitive.get("extras", {}).get("targetNames")
    if not names:
        names = [
            target.get("extras", {}).get("name") or document["accessors"][target["POSITION"]].get("name", "")
            if "POSITION" in target else "" for target in primitive.get("targets", [])
        ]
    known = [arkit(str(name)) for name in names]
    for name in set(known) - {None, *SPLIT}:
        same = [i for i, other in enumerate(known) if other == name]
        exact = [i for i in same if str(names[i]).lower() == str(name).lower()]
        for i in same:
            known[i] = name if i == (exact or same)[0] else None
    return known


def read(path: str | Path) -> Avatar:
    """The avatar in a GLB file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no GLB, compressed vertices, too few ARKit-named morph targets (the missing are named), or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a GLB file, found none.")
    document, binary = gltf.chunks(path)
    try:
        return _read(document, binary)
    except (KeyError, IndexError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(f"{path}: expected a glTF 2.0 scene, got a damaged one ({error!r}).") from None
    except (ValueError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _read(document: dict[str, Any], binary: bytes) -> Avatar:
    for extension in document.get("extensionsRequired", []):
        if extension in gltf.UNREAD:
            what = gltf.UNREAD[extension]
            raise ValueError(f"expected plain vertices, got {what}-compressed ones; export without compression.")
    world, shown = gltf.world(document), _shown(document)
    faced = [node for node in shown if any(_known(document, node))]
    have = {name for node in faced for name in _known(document, node) if name}
    missing = tuple(name for name in ARKIT if name not in have)
    lacking = [name for name in NEEDED if name in missing]
    if lacking or len(have) < LEAST:
        named = ", ".join(lacking or missing[:8]) + (" and more" if not lacking and len(missing) > 8 else "")
        raise ValueError(
            f"expected a head with at least {LEAST} ARKit-named morph targets, {', '.join(NEEDED)} among them, "
            f"got {len(have)}; missing: {named}."
        )
    bones, known, jointed = _bones(document, shown, faced)
    below = np.array([[bone >= 0 and bone in _line(document, node) for bone in bones] for node in range(len(world))])
    parts = []
    for node in shown:
        mesh = document["meshes"][document["nodes"][node]["mesh"]]
        for primitive in mesh["primitives"]:
            part = _part(document, binary, node, primitive, world, below.astype(np.float32), _known(document, node))
            if part is not None:
                parts.append(part)
    counts = np.cumsum([0] + [len(part[0]) for part in parts])
    if counts[-1] > MOST_VERTICES:
        raise ValueError(f"expected at most {MOST_VERTICES} vertices, got {counts[-1]}.")
    points, colours, shapes, carried = (np.concatenate([part[i] for part in parts]) for i in (0, 2, 3, 4))
    faces = np.concatenate([part[1] + start for part, start in zip(parts, counts)])
    if not np.isfinite(points).all() or not np.isfinite(shapes).all():
        raise ValueError("expected finite vertices, got NaN or infinity.")
    kept, faces = _welded(points, shapes, faces)
    places = np.stack([world[bone][:3, 3] if bone >= 0 else np.full(3, np.nan) for bone in bones])
    places[0] = places[0] if known else np.nan
    return Avatar(
        points[kept], faces, colours[kept], shapes[kept], carried[kept], bones, jointed, places, missing
    )


def _shown(document: dict[str, Any]) -> list[int]:
    """Nodes of the scene that carry a mesh."""
    scenes = document.get("scenes", [])
    roots = scenes[document.get("scene", 0)].get("nodes", []) if scenes else range(len(document.get("nodes", [])))
    seen, open_ = [], list(roots)
    gltf.parents(document)  # a tree, or an error
    while open_:
        node = open_.pop(0)
        if node in seen:
            continue
        seen.append(node)
        open_ += document["nodes"][node].get("children", [])
    return [node for node in seen if "mesh" in document["nodes"][node]]


def _known(document: dict[str, Any], node: int) -> list[str | None]:
    return targets(document["meshes"][document["nodes"][node]["mesh"]], document)


def _line(document: dict[str, Any], node: int) -> list[int]:
    """The node and all above it."""
    above, line = gltf.parents(document), [node]
    while above[line[-1]] != -1:
        line.append(above[line[-1]])
    return line


def _words(node: dict[str, Any]) -> list[str]:
    """A node's name in lower-case words: ``J_Bip_C_Head``, ``LeftEye``, ``mixamorig:Neck``."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(node.get("name", "")))
    return [word for word in re.split(r"[^a-z]+", split.lower()) if word]


def _bones(document: dict[str, Any], shown: list[int], faced: list[int]) -> tuple[tuple[int, int, int], bool, bool]:
    """The nodes of `BONES`, whether the head's is one by its name, and whether it is jointed."""
    nodes = document["nodes"]
    joints: list[int] = []
    for node in faced:
        if "skin" in nodes[node]:
            joints += document["skins"][nodes[node]["skin"]]["joints"]
    above = [other for node in faced for other in _line(document, node)[1:]]
    for word in ("head", "neck"):
        found = [n for n in dict.fromkeys(above + joints) if word in _words(nodes[n]) and "mesh" not in nodes[n]
                 and not {"end", "top", "tail"} & set(_words(nodes[n]))]
        if found:
            break
    head = found[0] if found else _line(document, faced[0])[-1]
    line = _line(document, head)[1:]
    jointed = any(node in joints for node in line) or any(
        {"neck", "spine", "chest", "hips", "pelvis"} & set(_words(nodes[node])) for node in line
    )
    eyes: dict[str, int] = {}
    everyone = [n for node in shown for n in _line(document, node)] + [
        joint for skin in document.get("skins", []) for joint in skin["joints"]
    ]
    for node in dict.fromkeys(everyone):
        words = _words(nodes[node])
        sides = {_SIDES[word] for word in words if word in _SIDES}
        if {"eye", "eyeball"} & set(words) and len(sides) == 1 and not _NOT_EYEBALLS & set(words) and node != head:
            eyes.setdefault(sides.pop(), node)
    return (head, eyes.get("left", -1), eyes.get("right", -1)), bool(found), jointed


def _part(
    document: dict[str, Any], binary: bytes, node: int, primitive: dict[str, Any], world: np.ndarray,
    below: Float[np.ndarray, "nodes bones"], known: list[str | None],
) -> tuple[np.ndarray, ...] | None:
    """Points, faces, colours, shapes and what carries them of one primitive in the scene; None if it shows nothing."""
    if "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
        raise ValueError("expected plain vertices, got Draco-compressed ones; export without compression.")
    if primitive.get("mode", 4) != 4:
        return None  # lines and points are no surface
    attributes = primitive["attributes"]

    def rows(number: int, where: slice = slice(None)) -> np.ndarray:
        return gltf.rows(document, binary, number)[:, where]

    points = rows(attributes["POSITION"]).astype(np.float64)
    if not len(points):
        return None
    faces = rows(primitive["indices"])[:, 0].astype(np.int64) if "indices" in primitive else np.arange(len(points))
    if len(faces) % 3 or (len(faces) and faces.max() >= len(points)):
        raise ValueError(f"expected triangles of {len(points)} vertices, got another index.")
    faces = faces.reshape(-1, 3)
    shapes = np.zeros((len(points), 3, len(ARKIT)), np.float32)
    for name, target in zip(known, primitive.get("targets", [])):
        if name is not None and "POSITION" in target:
            moved = rows(target["POSITION"])
            if moved.shape != points.shape:
                raise ValueError(f"expected a morph target of {len(points)} rows, got {len(moved)}.")
            shapes[:, :, ARKIT.index(name)] += moved
    matrices, carried = _matrices(document, node, attributes, rows, world, below, len(points))
    colours, opacity = _colours(document, binary, primitive, rows, len(points))
    points = np.einsum("vij,vj->vi", matrices[:, :3, :3], points) + matrices[:, :3, 3]
    shapes = np.einsum("vij,vje->vie", matrices[:, :3, :3], shapes).astype(np.float32)
    faces = faces[opacity[faces].mean(1) >= CLEAR]
    if np.linalg.det(matrices[0, :3, :3]) < 0:
        faces = faces[:, ::-1]  # a mirrored node shows its triangles the other way round
    return (points, faces, colours, shapes, carried) if len(faces) else None


def _matrices(
    document: dict[str, Any], node: int, attributes: dict[str, int], rows: Any, world: np.ndarray,
    below: np.ndarray, count: int,
) -> tuple[Float[np.ndarray, "vertices 4 4"], Float[np.ndarray, "vertices bones"]]:
    """What takes each vertex to the scene, and how much of it hangs below each of `BONES`."""
    number = document["nodes"][node].get("skin")
    if number is None or "JOINTS_0" not in attributes:
        return np.broadcast_to(world[node], (count, 4, 4)), np.tile(below[node], (count, 1))
    skin = document["skins"][number]
    joints = np.array(skin["joints"])
    bind = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in skin:
        bind = rows(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)[: len(joints)]
    posed = world[joints] @ bind
    matrices, carried = np.zeros((count, 4, 4)), np.zeros((count, len(BONES)), np.float32)
    total = np.zeros((count, 1))
    for group in (0, 1):
        if f"JOINTS_{group}" in attributes:
            index = rows(attributes[f"JOINTS_{group}"]).astype(int)
            weight = rows(attributes[f"WEIGHTS_{group}"]).astype(np.float64)
            for k in range(4):
                matrices += weight[:, k, None, None] * posed[index[:, k]]
                carried += (weight[:, k, None] * below[joints[index[:, k]]]).astype(np.float32)
                total += weight[:, k, None]
    total = np.where(total > 1e-6, total, 1)
    return matrices / total[:, :, None], carried / total.astype(np.float32)


def _colours(
    document: dict[str, Any], binary: bytes, primitive: dict[str, Any], rows: Any, count: int
) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, " vertices"]]:
    """Each vertex's colour (sRGB) and opacity, of its material's base colour."""
    material = document["materials"][primitive["material"]] if "material" in primitive else {}
    base = material.get("pbrMetallicRoughness", {})
    factor = np.array(base.get("baseColorFactor", (1, 1, 1, 1)), np.float64)
    linear = np.tile(factor, (count, 1))
    texture = base.get("baseColorTexture")
    place = f"TEXCOORD_{texture.get('texCoord', 0)}" if texture else ""
    if texture and place in primitive["attributes"]:
        picture = _picture(document, binary, texture["index"])
        height, width = picture.shape[:2]
        uv = rows(primitive["attributes"][place]).astype(np.float64) % 1.0
        at = picture[(uv[:, 1] * height).astype(int) % height, (uv[:, 0] * width).astype(int) % width] / 255
        linear *= np.concatenate([at[:, :3] ** 2.2, at[:, 3:]], 1)
    if "COLOR_0" in primitive["attributes"]:
        painted = rows(primitive["attributes"]["COLOR_0"]).astype(np.float64)
        linear[:, : painted.shape[1]] *= painted
    opacity = np.ones(count) if material.get("alphaMode", "OPAQUE") == "OPAQUE" else linear[:, 3]
    return np.clip(linear[:, :3], 0, 1).astype(np.float32) ** np.float32(1 / 2.2), opacity


def _picture(document: dict[str, Any], binary: bytes, texture: int) -> np.ndarray:
    """RGBA, uint8; grey where the picture lies outside the file or is of a kind that cannot be read."""
    grey = np.full((1, 1, 4), 200, np.uint8)
    grey[..., 3] = 255
    source = document["textures"][texture].get("source")
    image = document["images"][source] if source is not None else {}
    if "bufferView" not in image:
        return grey
    view = document["bufferViews"][image["bufferView"]]
    start = int(view.get("byteOffset", 0))
    try:
        with Image.open(io.BytesIO(binary[start : start + int(view["byteLength"])])) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"expected textures of at most 8192 x 8192, got {picture.width} x {picture.height}.")
            return np.asarray(picture.convert("RGBA"))
    except (UnidentifiedImageError, OSError):
        return grey


def _welded(
    points: Float[np.ndarray, "vertices 3"], shapes: Float[np.ndarray, "vertices 3 arkit"], faces: np.ndarray
) -> tuple[Int[np.ndarray, " kept"], Int[np.ndarray, "faces 3"]]:
    """The first of the vertices that lie and move alike, of those that a face uses; faces in their numbers.

    Lips that touch at rest lie alike but do not move alike.
    """
    size = float(np.ptp(points, axis=0).max()) or 1.0
    moves = shapes.reshape(len(shapes), -1) @ np.random.default_rng(0).normal(size=(3 * len(ARKIT), 2))
    keys = np.round(np.concatenate([points / size * 1e6, moves / size * 1e4], 1)).astype(np.int64)
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    faces = first[group.reshape(-1)][faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    kept, faces = np.unique(faces, return_inverse=True)
    return kept, faces.reshape(-1, 3)
