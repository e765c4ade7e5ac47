"""The shaded rig: exact, fast, on any machine without a display (VTK through pyvista).

    tdmm render clip.npz -o clip.mp4
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyvista
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components
from vtkmodules.vtkCommonCore import vtkLogger

from tdmm_lm import video
from tdmm_lm.files import replacing
from tdmm_lm.landmarks import NAMES
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Rig

MODALITIES = ("face",)
SIZES = range(32, 4097)  # pixels a side
BLOCK = 64  # frames posed at once
BACKGROUND = ("#39424e", "#8795a6")  # bottom, top
LENS_DEGREES = 18.0  # vertical; long enough not to swell the nose
SAMPLES = 1.5  # drawn so much larger per side, then averaged: VTK's own anti-aliasing costs three times as much here
FACE_SHARE = 0.5  # of the picture's height between forehead and chin landmarks: head and shoulders fit
LIGHTS = (  # azimuth, elevation in degrees as seen from the camera; intensity; colour
    (35, 35, 0.62, "#fff4e6"),  # key
    (-50, 10, 0.36, "#dfe9ff"),  # fill
    (160, 40, 0.45, "#ffffff"),  # rim, from behind
    (0, 0, 0.16, "#ffffff"),  # at the lens, for the eyes
)


def frames(
    clip: MotionClip, rig: Rig, *, size: tuple[int, int] = (512, 512), yaw: float = 0.0
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Pictures of the clip, one a frame; see `tdmm_lm.render.Renderer`."""
    _check(clip, rig, size)
    shape = torch.from_numpy(clip.shape)
    translation = torch.from_numpy(np.median(face.part(clip, "translation"), 0))
    yield from _drawn(_posed(clip, rig), rig, shape, translation, size, yaw)


def write(
    clip: MotionClip,
    path: Path,
    rig: Rig,
    *,
    audio: Path | Float[np.ndarray, " samples"] | None = None,
    size: tuple[int, int] = (512, 512),
) -> None:
    """An mp4 of the clip with its sound; see `tdmm_lm.render.Renderer`."""
    _check(clip, rig, size)
    sound = video.audio(audio) if isinstance(audio, str | Path) else audio
    video.write(path, frames(clip, rig, size=size), fps=clip.fps, audio=sound)


def contact_sheet(
    rows: Sequence[tuple[str, MotionClip]], rig: Rig, path: Path, *, columns: int = 8, tile: int = 256
) -> None:
    """A PNG with one row a clip: its text above ``columns`` frames spread over its length, each with its time.

    Clips of a single frame share rows instead, one labelled tile each (a chart of expressions).

    Raises:
        ValueError: no clips, or a clip of another rig.
    """
    if not rows:
        raise ValueError(f"{path}: expected clips to show, got none.")
    letters = max(12, tile // 16)
    font, line = ImageFont.load_default(size=letters), 2 * letters
    chart = all(clip.frames == 1 for _, clip in rows)
    down = -(-len(rows) // columns) if chart else len(rows)
    across = min(len(rows), columns) if chart else columns
    sheet = Image.new("RGB", (across * tile, down * (tile + line)), "white")
    write_on = ImageDraw.Draw(sheet).text
    for number, (text, clip) in enumerate(rows):
        x, y = (number % across * tile, number // across * (tile + line)) if chart else (0, number * (tile + line))
        write_on((x + 6, y + line // 4), text, fill="black", font=font)
        chosen = np.linspace(0, clip.frames - 1, 1 if chart else across).round().astype(int)
        shown = MotionClip(clip.values[chosen], clip.fps, clip.modality, clip.rig, clip.shape)
        for column, picture in enumerate(frames(shown, rig, size=(tile, tile))):
            sheet.paste(Image.fromarray(picture), (x + column * tile, y + line))
            if not chart:
                at = f"{chosen[column] / clip.fps:.2f} s"
                write_on((column * tile + 6, y + line + 4), at, fill="white", font=font)
    with replacing(path) as beside:
        sheet.save(beside, "PNG")


def _check(clip: MotionClip, rig: Rig, size: tuple[int, int]) -> None:
    if clip.rig != rig.name:
        raise ValueError(f"render: expected a clip of rig {rig.name}, got one of {clip.rig}; convert it with --rig.")
    if any(side not in SIZES or side % 2 for side in size):
        known = f"{SIZES[0]} to {SIZES[-1]}"
        raise ValueError(f"render.size: expected even sides of {known} pixels, got {size[0]}x{size[1]}.")


def _posed(clip: MotionClip, rig: Rig) -> Iterator[Float[np.ndarray, "vertices 3"]]:
    values, shape = torch.from_numpy(clip.values), torch.from_numpy(clip.shape)
    with torch.no_grad():
        for start in range(0, clip.frames, BLOCK):
            yield from rig.vertices(values[start : start + BLOCK], shape).numpy()


def _drawn(
    poses: Iterator[np.ndarray],
    rig: Rig,
    shape: torch.Tensor,
    translation: torch.Tensor,
    size: tuple[int, int],
    yaw: float,
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """One VTK window a call, closed at its end: windows kept open leak, and two in one process may crash."""
    rest = torch.zeros(1, len(rig.expressions) + face.POSE_CHANNELS)
    with torch.no_grad():
        neutral = rig.vertices(rest, shape)[0]
        places = rig.landmarks.of(neutral).numpy()
    spread = _spreader(rig.faces, len(neutral))
    drawn = [round(side * SAMPLES) for side in size]
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)  # it warns that there is no display: none is wanted
    plotter = pyvista.Plotter(off_screen=True, window_size=drawn, lighting="none")
    try:
        plotter.set_background(BACKGROUND[0], top=BACKGROUND[1])  # type: ignore[arg-type]  # pyvista's wrapper hides self
        plotter.disable_anti_aliasing()
        meshes = []
        for faces, gloss in _materials(rig):
            mesh = pyvista.PolyData(neutral.numpy().copy(), np.insert(faces, 0, 3, 1).ravel())
            mesh.point_data["colours"] = (rig.colours * 255).round().astype(np.uint8)
            mesh.point_data["Normals"] = np.zeros_like(mesh.points)
            mesh.point_data.active_normals_name = "Normals"
            plotter.add_mesh(
                mesh, scalars="colours", rgb=True, interpolation="Phong", ambient=0.22, diffuse=0.9,
                specular=0.7 if gloss else 0.12, specular_power=60 if gloss else 12, show_scalar_bar=False,
            )
            meshes.append(mesh)
        _aim(plotter, places + translation.numpy(), size, yaw)
        for pose in poses:
            normals = _normals(pose, rig.faces, spread)
            for mesh in meshes:
                mesh.points = pose
                mesh.point_data["Normals"] = normals
            plotter.render()
            shot = plotter.screenshot(return_img=True)
            assert shot is not None
            yield np.asarray(Image.fromarray(shot[..., :3]).resize(size, Image.Resampling.BOX))
    finally:
        plotter.close()


def _aim(plotter: pyvista.Plotter, places: Float[np.ndarray, "places 3"], size: tuple[int, int], yaw: float) -> None:
    """Camera and lights around the middle of the face, turned by ``yaw`` the other way."""
    top, bottom = places[NAMES.index("oval_top_0")], places[NAMES.index("oval_bottom_0")]
    height = float(np.linalg.norm(top - bottom)) / FACE_SHARE / min(1.0, size[0] / size[1])
    focus = (top + bottom) / 2 - [0, 0.06 * height, 0.25 * height]
    distance = height / 2 / np.tan(np.radians(LENS_DEGREES) / 2) + 0.25 * height

    def around(azimuth: float, elevation: float) -> np.ndarray:  # metres from the focus, azimuth to the camera's right
        azimuth -= yaw
        flat = distance * np.cos(elevation)
        return np.array([flat * np.sin(azimuth), distance * np.sin(elevation), flat * np.cos(azimuth)])

    camera = plotter.camera
    camera.position, camera.focal_point, camera.up = focus + around(0, 0), focus, (0, 1, 0)
    camera.view_angle = LENS_DEGREES
    camera.clipping_range = (0.2 * distance, 3 * distance)
    for azimuth, elevation, intensity, colour in LIGHTS:
        where = focus + around(np.radians(azimuth), np.radians(elevation))
        plotter.add_light(pyvista.Light(position=where, focal_point=focus, color=colour, intensity=intensity))


def _materials(rig: Rig) -> list[tuple[Int[np.ndarray, "faces 3"], bool]]:
    """The faces in one or two groups: skin, and what hangs together with the pupils, which is glossy."""
    edges = np.concatenate([rig.faces[:, :2], rig.faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(rig.template),) * 2)
    _, part = connected_components(graph, directed=False)
    pupils, chin = [NAMES.index("pupil_left"), NAMES.index("pupil_right")], NAMES.index("oval_bottom_0")
    eyes = np.setdiff1d(part[rig.landmarks.vertices[pupils]], part[rig.landmarks.vertices[chin]])
    glossy = np.isin(part[rig.faces[:, 0]], eyes)
    groups = [(rig.faces[~glossy], False), (rig.faces[glossy], True)]
    return [(faces, gloss) for faces, gloss in groups if len(faces)]  # a mesh may have no eyeballs of their own


def _spreader(faces: Int[np.ndarray, "faces 3"], vertices: int) -> csr_matrix:
    """(vertices, faces): one where a face touches a vertex."""
    ones = np.ones(faces.size, np.float32)
    return csr_matrix((ones, (faces.ravel(), np.repeat(np.arange(len(faces)), 3))), shape=(vertices, len(faces)))


def _normals(
    points: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], spread: csr_matrix
) -> Float[np.ndarray, "vertices 3"]:
    """Unit normals, weighted by area; five times as fast as VTK's filter."""
    one, two, three = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    normals = spread @ np.cross(two - one, three - one)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
