"""Smooth fields on the unit sphere: control points, each with a reach, carry a vector that fades out around them.

Control points come in layers, from a few that reach across the whole head to many small ones at lids and lips.
A field is a sum of Wendland's C2 function (Wendland 1995) of the chord to each point over its reach.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from tdmm_lm.anatomy import sphere, topology


@dataclass(frozen=True)
class Controls:
    """Places on the sphere, left half and middle line first, then mirror images; ``reach`` in chord lengths."""

    places: Float[np.ndarray, "controls 3"]
    reach: Float[np.ndarray, " controls"]
    layer: Int[np.ndarray, " controls"]
    mirror: Int[np.ndarray, " controls"]
    half: int  # how many there are before the mirror images


def controls() -> Controls:
    """The control points of every field, in an order that never changes."""
    face = sphere.direction(0, -8)
    layers = [_strewn(0.62, 1.60, lambda p: np.ones(len(p), bool)), _strewn(0.28, 0.75, lambda p: p @ face > np.cos(1.5))]
    near = lambda p: (  # noqa: E731
        _within(p, sphere.MOUTH, 1.7, topology.MOUTH_LOOPS[-1]) | _within(p, sphere.EYE, 1.9, topology.EYE_LOOPS[-1])
        | (p @ sphere.direction(0, -4) > np.cos(0.22)) | (p @ sphere.direction(97, -43) > np.cos(0.5)) | _within(p, sphere.EAR, 1.0, topology.EAR_LOOPS[-1])
    )
    layers.append(_strewn(0.17, 0.46, lambda p: (p @ face > np.cos(1.45)) | (p @ sphere.NECK > np.cos(0.9))))
    layers.append(_strewn(0.10, 0.28, near))
    fine = [
        _loop(sphere.MOUTH, size, count)
        for size, count in (((0.10, 0.022), 12), ((0.165, 0.05), 20), ((0.197, 0.082), 24), ((0.221, 0.108), 28), ((0.262, 0.155), 28))
    ]
    fine += [_loop(sphere.EYE, size, count) for size, count in (((0.105, 0.050), 16), ((0.130, 0.080), 20), ((0.166, 0.113), 20))]
    fine += [_loop(sphere.NOSTRIL, size, count) for size, count in (((0.001, 0.001), 1), ((0.03, 0.03), 6))]
    fine += [_loop(sphere.EAR, size, count) for size, count in (((0.01, 0.04), 2), ((0.05, 0.12), 10), ((0.10, 0.22), 16), ((0.16, 0.34), 20))]
    layers.append((np.concatenate(fine), 0.15))
    layers.append(_strewn(0.036, 0.11, lambda p: p @ sphere.direction(0, -8) > np.cos(0.2)))
    layers.append((np.concatenate([_past_rim(0.0), _past_rim(0.09), _past_rim(0.18)]), 0.26))
    places = np.concatenate([points for points, _ in layers])
    reach = np.concatenate([np.full(len(points), size) for points, size in layers])
    layer = np.concatenate([np.full(len(points), i) for i, (points, _) in enumerate(layers)])
    places[abs(places[:, 0]) < 1e-6, 0] = 0
    aside = np.flatnonzero(places[:, 0] > 0)
    half = len(places)
    mirror = np.arange(half + len(aside))
    mirror[aside], mirror[half:] = half + np.arange(len(aside)), aside
    return Controls(
        np.concatenate([places, sphere.mirrored(places[aside])]), np.concatenate([reach, reach[aside]]),
        np.concatenate([layer, layer[aside]]), mirror, half,
    )


def basis(control: Controls, places: Float[np.ndarray, "n 3"]) -> sparse.csr_matrix:
    """How much of each control point's vector arrives at each place: (places, controls)."""
    tree = cKDTree(places)
    near = tree.query_ball_point(control.places, control.reach)
    columns = np.repeat(np.arange(len(near)), [len(found) for found in near])
    rows = np.concatenate([np.asarray(found, int) for found in near])
    share = np.linalg.norm(places[rows] - control.places[columns], axis=1) / control.reach[columns]
    value = np.maximum(0, 1 - share) ** 4 * (4 * share + 1)
    return sparse.csr_matrix((value, (rows, columns)), (len(places), len(control.places)))


def symmetric(control: Controls, half: Float[np.ndarray, "half 3"]) -> Float[np.ndarray, "controls 3"]:
    """All vectors of a field that is its own mirror image, from those of the left half and middle line."""
    return np.concatenate([half, sphere.mirrored(half[control.mirror[control.half:]])])


def _within(places: np.ndarray, centre: np.ndarray, factor: float, size: tuple[float, float]) -> np.ndarray:
    return ((sphere.inward(centre, places) / np.array(size)) ** 2).sum(1) < factor**2


def _strewn(gap: float, reach: float, where: object) -> tuple[np.ndarray, float]:
    assert callable(where)
    clear = lambda p: np.where(where(p) & ~sphere.below_neck(p), gap, np.inf)  # noqa: E731
    return topology.strew(clear, np.zeros((1, 3)), fine=0.0, counts=(0, int(250 / gap**2))), reach


def _past_rim(margin: float) -> np.ndarray:
    """Points around the neck, ``margin`` above its lower edge."""
    flat = sphere.inward(sphere.NECK, sphere.neck_rim(13))
    points = sphere.outward(sphere.NECK, flat * (1 + margin / np.linalg.norm(flat, axis=1, keepdims=True)))
    points[[0, -1], 0] = 0
    return points


def _loop(centre: np.ndarray, size: tuple[float, float], count: int) -> np.ndarray:
    """Points on an ellipse; of one around the middle line, those of the left half."""
    points = sphere.outward(centre, sphere.ellipse(size, count))
    return points[points[:, 0] > -1e-6]
