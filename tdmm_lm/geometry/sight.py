"""Landmarks on a head nobody has marked: it is drawn, MediaPipe looks at it, and what it sees is put back on the mesh.

Three views, from the front and from both sides, of the neutral pose; a fourth of the opened mouth, where the inner lips
show. Needs the extras ``render`` and ``capture`` and MediaPipe's model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tdmm_lm import landmarks, quiet, rigs
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.geometry import embed
from tdmm_lm.motion import face
from tdmm_lm.rigs import Embedding
from tdmm_lm.rigs.flame import FlameRig

VIEWS = (0.0, -25.0, 25.0)  # degrees about Y from which the face is looked at
PIXELS = 900
LENS_DEGREES = 18.0
SKIN, WHITE, IRIS = (0.85, 0.67, 0.56), (0.95, 0.95, 0.95), (0.25, 0.18, 0.12)
IRIS_DEGREES = 24.0  # half the angle that an iris spans, seen from the eyeball's centre
OPEN = 0.25  # radians that a jaw joint opens the mouth
STRAY = 0.2  # inter-ocular distances: a place of the outline so far from where the rest puts it was not met

_INDEX = {name: i for i, name in enumerate(landmarks.NAMES)}
_INNER = [i for name, i in _INDEX.items() if name.startswith("lip_inner")]
_LIDS = list(landmarks.region("lids"))
_LIPS = list(landmarks.region("lips"))
_UNSEEN = [_INDEX["tongue_tip"]]
_FAR = [[i for name, i in _INDEX.items() if side in name.split("_")] for side in ("right", "left")]


@dataclass(frozen=True)
class _Camera:
    """Looks at ``focus`` from ``yaw`` degrees to the person's left, ``distance`` away; Y is up."""

    focus: Float[np.ndarray, " 3"]
    distance: float
    yaw: float

    @property
    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Right, up, towards the camera."""
        sine, cosine = np.sin(np.radians(self.yaw)), np.cos(np.radians(self.yaw))
        return np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])

    @property
    def position(self) -> Float[np.ndarray, " 3"]:
        return self.focus + self.distance * self.axes[2]

    def rays(self, seen: Float[np.ndarray, "places 2"]) -> Float[np.ndarray, "places 3"]:
        """Unit directions through places of the picture, (0, 0) its upper left and (1, 1) its lower right corner."""
        half = np.tan(np.radians(LENS_DEGREES) / 2)
        local = np.stack([(2 * seen[:, 0] - 1) * half, (1 - 2 * seen[:, 1]) * half, -np.ones(len(seen))], 1)
        directions = local @ self.axes
        return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def landmark(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    opened: Float[np.ndarray, "vertices 3"],
    like: Float[np.ndarray, "landmarks 3"],
    model: Path,
) -> Embedding:
    """All landmarks of a head that stands upright and faces Z+, by sight.

    Args:
        vertices, faces: the neutral head, any unit; eyeballs, if any, are parts of their own.
        opened: the same head with its mouth half open (jaw joint 0.25 rad, or half of `jawOpen`).
        like: where the landmarks lie on some head, to fill in what cannot be seen; any unit.
        model: MediaPipe's ``face_landmarker.task``.

    Raises:
        ValueError: MediaPipe sees no face in a view, or an extra is not installed.
    """
    vertices, opened = vertices.astype(np.float64), opened.astype(np.float64)
    part = _parts(faces, len(vertices))
    skin = (part == np.bincount(part[faces[:, 0]]).argmax())[faces[:, 0]]
    with _detector(model) as detect:
        focus, distance = _frame(vertices, faces, detect)
        colours = np.tile(np.array(SKIN), (len(vertices), 1))
        front = _Camera(focus, distance, 0)
        seen = detect(_draw(vertices, faces, colours, front))
        pupils = [_INDEX["pupil_right"], _INDEX["pupil_left"]]
        hits, _ = _cast(front, seen[pupils], vertices, faces)
        eyes = np.isin(part, part[faces[hits, 0]]) & ~np.isin(part, part[faces[skin][:, 0]])
        _paint(colours, vertices, part, eyes)

        points, trust = np.zeros((len(landmarks.NAMES), 3)), np.zeros(len(landmarks.NAMES))
        for yaw in VIEWS:
            camera = _Camera(focus, distance, yaw)
            seen = detect(_draw(vertices, faces, colours, camera))
            found, weight = _surface(camera, seen, vertices, faces, skin, eyes)
            if yaw:
                weight[_LIDS + _LIPS + _FAR[yaw < 0]] = 0  # lids and lips are seen best from the front
            points += found * weight[:, None]
            trust += weight
        opened_seen = detect(_draw(opened, faces, colours, front))

    jaw = opened - vertices
    below, above = embed.halves(faces, jaw)
    points /= np.maximum(trust, 1e-9)[:, None]
    points = _filled(points, np.flatnonzero(trust > 0.05), np.asarray(like, np.float64))

    allowed = np.tile(skin, (len(points), 1))
    names = np.array(landmarks.NAMES)
    allowed[[_INDEX["pupil_left"], _INDEX["pupil_right"]]] = eyes[faces[:, 0]] if eyes.any() else skin
    allowed[_UNSEEN] = below
    for i in _LIPS:
        if "lower" in names[i]:
            allowed[i] &= below
        elif not names[i].endswith(("_0", "_10")):
            allowed[i] &= above
    allowed &= _towards(vertices, faces, front)[None] | (np.arange(len(points)) == _UNSEEN[0])[:, None]
    result = embed.nearest(vertices, faces, points, allowed)
    inner = _inner_lips(front, opened_seen, opened, faces, allowed, result)
    result.vertices[_INNER], result.weights[_INNER] = inner.vertices, inner.weights
    return result


def landmark_flame(arrays: FlameArrays, model: Path) -> Embedding:
    """All landmarks of a head in FLAME's format, which brings none: its jaw joint opens the mouth.

    Raises:
        ValueError: see `landmark`.
    """
    width = arrays.shapedirs_expression.shape[2]
    nowhere = Embedding(np.zeros((len(landmarks.NAMES), 3), np.int64), np.zeros((len(landmarks.NAMES), 3), np.float32))
    rig = FlameRig(
        arrays, name="unmarked", expressions=[str(i) for i in range(width)], authority="joints",
        lower=np.full(width, -1.0), upper=np.full(width, 1.0), uv=None, colours=np.ones_like(arrays.v_template),
        landmarks=nowhere, eyes=(arrays.J_regressor @ arrays.v_template)[3:],
    )
    row = torch.zeros(1, width + face.POSE_CHANNELS)
    row[0, face.layout(row.shape[1])["jaw"].start] = OPEN
    head = rigs.load("head")
    like = places_of(head.landmarks, head.template)
    return landmark(arrays.v_template, arrays.faces, rig.vertices(row)[0].numpy(), like, model)


def _filled(
    points: Float[np.ndarray, "places 3"], seen: Int[np.ndarray, " some"], like: Float[np.ndarray, "places 3"]
) -> Float[np.ndarray, "places 3"]:
    """``points`` with those that were not seen, or that lie far from where their neighbours say, put where they say."""
    span = float(np.linalg.norm(np.subtract(*points[[_INDEX["pupil_left"], _INDEX["pupil_right"]]])))
    core = [i for i in seen if i not in _INNER + _UNSEEN and i not in landmarks.region("jaw")]
    rim = [i for i in seen if i in landmarks.region("jaw")]
    guess = embed.warp(like[core], points[core], like[rim])
    good = [i for i, at in zip(rim, guess, strict=True) if np.linalg.norm(points[i] - at) < STRAY * span]
    known = core + good
    result = embed.warp(like[known], points[known], like)
    result[known] = points[known]
    return result


def _inner_lips(
    camera: _Camera, seen: np.ndarray, opened: np.ndarray, faces: np.ndarray, allowed: np.ndarray, lips_of: Embedding
) -> Embedding:
    """The inner lips, where the opened mouth shows them: nearest to the ray where it crosses the outer lips' depth."""
    lips = [i for i in _LIPS if i not in _INNER]
    depth = float(((places_of(lips_of, opened)[lips] - camera.position) @ -camera.axes[2]).mean())
    rays = camera.rays(seen[_INNER])
    points = camera.position + rays * (depth / (rays @ -camera.axes[2]))[:, None]
    facing = _towards(opened, faces, camera)
    return embed.nearest(opened, faces, points, allowed[_INNER] & facing)


def places_of(embedding: Embedding, vertices: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "places 3"]:
    """Where the landmarks lie on posed vertices."""
    return (vertices[embedding.vertices] * embedding.weights[..., None]).sum(1)


def _surface(
    camera: _Camera, seen: np.ndarray, vertices: np.ndarray, faces: np.ndarray, skin: np.ndarray, eyes: np.ndarray
) -> tuple[Float[np.ndarray, "places 3"], Float[np.ndarray, " places"]]:
    """What the rays of one view hit, and how far each hit is to be trusted: 0 for a miss, 1 where it is square."""
    hits, distances = _cast(camera, seen, vertices, faces)
    rays = camera.rays(seen)
    points = camera.position + rays * np.where(np.isfinite(distances), distances, 0)[:, None]
    normals = _normals(vertices, faces)[hits]
    trust = np.where(np.isfinite(distances), np.maximum(-(normals * rays).sum(1), 0) ** 2, 0)
    # On the eyeball behind a lid's edge, or through the mouth: the nearest skin will do, found later.
    on_eye = eyes[faces[hits, 0]]
    trust[_LIDS] = np.where(on_eye[_LIDS] & np.isfinite(distances[_LIDS]), 1, trust[_LIDS])
    return points, trust


def _cast(
    camera: _Camera, seen: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> tuple[Int[np.ndarray, " places"], Float[np.ndarray, " places"]]:
    """The first triangle on each ray and how far away; infinity where there is none (Möller and Trumbore 1997)."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    ab, ac, start = b - a, c - a, camera.position - a
    cross = np.cross(start, ab)
    reach = (ac * cross).sum(1)
    hits, distances = np.zeros(len(seen), int), np.full(len(seen), np.inf)
    for i, ray in enumerate(camera.rays(seen)):
        across = np.cross(ray, ac)
        area = (ab * across).sum(1)
        area = np.where(np.abs(area) < 1e-18, np.inf, area)
        u, v = (start * across).sum(1) / area, (cross @ ray) / area
        distance = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (reach / area > 0), reach / area, np.inf)
        hits[i] = int(distance.argmin())
        distances[i] = distance[hits[i]]
    return hits, distances


def _normals(vertices: np.ndarray, faces: np.ndarray) -> Float[np.ndarray, "faces 3"]:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-18)


def _towards(vertices: np.ndarray, faces: np.ndarray, camera: _Camera) -> Bool[np.ndarray, " faces"]:
    """Faces that show their outer side to a camera, grazing ones included."""
    return np.asarray(((_normals(vertices, faces) * camera.axes[2]).sum(1)) > -0.3)


def _parts(faces: Int[np.ndarray, "faces 3"], count: int) -> Int[np.ndarray, " vertices"]:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _paint(colours: np.ndarray, vertices: np.ndarray, part: np.ndarray, eyes: np.ndarray) -> None:
    """White eyeballs with dark irises in front, which MediaPipe expects."""
    for one in np.unique(part[eyes]):
        ball = np.flatnonzero(part == one)
        away = vertices[ball] - (vertices[ball].max(0) + vertices[ball].min(0)) / 2
        front = away[:, 2] / np.maximum(np.linalg.norm(away, axis=1), 1e-18) > np.cos(np.radians(IRIS_DEGREES))
        colours[ball] = np.where(front[:, None], np.array(IRIS), np.array(WHITE))


def _draw(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, camera: _Camera) -> UInt8[np.ndarray, "h w 3"]:
    try:
        import pyvista
        from vtkmodules.vtkCommonCore import vtkLogger
    except ImportError as error:
        raise ValueError(f'landmarks by sight need pyvista ({error}); pip install "tdmm-lm[render]".') from None
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    stage = pyvista.Plotter(off_screen=True, window_size=[PIXELS, PIXELS])
    try:
        stage.renderer.SetBackground(0.5, 0.52, 0.53)
        mesh = pyvista.PolyData(vertices, np.insert(faces, 0, 3, axis=1).ravel())
        mesh["colours"] = (255 * colours).astype(np.uint8)
        stage.add_mesh(mesh, scalars="colours", rgb=True, smooth_shading=True)
        stage.camera.position, stage.camera.focal_point = tuple(camera.position), tuple(camera.focus)
        stage.camera.up, stage.camera.view_angle = (0, 1, 0), LENS_DEGREES
        return np.ascontiguousarray(np.asarray(stage.screenshot(return_img=True))[..., :3])
    finally:
        stage.close()


def _frame(vertices: np.ndarray, faces: np.ndarray, detect: "_Detector") -> tuple[Float[np.ndarray, " 3"], float]:
    """What to look at and from how far, so that the face fills half of the picture: first the whole, then closer."""
    low, high = vertices.min(0), vertices.max(0)
    half = np.tan(np.radians(LENS_DEGREES) / 2)
    focus, distance = (low + high) / 2, float((high - low).max()) * 0.6 / half
    colours = np.tile(np.array(SKIN), (len(vertices), 1))
    for _ in range(2):
        camera = _Camera(focus, distance, 0)
        seen = detect(_draw(vertices, faces, colours, camera))
        _, distances = _cast(camera, seen, vertices, faces)
        met = np.isfinite(distances)
        points = camera.position + camera.rays(seen[met]) * distances[met, None]
        focus = (points.min(0) + points.max(0)) / 2
        distance = float(np.ptp(points[:, 1])) / (2 * half * 0.5)
    return focus, distance


class _Detector:
    """One picture to where MediaPipe sees our landmarks, 0..1 across and down."""

    def __init__(self, network: object, picture: object) -> None:
        self.network, self.picture = network, picture

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "places 2"]:
        found = self.network.detect(self.picture(image)).face_landmarks  # type: ignore[attr-defined,operator]
        if not found:
            raise ValueError("landmarks by sight: expected an upright head that faces Z+, MediaPipe saw no face.")
        seen = [(found[0][index].x, found[0][index].y) for index in landmarks.MEDIAPIPE.values()]
        return np.array([*seen, (0.0, 0.0)])  # the tongue's tip is not seen


@contextmanager
def _detector(model: Path) -> Iterator[_Detector]:
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise ValueError(f'landmarks by sight need mediapipe ({error}); pip install "tdmm-lm[capture]".') from None
    options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(model)))
    with quiet.stderr(), vision.FaceLandmarker.create_from_options(options) as network:
        yield _Detector(network, lambda image: mediapipe.Image(mediapipe.ImageFormat.SRGB, image))
