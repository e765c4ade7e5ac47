"""Pictures of a small made-up head: something is drawn, it moves as driven, and it reaches the mp4 with its sound."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tdmm_lm import config, video
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.landmarks import NAMES
from tdmm_lm.motion import MotionClip, body, face
from tdmm_lm.render import mesh
from tdmm_lm.rigs import Embedding
from tdmm_lm.rigs.flame import FlameRig

pytest.importorskip("pyvista")
SIZE = (128, 128)


def ball() -> FlameRig:
    """A sphere of 9 cm with a red patch in front, whose only shape moves the lower half down; two small eyes."""
    rows, columns = 24, 48
    polar, around = np.meshgrid(np.linspace(0, np.pi, rows), np.arange(columns) / columns * 2 * np.pi, indexing="ij")
    flat = np.sin(polar)
    sphere = np.stack([flat * np.sin(around), np.cos(polar), flat * np.cos(around)], -1).reshape(-1, 3)
    grid = np.arange(rows * columns).reshape(rows, columns)
    one, two = grid[:-1], np.roll(grid, -1, 1)[:-1]
    three, four = grid[1:], np.roll(grid, -1, 1)[1:]
    faces = np.concatenate([np.stack(c, -1).reshape(-1, 3) for c in ((one, three, two), (two, three, four))])
    centres = np.array([[0.03, 0.02, 0.08], [-0.03, 0.02, 0.08]])
    points = np.concatenate([sphere * 0.09, *(sphere * 0.015 + centre for centre in centres)])
    count = len(sphere)
    faces = np.concatenate([faces, faces + count, faces + 2 * count])
    colours = np.tile([0.8, 0.7, 0.6], (len(points), 1))
    colours[:count][sphere[:, 2] > 0.9] = [0.9, 0.1, 0.1]
    drop = np.zeros((len(points), 3, 1))
    drop[:count, 1, 0] = -0.03 * (sphere[:, 1] < -0.2)
    vertices = np.zeros((len(NAMES), 3), np.int64) + int(sphere[:, 2].argmax())
    vertices[NAMES.index("oval_top_0")] = int(np.abs(sphere - [0, 0.8, 0.6]).sum(1).argmin())
    vertices[NAMES.index("oval_bottom_0")] = int(np.abs(sphere - [0, -0.8, 0.6]).sum(1).argmin())
    vertices[NAMES.index("pupil_left")], vertices[NAMES.index("pupil_right")] = count, 2 * count
    regressor = np.zeros((5, len(points)))
    regressor[:, :count] = 1 / count
    arrays = FlameArrays(
        v_template=points, shapedirs_identity=np.zeros((len(points), 3, 0)), shapedirs_expression=drop,
        posedirs=np.zeros((len(points), 3, 36)), J_regressor=regressor,
        weights=np.tile([0, 1, 0, 0, 0], (len(points), 1)), parents=np.array([-1, 0, 1, 1, 1]), faces=faces,
    )
    return FlameRig(
        arrays, name="ball", expressions=["drop"], authority="shapes", lower=np.zeros(1), upper=np.ones(1), uv=None,
        colours=colours, eyes=centres,
        landmarks=Embedding(vertices, np.tile(np.array([1, 0, 0], np.float32), (len(NAMES), 1))),
    )


def clip(frames: int = 3, fps: float = 20, **parts: np.ndarray) -> MotionClip:
    return face.assemble({"expression": np.zeros((frames, 1)), **parts}, fps=fps, rig="ball")


def red(picture: np.ndarray) -> np.ndarray:
    """Where the patch shows, as (row, column) pairs."""
    spread = picture.astype(int)
    return np.argwhere((spread[..., 0] > 80) & (spread[..., 0] > 2 * spread[..., 1]))


def test_a_head_stands_in_the_middle_of_the_picture() -> None:
    pictures = list(mesh.frames(clip(), ball(), size=SIZE))
    assert [p.shape for p in pictures] == [(128, 128, 3)] * 3
    assert pictures[0].dtype == np.uint8
    assert np.array_equal(pictures[0], pictures[1])
    patch = red(pictures[0])
    assert len(patch) > 100
    assert np.abs(patch.mean(0)[1] - 63.5) < 3
    corner, middle = pictures[0][:20, :20].astype(int), pictures[0][54:74, 54:74].astype(int)
    assert np.abs(corner.mean((0, 1)) - middle.mean((0, 1))).max() > 40


def test_the_picture_follows_the_motion() -> None:
    rig = ball()
    weights = np.array([[0.0], [1.0]])
    still, dropped = mesh.frames(clip(2, expression=weights), rig, size=SIZE)
    assert np.abs(still.astype(int) - dropped)[90:].mean() > 4 * np.abs(still.astype(int) - dropped)[:50].mean()
    turns = np.zeros((2, 3))
    turns[1, 1] = 0.5  # to one's own left: the viewer's right
    front, left = mesh.frames(clip(2, head=turns), rig, size=SIZE)
    assert red(left).mean(0)[1] > red(front).mean(0)[1] + 8


def test_yaw_shows_the_head_turned_to_its_own_left() -> None:
    front, = mesh.frames(clip(1), ball(), size=SIZE)
    left, = mesh.frames(clip(1), ball(), size=SIZE, yaw=0.5)
    assert red(left).mean(0)[1] > red(front).mean(0)[1] + 8


def test_a_head_far_from_the_origin_is_still_framed() -> None:
    away = np.tile([0.3, -0.2, -0.6], (3, 1))
    near, far = (next(mesh.frames(c, ball(), size=SIZE)) for c in (clip(), clip(translation=away)))
    assert np.abs(near.astype(int) - far).mean() < 1


def test_normals_are_those_of_a_sphere() -> None:
    rig = ball()
    count = 24 * 48
    normals = mesh._normals(rig.template, rig.faces, mesh._spreader(rig.faces, len(rig.template)))
    away = rig.template[:count] / np.linalg.norm(rig.template[:count], axis=1, keepdims=True)
    inner = np.abs(away[:, 1]) < 0.98
    assert (normals[:count] * away).sum(1)[inner].min() > 0.99


def test_eyeballs_are_glossy_and_skin_is_not() -> None:
    (skin, dull), (eyes, gloss) = mesh._materials(ball())
    assert (dull, gloss) == (False, True)
    assert skin.max() < 24 * 48 <= eyes.min()


def test_written_with_sound_at_the_clips_own_rate(tmp_path: Path) -> None:
    sound = 0.3 * np.sin(np.arange(16000) / 5).astype(np.float32)
    mesh.write(clip(30, fps=30), tmp_path / "a.mp4", ball(), audio=sound, size=SIZE)
    told = video.info(tmp_path / "a.mp4")
    assert (told.fps, told.size, told.frames, told.has_audio) == (30, (128, 128), 30, True)
    mesh.write(clip(30, fps=30), tmp_path / "b.mp4", ball(), audio=tmp_path / "a.mp4", size=SIZE)  # a file's sound
    assert np.abs(video.audio(tmp_path / "b.mp4")).max() > 0.2


def test_contact_sheets_of_clips_and_of_single_expressions(tmp_path: Path) -> None:
    rig = ball()
    mesh.contact_sheet([("drops", clip(9)), ("stays", clip(4))], rig, tmp_path / "a.png", columns=3, tile=64)
    assert Image.open(tmp_path / "a.png").size == (192, 2 * (64 + 24))
    chart = [(f"face {i}", clip(1)) for i in range(4)]
    mesh.contact_sheet(chart, rig, tmp_path / "b.png", columns=3, tile=64)
    sheet = np.asarray(Image.open(tmp_path / "b.png"))
    assert sheet.shape == (2 * 88, 192, 3)
    assert sheet[:24].min() < 100  # a label is written
    assert (sheet[88:, 64:] == 255).all()  # the fourth of four stands alone in the second row


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    rig = ball()
    other = face.assemble({"expression": np.zeros((2, 1))}, fps=25, rig="head")
    with pytest.raises(ValueError, match="expected a clip of rig ball, got one of head"):
        mesh.write(other, tmp_path / "x.mp4", rig)
    with pytest.raises(ValueError, match="even sides of 32 to 4096 pixels, got 127x128"):
        mesh.write(clip(), tmp_path / "x.mp4", rig, size=(127, 128))
    with pytest.raises(ValueError, match="expected clips to show, got none"):
        mesh.contact_sheet([], rig, tmp_path / "x.png")
    (tmp_path / "bad.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="empty file"):
        mesh.write(clip(), tmp_path / "x.mp4", rig, audio=tmp_path / "bad.wav")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.wav"]


@pytest.mark.parametrize("name", config.known("render"))
def test_every_renderer_keeps_the_contract(name: str) -> None:
    module = config.find("render", name)
    bodies = body.assemble(np.zeros((1, 3)), torch.eye(3).repeat(1, 22, 1, 1), fps=20)
    shown = clip(1) if "face" in module.MODALITIES else bodies
    picture, = module.frames(shown, ball(), size=(64, 96))
    assert picture.shape == (96, 64, 3)
    assert callable(module.write)


def test_posing_happens_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, seen = ball(), []
    original = rig.vertices
    monkeypatch.setattr(rig, "vertices", lambda values, *a, **k: seen.append(len(values)) or original(values, *a, **k))
    assert sum(1 for _ in mesh._posed(clip(150), rig)) == 150
    assert seen == [64, 64, 22]
    assert torch.is_grad_enabled()
