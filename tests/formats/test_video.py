"""Capture on real video and on everything that is none."""

import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, formats, rotations, video
from tdmm_lm.formats import video as capturing
from tdmm_lm.motion import face

pytest.importorskip("mediapipe", reason="needs mediapipe: pip install 'tdmm-lm[capture]'")
DATA = bundle.data()
real = pytest.mark.skipif(
    DATA is None, reason="needs grid_s1/ and face_landmarker/ of the real data: set $TDMM_DATA to their folder"
)
GRID = sorted((DATA / "grid_s1" / "video").glob("*.mpg")) if DATA else []


def save(path: Path, frames, fps: float = 25) -> Path:
    video.write(path, frames, fps=fps)
    return path


@pytest.fixture(scope="module")
def talk():
    """The first of the talker's videos, captured."""
    return capturing.capture(GRID[0])


@real
def test_agrees_with_the_tracked_talker(talk):
    with np.load(DATA / "grid_s1" / "mediapipe_arkit52_25fps.npz", allow_pickle=False) as file:
        at = file["clip"].tolist().index(GRID[0].stem)
        rows = slice(file["n"][:at].sum(), file["n"][: at + 1].sum())
        names = file["bs_names"].tolist()
        scores, matrices = file["blendshapes"][rows], file["head_matrix"][rows]
    assert (talk.frames, talk.fps, talk.rig, talk.modality) == (len(scores), 25, "head", "face")
    for k, name in enumerate(face.ARKIT):
        wanted = scores[:, names.index(name)] if name in names else 0
        np.testing.assert_allclose(talk.values[:, k], wanted, atol=0.02)
    head = rotations.axis_angle_to_matrix(torch.from_numpy(face.part(talk, "head"))).numpy()
    np.testing.assert_allclose(head, matrices[:, :3, :3], atol=0.01)
    for still in ("jaw", "neck", "eyes"):
        assert not face.part(talk, still).any()


@real
def test_translation_is_metres_about_the_clips_rest(talk):
    moved = face.part(talk, "translation")
    assert np.abs(np.median(moved, 0)).max() < 1e-6
    assert 1e-4 < np.abs(moved).max() < 0.05  # a seated talker


@real
def test_the_same_video_gives_the_same_clip(talk):
    np.testing.assert_array_equal(capturing.capture(GRID[0]).values, talk.values)


@real
def test_progress_counts_the_frames(tmp_path):
    pictures = [frame for _, frame in video.read(GRID[0])][:12]
    counted: list[int] = []
    clip = capturing.capture(save(tmp_path / "a.mp4", pictures, 50), progress=counted.append)
    assert (clip.frames, clip.fps) == (12, 50)
    assert counted == list(range(1, 13))


@real
def test_workers_on_parts_of_a_video_see_what_one_sees(tmp_path, monkeypatch):
    pictures = [frame for path in GRID[:3] for _, frame in video.read(path)]
    talk = save(tmp_path / "a.mp4", pictures)
    counted: list[int] = []
    parted = capturing.capture(talk, progress=counted.append)
    assert counted == list(range(1, len(pictures) + 1))
    np.testing.assert_array_equal(capturing.capture(talk).values, parted.values)
    monkeypatch.setattr(capturing, "WORKERS", 1)
    whole = capturing.capture(talk)
    assert parted.frames == whole.frames == len(pictures)
    np.testing.assert_allclose(parted.values[:, :52], whole.values[:, :52], atol=0.05)
    np.testing.assert_array_equal(parted.values[: capturing.CHUNK, :52], whole.values[: capturing.CHUNK, :52])


@real
def test_frames_without_a_face_are_filled_in(tmp_path):
    pictures = [frame for _, frame in video.read(GRID[0])][:30]
    whole = capturing.capture(save(tmp_path / "a.mp4", pictures))
    holes = [np.zeros_like(frame) if 10 <= i < 15 else frame for i, frame in enumerate(pictures)]
    filled = capturing.capture(save(tmp_path / "b.mp4", holes))
    assert filled.frames == 30
    np.testing.assert_allclose(filled.values[:, :52], whole.values[:, :52], atol=0.25)
    share = np.linspace(0, 1, 7)[:, None]
    between = (1 - share) * filled.values[9, :52] + share * filled.values[15, :52]
    np.testing.assert_allclose(filled.values[9:16, :52], between, atol=1e-5)


@real
def test_long_stretches_without_a_face_are_told(tmp_path):
    pictures = [frame for _, frame in video.read(GRID[0])][:60]
    holes = [np.zeros_like(frame) if 20 <= i < 40 else frame for i, frame in enumerate(pictures)]
    with pytest.warns(UserWarning, match=r"no face from 0\.8 to 1\.6 s; its motion is filled in"):
        assert capturing.capture(save(tmp_path / "a.mp4", holes)).frames == 60


@real
@pytest.mark.parametrize("kind", ["noise", "landscape", "mostly"])
def test_faceless_videos_say_so(tmp_path, kind):
    rng = np.random.default_rng(0)
    if kind == "noise":
        pictures = [rng.integers(0, 255, (288, 360, 3), dtype=np.uint8) for _ in range(10)]
        found = "0 of 10"
    elif kind == "landscape":
        y, x = np.mgrid[0:288, 0:360]
        hills = np.where((y > 150 + 30 * np.sin(x / 40))[..., None], [60, 120, 50], [130, 180, 230]).astype(np.uint8)
        pictures, found = [hills] * 10, "0 of 10"
    else:
        talking = [frame for _, frame in video.read(GRID[0])][:4]
        pictures, found = [*talking, *[np.zeros_like(talking[0])] * 8], "4 of 12"
    with pytest.raises(ValueError, match=rf"a\.mp4: expected a face in at least half of the frames, got {found}\.$"):
        formats.read(save(tmp_path / "a.mp4", pictures))


@real
def test_a_portrait_is_a_clip_of_one_frame():
    clip = formats.read(sorted((DATA / "portraits").glob("*.png"))[0])
    assert clip.frames == 1
    assert clip.values[0, :52].max() > 0.05


@real
def test_an_uneven_video_is_put_on_an_even_grid(tmp_path):
    """Every other frame shown twice as long: as many frames as the average rate says, at even times."""
    import av

    pictures = [frame for _, frame in video.read(GRID[0])][:20]
    ticks = np.cumsum([0] + [1, 3] * 10)[:20]
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 360, 288, "yuv420p"
        for tick, picture in zip(ticks, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(tick), Fraction(1, 50)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    clip = capturing.capture(tmp_path / "a.mp4")
    assert clip.seconds == pytest.approx(ticks[-1] / 50 + 1 / clip.fps, abs=0.06)


def test_no_video_says_what_it_is(tmp_path):
    if DATA is None:
        pytest.skip("needs face_landmarker/ of the real data: set $TDMM_DATA to their folder")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("#EXTM3U\nhttp://127.0.0.1/secret\n")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    with wave.open(str(tmp_path / "sound.wav"), "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(16000)
        out.writeframes(bytes(32000))
    for name, message in {
        "empty.mp4": "empty",
        "text.mp4": "expected a video, got a text file",
        "noise.mp4": "expected a video, got none",
        "sound.wav": "expected a video, got sound only",
    }.items():
        for reader in (formats.read, capturing.capture):
            with pytest.raises(ValueError, match=message) as error:
                reader(tmp_path / name)
            assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="expected a"):
        capturing.capture(tmp_path / "none.mp4")


@real
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_cut_videos_say_so(tmp_path, share):
    pictures = [frame for _, frame in video.read(GRID[0])]
    whole = save(tmp_path / "a.mp4", pictures).read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"cut off|damaged"):
        capturing.capture(tmp_path / "a.mp4")


def test_a_missing_model_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("TDMM_DATA", raising=False)
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"expected MediaPipe's face landmarker, found none; run `tdmm doctor --fetch`"
    ):
        capturing.landmarker()
    with pytest.raises(FileNotFoundError, match=r"own\.task: expected MediaPipe's"):
        capturing.landmarker(tmp_path / "own.task")
    (tmp_path / "own.task").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"own\.task: expected MediaPipe's face landmarker, got something else"):
        capturing._Tracker(tmp_path / "own.task")
    (tmp_path / "face_landmarker.task").touch()
    assert capturing.landmarker() == tmp_path / "face_landmarker.task"


@real
def test_head_signs_on_a_rendered_head_of_known_pose():
    """The scanned head, turned by known angles and rendered: MediaPipe's pose has our signs."""
    pyvista = pytest.importorskip("pyvista", reason="needs pyvista: pip install 'tdmm-lm[render]'")
    from tdmm_lm import rigs

    rig = rigs.load("ict")
    width = len(rig.expressions) + face.POSE_CHANNELS
    middle = rig.eyes.mean(0).tolist()
    triangles = np.column_stack([np.full(len(rig.faces), 3), rig.faces]).ravel()
    for angles in ([0.4, 0, 0], [-0.4, 0, 0], [0, 0.3, 0], [0, -0.3, 0], [0, 0, 0.3], [0, 0, -0.3]):
        values = torch.zeros(1, width)
        turn = rotations.matrix_to_axis_angle(rotations.euler_yxz_to_matrix(torch.tensor(angles, dtype=torch.float32)))
        values[0, face.layout(width)["head"]] = turn
        plotter = pyvista.Plotter(off_screen=True, window_size=(320, 320))
        mesh = pyvista.PolyData(rig.vertices(values)[0].numpy(), triangles)
        mesh["colour"] = rig.colours
        plotter.add_mesh(mesh, scalars="colour", rgb=True, smooth_shading=True)
        plotter.set_background("steelblue")
        plotter.camera.position, plotter.camera.up = (middle[0], middle[1], middle[2] + 0.6), (0, 1, 0)
        plotter.camera.focal_point, plotter.camera.view_angle = middle, 35
        picture = plotter.screenshot(return_img=True)
        plotter.close()
        with capturing._Tracker(capturing.landmarker()) as track:
            for k in range(3):
                row = track(picture, k / 25)
        found = rotations.matrix_to_euler_yxz(torch.from_numpy(row[52:].reshape(4, 4)[:3, :3])).numpy()
        np.testing.assert_allclose(found, angles, atol=0.13)


@real
def test_capture_says_nothing_on_stderr():
    probe = f"from tdmm_lm.formats import video; video.capture({str(GRID[0])!r})"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert shown.stderr == ""


@pytest.mark.slow
@real
def test_memory_does_not_grow_with_the_video(tmp_path):
    """The whole claim, 10 s against 5 min, is `tdmm bench capture`; here 4 s against 20 s."""
    from itertools import islice

    from tdmm_lm.bench import capture as bench

    peaks = []
    for seconds in (4, 20):
        video.write(tmp_path / "a.mp4", islice(bench._frames(GRID[:3]), 25 * seconds), fps=25)
        frames, _, peak = bench._apart(tmp_path / "a.mp4")
        assert frames == 25 * seconds
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 30, "MB; a decoded second is 8, so holding the frames would take 128"


def test_the_bundled_heads_root_is_where_capture_thinks():
    from tdmm_lm import rigs

    rig = rigs.load(capturing.RIG)
    np.testing.assert_allclose(rig.eyes.mean(0) - formats.pivot(rig), capturing.ROOT_TO_EYES, atol=0.005)


@real
def test_a_turning_head_stays_in_its_place():
    """A pose of the canonical face that turns about the rig's own root joint has no translation."""
    arm = capturing.CANONICAL_EYES - capturing.ROOT_TO_EYES
    turns = rotations.euler_yxz_to_matrix(torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0, 0.3, 0.2]])).double().numpy()
    matrices = np.tile(np.eye(4), (3, 1, 1))
    matrices[:, :3, :3] = turns
    matrices[:, :3, 3] = 100 * (arm - turns @ arm + [0.1, 0.2, -0.5])
    np.testing.assert_allclose(capturing._root(matrices), 0, atol=1e-6)
