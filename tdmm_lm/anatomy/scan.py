"""The scanned head (ICT-FaceKit, MIT, USC ICT 2020), spread over the same unit sphere as the bundled head.

Its skin with the bags behind lips and lids is one sheet with one hole, at the shoulders. The sheet is pulled over the
sphere like a net of springs, lips and lids fixed to the open loops of `tdmm_lm.anatomy.sphere`. Used for fitting alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from scipy.sparse.linalg import splu

from tdmm_lm.anatomy import sphere

SKIN, FACE, OUTSIDE, EYE_BAGS = 14062, 9409, 11248, 13294  # vertices below: the sheet, the face, all of it but the bags
TEETH = (17039, 21451)
SOFT = 0.25  # springs of lids against those of other skin
CENTRE = np.array([0.0, 1.5, 0.0])  # cm, from where directions are read


@dataclass(frozen=True)
class Scan:
    """Centimetres. ``sphere`` holds a place on the unit sphere for each of the first `SKIN` vertices."""

    neutral: Float[np.ndarray, "vertices 3"]
    shapes: dict[str, Float[np.ndarray, "vertices 3"]]
    identities: Float[np.ndarray, "modes vertices 3"]
    quads: Int[np.ndarray, "faces 4"]
    sphere: Float[np.ndarray, "skin 3"]
    lids: tuple[Int[np.ndarray, " ring"], ...]  # loops around the left eye, from the hole outwards
    lips: tuple[Int[np.ndarray, " ring"], ...]


def read(folder: Path) -> Scan:
    """The scanned head from ``folder/scanned_head``.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = folder / "scanned_head" / "ict_facekit_full.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the scanned head (ICT-FaceKit), found none; set TDMM_DATA.")
    with np.load(path, allow_pickle=False) as archive:
        neutral = archive["neutral"].astype(float)
        quads = archive["faces"].astype(int)
        shapes = dict(zip(archive["expr_names"].tolist(), archive["expr_deltas"]))
        identities = archive["id_deltas"]
    springs = _springs(quads[quads.max(1) < SKIN])
    lids, lips = _rings(neutral, quads, springs)
    return Scan(neutral, shapes, identities, quads, _spread(neutral, quads, springs, lids, lips), lids, lips)


def _sides(quads: Int[np.ndarray, "faces 4"]) -> Int[np.ndarray, "sides 2"]:
    """Directed edges of triangles (fourth index -1) and quads."""
    triangle = quads[:, 3] < 0
    last = np.where(triangle, quads[:, 2], quads[:, 3])
    pairs = [quads[:, :2], quads[:, 1:3], np.stack([last, quads[:, 0]], 1), quads[~triangle][:, 2:]]
    return np.concatenate(pairs)


def _springs(quads: Int[np.ndarray, "faces 4"]) -> sparse.csr_matrix:
    sides = np.unique(np.sort(_sides(quads), 1), axis=0)
    half = sparse.coo_matrix((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), (SKIN, SKIN))
    return (half + half.T).tocsr()


def _holes(quads: Int[np.ndarray, "faces 4"]) -> list[Int[np.ndarray, " ring"]]:
    """Boundary loops, each in order."""
    sides = _sides(quads)
    known = {(a, b) for a, b in sides.tolist()}
    onward = {a: b for a, b in sides.tolist() if (b, a) not in known}
    loops = []
    while onward:
        first, here = onward.popitem()
        loop = [first]
        while here != first:
            loop.append(here)
            here = onward.pop(here)
        loops.append(np.array(loop))
    return loops


def _ordered(neutral: Float[np.ndarray, "vertices 3"], ring: Int[np.ndarray, " ring"]) -> Int[np.ndarray, " ring"]:
    """A loop of vertices, counter-clockwise as seen from the front, from its corner on the person's left."""
    x, y = neutral[ring, 0], neutral[ring, 1]
    if ((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) < 0:
        ring, x = ring[::-1], x[::-1]
    return np.roll(ring, -int(x.argmax()))


def _rings(
    neutral: Float[np.ndarray, "vertices 3"], quads: Int[np.ndarray, "faces 4"], springs: sparse.csr_matrix
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Edge loops around the left eye and the mouth, from the hole outwards, each in order where it is a clean loop."""
    holes = _holes(quads[quads.max(1) < OUTSIDE])
    eye = next(hole for hole in holes if neutral[hole, 0].min() > 0)
    mouth = next(hole for hole in holes if abs(neutral[hole, 0].mean()) < 0.1 and neutral[hole, 2].min() > 5)
    found = []
    for hole, count in ((eye, 6), (mouth, 16)):
        rings, inside = [_ordered(neutral, hole)], np.zeros(SKIN, bool)
        inside[hole] = inside[FACE:] = True
        while len(rings) < count:
            # the next loop out: neighbours not yet inside, walked along their own springs
            seen = np.asarray(springs[rings[-1]].sum(0)).ravel() > 0
            new = np.flatnonzero(seen & ~inside)
            inside[new] = True
            loops = _holes(quads[(quads.max(1) < OUTSIDE) & ~_within(quads, inside)])
            rings.append(_ordered(neutral, max(loops, key=lambda loop: np.isin(loop, new).sum())))
        found.append(tuple(rings))
    return found[0], found[1]


def _within(quads: Int[np.ndarray, "faces 4"], inside: np.ndarray) -> np.ndarray:
    """Which faces have all their corners in the set."""
    rest = np.zeros(quads.max() + 1 - len(inside), bool)
    return np.concatenate([inside, rest, [True]])[quads].all(1)  # the last is index -1 of a triangle


def _spread(
    neutral: Float[np.ndarray, "vertices 3"],
    quads: Int[np.ndarray, "faces 4"],
    springs: sparse.csr_matrix,
    lids: tuple[np.ndarray, ...],
    lips: tuple[np.ndarray, ...],
) -> Float[np.ndarray, "skin 3"]:
    """The sheet on the sphere: a linear solve for springs pulled towards plain directions, then normalised."""
    plain = neutral[:SKIN] - CENTRE
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    pull = np.zeros(SKIN)
    pull[:OUTSIDE] = 0.03
    opposite = sphere.mirrored(neutral[:SKIN])
    twin = _nearest(neutral[:SKIN], opposite)
    for centre, radius in ((sphere.EYE, 0.3), (sphere.MOUTH, 0.4), (sphere.NOSTRIL, 0.16), (sphere.EAR, 0.45)):
        for place in (centre, sphere.mirrored(centre[None])[0]):
            pull[plain @ place > np.cos(radius)] = 0
    target = plain * pull[:, None]
    fixed: dict[int, np.ndarray] = {}
    for centre, ring, size in (
        (sphere.MOUTH, lips[0], sphere.MOUTH_HOLE), (sphere.MOUTH, lips[7], sphere.MOUTH_CONTACT),
        (sphere.MOUTH, lips[13], sphere.MOUTH_EDGE),
    ):
        places = sphere.outward(centre, _angled(neutral, ring, size))
        fixed |= dict(zip(ring.tolist(), places))
    soft = np.zeros(SKIN, bool)
    soft[EYE_BAGS:] = True
    for ring in lids:
        soft[ring] = soft[twin[ring]] = True
    ease = sparse.diags(np.where(soft, SOFT, 1.0))  # weak springs give way: the lids become wide
    springs = ease @ springs @ ease
    held = np.array(sorted(fixed))
    free = np.setdiff1d(np.arange(SKIN), held)
    places = np.zeros((SKIN, 3))
    places[held] = np.array([fixed[i] for i in held.tolist()])
    system = sparse.diags(np.asarray(springs.sum(1)).ravel() + pull) - springs
    right = target[free] - system[free][:, held] @ places[held]
    places[free] = splu(system[free][:, free].tocsc()).solve(right)
    places = (places + sphere.mirrored(places[twin])) / 2
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    left = places[:, 0] > 0
    places[left] = _magnified(_opened(places, lids, neutral), sphere.NOSTRIL)[left]
    places[~left] = sphere.mirrored(places[twin])[~left]
    middle = abs(neutral[:SKIN, 0]) < 1e-4
    places[middle, 0] = 0
    return places / np.linalg.norm(places, axis=1, keepdims=True)


def _opened(
    places: Float[np.ndarray, "skin 3"], lids: tuple[np.ndarray, ...], neutral: Float[np.ndarray, "vertices 3"]
) -> Float[np.ndarray, "skin 3"]:
    """The surroundings of the left eye moved along rays from its middle, until two lid loops lie on their ellipses."""
    plane = sphere.inward(sphere.EYE, places)
    plane -= plane[lids[0]].mean(0) * np.clip(2 - np.linalg.norm(plane, axis=1, keepdims=True) / 0.15, 0, 1)
    angle, radius = np.arctan2(plane[:, 1], plane[:, 0]), np.linalg.norm(plane, axis=1)
    far = 0.30
    inner = lids[2][np.argmin(neutral[lids[2], 0])]
    corners = np.array([angle[lids[2][0]], angle[inner] % (2 * np.pi)])  # brought to 0 and pi, less so further out
    shift = np.interp(angle, corners, corners - [0, np.pi], period=2 * np.pi)
    turned = angle - shift * np.clip((far - radius) / (far - sphere.EYE_MARGIN[0]), 0, 1)
    knots_from, knots_to = [np.zeros(len(places))], [np.zeros(len(places))]
    for ring, size in ((lids[0], sphere.EYE_HOLE), (lids[4], sphere.EYE_MARGIN)):
        order = np.argsort(angle[ring])
        knots_from.append(np.interp(angle, angle[ring][order], radius[ring][order], period=2 * np.pi))
        knots_to.append(1 / np.hypot(np.cos(turned) / size[0], np.sin(turned) / size[1]))
    knots_from.append(np.full(len(places), far))
    knots_to.append(np.full(len(places), far))
    moved = radius.copy()
    for low, high, new_low, new_high in zip(knots_from, knots_from[1:], knots_to, knots_to[1:]):
        inside = (radius >= low) & (radius < high)
        moved[inside] = (new_low + (radius - low) / (high - low) * (new_high - new_low))[inside]
    return sphere.outward(sphere.EYE, np.stack([np.cos(turned), np.sin(turned)], 1) * moved[:, None])


def _magnified(places: Float[np.ndarray, "skin 3"], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, "skin 3"]:
    """The surroundings of a place widened smoothly, 2.8 times in its middle, not at all 0.08 away."""
    for width in (0.036,):
        plane = sphere.inward(centre, places)
        near = np.exp(-(plane**2).sum(1, keepdims=True) / width**2)
        places = sphere.outward(centre, plane * (1 + 1.8 * near))
    return places


def _nearest(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return cKDTree(points).query(queries)[1]


def _angled(neutral: np.ndarray, ring: np.ndarray, size: tuple[float, float]) -> Float[np.ndarray, "ring 2"]:
    """The ring on an ellipse, corners at its ends, evenly by arc length between them."""
    points = neutral[ring]
    step = np.linalg.norm(np.roll(points, -1, 0) - points, axis=1)
    along = np.concatenate([[0], np.cumsum(step)])
    other = int(points[:, 0].argmin())
    upper, lower = along[other], along[-1] - along[other]
    angle = np.where(along[:-1] <= upper, along[:-1] / upper * np.pi, np.pi + (along[:-1] - upper) / lower * np.pi)
    return np.stack([size[0] * np.cos(angle), size[1] * np.sin(angle)], 1)
