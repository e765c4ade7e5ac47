"""What lies in and on the skin: eyeballs, teeth, tongue, and strips of brow and lash. Metres, colours 0..1.

Rigid parts are small closed forms. Strips are vertices on the skin's sphere with a fixed offset, so that every field
moves them with the skin below.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tdmm_lm.anatomy import sphere, topology

EYE_CENTRE = np.array([0.03124, 0.03608, 0.0791])  # the person's left one
EYE_RADIUS = 0.0142
IRIS, PUPIL = 0.0062, 0.0026  # radii; adult irises are 11.7 mm across

SKIN = (0.84, 0.66, 0.56)
SCLERA, LIMBUS, IRIS_OUTER, IRIS_INNER = (0.93, 0.92, 0.90), (0.16, 0.13, 0.11), (0.30, 0.20, 0.12), (0.42, 0.29, 0.17)
BLACK, TOOTH, GUM, TONGUE = (0.02, 0.02, 0.02), (0.93, 0.91, 0.84), (0.72, 0.36, 0.36), (0.72, 0.36, 0.36)
HAIR, LASH = (0.17, 0.12, 0.09), (0.06, 0.04, 0.03)


@dataclass(frozen=True)
class Part:
    """A solid in its neutral place."""

    points: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Strip:
    """Vertices over the skin: where on the sphere each is rooted, and how far it stands off (metres)."""

    places: Float[np.ndarray, "n 3"]
    offset: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "n 3"]


def mirrored(part: Part) -> Part:
    return Part(sphere.mirrored(part.points), part.faces[:, ::-1], part.colours)


def eyeball(segments: int = 32) -> Part:
    """The left one: rings from the pupil's middle to the back, with doubled rings where the colour changes."""
    rim, hole = np.arcsin(IRIS / EYE_RADIUS), np.arcsin(PUPIL / EYE_RADIUS)
    rings = (
        (0.6 * hole, BLACK), (hole, BLACK), (hole + 0.012, IRIS_INNER), ((hole + rim) / 2, IRIS_OUTER),
        (rim - 0.035, IRIS_OUTER), (rim - 0.02, LIMBUS), (rim, LIMBUS), (rim + 0.03, SCLERA), (rim + 0.2, SCLERA),
        (0.95, SCLERA), (1.25, SCLERA), (1.6, SCLERA), (2.1, SCLERA), (2.6, SCLERA),
    )
    turn = np.arange(segments) * (2 * np.pi / segments)
    points, colours = [np.array([[0, 0, 1.0]])], [BLACK]
    for angle, colour in rings:
        wide, deep = np.sin(angle), np.full(segments, np.cos(angle))
        points.append(np.stack([wide * np.cos(turn), wide * np.sin(turn), deep], 1))
        colours += [colour] * segments
    points.append(np.array([[0, 0, -1.0]]))
    colours.append(SCLERA)
    grid = 1 + np.arange(len(rings) * segments).reshape(len(rings), segments)
    last = grid[-1, -1] + 1
    front = np.stack([np.zeros(segments, int), grid[0], np.roll(grid[0], -1)], 1)
    back = np.stack([np.full(segments, last), np.roll(grid[-1], -1), grid[-1]], 1)
    faces = np.concatenate([front, topology.strips(grid, closed=True)[:, ::-1], back])
    # topology.strips runs inwards-out: turned so that triangles look outwards
    solid = np.concatenate(points)
    return Part(EYE_CENTRE + EYE_RADIUS * solid, _outward(solid, faces), np.array(colours))


def teeth(*, upper: bool, count: int = 14, columns: int = 5) -> Part:
    """One arch: a strip from the gum over the biting edges to the inside, waisted between the teeth."""
    steps = count * columns
    along = np.linspace(-1, 1, steps + 1)
    turn = along * np.pi / 2 * 0.97
    power = 2 / 2.4
    wide, deep, front = (0.0310, 0.0538, 0.0518) if upper else (0.0284, 0.0518, 0.0513)
    curve = np.stack([wide * np.sign(turn) * abs(np.sin(turn)) ** power, front + deep * np.cos(turn) ** power], 1)
    tangent = np.gradient(curve, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], 1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    normal *= np.sign((normal * (curve - [0, 0.05])).sum(1, keepdims=True))
    phase = (along + 1) / 2 * count % 1
    waist = np.clip(abs(2 * phase - 1) * 3.2 - 2.2, 0, 1)  # 1 between two teeth
    back = abs(along)
    if upper:
        root, edge, sign = -0.0245 + 0.004 * back**2, -0.0352 + 0.0048 * back**2, 1.0
    else:
        root, edge, sign = -0.0430 + 0.005 * back**2, -0.0338 + 0.0046 * back**2, -1.0
    rows, colours = [], []
    white = np.array(TOOTH) * (1 - 0.35 * waist[:, None])
    for inset, height, colour in (
        (0.0045, -0.75, GUM), (0.0002, -0.35, GUM), (-0.0004, -0.02, GUM), (0.0, 0.02, None), (-0.0006, 0.45, None),
        (0.0006, 0.93, None), (0.0016, 1.0, None), (0.0030, 0.95, None), (0.0060, 0.3, None), (0.0070, 0.1, GUM),
        (0.0100, -0.7, GUM),
    ):
        y = root + (edge - root) * height + sign * 0.0006 * waist * (height > 0.9)
        shape = curve - normal * (inset + 0.0012 * waist * (height > 0))[:, None]
        rows.append(np.stack([shape[:, 0], y, shape[:, 1]], 1))
        colours.append(white if colour is None else np.broadcast_to(np.array(colour), (steps + 1, 3)))
    grid = np.arange(len(rows) * (steps + 1)).reshape(len(rows), steps + 1)
    faces = topology.strips(grid, closed=False)
    if upper:
        faces = faces[:, ::-1]
    return Part(np.concatenate(rows), faces, np.concatenate(colours))


def tongue(rings: int = 14, segments: int = 20) -> Part:
    """A flattened, tapering tube from the throat to its tip; the last vertex is the tip."""
    along = np.linspace(0, 1, rings)
    turn = np.arange(segments) * (2 * np.pi / segments)
    middle_z = 0.030 + 0.066 * along
    middle_y = -0.0415 + 0.003 * np.sin(np.pi * along) - 0.0015 * along
    round_ = np.sqrt(np.clip(1 - (np.clip(along - 0.72, 0, 1) / 0.29) ** 2, 0.02, 1))
    wide, tall = 0.0195 * round_ * (1 - 0.15 * along), 0.0085 * round_**0.8 * (1 - 0.35 * along)
    points = []
    for z, y, w, t in zip(middle_z, middle_y, wide, tall):
        up = np.sin(turn) - 0.22 * np.exp(-(((np.cos(turn)) / 0.35) ** 2)) * (np.sin(turn) > 0)
        points.append(np.stack([w * np.cos(turn), y + t * up, np.full(segments, z)], 1))
    tip = np.array([[0, middle_y[-1], middle_z[-1] + 0.0008]])
    grid = np.arange(rings * segments).reshape(rings, segments)
    cap = np.stack([np.full(segments, grid.size), grid[-1], np.roll(grid[-1], -1)], 1)
    faces = np.concatenate([topology.strips(grid, closed=True), cap])
    solid = np.concatenate([*points, tip])
    return Part(solid, _outward(solid - [0, -0.0415, 0.06], faces), np.tile(TONGUE, (len(solid), 1)))


# Along the left brow: across, up (radians around the middle of the face), half height.
BROW = (
    (0.105, 0.398, 0.009), (0.17, 0.413, 0.024), (0.27, 0.430, 0.025), (0.38, 0.440, 0.021), (0.48, 0.424, 0.015),
    (0.565, 0.384, 0.005),
)


def brow(columns: int = 26, rows: int = 5) -> Strip:
    """The left one: a strip along the brow bone, thick towards the nose, pointed outside."""
    knots = np.array(BROW)
    at = np.linspace(0, 1, columns)
    line = np.stack([np.interp(at, np.linspace(0, 1, len(knots)), knots[:, i]) for i in range(3)], 1)
    padded = np.pad(line, ((2, 2), (0, 0)), mode="reflect", reflect_type="odd")
    line = np.stack([padded[i : i + columns] for i in range(5)]).mean(0)  # no corners
    across = np.linspace(-1, 1, rows)
    plane = np.stack([np.repeat(line[:, :1], rows, 1), line[:, 1:2] + line[:, 2:] * across * 0.85], -1)
    places = sphere.outward(sphere.direction(0, 0), plane.reshape(-1, 2))
    fade = np.minimum(1, np.minimum(at * 8, (1 - at) * 8 + 0.2))
    height = np.outer(fade, 0.0013 * (1 - across**2)).ravel() + 0.0001
    grid = np.arange(columns * rows).reshape(columns, rows)
    faces = topology.strips(grid, closed=False)
    soft = np.outer(np.minimum(1, at * 9 + 0.25), 1 - 0.55 * across**4).reshape(-1, 1)  # thinner hair at its edges
    colour = np.array(SKIN) + soft * (np.array(HAIR) - SKIN)
    return Strip(places, places * height[:, None], _outward(places, faces), colour)


def lash(*, upper: bool, reach: float) -> Strip:
    """Along the left eye's lid margin: rooted on it, tips standing off forward and away from the opening."""
    turn = np.linspace(0.04, np.pi - 0.12, 20) * (1 if upper else -1)
    places = sphere.outward(sphere.EYE, np.stack([np.cos(turn), np.sin(turn)], 1) * sphere.EYE_MARGIN)
    side = np.sign(np.sin(turn))[:, None]
    fade = np.minimum(1, 4 * np.sin(abs(turn)))[:, None]
    tip = np.cos(turn)[:, None] * [0.25, 0.0, 0.18] + side * [0.0, 0.75, 0.0] + [0.0, 0.0, 0.8]
    offset = np.concatenate([np.tile([0.0, 0.0, 0.0002], (len(places), 1)), tip * reach * fade])
    grid = np.arange(40).reshape(2, 20)
    one = topology.strips(grid, closed=False)
    faces = np.concatenate([one, one[:, ::-1]])  # seen from both sides
    return Strip(np.concatenate([places, places]), offset, faces, np.tile(LASH, (40, 1)))


def _outward(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Triangles of a star-shaped solid turned away from the origin."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->i", np.cross(a, b), c)
    return np.where(volume[:, None] >= 0, faces, faces[:, ::-1])
