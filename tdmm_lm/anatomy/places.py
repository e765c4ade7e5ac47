"""Landmarks on the bundled head: where they lie on the unit sphere, and which triangles of the skin that is."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from tdmm_lm import landmarks
from tdmm_lm.anatomy import sphere, topology

SOLID = {"pupil_right": ("eye_right", 0), "pupil_left": ("eye_left", 0), "tongue_tip": ("tongue", -1)}  # region, vertex
ON_SKIN = tuple(name for name in landmarks.NAMES if name not in SOLID)


def locate(
    skin: topology.Skin, places: Float[np.ndarray, "n 3"]
) -> tuple[Int[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """The triangle of the skin that each place of the sphere lies in, and its weights there.

    Raises:
        ValueError: a place lies in no triangle (behind the lids or below the neck).
    """
    corners = skin.places[skin.faces]
    near = cKDTree(corners.mean(1)).query(places, 40)[1]
    chosen, weights = np.full((len(places), 3), -1), np.zeros((len(places), 3))
    for i, place in enumerate(places):
        share = np.linalg.solve(corners[near[i]].transpose(0, 2, 1), np.broadcast_to(place, (40, 3))[..., None])[..., 0]
        best = int(share.min(1).argmax())
        if share[best].min() < -1e-6:
            raise ValueError(f"head: expected landmark {i} on the skin, found its place in no triangle.")
        chosen[i] = skin.faces[near[i, best]]
        weights[i] = np.maximum(share[best], 0) / np.maximum(share[best], 0).sum()
    return chosen, weights


def carried(
    spread: Float[np.ndarray, "skin 3"], vertices: Int[np.ndarray, "places 3"], weights: Float[np.ndarray, "places 3"]
) -> Float[np.ndarray, "places 2"]:
    """Azimuth and elevation of the landmarks `ON_SKIN` of a mesh that is ``spread`` over the sphere.

    ``vertices`` and ``weights`` embed all of `landmarks.NAMES` in that mesh. Left and right are made to agree.
    """
    chosen = [landmarks.NAMES.index(name) for name in ON_SKIN]
    result = (spread[vertices[chosen]] * weights[chosen][..., None]).sum(1)
    partner = landmarks.mirrored()
    twin = [ON_SKIN.index(landmarks.NAMES[partner[i]]) for i in chosen]
    result = result + sphere.mirrored(result[twin])
    result /= np.linalg.norm(result, axis=1, keepdims=True)
    return np.stack([np.arctan2(result[:, 0], result[:, 2]), np.arcsin(result[:, 1])], 1)
