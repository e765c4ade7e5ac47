"""Bodies: the 22-joint skeleton as a figure on a chequered ground, left orange and right blue (VTK through pyvista).

    tdmm render walk.bvh -o walk.mp4

A ring lies under a foot that is in contact: slower than `STILL_SPEED` along the ground, and within `LOW_METRES` of
where feet are lowest in the second before and after (captures have floors that tilt by centimetres) and within three
times that of where they are lowest at all, which is the floor. The camera follows the body and does not turn with it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyvista
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter1d, minimum_filter1d
from vtkmodules.vtkCommonCore import vtkLogger

from tdmm_lm import video
from tdmm_lm.geometry import figure
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import Rig
from tdmm_lm.rigs import skeleton as rig_skeleton

MODALITIES = ("body",)
SIZES = range(32, 4097)  # pixels a side
BACKGROUND = ("#9aa5b1", "#4b5663")  # bottom, top
TILES = ((0.50, 0.54, 0.59), (0.56, 0.60, 0.65))
TILE_METRES = 0.5
LENS_DEGREES = 28.0  # vertical
SAMPLES = 1.5  # drawn so much larger per side, then averaged
AZIMUTH, ELEVATION = np.radians(30), np.radians(12)  # the camera's, from Z+
AROUND_METRES = 8.0  # of ground beyond where the body goes
MOST_TILES = 160  # a side; larger grounds have larger tiles
FOLLOW_SECONDS = 0.4  # the camera's path is smoothed over so much
LOW_METRES, STILL_SPEED = 0.05, 0.3
LIGHTS = (  # azimuth, elevation in degrees as seen from the camera; intensity; colour
    (35, 50, 0.65, "#fff4e6"), (-60, 20, 0.35, "#dfe9ff"), (170, 35, 0.4, "#ffffff"),
)
SHADOW = np.array([0.35, 0, -0.25])  # metres along the ground for each metre of height
FEET = tuple(body.JOINTS.index(f"{side}_foot") for side in ("left", "right"))
ANKLES = tuple(body.JOINTS.index(f"{side}_ankle") for side in ("left", "right"))


def frames(
    clip: MotionClip, rig: Rig | None = None, *, size: tuple[int, int] = (512, 512), yaw: float = 0.0
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Pictures of the clip, one a frame; see `tdmm_lm.render.Renderer`. ``rig`` is not needed."""
    _check(clip, size)
    yield from _drawn(clip, size, yaw)


def write(
    clip: MotionClip,
    path: Path,
    rig: Rig | None = None,
    *,
    audio: Path | Float[np.ndarray, " samples"] | None = None,
    size: tuple[int, int] = (512, 512),
) -> None:
    """An mp4 of the clip with its sound; see `tdmm_lm.render.Renderer`."""
    _check(clip, size)
    sound = video.audio(audio) if isinstance(audio, str | Path) else audio
    video.write(path, frames(clip, size=size), fps=clip.fps, audio=sound)


def contacts(places: Float[np.ndarray, "frames joints 3"], fps: float) -> Bool[np.ndarray, "frames 2"]:
    """Whether the left and the right foot is in contact: its toe or its ankle is low and slow."""
    result = np.zeros((len(places), 2), bool)
    for joints in (FEET, ANKLES):
        feet = places[:, joints]
        speed = np.zeros(feet.shape[:2])
        if len(feet) > 1:
            speed = np.linalg.norm(np.gradient(feet[..., [0, 2]], axis=0), axis=-1) * fps
        heights = feet[..., 1]
        near = minimum_filter1d(heights.min(1), 2 * round(fps) + 1, mode="nearest")[:, None]
        low = (heights < near + LOW_METRES) & (heights < _lowest(heights) + 3 * LOW_METRES)
        result |= low & (speed < STILL_SPEED)
    return result


def _lowest(heights: Float[np.ndarray, "frames feet"]) -> float:
    """Without the few frames in which a foot sinks in."""
    return float(np.percentile(heights.min(1), 2))


def _check(clip: MotionClip, size: tuple[int, int]) -> None:
    if clip.modality != "body":
        raise ValueError(f"render: expected a body clip, got a {clip.modality} clip; use --renderer mesh.")
    if any(side not in SIZES or side % 2 for side in size):
        known = f"{SIZES[0]} to {SIZES[-1]}"
        raise ValueError(f"render.size: expected even sides of {known} pixels, got {size[0]}x{size[1]}.")


def _drawn(clip: MotionClip, size: tuple[int, int], yaw: float) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    own = rig_skeleton.of(clip)
    places, turns = rig_skeleton.joints(clip).numpy(), rig_skeleton.global_rotations(clip).numpy()
    shown = figure.make(own)
    floor = _lowest(places[:, FEET, 1]) - 0.03  # toes are as thick
    touching = contacts(places, clip.fps)
    height = float(own.lengths.sum() / 2)  # for the lens only: bones of one side and the trunk, nearly
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)  # it warns that there is no display: none is wanted
    drawn = [round(side * SAMPLES) for side in size]
    plotter = pyvista.Plotter(off_screen=True, window_size=drawn, lighting="none")
    try:
        plotter.set_background(BACKGROUND[0], top=BACKGROUND[1])  # type: ignore[arg-type]
        plotter.disable_anti_aliasing()
        plotter.add_mesh(_ground(places, floor), scalars="colours", rgb=True, lighting=False, show_scalar_bar=False)
        mesh = pyvista.PolyData(shown.points.copy(), np.insert(shown.faces, 0, 3, 1).ravel())
        mesh.point_data["colours"] = (shown.colours * 255).round().astype(np.uint8)
        normals = np.asarray(mesh.compute_normals(split_vertices=False).point_data["Normals"])
        mesh.point_data["Normals"] = normals.copy()
        mesh.point_data.active_normals_name = "Normals"
        shadow = pyvista.PolyData(shown.points.copy(), mesh.faces)
        plotter.add_mesh(shadow, color="#3c444d", lighting=False)
        plotter.add_mesh(
            mesh, scalars="colours", rgb=True, interpolation="Phong", ambient=0.25, diffuse=0.85, specular=0.15,
            specular_power=15, show_scalar_bar=False,
        )
        rings = [
            plotter.add_mesh(
                pyvista.Disc(center=(0, 0, 0), inner=0.075, outer=0.11, normal=(0, 1, 0), c_res=32),
                color=figure.COLOURS[side], lighting=False,
            )
            for side in ("left", "right")
        ]
        focus = places[:, 0].astype(float)
        focus[:, 1] = floor + 0.5 * height
        focus[:, [0, 2]] = gaussian_filter1d(focus[:, [0, 2]], max(FOLLOW_SECONDS * clip.fps, 0.1), 0, mode="nearest")
        lights = [pyvista.Light(color=colour, intensity=strength) for _, _, strength, colour in LIGHTS]
        for light in lights:
            plotter.add_light(light)
        for frame in range(clip.frames):
            mesh.points = shown.posed(places[frame], turns[frame])
            mesh.point_data["Normals"] = np.einsum("vab,vb->va", turns[frame][shown.joint], normals)
            flat = mesh.points + (mesh.points[:, 1:2] - floor) * SHADOW
            flat[:, 1] = floor + 0.004
            shadow.points = flat
            for foot, ring in enumerate(rings):
                middle = places[frame, [FEET[foot], ANKLES[foot]]].mean(0)
                ring.position = (middle[0], floor + 0.006, middle[2])
                ring.visibility = bool(touching[frame, foot])
            _aim(plotter, lights, focus[frame], height, size, yaw)
            plotter.render()
            shot = plotter.screenshot(return_img=True)
            assert shot is not None
            yield np.asarray(Image.fromarray(shot[..., :3]).resize(size, Image.Resampling.BOX))
    finally:
        plotter.close()


def _ground(places: Float[np.ndarray, "frames joints 3"], floor: float) -> pyvista.PolyData:
    """Tiles of two greys where the body goes and `AROUND_METRES` beyond, their corners at whole tiles of the world."""
    low = places[:, 0, [0, 2]].min(0) - AROUND_METRES
    span = places[:, 0, [0, 2]].max(0) + AROUND_METRES - low
    tile = TILE_METRES * max(1, int(np.ceil(span.max() / TILE_METRES / MOST_TILES)))
    low = np.floor(low / tile)
    counts = np.ceil(span / tile).astype(int) + 1
    middle = (low + counts / 2) * tile
    plane = pyvista.Plane(
        center=(middle[0], floor, middle[1]), direction=(0, 1, 0), i_size=counts[1] * tile, j_size=counts[0] * tile,
        i_resolution=int(counts[1]), j_resolution=int(counts[0]),
    )
    cells = np.floor(plane.cell_centers().points[:, [0, 2]] / tile + 1e-6).astype(int)
    plane.cell_data["colours"] = (np.array(TILES)[cells.sum(1) % 2] * 255).astype(np.uint8)
    return plane


def _aim(
    plotter: pyvista.Plotter, lights: list[pyvista.Light], focus: Float[np.ndarray, " 3"], height: float,
    size: tuple[int, int], yaw: float,
) -> None:
    """Camera and lights around the body, turned by ``yaw`` the other way."""
    distance = 0.62 * height / np.tan(np.radians(LENS_DEGREES) / 2) / min(1.0, size[0] / size[1])

    def around(azimuth: float, elevation: float) -> Float[np.ndarray, " 3"]:
        flat = distance * np.cos(elevation)
        return np.array([flat * np.sin(azimuth), distance * np.sin(elevation), flat * np.cos(azimuth)])

    camera = plotter.camera
    camera.position, camera.focal_point, camera.up = focus + around(AZIMUTH - yaw, ELEVATION), focus, (0, 1, 0)
    camera.view_angle = LENS_DEGREES
    camera.clipping_range = (0.05 * distance, 20 * distance)
    for light, (azimuth, elevation, _, _) in zip(lights, LIGHTS):
        light.position = focus + around(AZIMUTH - yaw + np.radians(azimuth), np.radians(elevation))
        light.focal_point = focus
