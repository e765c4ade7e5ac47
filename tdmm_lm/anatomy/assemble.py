"""From fitted numbers to a whole head in FLAME's format: skin and strips by fields, rigid parts by rotations.

`Numbers` is all that is stored; everything else is code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int

from tdmm_lm.anatomy import colours, fields, parts, sphere, topology
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.motion.face import ARKIT

RADII, CENTRE = np.array([0.086, 0.115, 0.098]), np.array([0.0, 0.015, 0.0])  # the ellipsoid that fields start from
IDENTITY_LAYERS = 2  # identities use the control points of this many layers, the wide ones
# From each loop inside the mouth, behind the lids or in a nostril to the next.
SOCK, SOCKET, CAVITY = (0.0, 0.0, -0.005), (0.0, 0.0, -0.002), (0.0, 0.003, -0.002)
HAIR = 0.005  # thickness
CUT = (-0.126, -0.45)  # the neck ends in the plane y = CUT[0] + CUT[1] * z
PIVOT = np.array([0.0, -0.0055, 0.0182])  # where the jaw turns
NECK_JOINT, ROOT_JOINT = np.array([0.0, -0.045, -0.010]), np.array([0.0, -0.110, -0.020])
# How far the left eye turns in its four shapes: pitch, yaw in degrees.
GAZE = {"Up": (-30.0, 0.0), "Down": (30.0, 0.0), "In": (0.0, -30.0), "Out": (0.0, 30.0)}
TONGUE_OPEN = 0.35  # how much of jawOpen lets the tongue out


@dataclass(frozen=True)
class Numbers:
    """What was fitted, in metres. Control points are those of `fields.controls`.

    ``shapes`` holds for every field the control points it uses and their vectors: for one-sided shapes the left one,
    for symmetric ones the left half. ``jaw`` holds affine motions of lower teeth and tongue. ``landmarks`` holds
    places on the sphere (azimuth, elevation; radians) of `places.ON_SKIN`.
    """

    neutral: Float[np.ndarray, "half 3"]
    shapes: Mapping[str, tuple[Int[np.ndarray, " used"], Float[np.ndarray, "used 3"]]]
    identities: Float[np.ndarray, "identities wide 3"]
    jaw: Mapping[str, Float[np.ndarray, "3 4"]]
    landmarks: Float[np.ndarray, "places 2"]


@dataclass(frozen=True)
class Head:
    """The arrays, and what is known of each vertex. ``regions`` names runs of vertices."""

    arrays: FlameArrays
    colours: Float[np.ndarray, "vertices 3"]
    uv: Float[np.ndarray, "vertices 2"]
    eyes: Float[np.ndarray, "2 3"]
    regions: Mapping[str, slice]
    skin: topology.Skin


def opposite(name: str) -> str | None:
    """The name of the shape on the right side for one on the left, or None."""
    return name.removesuffix("Left") + "Right" if name.endswith("Left") else None


def fitted() -> tuple[str, ...]:
    """The shapes that have a field of their own: left and symmetric ones."""
    return tuple(name for name in ARKIT if not name.endswith("Right") and name != "tongueOut")


def vectors(control: fields.Controls, numbers: Numbers) -> Float[np.ndarray, "controls shapes 3"]:
    """Every ARKit shape's control vectors."""
    result = np.zeros((len(control.places), len(ARKIT), 3))
    for name, (used, values) in numbers.shapes.items():
        other = opposite(name)
        if other is None:
            half = np.zeros((control.half, 3))
            half[used] = values
            result[:, ARKIT.index(name)] = fields.symmetric(control, half)
        else:
            result[used, ARKIT.index(name)] = values
            result[control.mirror[used], ARKIT.index(other)] = sphere.mirrored(values)
    result[:, ARKIT.index("tongueOut")] = TONGUE_OPEN * result[:, ARKIT.index("jawOpen")]
    return result


def roots(skin: topology.Skin) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, "vertices 3"]]:
    """Where on the sphere fields are read for each vertex of the skin, and what is added to its neutral place.

    The bags inside mouth and lids follow the edge of their hole and lie behind it.
    """
    places, offset = skin.places.copy(), np.zeros_like(skin.places)
    for bag, hole, step in (
        (skin.mouth, topology.MOUTH_LOOPS.index(sphere.MOUTH_HOLE), SOCK),
        *((eye, topology.EYE_LOOPS.index(sphere.EYE_HOLE), SOCKET) for eye in skin.eyes),
        *((nostril, topology.NOSTRIL_LOOPS.index((sphere.NOSTRIL_HOLE,) * 2), CAVITY) for nostril in skin.nostrils),
    ):
        for i in range(hole):
            places[bag[i]] = skin.places[bag[hole]]
            offset[bag[i]] = np.multiply(step, hole - i)
    grown = colours.smooth(topology.hair_border(skin.places), -2, 16)
    return places, offset + HAIR * grown[:, None] * skin.places


def build(numbers: Numbers) -> Head:
    """The head. Vertices in this order: skin, brows, lashes, eyeballs, upper teeth, lower teeth, tongue."""
    skin, control = topology.skin(), fields.controls()
    places, offset = roots(skin)
    pieces = [("skin", places, offset, skin.faces, colours.skin(skin.places))]
    for name, strip in (("brow", parts.brow()), ("lash_upper", parts.lash(upper=True, reach=0.0024)),
                        ("lash_lower", parts.lash(upper=False, reach=0.0007))):
        pieces.append((f"{name}_left", strip.places, strip.offset, strip.faces, strip.colours))
        pieces.append((f"{name}_right", sphere.mirrored(strip.places), sphere.mirrored(strip.offset),
                       strip.faces[:, ::-1], strip.colours))
    eye = parts.eyeball()
    solids = {"eye_left": eye, "eye_right": parts.mirrored(eye), "teeth_upper": parts.teeth(upper=True),
              "teeth_lower": parts.teeth(upper=False), "tongue": parts.tongue()}

    regions: dict[str, slice] = {}
    faces, count = [], 0
    for name, size, part_faces in [(p[0], len(p[1]), p[3]) for p in pieces] + [
        (n, len(s.points), s.faces) for n, s in solids.items()
    ]:
        regions[name] = slice(count, count + size)
        faces.append(part_faces + count)
        count += size
    soft = regions["eye_left"].start  # vertices before it are moved by fields

    shared = np.concatenate([p[1] for p in pieces])
    basis = fields.basis(control, shared)
    neutral = np.zeros((count, 3))
    neutral[:soft] = shared * RADII + CENTRE + np.concatenate([p[2] for p in pieces])
    neutral[:soft] += basis @ fields.symmetric(control, numbers.neutral)
    neutral[skin.rim, 1] = CUT[0] + CUT[1] * neutral[skin.rim, 2]
    for name, solid in solids.items():
        neutral[regions[name]] = solid.points
    expression = np.zeros((count, len(ARKIT), 3))
    expression[:soft] = (basis @ vectors(control, numbers).reshape(len(control.places), -1)).reshape(soft, -1, 3)
    _rigid(expression, neutral, regions, numbers)
    eyes = np.stack([parts.EYE_CENTRE, parts.EYE_CENTRE * [-1, 1, 1]])
    identity = _identities(control, basis, numbers, regions, skin, neutral, eyes)
    weights = _weights(neutral, expression[:, ARKIT.index("jawOpen")], regions, numbers.jaw["jawOpen"])
    arrays = FlameArrays(
        v_template=neutral, shapedirs_identity=identity, shapedirs_expression=expression.transpose(0, 2, 1),
        posedirs=np.zeros((count, 3, 36)), J_regressor=_regressor(neutral, weights, regions, eyes), weights=weights,
        parents=np.array([-1, 0, 1, 1, 1]), faces=np.concatenate(faces),
    )
    tints = np.concatenate([p[4] for p in pieces] + [s.colours for s in solids.values()])
    return Head(arrays, tints, _texture(skin.places, neutral, regions, shared), eyes, regions, skin)


def _rigid(
    expression: np.ndarray, neutral: np.ndarray, regions: Mapping[str, slice], numbers: Numbers
) -> None:
    """Shapes of eyeballs, lower teeth and tongue, written into ``expression`` (vertices, shapes, 3)."""
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        run = regions[f"eye_{side.lower()}"]
        centre = parts.EYE_CENTRE * [sign, 1, 1]
        for way, (pitch, yaw) in GAZE.items():
            turned = (neutral[run] - centre) @ (_about(pitch, sign * yaw) - np.eye(3)).T
            expression[run, ARKIT.index(f"eyeLook{way}{side}")] = turned
    for name, motion in numbers.jaw.items():
        for region in ("teeth_lower", "tongue"):
            run = regions[region]
            moved = neutral[run] @ motion[:, :3].T + motion[:, 3]
            expression[run, ARKIT.index(name)] = moved
            other = opposite(name)
            if other is not None:
                back = sphere.mirrored(neutral[run]) @ motion[:, :3].T + motion[:, 3]
                expression[run, ARKIT.index(other)] = sphere.mirrored(back)
    run = regions["tongue"]
    out = ARKIT.index("tongueOut")
    for region in ("teeth_lower", "tongue"):
        expression[regions[region], out] = TONGUE_OPEN * expression[regions[region], ARKIT.index("jawOpen")]
    share = colours.smooth(neutral[run, 2], 0.045, 0.098)[:, None]
    expression[run, out] += share * [0, 0.004, 0.046] + share**3 * [0, -0.013, 0]


def _about(pitch: float, yaw: float) -> Float[np.ndarray, "3 3"]:
    p, y = np.radians([pitch, yaw])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    return about_y @ about_x


def _identities(
    control: fields.Controls,
    basis: sparse.csr_matrix,
    numbers: Numbers,
    regions: Mapping[str, slice],
    skin: topology.Skin,
    neutral: Float[np.ndarray, "vertices 3"],
    eyes: Float[np.ndarray, "2 3"],
) -> Float[np.ndarray, "vertices 3 identities"]:
    """Identity directions: fields on the skin; solids go along with the skin around them."""
    wide = np.flatnonzero(control.layer[: control.half] < IDENTITY_LAYERS)
    result = np.zeros((len(neutral), 3, len(numbers.identities)))
    for i, values in enumerate(numbers.identities):
        half = np.zeros((control.half, 3))
        half[wide] = values
        moved = basis @ fields.symmetric(control, half)
        result[: len(moved), :, i] = moved
        for name, loops, centre in zip(("eye_left", "eye_right"), skin.eyes, eyes):
            lids = loops[2:9].ravel()  # an eyeball moves and grows with the lids around it
            around = neutral[lids] - centre
            rows = np.concatenate([np.tile(np.eye(3), (len(lids), 1)), around.reshape(-1, 1)], 1)
            *shift, growth = np.linalg.lstsq(rows, moved[lids].ravel(), rcond=None)[0]
            result[regions[name], :, i] = shift + growth * (neutral[regions[name]] - centre)
        lips = moved[skin.mouth[4]].mean(0) * [0, 1, 1]
        for name in ("teeth_upper", "teeth_lower", "tongue"):
            result[regions[name], :, i] = lips
    return result


def _weights(
    neutral: np.ndarray, opened: np.ndarray, regions: Mapping[str, slice], jaw: np.ndarray
) -> Float[np.ndarray, "vertices 5"]:
    """Skinning: the neck from its lower end upwards, the jaw in proportion to what jawOpen moves."""
    weights = np.zeros((len(neutral), 5))
    rigid = neutral @ jaw[:, :3].T + jaw[:, 3]
    share = np.clip((opened * rigid).sum(1) / np.maximum((rigid**2).sum(1), 1e-8), 0, 1)
    head = colours.smooth(neutral[:, 1], -0.125, -0.055)
    weights[:, 2] = np.where(share > 0.02, share, 0)
    weights[:, 1] = (1 - weights[:, 2]) * head
    weights[:, 0] = 1 - weights[:, 1] - weights[:, 2]
    for name, joint in (("eye_left", 3), ("eye_right", 4), ("teeth_upper", 1), ("teeth_lower", 2)):
        weights[regions[name]] = np.eye(5)[joint]
    run = regions["tongue"]
    depth = colours.smooth(neutral[run, 2], 0.030, 0.055)
    weights[run] = np.outer(depth, np.eye(5)[2]) + np.outer(1 - depth, np.eye(5)[1])
    return weights


def _regressor(
    neutral: np.ndarray, weights: np.ndarray, regions: Mapping[str, slice], eyes: np.ndarray
) -> Float[np.ndarray, "5 vertices"]:
    """Weights that give each joint's place from vertices that jaw and lids do not move, the smallest that do so."""
    skin = np.zeros(len(neutral), bool)
    skin[regions["skin"]] = True
    still = skin & (weights[:, 2] == 0) & ((neutral[:, 1] > 0.05) | (neutral[:, 2] < 0.0))
    result = np.zeros((5, len(neutral)))
    skull, each = np.flatnonzero(still), np.arange(len(neutral))
    for joint, (place, chosen) in enumerate((
        (ROOT_JOINT, skull), (NECK_JOINT, skull), (PIVOT, skull),
        (eyes[0], each[regions["eye_left"]]), (eyes[1], each[regions["eye_right"]]),
    )):
        rows = np.concatenate([neutral[chosen].T, np.ones((1, len(chosen)))])
        result[joint, chosen] = np.linalg.lstsq(rows, np.append(place, 1.0), rcond=None)[0]
    return result


def _texture(
    places: np.ndarray, neutral: np.ndarray, regions: Mapping[str, slice], shared: np.ndarray
) -> Float[np.ndarray, "vertices 2"]:
    """Skin and strips: the sphere unrolled around the face, a disc. Solids: small fronts in the square's corners."""
    uv = np.zeros((len(neutral), 2))
    shared = shared.copy()
    shared[: len(places)] = places
    uv[: len(shared)] = 0.5 + sphere.inward(sphere.direction(0, 0), shared) / (2 * np.pi)
    corners = {
        "eye_left": (0.93, 0.93), "eye_right": (0.07, 0.93), "teeth_upper": (0.07, 0.07), "teeth_lower": (0.93, 0.07),
        "tongue": (0.93, 0.02),
    }
    for name, corner in corners.items():
        flat = neutral[regions[name]] - neutral[regions[name]].mean(0)
        plane = flat[:, [0, 2]] if name == "tongue" else flat[:, [0, 1]]
        uv[regions[name]] = np.array(corner) + plane / (abs(plane).max() * 2) * (0.04 if name == "tongue" else 0.12)
    return uv
