"""Files of strangers through `reading.clip`: good ones come out as they are, bad ones as one line, and nobody dies."""

import asyncio
import resource
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import bundle, formats
from tdmm_lm.formats import video
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.serve import reading
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.settings import Limits, Settings
from tdmm_lm.serve.workers import Workers
from tests.serve import hostile

LIMITS = Limits(read_seconds=8, read_memory_mb=2048, clip_seconds=60, video_seconds=20, file_mb=32)
SETTINGS = Settings(limits=LIMITS)


def landmarker() -> bool:
    try:
        return video.landmarker().is_file()
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def read():
    with asyncio.Runner() as runner:
        workers = Workers(LIMITS)
        workers.start()

        def clip(path, name, settings=SETTINGS):
            return runner.run(reading.clip(path, name, workers, settings))

        clip.workers = workers
        yield clip
        runner.run(workers.close())


def refused(read, path: Path, name: str, settings: Settings = SETTINGS) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(path, name, settings)
    return caught.value


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, bytes]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile on a name that is there twice
        return hostile.files()


def test_hostile_files_are_refused_in_one_line(read, corpus, tmp_path):
    assert len({data for _, data in corpus}) >= 100
    held = tmp_path / "held"
    held.write_bytes(corpus[0][1])
    refused(read, held, "warm")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slow = []
    for name, data in corpus:
        held.write_bytes(data)
        start = time.monotonic()
        error = refused(read, held, name)
        taken = time.monotonic() - start
        if taken > 3:
            slow.append((name, taken))
        line = str(error)
        if error.code == "video_unavailable":
            assert not landmarker(), name
        else:
            assert 400 <= error.status < 500, (name, line)
        assert line.isprintable(), (name, line)
        assert len(line) <= 700, name
        assert line.startswith(reading._shown(name)), (name, line)
        assert error.code, name
        assert "upload" not in line.replace(name, ""), (name, line)
        assert str(tmp_path) not in line, (name, line)
        assert "tdmm-worker" not in line, (name, line)
        assert "root:" not in line.replace(name, ""), (name, line)
    assert not slow
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < 300 << 10, f"{grown} kB"  # a clip of 32 MB and its way here
    assert [path.name for path in tmp_path.iterdir()] == ["held"]
    assert not list(Path(read.workers._folder).iterdir())
    assert not Path("/tmp/tdmm-unpickled").exists()
    assert not Path("/tmp/tdmm-escaped.npy").exists()


def test_good_files_come_out_as_the_formats_read_them(read, tmp_path):
    sample = formats.read(bundle.path("assets/samples/angry_shake.npz"))
    values = np.zeros((20, body.CHANNELS), np.float32)
    values[:, 3::6] = values[:, 7::6] = 1
    standing = MotionClip(values, 30, "body", "skeleton")
    for name, clip in (
        ("a.npz", sample), ("a.csv", sample), ("a.glb", sample), ("b.npz", standing), ("b.bvh", standing),
        ("b.glb", standing), ("b.joints.npz", standing),
    ):
        path = tmp_path / name
        formats.write(clip, path)
        want = formats.read(path)
        got = read(path, "a file of mine")  # by its content, whatever it is called
        assert np.allclose(got.values, want.values, atol=1e-6), name
        assert (got.fps, got.rig, got.modality) == (want.fps, want.rig, want.modality)


def test_limits_of_files_and_clips(read, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(hostile.clip(values=np.zeros((1501, hostile.CHANNELS), np.float32)))
    error = refused(read, path, "a.npz")
    assert (error.status, error.code) == (413, "motion_too_long")
    assert str(error) == "a.npz: expected at most 60 s of motion, got 60.0 s; cut it."
    path.write_bytes(hostile.clip(values=np.zeros((1500, hostile.CHANNELS), np.float32)))
    assert read(path, "a.npz").frames == 1500
    with path.open("wb") as file:
        file.truncate(33 << 20)
    assert refused(read, path, "a.npz").code == "file_too_large"
    path.write_bytes(hostile.clip(values=np.zeros((10_000_000, 1), np.float32), fps=np.float64(1000)))
    assert refused(read, path, "a.npz").status in (400, 413)


def test_memory_and_time_of_reading_are_bounded(read, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(hostile.clip(values=np.zeros((500_000, hostile.CHANNELS), np.float32)))
    error = refused(read, path, "a.npz", Settings(limits=LIMITS))
    assert error.status in (413, 422)

    async def small():
        workers = Workers(Limits(read_memory_mb=64, read_seconds=0.001))
        try:
            settings = Settings(limits=workers.limits)
            with pytest.raises(ApiError) as caught:
                await reading.clip(path, "a.npz", workers, settings)
            first = caught.value
            workers.limits = Limits(read_memory_mb=64)
            with pytest.raises(ApiError) as caught:
                await reading.clip(path, "a.npz", workers, Settings(limits=workers.limits))
            return first.code, caught.value.code
        finally:
            await workers.close()

    assert asyncio.run(small()) == ("reading_took_too_long", "reading_took_too_much")


def test_links_and_folders_are_no_files(read, tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in (tmp_path / "link", tmp_path, tmp_path / "nothing"):
        assert str(refused(read, path, "a.npz")) == "a.npz: expected a file, found none."


def test_rigs_that_are_not_served_are_refused(read, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(hostile.clip(rig=np.str_("/work")))
    assert refused(read, path, "a").code == "unknown_rig"


def test_what_readers_used_to_stumble_over_has_its_own_words(read, corpus, tmp_path):
    path, held = tmp_path / "a", dict(corpus)
    for name, words in {
        "many-axes.npz": "values: expected at most 8 axes, got 2000",
        "count-infinite.glb": "expected a GLB written by tdmm, got another or a damaged one",
        "zeros.glb": "expected an accessor of at most 1048576 rows, got 16777216",
        "cycle.glb": "expected a tree of nodes, got node 0 below itself",
        "frames-digits.bvh": "Frames: expected one or more, got 99999999999999999999",
        "frames-superscript.bvh": "Frames: expected one or more, got ²",
        "bomb.png": "expected a video (mp4, webm, mov), got something else or a damaged one",
        "list.mp4": "expected a video (mp4, webm, mov), got something else or a damaged one",
        "sound.mp4": "expected a video, got a file without moving pictures",
        "large.mp4": "expected at most 8300000 pixels a frame, got 4096x2304",
    }.items():
        path.write_bytes(held[name])
        assert words in str(refused(read, path, name)), name


def test_a_subverted_childs_clip_is_checked_again():
    clip = MotionClip(np.zeros((5, 70), np.float32), 25, "face", "skeleton")
    with pytest.raises(ApiError, match="rig: expected one of head"):
        reading._fitting(clip, "a", reading.RIGS, SETTINGS)


@pytest.mark.parametrize("maker", [
    lambda: hostile.movie(3, container="matroska"), lambda: hostile.movie(3, container="avi"),
    lambda: hostile.movie(3, sound=True), lambda: hostile.movie(20, container="mpegts"),
])
def test_usual_videos_pass_the_probe(maker, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(maker())
    assert 0 <= reading._probed(path, 20, 10_000) < 1


def test_a_video_of_a_face_is_captured(read, tmp_path):
    data = bundle.data()
    found = sorted(data.rglob("*.mp4")) + sorted(data.rglob("*.mpg")) if data else []
    if not (found and landmarker()):
        pytest.skip("needs $TDMM_DATA with a video and the landmarker")
    smallest = min(found, key=lambda path: path.stat().st_size)
    copy = tmp_path / "held"
    shutil.copyfile(smallest, copy)
    assert read(copy, "me.mp4", Settings(limits=Limits())).frames > 10
