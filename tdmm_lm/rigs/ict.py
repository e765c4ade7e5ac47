"""The scanned head: ICT-FaceKit light (MIT, USC ICT 2020), a morphable head from light-stage scans with ARKit's shapes.

It is not bundled. It is read from ``$TDMM_DATA/scanned_head`` or from the cache that ``tdmm doctor --fetch`` fills.
The owners' eyeLook shapes move the lids alone; here they turn the eyeballs too. ``tongueOut`` has no shape.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors import safe_open

from tdmm_lm import bundle
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.motion import face
from tdmm_lm.rigs import Embedding
from tdmm_lm.rigs.flame import FlameRig

FILE = "ict_facekit_full.npz"
CENTIMETRE = 0.01
GAZE = np.radians(30)  # by how much an eyeLook shape at weight 1 turns its eyeball

# Vertex ranges of the owners' parts list.
FACE, NECK, SOCKETS = slice(0, 9409), slice(9409, 11248), slice(11248, 14062)
GUMS, TEETH = slice(14062, 17039), slice(17039, 21451)
EYES = {"Left": slice(21451, 23021), "Right": slice(23021, 24591)}
SHELLS = slice(24591, 26719)  # tear fluid, shadows and lashes, which the owners render transparent: left out
TONGUE_Y, TONGUE_WIDTH = -3.6, 2.4  # cm: of the gums' part, what lies below and within is the tongue

# Pivots in the file's centimetres. Head: between the first vertebrae; jaw: between the condyles.
PIVOT = {"root": (0.0, -3.0, -1.0), "neck": (0.0, -3.0, -1.0), "jaw": (0.0, 0.5, 1.5)}


def path() -> Path:
    """Where the file lies on this machine.

    Raises:
        FileNotFoundError: it does not; the message says how to get it.
    """
    data = bundle.data()
    places = ([data / "scanned_head" / FILE] if data else []) + [bundle.cache() / "ict" / FILE]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"rig ict: expected the scanned head at {' or '.join(map(str, places))}, found none; "
        "get it with `tdmm doctor --fetch`."
    )


def load() -> FlameRig:
    """The scanned head as a rig.

    Raises:
        FileNotFoundError: it is not on this machine; the message says how to get it.
        ValueError: the file's mesh is not the one that the bundled landmarks were placed on.
    """
    return _read(path())


@lru_cache(maxsize=1)  # two seconds, a hundred megabytes
def _read(place: Path) -> FlameRig:
    with np.load(place, allow_pickle=False) as file:
        neutral, quads = file["neutral"], file["faces"]
        shapes = dict(zip(file["expr_names"].tolist(), file["expr_deltas"]))
        identities, uv, quads_uv, marks = file["id_deltas"], file["uv"], file["faces_uv"], file["idx_to_landmark_verts"]
    eyes = {side: (neutral[part].min(0) + neutral[part].max(0)) / 2 for side, part in EYES.items()}
    expressions = np.zeros((len(neutral), 3, len(face.ARKIT)), np.float32)
    for column, name in enumerate(face.ARKIT):
        for own in _owners(name):
            expressions[:, :, column] += shapes[own] * CENTIMETRE
        if name.startswith("eyeLook"):
            side = "Left" if name.endswith("Left") else "Right"
            expressions[EYES[side], :, column] += _gaze(name, neutral[EYES[side]] - eyes[side]) * CENTIMETRE

    weights = np.zeros((len(neutral), 5), np.float32)
    weights[:, 1] = 1
    weights[EYES["Left"]] = [0, 0, 0, 1, 0]
    weights[EYES["Right"]] = [0, 0, 0, 0, 1]
    still = np.flatnonzero(~expressions[:NECK.stop].any((1, 2)))  # skin that no expression moves carries the joints
    regressor = np.zeros((5, len(neutral)), np.float32)
    for joint, where in enumerate(PIVOT.values()):
        regressor[joint, still] = _combination(neutral[still], np.asarray(where))
    for joint, (side, part) in enumerate(EYES.items(), start=len(PIVOT)):
        regressor[joint, part] = _combination(neutral[part], eyes[side])

    kept = quads[~((quads >= SHELLS.start) & (quads < SHELLS.stop)).any(1)]
    corners = np.zeros((len(neutral), 2), np.float32)  # UDIM tiles; a vertex on a seam keeps one place of its two
    real = quads >= 0
    corners[quads[real]] = uv[quads_uv[real]]
    arrays = FlameArrays(
        v_template=neutral * CENTIMETRE,
        shapedirs_identity=identities.transpose(1, 2, 0) * CENTIMETRE,
        shapedirs_expression=expressions,
        posedirs=np.zeros((len(neutral), 3, 36), np.float32),
        J_regressor=regressor,
        weights=weights,
        parents=np.array([-1, 0, 1, 1, 1]),
        faces=np.concatenate([kept[:, :3], kept[kept[:, 3] >= 0][:, [0, 2, 3]]]),
    )
    return FlameRig(
        arrays,
        name="ict",
        expressions=face.ARKIT,
        authority="shapes",
        lower=np.zeros(len(face.ARKIT)),
        upper=np.ones(len(face.ARKIT)),
        uv=corners,
        colours=_painted(neutral, neutral[marks], eyes),
        landmarks=_landmarks(neutral, quads),
        eyes=np.stack([eyes["Left"], eyes["Right"]]) * CENTIMETRE,
    )


def _owners(name: str) -> tuple[str, ...]:
    """The owners' shapes for one of ARKit's names."""
    if name == "tongueOut":
        return ()
    if name in ("browInnerUp", "cheekPuff"):
        return f"{name}_L", f"{name}_R"
    for side in ("Left", "Right"):
        if name.endswith(side) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
            return (f"{name.removesuffix(side)}_{side[0]}",)
    return (name,)


def _gaze(name: str, points: Float[np.ndarray, "some 3"]) -> Float[np.ndarray, "some 3"]:
    """How points around an eyeball's centre move when it looks where ``name`` says."""
    cosine, sine = np.cos(GAZE), np.sin(GAZE)
    if "Up" in name or "Down" in name:
        sine = sine if "Down" in name else -sine
        turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    else:  # the left eye looks in towards the right, -X
        sine = sine if name in ("eyeLookOutLeft", "eyeLookInRight") else -sine
        turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    return points @ turn.T - points


def _combination(points: Float[np.ndarray, "some 3"], target: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " some"]:
    """The smallest weights, summing to one, that make ``target`` of ``points``: so joints follow identities."""
    away = points.astype(float) - points.mean(0)
    return (1 + away @ np.linalg.solve(away.T @ away / len(points), target - points.mean(0))) / len(points)


def _landmarks(neutral: Float[np.ndarray, "vertices 3"], quads: Int[np.ndarray, "faces 4"]) -> Embedding:
    """The bundled embedding, if it was made for this very mesh."""
    with safe_open(bundle.path("assets/ict/landmarks.safetensors"), "np") as file:
        wanted = file.metadata()["mesh_sha256"]
        got = hashlib.sha256(neutral.astype("<f4").tobytes() + quads.astype("<i4").tobytes()).hexdigest()
        if got != wanted:
            raise ValueError(f"{path()}: expected the mesh {wanted[:12]} that the landmarks belong to, got {got[:12]}.")
        return Embedding(file.get_tensor("vertices"), file.get_tensor("weights"))


SKIN, LIP, BROW, LASH = (0.86, 0.67, 0.57), (0.72, 0.38, 0.36), (0.30, 0.20, 0.15), (0.16, 0.11, 0.10)
MOUTH, GUM, TONGUE, TOOTH = (0.42, 0.16, 0.16), (0.70, 0.36, 0.36), (0.74, 0.40, 0.40), (0.93, 0.91, 0.85)
SCLERA, IRIS, PUPIL, LIMBUS = (0.93, 0.92, 0.90), (0.36, 0.48, 0.50), (0.03, 0.03, 0.04), (0.14, 0.20, 0.22)


def _painted(
    neutral: Float[np.ndarray, "vertices 3"], marks: Float[np.ndarray, "68 3"], eyes: dict[str, np.ndarray]
) -> Float[np.ndarray, "vertices 3"]:
    """Colours per vertex: the parts, lips and brows by the scan's 68 landmark vertices, irises by angle."""
    colours = np.tile(np.array(SKIN), (len(neutral), 1))
    skin = neutral[FACE]
    for line in (marks[17:22], marks[22:27]):
        distance = _to_line(skin[:, :2], line[:, :2] - [0, 0.35]) + 0.5 * (skin[:, 2] < 5)
        _blend(colours[FACE], BROW, 0.7 * _soft(0.32 - distance, 0.4))
    for upper, lower in ((marks[36:40], marks[[39, 40, 41, 36]]), (marks[42:46], marks[[45, 46, 47, 42]])):
        _blend(colours[FACE], LASH, 0.9 * _soft(0.10 - _to_line(skin[:, :2], upper[:, :2]), 0.15))
        _blend(colours[FACE], LASH, 0.5 * _soft(0.06 - _to_line(skin[:, :2], lower[:, :2]), 0.12))
    inside = _inside(skin[:, :2], marks[48:60, :2])
    edge = _to_line(skin[:, :2], marks[[*range(48, 60), 48], :2])
    _blend(colours[FACE], LIP, np.where(skin[:, 2] > 8, _soft(np.where(inside, edge, -edge) + 0.05, 0.2), 0))
    colours[SOCKETS.start : 13294], colours[GUMS], colours[TEETH] = MOUTH, GUM, TOOTH
    gums = neutral[GUMS]
    colours[GUMS][(gums[:, 1] < TONGUE_Y) & (abs(gums[:, 0]) < TONGUE_WIDTH)] = TONGUE
    for side, part in EYES.items():
        away = neutral[part] - eyes[side]
        angle = np.degrees(np.arccos(np.clip(away[:, 2] / np.linalg.norm(away, axis=1), -1, 1)))
        colours[part] = SCLERA
        for colour, edge_degrees in ((LIMBUS, 25.0), (IRIS, 22.0), (PUPIL, 9.0)):
            _blend(colours[part], colour, _soft(edge_degrees - angle, 1.5))
    return colours.astype(np.float32)


def _blend(colours: Float[np.ndarray, "some 3"], colour: tuple[float, ...], share: Float[np.ndarray, " some"]) -> None:
    colours += share[:, None] * (np.array(colour) - colours)


def _soft(inwards: Float[np.ndarray, " some"], width: float) -> Float[np.ndarray, " some"]:
    """0 outside to 1 inside, over ``width`` around the edge."""
    return np.clip(inwards / width + 0.5, 0, 1)


def _to_line(points: Float[np.ndarray, "some 2"], line: Float[np.ndarray, "corners 2"]) -> Float[np.ndarray, " some"]:
    """Distance of points to a polyline."""
    start, step = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - start) * step).sum(-1) / (step * step).sum(-1)
    return np.linalg.norm(points[:, None] - start - np.clip(share, 0, 1)[..., None] * step, axis=-1).min(1)


def _inside(points: Float[np.ndarray, "some 2"], polygon: Float[np.ndarray, "corners 2"]) -> np.ndarray:
    """Even-odd rule."""
    one, two = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, None, 0], points[:, None, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        crosses = (one[:, 1] > y) != (two[:, 1] > y)
        left = x < (two[:, 0] - one[:, 0]) * (y - one[:, 1]) / (two[:, 1] - one[:, 1]) + one[:, 0]
    return (crosses & left).sum(1) % 2 == 1
