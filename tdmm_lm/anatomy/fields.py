"""Smooth fields on the unit sphere: control points, each with a reach, carry a vector that fades out around them.

Control points come in layers, from a few that reach across the whole head to many small ones at lids and lips.
A field is a sum of Wendland's C2 function (Wendland 1995) of the chord to each point over its reach.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

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


def _near(places: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    return places @ centre > np.cos(radius)


def _within(places: np.ndarray, centre: np.ndarray, size: tuple[float, float], factor: float) -> np.ndarray:
    return ((sphere.inward(centre, places) / np.array(size)) ** 2).sum(1) < factor**2


def _whole(places: np.ndarray) -> np.ndarray:
    return np.ones(len(places), bool)


def _front(places: np.ndarray) -> np.ndarray:
    return _near(places, FACE, 1.5)


def _front_and_neck(places: np.ndarray) -> np.ndarray:
    return _near(places, FACE, 1.45) | _near(places, sphere.NECK, 0.9)


def _features(places: np.ndarray) -> np.ndarray:
    """Around mouth, eyes and nose, on the ears and behind the jaw's angle."""
    loops = ((sphere.MOUTH, topology.MOUTH_LOOPS, 1.7), (sphere.EYE, topology.EYE_LOOPS, 1.9),
             (sphere.EAR, topology.EAR_LOOPS, 1.0))
    inside = _near(places, sphere.direction(0, -4), 0.22) | _near(places, sphere.direction(97, -43), 0.5)
    for centre, sizes, factor in loops:
        inside |= _within(places, centre, sizes[-1], factor)
    return inside


def _nose(places: np.ndarray) -> np.ndarray:
    return _near(places, FACE, 0.2)


FACE = sphere.direction(0, -8)
STREWN = (  # layers of points: spacing and reach, radians, and where
    (0.62, 1.60, _whole), (0.28, 0.75, _front), (0.17, 0.46, _front_and_neck), (0.10, 0.28, _features),
    (0.036, 0.11, _nose),
)
LOOP_REACH = 0.15
LOOPS = (  # points on ellipses: middle, half-widths, how many around
    (sphere.MOUTH, (0.10, 0.022), 12), (sphere.MOUTH, (0.165, 0.05), 20), (sphere.MOUTH, (0.197, 0.082), 24),
    (sphere.MOUTH, (0.221, 0.108), 28), (sphere.MOUTH, (0.262, 0.155), 28),
    (sphere.EYE, (0.105, 0.050), 16), (sphere.EYE, (0.130, 0.080), 20), (sphere.EYE, (0.166, 0.113), 20),
    (sphere.NOSTRIL, (0.03, 0.03), 6),
    (sphere.EAR, (0.01, 0.04), 2), (sphere.EAR, (0.05, 0.12), 10), (sphere.EAR, (0.10, 0.22), 16),
    (sphere.EAR, (0.16, 0.34), 20),
)


@cache
def controls() -> Controls:
    """The control points of every field, in an order that never changes."""
    layers = [(_strewn(gap, where), reach) for gap, reach, where in STREWN]
    loops = [_loop(centre, size, count) for centre, size, count in LOOPS]
    layers.append((np.concatenate(loops), LOOP_REACH))
    layers.append((np.concatenate([_past_rim(margin) for margin in (0.0, 0.09, 0.18)]), 0.26))
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


def _strewn(gap: float, where: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    def clear(places: np.ndarray) -> np.ndarray:
        return np.where(where(places) & ~sphere.below_neck(places), gap, np.inf)

    return topology.strew(clear, np.zeros((1, 3)), fine=0.0, counts=(0, int(100 / gap**2)))


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
