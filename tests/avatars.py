"""Avatars made up for tests: a head of ours with another face, as an artist would export it.

Several meshes and primitives below a skeleton, a texture, sparse morph targets, shapes scaled as artists do.
"""

import io
import re

import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree

from tdmm_lm import gltf
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.rigs import Embedding

PIXELS = 512
GAINS = {"jawOpen": 0.6, "mouthSmileLeft": 1.4, "mouthSmileRight": 1.4, "browInnerUp": 0.6, "mouthPucker": 1.4,
         "browDownLeft": 0.7, "browDownRight": 0.7, "mouthFunnel": 0.8, "eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.9}
IDENTITY = np.array([1.2, -1.0, 0.8, 0.9, -0.7, 1.0, -0.8, 0.6, 0.5, -0.6], np.float32)
STRETCH = np.array([0.95, 1.06, 1.02])
QUARTER = (0.7071067811865476, 0.0, 0.0, 0.7071067811865476)  # glTF's order: about X


def short(name: str) -> str:
    """``eyeBlinkLeft`` as ``eyeBlink_L``."""
    return re.sub(r"^(?!jaw|mouthLeft|mouthRight)(.*)(Left|Right)$", lambda m: f"{m[1]}_{m[2][0]}", name)


def shifted(name: str) -> str:
    return f"bs.{name[0].upper()}{name[1:]}"


def write(
    rig, path, *, gains=GAINS, identity=IDENTITY, stretch=STRETCH, names=str, scale=1.0, root_turn=(0, 0, 0, 1),
    eyes="shapes", skeleton=True, skinned=False, without=(), unit=0.01, dressed=False,
):
    """The avatar as a GLB.

    Points are in ``unit`` (0.01: centimetres) below a root of ``scale`` and ``root_turn``; the artist's displacement
    is ``gains`` times the rig's. ``eyes``: "shapes" turn with eyeLook shapes, "bones" by their nodes alone; "none":
    there are none. ``dressed``: with hair of many faces and a body.
    """
    points = rig.identity(identity[: rig.identities]).astype(np.float64)
    middle = points[rig.arrays.weights[:, 3:].sum(1) > 0.5].mean(0)
    stretched = lambda x: (x - middle) * stretch + middle  # noqa: E731
    centres = stretched(rig.joints(identity[: rig.identities])[3:])
    points = stretched(points)
    deltas = {
        name: rig.arrays.shapedirs_expression[:, :, k] * stretch * gains.get(name, 1.0)
        for k, name in enumerate(ARKIT) if name not in without
    }
    ball = [rig.arrays.weights[:, 3 + eye] > 0.5 for eye in range(2)]
    data, nodes, meshes = gltf.Accessors(), [], []
    used = np.unique(rig.faces)
    uv_all = _atlas(points, ball, centres, rig)
    picture = _baked(uv_all[used], rig.colours[used], np.hypot(points[used, 0], points[used, 2] - 0.02))
    skull = np.array([0.0, -0.06, 0.02])

    def mesh(name, groups, origin, targets):
        primitives = []
        for faces in groups:
            if not len(faces):
                continue
            kept, index = np.unique(faces, return_inverse=True)
            index = index.reshape(-1, 3)
            local = ((points[kept] - origin) / unit).astype(np.float32)
            uv = uv_all[kept].astype(np.float32)
            attributes = {"POSITION": data.vertices(local), "TEXCOORD_0": data.vertices(uv)}
            if skinned and name == "Face":
                joints = np.zeros((len(kept), 4), np.uint8)
                joints[:, 0] = 1
                attributes["JOINTS_0"] = data.vertices(joints)
                attributes["WEIGHTS_0"] = data.vertices(np.tile(np.array([1, 0, 0, 0], np.float32), (len(kept), 1)))
            primitive = {"attributes": attributes, "indices": data.indices(index), "material": 0}
            if targets:
                primitive["targets"] = [
                    {"POSITION": data.sparse((deltas[name][kept] / unit).astype(np.float32))} for name in targets
                ]
            primitives.append(primitive)
        made = {"name": name, "primitives": primitives}
        if targets:
            made |= {"weights": [0.0] * len(targets), "extras": {"targetNames": [names(target) for target in targets]}}
        meshes.append(made)
        return len(meshes) - 1

    def node(name, **more):
        nodes.append({"name": name, **more})
        return len(nodes) - 1

    at = lambda place: [float(x) for x in np.asarray(place) / unit]  # noqa: E731
    eyed = np.stack(ball).any(0)
    moved = sum(np.linalg.norm(delta, axis=1) for delta in deltas.values())
    skin, rest = _split(rig.faces, eyed, moved, len(points))
    front = (points[skin][:, :, 2] > 0.02).all(1)
    inner = [name for name, delta in deltas.items() if np.abs(delta[rest]).max() > 1e-5]  # teeth, tongue, lashes
    children = [
        node("Face", mesh=mesh("Face", (skin[front], skin[~front]), skull, list(deltas))),
        node("Inside", mesh=mesh("Inside", (rest,), skull, inner)),
    ]
    looks = [name for name in deltas if name.startswith("eyeLook")]
    for eye, side in enumerate(("Left", "Right") if eyes != "none" else ()):
        faces = rig.faces[ball[eye][rig.faces].all(1)]
        mine = [name for name in looks if name.endswith(side)] if eyes == "shapes" else []
        number = mesh(f"{side}Eye", (faces,), centres[eye], mine)
        children.append(node(f"{side}Eye", mesh=number, translation=at(centres[eye] - skull)))
    if dressed:
        children.append(node("Hair", mesh=_ball(data, meshes, "Hair", np.array([0, 0.16, -0.04]) - skull, 0.1, unit)))
    if skeleton:
        head = node("mixamorig:Head", translation=at(skull - [0, -0.1, 0]), children=children)
        neck = node("mixamorig:Neck", translation=at([0, -0.1, 0]), children=[head])
        top = [neck]
    else:
        top = [node("Group", translation=at(skull), children=children)]
    if dressed:
        top.append(node("Body", mesh=_ball(data, meshes, "Body", np.array([0, -0.8, 0]), 0.6, unit)))
    root = node("Armature", scale=[scale] * 3, rotation=list(root_turn), children=top)
    document = {
        "asset": {"version": "2.0", "generator": "made up"}, "scene": 0, "scenes": [{"nodes": [root]}], "nodes": nodes,
        "meshes": meshes,
        "materials": [{"name": "skin", "doubleSided": True, "pbrMetallicRoughness": {
            "baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 0.7,
        }}],
        "textures": [{"source": 0}],
    }
    if skinned:
        bind = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
        # the mesh's origin is the skull: its joints bind where they rest from there
        bind[:, :3, 3] = -np.array([at(np.array([0, -0.1, 0]) - skull), at([0, 0, 0])])
        document["skins"] = [{
            "joints": [neck, head], "inverseBindMatrices": data.add(bind.transpose(0, 2, 1).reshape(2, 16), "MAT4"),
        }]
        nodes[children[0]]["skin"] = 0  # whose own place then says nothing
        document["scenes"][0]["nodes"].append(children[0])
        nodes[head]["children"] = children[1:]
    image = io.BytesIO()
    Image.fromarray(picture).save(image, "PNG")
    view = data._view(np.frombuffer(image.getvalue(), np.uint8), None)
    document["images"] = [{"bufferView": view, "mimeType": "image/png"}]
    path.write_bytes(data.finish(document))
    return points


def _ball(data, meshes, name, middle, radius, unit, rings=90):
    """A ball of many triangles."""
    up, around = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, rings))
    points = np.stack([np.sin(up) * np.sin(around), np.cos(up), np.sin(up) * np.cos(around)], -1).reshape(-1, 3)
    corner = (np.arange(rings - 1)[:, None] * rings + np.arange(rings - 1)).reshape(-1, 1)
    faces = np.concatenate([corner + np.array(three) for three in ([0, 1, rings], [1, rings + 1, rings])])
    attributes = {"POSITION": data.vertices(((middle + radius * points) / unit).astype(np.float32))}
    meshes.append({"name": name, "primitives": [{"attributes": attributes, "indices": data.indices(faces)}]})
    return len(meshes) - 1


def marked(rig):
    """In place of `sight.landmark`, for avatars that have the very shape of ``rig``: its landmarks, no eyes needed."""
    def landmark(vertices, faces, opened, like, model):
        row = torch.zeros(2, 70)
        row[1, ARKIT.index("jawOpen")] = 0.5
        rest, wide = rig.vertices(row).numpy()
        drop = [np.linalg.norm(b - a, axis=1) for a, b in ((vertices, opened), (rest, wide))]
        mine, theirs = (
            np.concatenate([points, 0.01 * (size / size.max())[:, None]], 1)
            for points, size in zip((vertices, rest), drop)
        )
        corners = cKDTree(mine).query(theirs[rig.landmarks.vertices])[1]
        return Embedding(corners, rig.landmarks.weights)

    return landmark


def _atlas(points, ball, centres, rig):
    """Places in the picture: skin unrolled around Y in its left half, inside of the mouth and eyes to the right."""
    around = np.arctan2(points[:, 0], points[:, 2])
    used = np.unique(rig.faces)
    low, high = points[used, 1].min(), points[used, 1].max()
    uv = np.stack([(around / np.pi + 1) / 4, (high - points[:, 1]) / (high - low)], 1) * 0.98 + 0.005
    skin, rest = _split(rig.faces, np.stack(ball).any(0), np.ones(len(points)), len(points))
    inside = np.setdiff1d(rest, skin)
    if len(inside):
        low, high = points[inside].min(0), points[inside].max(0)
        uv[inside] = 0.52 + 0.46 * ((points[inside] - low) / (high - low))[:, :2] * [1, 0.9]
    for eye in range(2):
        away = points[ball[eye]] - centres[eye]
        angle = np.arccos(away[:, 2] / np.linalg.norm(away, axis=1))
        flat = away[:, :2] / np.maximum(np.linalg.norm(away[:, :2], axis=1, keepdims=True), 1e-9)
        uv[ball[eye]] = [0.62 + 0.25 * eye, 0.25] + 0.11 * (angle / np.pi)[:, None] * flat
    return uv


def _split(faces, eyed, moved, count):
    """The skin (the part with most faces that moves) and what is neither skin nor eye."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    part = connected_components(coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count)), directed=False)[1]
    sizes = np.bincount(part[faces[:, 0]], minlength=part.max() + 1) * (np.bincount(part, moved) > 0)
    skin = part[faces[:, 0]] == sizes.argmax()
    return faces[skin], faces[~skin & ~eyed[faces].any(1)]


def _baked(uv, colours, out):
    """A picture in which every vertex finds its colour, or that of what covers it: the one farthest ``out``."""
    y, x = np.mgrid[:PIXELS, :PIXELS]
    apart, near = cKDTree(uv * PIXELS).query(np.stack([x.ravel() + 0.5, y.ravel() + 0.5], 1), k=8)
    chosen = np.where(apart < apart[:, :1] + 2, out[near], -1).argmax(1)
    return (colours[near[np.arange(len(near)), chosen]].reshape(PIXELS, PIXELS, 3) * 255).astype(np.uint8)


def talking(rig, frames=50, fps=25.0):
    """Two seconds in which the face opens its mouth, smiles, blinks, looks aside and turns its head."""
    t = np.arange(frames) / fps
    weights = np.zeros((frames, 52), np.float32)
    for name, curve in {
        "jawOpen": 0.7 * np.sin(np.pi * t) ** 2, "mouthSmileLeft": t / t[-1], "mouthSmileRight": t / t[-1],
        "eyeLookOutLeft": 0.4 * t / t[-1], "eyeLookInRight": 0.4 * t / t[-1], "browInnerUp": 0.5 * t / t[-1],
        "eyeBlinkLeft": np.exp(-(((t - 1.5) / 0.1) ** 2)), "eyeBlinkRight": np.exp(-(((t - 1.5) / 0.1) ** 2)),
    }.items():
        weights[:, ARKIT.index(name)] = curve
    head = np.stack([0.2 * np.sin(2 * np.pi * t), 0.4 * t / t[-1], 0 * t], 1)
    return face.assemble({"expression": weights, "head": head}, fps=fps, rig=rig.name)
