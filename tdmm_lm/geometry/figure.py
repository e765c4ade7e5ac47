"""A body to look at: a rounded bar for every bone of the 22-joint skeleton, coloured by its side.

Each vertex belongs to one joint and turns with it. Left is orange, right is blue, the middle is light grey.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tdmm_lm.motion import body
from tdmm_lm.rigs.skeleton import Skeleton

COLOURS = {"left": (0.93, 0.51, 0.18), "right": (0.20, 0.48, 0.88), "": (0.86, 0.87, 0.88)}  # sRGB
RADII = {  # metres at both ends of the bone that ends at the joint
    "hip": (0.075, 0.075), "knee": (0.078, 0.055), "ankle": (0.055, 0.038), "foot": (0.04, 0.032),
    "spine1": (0.095, 0.09), "spine2": (0.09, 0.095), "spine3": (0.095, 0.1), "neck": (0.06, 0.045),
    "head": (0.045, 0.045), "collar": (0.06, 0.055), "shoulder": (0.055, 0.05), "elbow": (0.046, 0.038),
    "wrist": (0.036, 0.027),
}
TIPS = {  # beyond the last joints: where to, from where, radii
    "head": ((0, 0.1, 0.025), (0, 0.04, 0.015), (0.085, 0.088)),
    "foot": ((0, 0, 0.06), (0, 0, 0), (0.032, 0.026)),
    "wrist": ((0.11, 0, 0), (0.01, 0, 0), (0.027, 0.022)),  # the left one's
}
SECTORS, RINGS = 16, 4  # around a bar, on each of its round ends


@dataclass(frozen=True)
class Figure:
    """Vertices in the place of their joint at rest: metres from it, Y up, facing Z+."""

    points: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    joint: Int[np.ndarray, " vertices"]
    colours: Float[np.ndarray, "vertices 3"]

    def posed(
        self, places: Float[np.ndarray, "joints 3"], turns: Float[np.ndarray, "joints 3 3"]
    ) -> Float[np.ndarray, "vertices 3"]:
        """The vertices in the world for the joints' world places and rotations."""
        return np.einsum("vab,vb->va", turns[self.joint], self.points) + places[self.joint]


def make(skeleton: Skeleton) -> Figure:
    """The figure of one body; bars are as thick on every one."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    joints: list[int] = []
    sides: list[str] = []
    for joint, name in enumerate(body.JOINTS):
        side, _, part = name.rpartition("_")
        if joint and np.linalg.norm(skeleton.offsets[joint]) > 0.01:
            parts.append(_bar(np.zeros(3), skeleton.offsets[joint], *RADII[part]))
            joints.append(body.PARENTS[joint])
            sides.append(side)
        if part in TIPS:
            end, start, radii = TIPS[part]
            mirror = np.array([-1.0 if side == "right" else 1.0, 1, 1])
            parts.append(_bar(np.array(start) * mirror, np.array(end) * mirror, *radii))
            joints.append(joint)
            sides.append(side)
    starts = np.cumsum([0] + [len(points) for points, _ in parts])
    return Figure(
        np.concatenate([points for points, _ in parts]).astype(np.float32),
        np.concatenate([faces + start for (_, faces), start in zip(parts, starts)]),
        np.concatenate([np.full(len(points), joint) for (points, _), joint in zip(parts, joints)]),
        np.concatenate([np.tile(COLOURS[side], (len(points), 1)) for (points, _), side in zip(parts, sides)]),
    )


def _bar(
    start: Float[np.ndarray, " 3"], end: Float[np.ndarray, " 3"], first: float, last: float
) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]]:
    """A closed bar with round ends; triangles look outwards."""
    along = (end - start) / np.linalg.norm(end - start)
    side = np.cross(along, [0, 0, 1] if abs(along[2]) < 0.9 else [1, 0, 0])
    side /= np.linalg.norm(side)
    across = np.cross(along, side)
    around = np.arange(SECTORS) / SECTORS * 2 * np.pi
    circle = np.cos(around)[:, None] * side + np.sin(around)[:, None] * across
    bend = np.arange(1, RINGS + 1) / RINGS * np.pi / 2
    rings = [start + first * (np.sin(a) * circle - np.cos(a) * along) for a in bend]
    rings += [end + last * (np.sin(a) * circle + np.cos(a) * along) for a in bend[::-1]]
    points = np.concatenate([[start - first * along], *rings, [end + last * along]])
    low = 1 + np.arange(SECTORS)
    high = 1 + (np.arange(SECTORS) + 1) % SECTORS
    faces = [np.stack([np.zeros(SECTORS, int), high, low], 1)]
    for ring in range(2 * RINGS - 1):
        a, b = low + ring * SECTORS, high + ring * SECTORS
        faces += [np.stack([a, b, b + SECTORS], 1), np.stack([a, b + SECTORS, a + SECTORS], 1)]
    top, ring = len(points) - 1, (2 * RINGS - 1) * SECTORS
    faces.append(np.stack([np.full(SECTORS, top), low + ring, high + ring], 1))
    return points, np.concatenate(faces)
