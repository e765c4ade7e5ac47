"""Landmarks on a new mesh: from a few named seeds to a triangle and three weights for each of the 208 places.

A landmark is found in one of two ways: as the nearest point of the surface (`nearest`), or at a share of the way along
an edge path between vertices (`along`), which is how lips and lids stay on their own side of a closed mouth or eye.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.interpolate import RBFInterpolator

from tdmm_lm import landmarks
from tdmm_lm.rigs import Embedding


def nearest(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    points: Float[np.ndarray, "places 3"],
    candidates: Bool[np.ndarray, "places faces"] | None = None,
) -> Embedding:
    """The point of the surface nearest to each of ``points``, among that place's candidate faces (default: all).

    Closest point on a triangle by its seven regions (Ericson, Real-Time Collision Detection, 2005, 5.1.5), written as
    the best of the clamped interior and the three edges.

    Raises:
        ValueError: a place has no candidate face.
    """
    if candidates is not None and not candidates.any(1).all():
        place = int(np.argmin(candidates.any(1)))
        raise ValueError(f"embed: expected candidate faces for every place, got none for place {place}.")
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    centre = (a + b + c) / 3
    reach = np.sqrt(np.max([((p - centre) ** 2).sum(1) for p in (a, b, c)], axis=0))
    chosen, weights = np.zeros(len(points), int), np.zeros((len(points), 3))
    for i, point in enumerate(np.asarray(points, np.float64)):
        some = np.arange(len(faces)) if candidates is None else np.flatnonzero(candidates[i])
        away = np.linalg.norm(centre[some] - point, axis=1)
        some = some[away - reach[some] <= away.min()]  # no other can be nearer than the nearest centre
        shares = _closest(point, a[some], b[some], c[some])
        gaps = np.einsum("fk,kfc->fc", shares, np.stack([a[some], b[some], c[some]])) - point
        best = int((gaps**2).sum(1).argmin())
        chosen[i], weights[i] = some[best], shares[best]
    return Embedding(faces[chosen].astype(np.int64), weights.astype(np.float32))


def _closest(point: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Float[np.ndarray, "faces 3"]:
    """Barycentric weights of the point of each triangle nearest to ``point``."""
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    area = np.maximum(d00 * d11 - d01**2, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = np.stack([1 - v - w, v, w], 1)
    options = [np.where((inside >= 0).all(1, keepdims=True), inside, np.nan)]
    corners = (a, b, c)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = corners[j] - corners[i]
        share = ((point - corners[i]) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-30)
        share = share.clip(0, 1)
        option = np.zeros_like(inside)
        option[:, i], option[:, j] = 1 - share, share
        options.append(option)
    stacked = np.stack(options)  # (4, faces, 3)
    places = stacked[..., :1] * a + stacked[..., 1:2] * b + stacked[..., 2:] * c
    gaps = np.nan_to_num(((places - point) ** 2).sum(-1), nan=np.inf)
    return stacked[gaps.argmin(0), np.arange(len(a))]


def along(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    stations: Sequence[int],
    shares: Float[np.ndarray, " places"],
) -> Embedding:
    """Places at ``shares`` (0..1 of the arc length) of the shortest edge path through the vertices ``stations``.

    Each lies on an edge: its triangle is one that has this edge, its third weight is zero.

    Raises:
        ValueError: the stations are not connected.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).astype(np.float64)
    size = len(vertices)
    edges, first = np.unique(np.sort(edges, 1), axis=0, return_index=True)
    graph = sparse.coo_matrix((length[first], (edges[:, 0], edges[:, 1])), shape=(size, size)).tocsr()
    path = [int(stations[0])]
    for start, end in itertools.pairwise(stations):
        reach, before = sparse.csgraph.dijkstra(graph, directed=False, indices=start, return_predecessors=True)
        if not np.isfinite(reach[end]):
            raise ValueError(f"embed: expected connected vertices, got no path from {start} to {end}.")
        leg = [int(end)]
        while leg[-1] != start:
            leg.append(int(before[leg[-1]]))
        path += leg[::-1][1:]
    steps = np.linalg.norm(np.diff(vertices[path], axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    triangles, weights = [], []
    for share in np.asarray(shares, np.float64):
        edge = int(np.clip(np.searchsorted(travelled, share * travelled[-1], side="right") - 1, 0, len(steps) - 1))
        part = float(np.clip((share * travelled[-1] - travelled[edge]) / steps[edge], 0, 1))
        ends = path[edge], path[edge + 1]
        face = faces[np.isin(faces, ends).sum(1) == 2][0]
        triangles.append([*ends, int(face[~np.isin(face, ends)][0])])
        weights.append([1 - part, part, 0])
    return Embedding(np.array(triangles, np.int64), np.array(weights, np.float32))


def arc_shares(points: Float[np.ndarray, "places 3"]) -> Float[np.ndarray, " places"]:
    """How far along their polyline the points lie, 0 (first) to 1 (last)."""
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return travelled / travelled[-1]


def warp(
    source: Float[np.ndarray, "seeds 3"], target: Float[np.ndarray, "seeds 3"], points: Float[np.ndarray, "places 3"]
) -> Float[np.ndarray, "places 3"]:
    """``points`` moved by the smoothest map that takes ``source`` to ``target``: a similarity, then a 3D spline.

    The spline's kernel is r, the three-dimensional thin-plate spline (Bookstein 1989; Duchon 1977).

    Raises:
        ValueError: fewer than five seeds, which do not fix such a map.
    """
    if len(source) < 5:
        raise ValueError(f"embed: expected at least 5 seeds, got {len(source)}.")
    scale, turn, shift = similarity(source, target)
    moved, start = scale * points @ turn.T + shift, scale * source @ turn.T + shift
    return moved + RBFInterpolator(start, target - start, kernel="linear", degree=1)(moved)


def similarity(
    source: Float[np.ndarray, "seeds 3"], target: Float[np.ndarray, "seeds 3"]
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Scale, rotation and shift that take ``source`` nearest to ``target`` (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * sign) @ vt
    scale = float((s * sign).sum() / (a**2).sum())
    return scale, turn, target.mean(0) - scale * turn @ source.mean(0)


def embed(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    seeds: Mapping[str, Float[np.ndarray, " 3"]],
    like: Float[np.ndarray, "landmarks 3"],
    candidates: Mapping[str, Bool[np.ndarray, " faces"]] | None = None,
) -> Embedding:
    """All landmarks on a new mesh from the places of some of them.

    Args:
        vertices, faces: the mesh in its neutral pose, any unit.
        seeds: landmark name -> where it lies on this mesh. Ten well spread ones (eye and mouth corners, lip middles,
            nose tip and root, chin) give the rest to a few millimetres; the 68 of the iBUG scheme are plenty.
        like: where the landmarks lie on a head that has them, e.g. ``rig.landmarks.of(rig.template)``.
        candidates: landmark name -> the faces it may lie on; see `halves`. Names left out may lie anywhere.

    Raises:
        ValueError: a seed or candidate of an unknown name, or fewer than five seeds.
    """
    for name in (*seeds, *(candidates or {})):
        if name not in landmarks.NAMES:
            raise ValueError(f"embed: expected landmark names such as {landmarks.NAMES[0]}, got {name!r}.")
    index = [landmarks.NAMES.index(name) for name in seeds]
    target = np.array([seeds[name] for name in seeds], np.float64).reshape(-1, 3)
    points = warp(np.asarray(like, np.float64)[index], target, np.asarray(like, np.float64))
    points[index] = target
    allowed = np.ones((len(landmarks.NAMES), len(faces)), bool)
    for name, mask in (candidates or {}).items():
        allowed[landmarks.NAMES.index(name)] = mask
    return nearest(vertices, faces, points, allowed)


def halves(
    faces: Int[np.ndarray, "faces 3"], move: Float[np.ndarray, "vertices 3"], *, share: float = 0.5
) -> tuple[Bool[np.ndarray, " faces"], Bool[np.ndarray, " faces"]]:
    """Which faces follow a shape and which stay: (moving, still), each without the faces in between.

    ``move`` is a shape's displacement: `jawOpen` tells lower lips from upper, `eyeBlink` upper lids from lower, whether
    or not mouth and eyes are closed in the neutral pose. A face moves if all its corners move downwards by more than
    ``share`` of the 99th percentile of what moves down at all, and stays if none does.

    Raises:
        ValueError: nothing moves down.
    """
    down = -move[:, 1]
    if not (down > 0).any():
        raise ValueError("embed.halves: expected a shape that moves something down, got none.")
    follows = np.asarray(down > share * np.quantile(down[down > 0], 0.99))[faces]
    return np.all(follows, axis=1), ~np.any(follows, axis=1)
