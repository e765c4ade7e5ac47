"""Landmarks on the bundled head: where they lie on the unit sphere, and which triangles of the skin that is."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from tdmm_lm import landmarks
from tdmm_lm.anatomy import sphere, topology

# Curves that are loops of the skin: name -> (middle, half-widths of the loop) for the person's left.
LOOPS = {
    "lip_outer": (sphere.MOUTH, sphere.MOUTH_EDGE), "lip_inner": (sphere.MOUTH, sphere.MOUTH_CONTACT),
    "lid": (sphere.EYE, sphere.EYE_MARGIN),
}
SOLID = {"pupil_right": ("eye_right", 0), "pupil_left": ("eye_left", 0), "tongue_tip": ("tongue", -1)}  # region, vertex
# The 68 places that the scan names, by MediaPipe's index (jaw, brows, nose, eyes, mouth).
IBUG = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)
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


def fit(
    skin: topology.Skin, surface: Float[np.ndarray, "vertices 3"], marks: Float[np.ndarray, "68 3"], canonical: Path
) -> Float[np.ndarray, "places 2"]:
    """Azimuth and elevation on the sphere of every landmark on the skin, whose vertices lie at ``surface`` (metres).

    ``marks`` are the places of the 68 usual landmarks on the sphere. MediaPipe's canonical face is bent onto the head
    by thin plates through them; each landmark goes to the nearest skin, those of lips and lids to the nearest point of
    their own loop. Left and right are made to agree.
    """
    rows = [line.split()[1:4] for line in canonical.read_text().splitlines() if line.startswith("v ")]
    model = np.array(rows, float) / 100
    anchors = surface[cKDTree(skin.places).query(marks)[1]]
    bend = RBFInterpolator(model[list(IBUG)], anchors, kernel="thin_plate_spline", smoothing=1e-7)
    outside = skin.places @ sphere.NECK < 0.9
    for loops, count in ((skin.mouth, 8), (skin.eyes[0], 6), (skin.eyes[1], 6)):
        outside[loops[:count].ravel()] = False
    dense = np.concatenate([surface[skin.faces].mean(1), surface])
    dense_places = np.concatenate([skin.places[skin.faces].mean(1), skin.places])
    usable = np.concatenate([outside[skin.faces].all(1), outside])
    tree = cKDTree(dense[usable])
    result = np.zeros((len(ON_SKIN), 3))
    for i, name in enumerate(ON_SKIN):
        point = bend(model[[landmarks.MEDIAPIPE[name]]])[0]
        loop = _loop_of(name)
        if loop is None:
            result[i] = dense_places[usable][tree.query(point)[1]]
            continue
        centre, size, right = loop
        curve = sphere.outward(centre, sphere.ellipse(size, 720))
        half = np.sin(np.arange(720) * np.pi / 360) * (1 if "upper" in name else -1) > -1e-9
        curve = curve[half]
        if right:
            curve = sphere.mirrored(curve)
        triangle, share = locate(skin, curve * (1 - 1e-9))
        result[i] = curve[np.linalg.norm((surface[triangle] * share[..., None]).sum(1) - point, axis=1).argmin()]
    partner = landmarks.mirrored()
    twin = [ON_SKIN.index(landmarks.NAMES[partner[landmarks.NAMES.index(name)]]) for name in ON_SKIN]
    result = result + sphere.mirrored(result[twin])
    result /= np.linalg.norm(result, axis=1, keepdims=True)
    return np.stack([np.arctan2(result[:, 0], result[:, 2]), np.arcsin(result[:, 1])], 1)


def _loop_of(name: str) -> tuple[Float[np.ndarray, "3"], tuple[float, float], bool] | None:
    """Middle, half-widths and whether it is on the right side, of the loop that a landmark lies on; or None."""
    for start, (centre, size) in LOOPS.items():
        if name.startswith(start + "_"):
            return centre, size, name.split("_")[2] == "right"
    return None
