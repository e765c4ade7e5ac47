"""The skin of the bundled head as vertices and triangles over the unit sphere, symmetric, the same on every machine.

Loops of vertices run around mouth, eyes, nostrils and ears; between them points are strewn as densely as the
place needs. The left half is laid out and mirrored; vertices of the middle line belong to both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull, cKDTree

from tdmm_lm.anatomy import sphere

LIPS, LIDS = 72, 48  # vertices in a loop around the mouth (whole) and around an eye

# Half-widths of the loops around the mouth, from the back of the mouth outwards.
MOUTH_LOOPS = (
    (0.030, 0.004), (0.065, 0.012), (0.100, 0.022), (0.135, 0.036), sphere.MOUTH_HOLE,
    (0.176, 0.061), (0.187, 0.072), (0.197, 0.082), sphere.MOUTH_CONTACT, (0.213, 0.099), (0.221, 0.108),
    (0.230, 0.118), (0.240, 0.129), (0.251, 0.142), sphere.MOUTH_EDGE, (0.273, 0.168), (0.287, 0.183), (0.305, 0.200),
)
# Loops around an eye, from inside the lids outwards.
EYE_LOOPS = (
    (0.060, 0.020), (0.085, 0.036), sphere.EYE_HOLE, (0.112, 0.058), (0.118, 0.065), (0.124, 0.072),
    sphere.EYE_MARGIN, (0.140, 0.090), (0.152, 0.101), (0.166, 0.113), (0.182, 0.126), (0.200, 0.140),
)
NOSTRIL_LOOPS = tuple((radius, radius) for radius in (0.012, 0.024, sphere.NOSTRIL_HOLE, 0.042, 0.050, 0.058))
EAR_LOOPS = tuple((0.012 + 0.016 * i, 0.03 + 0.034 * i) for i in range(12))


@dataclass(frozen=True)
class Skin:
    """Vertices on the unit sphere, triangles counter-clockwise from outside.

    ``mouth``, ``eyes`` and ``nostrils`` (left, right) hold the vertices of loops, from inside outwards, each loop
    counter-clockwise as seen from the front from its corner on the person's left (on the right side mirrored:
    clockwise from the right). ``rim`` is the lower end of the neck.
    """

    places: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    mirror: Int[np.ndarray, " vertices"]
    mouth: Int[np.ndarray, "loops lips"]
    eyes: tuple[Int[np.ndarray, "loops lids"], Int[np.ndarray, "loops lids"]]
    nostrils: tuple[Int[np.ndarray, "loops nostril"], Int[np.ndarray, "loops nostril"]]
    rim: Int[np.ndarray, " rim"]


# Where the hair begins: elevation by azimuth (0 in front, 180 behind), degrees.
HAIRLINE = ((0, 51), (25, 50), (40, 45), (55, 36), (66, 20), (78, 10), (92, 9), (108, -12), (130, -34), (180, -40))


def hair_border(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """How far each place lies inside the hair, degrees of elevation; negative on bare skin."""
    azimuth = np.degrees(np.arctan2(abs(places[:, 0]), places[:, 2]))
    line = np.interp(azimuth, *np.transpose(HAIRLINE))
    return np.degrees(np.arcsin(np.clip(places[:, 1], -1, 1))) - line


def lattice(count: int) -> Float[np.ndarray, "points 3"]:
    """Fibonacci's even points on the left half sphere, about half of ``count``."""
    step = np.arange(count) + 0.5
    height, turn = 1 - 2 * step / max(count, 1), np.pi * (1 + 5**0.5) * step
    flat = np.sqrt(1 - height**2)
    points = np.stack([flat * np.sin(turn), height, flat * np.cos(turn)], 1)
    return points[points[:, 0] > 0]


def strew(
    spacing: Callable[[np.ndarray], np.ndarray], taken: Float[np.ndarray, "taken 3"], *, fine: float = 0.05,
    counts: tuple[int, int] = (70000, 8000),
) -> Float[np.ndarray, "points 3"]:
    """Points of the left half sphere, each about ``spacing`` (radians, of the place) from all others.

    The middle line is filled first, then places with a spacing below ``fine``, then the rest; the last two choose from
    lattices of ``counts`` points on the whole sphere. Places with infinite spacing stay bare.
    """
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    middle = np.stack([np.zeros_like(angle), np.sin(angle), np.cos(angle)], 1)
    dense, sparse = (lattice(count) for count in counts)
    dense, sparse = dense[spacing(dense) < fine], sparse[spacing(sparse) >= fine]
    found = np.empty((0, 3))
    for points, share in ((middle, 0.6), (dense, 1.0), (sparse, 1.0)):
        gap = spacing(points) * share
        kept = np.isfinite(gap) & ((points[:, 0] > 0.6 * gap) | (points is middle))  # else too near its mirror image
        points, least = points[kept], 2 * np.sin(np.minimum(gap[kept], 2) / 2)
        alive = cKDTree(taken).query(points)[0] > 0.8 * least
        if len(found):
            alive &= cKDTree(found).query(points)[0] > 0.8 * least
        points, least = points[alive], least[alive]
        alive, accepted = np.ones(len(points), bool), []
        for index, near in enumerate(cKDTree(points).query_ball_point(points, least)):
            if alive[index]:
                alive[near] = False
                accepted.append(index)
        found = np.concatenate([found, points[accepted]])
    return found


def spacing(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """How far apart vertices stand; infinite inside the loops and below the neck."""
    gap = np.full(len(places), 0.085)
    gap[abs(hair_border(places)) < 6] = 0.035
    for centre, near, reach, core in (
        (sphere.direction(0, -8), 0.030, 0.9, 0.50), (sphere.direction(0, -8), 0.017, 0.16, 0.17),
        (sphere.NOSTRIL, 0.016, 0.5, 0.03), (sphere.EYE, 0.024, 0.9, 0.26), (sphere.MOUTH, 0.030, 0.9, 0.32),
        (sphere.EAR, 0.050, 0.5, 0.42), (sphere.NECK, 0.055, 0.9, 0.9),
    ):
        away = np.arccos(np.clip(places @ centre, -1, 1))
        gap = np.minimum(gap, near + 0.10 * np.maximum(0, away - core) / reach * 1.4)
    for centre, loops in (
        (sphere.MOUTH, MOUTH_LOOPS), (sphere.EYE, EYE_LOOPS), (sphere.NOSTRIL, NOSTRIL_LOOPS), (sphere.EAR, EAR_LOOPS)
    ):
        flat = sphere.inward(centre, places) / np.array(loops[-1])
        gap[(flat**2).sum(1) < 1] = np.inf
    gap[sphere.below_neck(places, 0.03)] = np.inf
    return gap


def skin() -> Skin:
    """The whole layout, in about a tenth of a second."""
    quarter = LIPS // 4  # steps from the mouth's corner to the middle line
    around = np.arange(-quarter, quarter + 1)  # the left half of a loop around the mouth, bottom to top
    mouth = np.stack([sphere.outward(sphere.MOUTH, sphere.ellipse(size, LIPS)[around]) for size in MOUTH_LOOPS])
    mouth[:, [0, -1], 0] = 0
    blocks = [mouth]
    for centre, loops, count in (
        (sphere.EYE, EYE_LOOPS, LIDS), (sphere.NOSTRIL, NOSTRIL_LOOPS, 20), (sphere.EAR, EAR_LOOPS, 36)
    ):
        blocks.append(np.stack([sphere.outward(centre, sphere.ellipse(size, count)) for size in loops]))
    blocks.append(sphere.neck_rim(33)[None])
    laid = np.concatenate([block.reshape(-1, 3) for block in blocks])
    left = np.concatenate([laid, strew(spacing, laid)])

    aside = np.flatnonzero(left[:, 0] > 0)  # the others, on the middle line, are their own mirror images
    places = np.concatenate([left, sphere.mirrored(left[aside])])
    mirror = np.arange(len(places))
    mirror[aside] = len(left) + np.arange(len(aside))
    mirror[len(left):] = aside

    owner = np.full(len(left), -1)
    grids: list[np.ndarray] = []
    bands, start = [], 0
    for number, block in enumerate(blocks):
        grid = start + np.arange(block.shape[0] * block.shape[1]).reshape(block.shape[:2])
        owner[grid.ravel()] = number
        grids.append(grid)
        bands.append(strips(grid, closed=number in (1, 2, 3)))
        start += grid.size
    throat = grids[0][0]
    bands.append(strips(np.stack([throat[: quarter + 1], throat[: quarter - 1 : -1]]), closed=False))
    for closed in grids[2:4]:  # nostril and ear end in a fan; behind the lids the skin is open
        first = closed[0]
        bands.append(np.stack([np.full(len(first) - 2, first[0]), first[1:-1], first[2:]], 1))

    # Of the loops only the outermost take part; the convex hull of points on a sphere is their Delaunay triangulation.
    part = np.concatenate([*(grid[-1] for grid in grids), np.arange(start, len(left))])
    part = np.union1d(part, mirror[part])
    between = part[ConvexHull(places[part]).simplices]
    between = between[(between < len(left)).all(1)]
    between = between[~((owner[between[:, 0]] >= 0) & (owner[between] == owner[between[:, :1]]).all(1))]
    half = outwards(places, np.concatenate([between, *bands]))
    faces = np.concatenate([half, mirror[half][:, ::-1]])

    whole = np.empty((len(MOUTH_LOOPS), LIPS), int)
    whole[:, around] = grids[0]
    whole[:, quarter : 3 * quarter + 1] = mirror[grids[0]][:, ::-1]
    eyes, nostrils = ((grid, mirror[grid]) for grid in grids[1:3])
    return Skin(places, faces, mirror, whole, eyes, nostrils, np.union1d(grids[4], mirror[grids[4]]))


def strips(grid: Int[np.ndarray, "loops count"], *, closed: bool) -> Int[np.ndarray, "faces 3"]:
    """Two triangles for every cell between neighbouring loops."""
    onward = np.roll(grid, -1, 1) if closed else grid[:, 1:]
    here = grid if closed else grid[:, :-1]
    a, b, c, d = here[:-1].ravel(), onward[:-1].ravel(), here[1:].ravel(), onward[1:].ravel()
    triangles = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    return triangles[(triangles[:, 0] != triangles[:, 1]) & (triangles[:, 1] != triangles[:, 2])]


def outwards(places: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "faces 3"]:
    """Triangles turned so that they run counter-clockwise seen from outside; those without area are left out."""
    a, b, c = (places[faces[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->i", np.cross(a, b), c)
    faces = np.where(volume[:, None] > 0, faces, faces[:, ::-1])
    return faces[abs(volume) > 1e-12]
