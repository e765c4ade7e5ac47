"""Landmarks on the bundled head: from places on the unit sphere to triangles of the skin, and back from points in space."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from tdmm_lm import landmarks
from tdmm_lm.anatomy import sphere, topology

# Curves that are loops of the skin: name -> (middle, half-widths of the loop) for the person's left.
LOOPS = {
    "lip_outer": (sphere.MOUTH, sphere.MOUTH_EDGE), "lip_inner": (sphere.MOUTH, sphere.MOUTH_CONTACT),
    "lid": (sphere.EYE, sphere.EYE_MARGIN),
}
SOLID = {"pupil_right": ("eye_right", 0), "pupil_left": ("eye_left", 0), "tongue_tip": ("tongue", -1)}  # region, vertex
ON_SKIN = tuple(name for name in landmarks.NAMES if name not in SOLID)


def locate(skin: topology.Skin, places: Float[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
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


def loop_of(name: str) -> tuple[Float[np.ndarray, "3"], tuple[float, float], bool] | None:
    """Middle, half-widths and whether it is on the right side, of the loop that a landmark lies on; or None."""
    for start, (centre, size) in LOOPS.items():
        if name.startswith(start + "_"):
            return centre, size, name.split("_")[2] == "right"
    return None
