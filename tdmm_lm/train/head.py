"""Fit the bundled head's numbers to the scanned head: ``tdmm train recipes/head.yaml``.

Control points carry smooth fields over a sphere; each field is one regularised least-squares problem against the scan
spread over the same sphere: the neutral face, the ARKit shapes (one side, then mirrored), some identities.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from tdmm_lm import bundle, files, landmarks
from tdmm_lm.anatomy import assemble, fields, places, scan, sphere
from tdmm_lm.anatomy.colours import smooth
from tdmm_lm.config import Settings as Base
from tdmm_lm.report import figure, report
from tdmm_lm.rigs import head as rig_head

SOURCE = "ICT-FaceKit light, MIT, USC ICT 2020"


class Settings(Base):
    """How the head is fitted. Lengths in metres."""

    identities: int = 10
    points_a_shape: tuple[int, ...] = (50, 80, 120)  # control points that one shape may use; more only while needed
    good: float = 0.00025  # mean error below which a shape gets no more points
    least_motion: float = 0.0002  # control points whose surroundings move less are left out
    ridge_neutral: float = 2e-3
    ridge_shape: float = 5e-3
    ridge_identity: float = 5e-2
    lip_weight: float = 3.0
    lid_weight: float = 4.0
    gap_weight: float = 20.0  # of the distance between the lips, and between the lids
    lid_overlap: float = 0.0003  # how far the upper lid goes past the lower one in a blink
    lip_seal: float = 0.0007  # how far each lip is pressed beyond where the scan's lips meet


class Fitter:
    """Least squares on the scan's skin: the weighted basis, whole and folded for symmetric fields."""

    def __init__(self, head: scan.Scan, settings: Settings) -> None:
        self.control = fields.controls()
        self.gap_weight = settings.gap_weight
        self.places = head.sphere[: scan.OUTSIDE]
        self.basis = fields.basis(self.control, self.places).toarray()
        self.twin = cKDTree(head.neutral[: scan.SKIN]).query(sphere.mirrored(head.neutral[: scan.SKIN]))[1]
        self.weight = np.ones(scan.OUTSIDE)
        for ring in head.lips:
            self.weight[ring] = settings.lip_weight
        for ring in head.lids:
            self.weight[ring] = self.weight[self.twin[ring]] = settings.lid_weight
        self.weight[sphere.below_neck(self.places, -0.05)] = 0
        for nostril in (sphere.NOSTRIL, sphere.NOSTRIL * [-1, 1, 1]):  # what lies deep inside would only disturb
            away = np.linalg.norm(sphere.inward(nostril, self.places), axis=1)
            self.weight *= 0.02 + 0.98 * smooth(away, 0.024, 0.038)
        above, below = np.array([
            (ring[i], ring[-i]) for ring in (*head.lips[2:11], *head.lids[:5]) for i in range(1, len(ring) // 2)
        ]).T
        self.pair = sparse.csr_matrix((
            np.tile([1.0, -1.0], len(above)), (np.repeat(np.arange(len(above)), 2), np.stack([above, below], 1).ravel())
        ), (len(above), scan.OUTSIDE))  # from lower to upper lip, or lid: what must close
        behind = np.arange(self.control.half, len(self.control.places))
        self.folded = {}
        for sign in (1, -1):
            fold = self.basis[:, : self.control.half].copy()
            fold[:, self.control.mirror[behind]] += sign * self.basis[:, behind]
            self.folded[sign] = fold
        self.folded[-1][:, self.control.places[: self.control.half, 0] == 0] = 0

    def symmetric(self, target: Float[np.ndarray, "skin 3"], used: Int[np.ndarray, " used"], ridge: float) -> np.ndarray:
        """Vectors of the left half's control points ``used``."""
        return np.stack([
            self._solve(self.folded[sign][:, used], target[:, axis], ridge) for axis, sign in enumerate((-1, 1, 1))
        ], 1)

    def one_sided(self, target: Float[np.ndarray, "skin 3"], used: Int[np.ndarray, " used"], ridge: float) -> np.ndarray:
        return self._solve(self.basis[:, used], target, ridge)

    def _solve(self, columns: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
        left, between = (columns * self.weight[:, None]).T, self.pair @ columns
        squares = left @ columns + self.gap_weight * between.T @ between + ridge * np.eye(columns.shape[1])
        return np.linalg.solve(squares, left @ target + self.gap_weight * between.T @ (self.pair @ target))

    def shape(
        self, target: Float[np.ndarray, "skin 3"], *, one_sided: bool, settings: Settings
    ) -> tuple[Int[np.ndarray, " used"], Float[np.ndarray, "used 3"]]:
        """The control points a shape needs most, and their vectors."""
        solve: Callable[..., np.ndarray] = self.one_sided if one_sided else self.symmetric
        motion = np.linalg.norm(target, axis=1) * self.weight
        around = (self.basis.T @ motion) / np.maximum(self.basis.T @ self.weight, 1e-9)
        used = np.flatnonzero(around > settings.least_motion)
        if not one_sided:
            used = used[used < self.control.half]
        values = solve(target, used, settings.ridge_shape)
        power = np.linalg.norm(values, axis=1) * np.sqrt((self.basis[:, used] ** 2 * self.weight[:, None]).sum(0))
        ranked = used[np.argsort(-power)]
        for count in settings.points_a_shape:
            used = np.sort(ranked[:count])
            values = solve(target, used, settings.ridge_shape)
            if self.error(target, used, values, one_sided=one_sided).mean() < settings.good:
                break
        return used, values

    def error(
        self, target: Float[np.ndarray, "skin 3"], used: np.ndarray, values: np.ndarray, *, one_sided: bool
    ) -> Float[np.ndarray, " moving"]:
        """Distances to the scan of all its vertices that move by half a millimetre or more, metres."""
        vectors = np.zeros((len(self.control.places) if one_sided else self.control.half, 3))
        vectors[used] = values
        field = self.basis @ (vectors if one_sided else fields.symmetric(self.control, vectors))
        moving = (np.linalg.norm(target, axis=1) > 5e-4) & (self.weight > 0.5)
        return np.linalg.norm(field - target, axis=1)[moving]


def main(settings: Settings, out: Path) -> None:
    """Fit and write the head's folder, report included.

    Raises:
        FileNotFoundError: ``$TDMM_DATA`` is unset or holds no scanned head.
    """
    start = time.perf_counter()
    data = bundle.data()
    if data is None:
        raise FileNotFoundError("head: expected the scanned head under $TDMM_DATA, which is unset.")
    head = scan.read(data)
    fitter = Fitter(head, settings)
    everything = np.arange(fitter.control.half)
    ground = fitter.places * assemble.RADII + assemble.CENTRE
    surface = head.neutral[: scan.OUTSIDE] / 100
    surface = _without_shoulders(surface + _sealed(head, settings.lip_seal))
    neutral = fitter.symmetric(surface - ground, everything, settings.ridge_neutral)

    shapes, errors = {}, {}
    for name in assemble.fitted():
        target = _target(head, name)
        if name == "eyeBlinkLeft":
            target = _shut(head, target, settings.lid_overlap)
        one_sided = assemble.opposite(name) is not None
        shapes[name] = fitter.shape(target, one_sided=one_sided, settings=settings)
        errors[name] = fitter.error(target, *shapes[name], one_sided=one_sided) * 1000

    wide = np.flatnonzero(fitter.control.layer[: fitter.control.half] < assemble.IDENTITY_LAYERS)
    identities = []
    for mode in head.identities[: settings.identities]:
        field = mode[: scan.SKIN] / 100
        field = (field + sphere.mirrored(field[fitter.twin]))[: scan.OUTSIDE] / 2
        identities.append(fitter.symmetric(field, wide, settings.ridge_identity))
    jaw = {name: _jaw(head, name) for name in ("jawOpen", "jawForward", "jawLeft")}
    numbers = assemble.Numbers(neutral, shapes, np.array(identities), jaw, np.zeros((len(places.ON_SKIN), 2)))
    numbers = assemble.Numbers(neutral, shapes, np.array(identities), jaw, _landmarks(head, assemble.build(numbers), data))
    built = assemble.build(numbers)

    placed = ground + fitter.basis @ fields.symmetric(fitter.control, neutral)
    off = np.linalg.norm(placed - surface, axis=1) * 1000
    count = sum(array.size for array in (neutral, numbers.identities, numbers.landmarks)) + 12 * len(jaw)
    count += sum(values.size for _, values in shapes.values())
    figures = {
        "numbers": figure(count, "numbers"), "vertices": figure(len(built.arrays.v_template), "vertices"),
        "triangles": figure(len(built.arrays.faces), "triangles"),
        "control_points": figure(len(fitter.control.places), "points"),
        "seconds": figure(round(time.perf_counter() - start, 1), "s"),
    }
    face = (np.arange(scan.OUTSIDE) < scan.FACE) & (fitter.weight > 0)
    for region, chosen in (("face", np.flatnonzero(face)), ("lips", np.concatenate(head.lips)), ("lids", np.concatenate(head.lids))):
        figures[f"neutral_{region}_mm"] = figure(round(off[chosen].mean(), 3), "mm", n=len(chosen))
    for name, error in errors.items():
        figures[f"{name}_mm"] = figure(round(error.mean(), 3), "mm", n=len(error))
    made = report("head", settings={**settings.model_dump(), "fitted_to": SOURCE}, figures=figures)
    with files.replacing(out) as folder:
        rig_head.write(numbers, folder)
        (folder / "report.json").write_text(json.dumps(made, indent=2) + "\n")


def _target(head: scan.Scan, name: str) -> Float[np.ndarray, "skin 3"]:
    """What the scan does in an ARKit shape, metres; it splits two symmetric ones into sides."""
    stem = name.removesuffix("Left")
    if f"{name}_L" in head.shapes:
        field = head.shapes[f"{name}_L"] + head.shapes[f"{name}_R"]
    else:
        field = head.shapes[f"{stem}_L" if f"{stem}_L" in head.shapes else name]
    return field[: scan.OUTSIDE] / 100


def _sealed(head: scan.Scan, depth: float) -> Float[np.ndarray, "skin 3"]:
    """A correction that closes the lips of the neutral face, largest where they touch."""
    result = np.zeros((scan.OUTSIDE, 3))
    for i, ring in enumerate(head.lips):
        share = np.exp(-(((i - 6.5) / 1.8) ** 2))
        height = sphere.inward(sphere.MOUTH, head.sphere[ring])[:, 1] / sphere.MOUTH_CONTACT[1]
        result[ring, 1] = -np.clip(height, -1, 1) * depth * share
    return result


def _shut(head: scan.Scan, blink: Float[np.ndarray, "skin 3"], overlap: float) -> Float[np.ndarray, "skin 3"]:
    """A blink that closes: the scan's leaves a slit, which its upper lid crosses here."""
    result, closed = blink.copy(), head.neutral[: scan.OUTSIDE] / 100 + blink
    for ring in head.lids:
        for i in range(1, len(ring) // 2):
            slit = closed[ring[i]] - closed[ring[-i]]
            result[ring[i]] -= slit * (slit[1] > 0) + [0, overlap, 0]
    return result


def _without_shoulders(surface: Float[np.ndarray, "skin 3"]) -> Float[np.ndarray, "skin 3"]:
    """The neck goes on straight below a slanting plane, where the scan widens into shoulders."""
    low = surface[:, 1] < assemble.CUT[0] + assemble.CUT[1] * surface[:, 2] + 0.006
    flat = surface[:, [0, 2]] - [0, -0.015]
    shrink = np.minimum(1, 0.064 / np.maximum(np.linalg.norm(flat, axis=1), 1e-6))
    result = surface.copy()
    result[low] = np.stack([flat[:, 0] * shrink, surface[:, 1], flat[:, 1] * shrink - 0.015], 1)[low]
    return result


def _jaw(head: scan.Scan, name: str) -> Float[np.ndarray, "3 4"]:
    """The affine motion of the lower teeth in a jaw shape."""
    run = slice(*scan.TEETH)
    moved = np.abs(head.shapes["jawOpen"][run]).max(1) > 0.05
    rows = np.concatenate([head.neutral[run][moved] / 100, np.ones((moved.sum(), 1))], 1)
    return np.linalg.lstsq(rows, head.shapes[name][run][moved] / 100, rcond=1e-4)[0].T


# The 68 places that the scan names, by MediaPipe's index (jaw, brows, nose, eyes, mouth).
IBUG = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356, 70, 63, 105, 66, 107, 336, 296, 334,
    293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0,
    267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)


def _landmarks(head: scan.Scan, built: assemble.Head, data: Path) -> Float[np.ndarray, "places 2"]:
    """Azimuth and elevation on the sphere of every landmark on the skin.

    MediaPipe's canonical face is bent onto the head by thin plates through the 68 places; each landmark goes to the
    nearest skin, those of lips and lids to the nearest point of their own loop. Left and right are made to agree.
    """
    canonical = np.array([
        [float(word) for word in line.split()[1:4]]
        for line in (data / "face_landmarker" / "canonical_face_model.obj").read_text().splitlines() if line.startswith("v ")
    ]) / 100
    skin = built.skin
    surface = built.arrays.v_template[built.regions["skin"]]
    anchors = np.array([surface[cKDTree(skin.places).query(head.sphere[v])[1]] for v in head.marks])
    bend = RBFInterpolator(canonical[list(IBUG)], anchors, kernel="thin_plate_spline", smoothing=1e-7)
    outside = skin.places @ sphere.NECK < 0.9
    for loops, count in ((skin.mouth, 8), (skin.eyes[0], 6), (skin.eyes[1], 6)):
        outside[loops[:count].ravel()] = False
    dense = np.concatenate([surface[skin.faces].mean(1), surface])
    dense_places = np.concatenate([skin.places[skin.faces].mean(1), skin.places])
    usable = np.concatenate([outside[skin.faces].all(1), outside])
    tree = cKDTree(dense[usable])
    result = np.zeros((len(places.ON_SKIN), 3))
    for i, name in enumerate(places.ON_SKIN):
        point = bend(canonical[[landmarks.MEDIAPIPE[name]]])[0]
        loop = places.loop_of(name)
        if loop is None:
            result[i] = dense_places[usable][tree.query(point)[1]]
            continue
        centre, size, right = loop
        curve = sphere.outward(centre, sphere.ellipse(size, 720))
        half = np.sin(np.arange(720) * np.pi / 360) * (1 if "upper" in name else -1) > -1e-9
        curve = curve[half]
        if right:
            curve = sphere.mirrored(curve)
        triangle, share = places.locate(skin, curve * (1 - 1e-9))
        result[i] = curve[np.linalg.norm((surface[triangle] * share[..., None]).sum(1) - point, axis=1).argmin()]
    partner = landmarks.mirrored()
    twin = [places.ON_SKIN.index(landmarks.NAMES[partner[landmarks.NAMES.index(name)]]) for name in places.ON_SKIN]
    result = result + sphere.mirrored(result[twin])
    result /= np.linalg.norm(result, axis=1, keepdims=True)
    return np.stack([np.arctan2(result[:, 0], result[:, 2]), np.arcsin(result[:, 1])], 1)
