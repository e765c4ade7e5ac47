"""The source of videos on real ones: splits, cuts, long ones, sound, identity, what is off, the same in any process."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import bundle, config, video
from tdmm_lm.corpus.capture import faces
from tdmm_lm.corpus.sources import Item, Rejected, videos
from tdmm_lm.formats import video as capture
from tdmm_lm.motion import face
from tdmm_lm.sample import Sample

pytest.importorskip("mediapipe", reason="needs mediapipe: pip install 'tdmm-lm[capture]'")
pytest.importorskip("scenedetect", reason="needs scenedetect: pip install 'tdmm-lm[capture]'")
DATA = bundle.data()
real = pytest.mark.skipif(
    DATA is None, reason="needs grid_s1/, face_landmarker/ and vad/ of the real data: set $TDMM_DATA to their folder"
)
GRID = DATA / "grid_s1" / "video" if DATA else Path("none")
FILES = sorted(GRID.glob("*.mpg"))
NEARER = {"box_share": 0.1}  # the talker's box is 13 to 18 % of the picture


def of(path: Path, **section) -> list[Sample | Rejected]:
    settings = videos.Settings(folder=path.parent, **{"quality": NEARER, **section})
    return list(videos.samples(Item(f"videos/{path.name}", "train", {"path": str(path)}), settings))


@pytest.fixture(scope="module")
def good() -> Sample:
    found = of(FILES[1])
    assert len(found) == 1
    assert isinstance(found[0], Sample)
    return found[0]


@real
def test_a_clip_is_the_capture_of_its_video(good):
    clip, whole = good.clips["face"], capture.capture(FILES[1])
    assert (clip.frames, clip.fps, clip.modality, clip.rig) == (75, 25, "face", "head")
    np.testing.assert_allclose(clip.values, whole.values, atol=1e-5)
    assert np.abs(np.median(face.part(clip, "translation"), 0)).max() < 1e-6
    assert good.id == f"videos/{FILES[1].name}@0-3000"
    np.testing.assert_array_equal(good.audio, video.audio(FILES[1])[: len(good.audio)])
    assert good.audio.dtype == np.float32
    assert len(good.audio) == pytest.approx(48000, rel=0.01)
    assert (good.source, good.licence, good.speaker, good.texts) == ("videos", "not stated", "", ())
    assert config.parse(str(good.provenance))["seconds"] == [0.0, 3.0]


@real
def test_identity_is_the_persons(good):
    other = of(FILES[30])[0]
    shape, again = good.clips["face"].shape, other.clips["face"].shape
    assert np.linalg.norm(shape) > 1
    assert np.linalg.norm(shape - again) < 0.3 * np.linalg.norm(shape)  # another day's sentence, the same face
    figures = good.provenance["figures"]
    assert 0 < figures["identity_residual_mm"] < figures["identity_mean_mm"] < 6


def _values(path: str) -> list[bytes]:
    return [one.clips["face"].values.tobytes() + one.clips["face"].shape.tobytes() for one in of(Path(path))]


@real
def test_every_process_makes_the_same(good):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_values, [str(FILES[2])]))  # something else first: nothing may stay behind
        [(there,)] = pool.map(_values, [str(FILES[1])])
    assert there == good.clips["face"].values.tobytes() + good.clips["face"].shape.tobytes()


@real
def test_a_really_damaged_video_of_the_corpus_is_refused():
    """GRID's pbio7a: a second of grey, then half a face that the decoder invented the rest of."""
    found = of(GRID / "pbio7a.mpg")
    assert [one.reason for one in found] == ["no_face", "too_short", "implausible"]
    assert found[-1].figures["rigidity"] > 0.02


@real
def test_the_paper_bound_on_the_faces_size():
    found = of(FILES[6], quality={})
    assert [one.reason for one in found] == ["small_box"]
    assert 0.1 < found[0].figures["box_share"] < 0.15
    assert "at least 0.15 of the frame's area" in found[0].detail


@real
def test_shots_are_clips_of_their_own_and_long_ones_are_cut(tmp_path):
    shots = [[frame for _, frame in video.read(path)][:45] for path in (FILES[1], FILES[40])]
    closer = [np.ascontiguousarray(frame[40:250, 60:300]) for frame in shots[1]]
    import cv2

    shots[1] = [cv2.resize(frame, (360, 288)) for frame in closer]
    video.write(tmp_path / "a.mp4", shots[0] + shots[1], fps=25)
    found = of(tmp_path / "a.mp4", sound={"speech_share": 0})
    assert [type(one) for one in found] == [Sample, Sample]
    (start, cut), (again, end) = (one.provenance["seconds"] for one in found)
    assert (start, cut, end) == pytest.approx((0, 1.8, 3.6), abs=0.05)
    assert 1.8 <= again <= 2.0  # the tracker settles first
    short = {"longest_seconds": 1.2, "adaptive_threshold": 50}
    found = of(tmp_path / "a.mp4", sound={"speech_share": 0}, finding=short)
    assert max(one.clips["face"].seconds for one in found if isinstance(one, Sample)) <= 1.2 + 1e-6
    assert found[0].provenance["seconds"] == [0.0, 1.2]


@real
def test_a_second_person_ends_the_clip(tmp_path):
    talk = [frame for _, frame in video.read(FILES[1])]
    other = [np.ascontiguousarray(frame[:, ::-1]) for frame in talk]
    blank = np.full_like(talk[0], 90)
    wide = [np.concatenate([frame, blank if i < 40 else other[i]], 1) for i, frame in enumerate(talk)]
    video.write(tmp_path / "a.mp4", wide, fps=25)
    found = of(tmp_path / "a.mp4", sound={"speech_share": 0}, quality={"box_share": 0.05},
               finding={"adaptive_threshold": 1e6})
    assert isinstance(found[0], Sample)
    assert 1.0 <= found[0].clips["face"].seconds <= 1.61  # up to the last look at which he was alone
    assert [one.reason for one in found[1:]] == ["second_face"]


@real
def test_items_are_sorted_and_speakers_stay_in_one_split(tmp_path):
    for name in ("b/two.mp4", "a/one.MP4", "a/s10_x.mkv", "a/notes.txt", "c/s2_y.mov", "a/s2_z.webm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = list(videos.items(videos.Settings(folder=tmp_path, speaker="parent", name="mine"), 0))
    assert [item.id for item in listed] == [
        "mine/a/one.MP4", "mine/a/s10_x.mkv", "mine/a/s2_z.webm", "mine/b/two.mp4", "mine/c/s2_y.mov"
    ]
    assert listed == list(videos.items(videos.Settings(folder=tmp_path, speaker="parent", name="mine"), 7))
    assert [item.what["speaker"] for item in listed] == ["a", "a", "a", "b", "c"]
    half = videos.Settings(folder=tmp_path, speaker=r"(s\d+)_", dev=0.3, test=0.3)
    by_name = {item.id: item for item in videos.items(half, 0)}
    assert by_name["videos/c/s2_y.mov"].split == by_name["videos/a/s2_z.webm"].split
    assert by_name["videos/c/s2_y.mov"].what["speaker"] == "s2"
    lost = by_name["videos/b/two.mp4"]
    assert [one.reason for one in videos.samples(lost, half)] == ["no_speaker"]
    splits = [videos._split(str(i), half) for i in range(2000)]
    assert [splits.count(name) / 2000 for name in ("train", "dev", "test")] == pytest.approx([0.4, 0.3, 0.3], abs=0.04)


@real
def test_the_same_bytes_twice_are_one_video(tmp_path):
    for name, held in {"a/x.mp4": b"film", "b/y.mp4": b"film", "b/z.mp4": b"Film", "c.mov": b"", "d.mov": b""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(held)
    settings = videos.Settings(folder=tmp_path)
    listed = list(videos.items(settings, 0))
    assert [item.what.get("copy_of") for item in listed] == [None, "a/x.mp4", None, None, None]
    refused = [next(videos.samples(item, settings)) for item in listed]
    assert [one.reason for one in refused] == ["text", "duplicate", "text", "empty", "empty"]
    assert refused[1].detail.endswith("b/y.mp4: expected a video of its own, got the bytes of a/x.mp4.")


@real
def test_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none: expected a folder of videos, found none"):
        next(videos.items(videos.Settings(folder=tmp_path / "none"), 0))
    with pytest.raises(ValueError, match=r"expected videos \(\.mp4, .* below it, found none"):
        next(videos.items(videos.Settings(folder=tmp_path), 0))
    with pytest.raises(ValueError, match=r"speaker: .*expected a regular expression"):
        config.check(videos.Settings, {"folder": ".", "speaker": "(s"}, "x.yaml")
    with pytest.raises(FileNotFoundError, match=r"asd\.onnx: expected an ONNX model, found none"):
        next(videos.items(videos.Settings(folder=GRID, judges={"active_speaker": tmp_path / "asd.onnx"}), 0))
    with pytest.raises(ValueError, match=r"unknown key"):
        config.check(videos.Settings, {"folder": ".", "quality": {"blur": 1}}, "x.yaml")


@real
def test_what_is_off_says_so(monkeypatch, tmp_path, good):
    told = videos.summary(videos.Settings(folder=GRID))
    assert told["speech"].startswith("on: ")
    assert {key for key, state in told.items() if state.startswith("off")} == {
        "active_speaker", "sync", "quality", "transcriber"
    }
    assert good.provenance["filters_off"] == ["active_speaker", "quality", "sync", "transcriber"]
    model = capture.landmarker()
    monkeypatch.setattr(capture, "landmarker", lambda *_: model)
    monkeypatch.delenv("TDMM_DATA")
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path))
    with pytest.warns(UserWarning, match=r"videos: off: silero_vad\.onnx found neither below"):
        item = next(videos.items(videos.Settings(folder=GRID), 0))
    made = next(videos.samples(item, videos.Settings(folder=GRID, quality=NEARER)))
    assert "speech" in made.provenance["filters_off"]
    assert "speech_share" not in made.provenance["figures"]


@real
def test_a_tracker_that_is_no_model_is_told_before_any_work(monkeypatch, tmp_path):
    broken = tmp_path / "face_landmarker.task"
    broken.write_bytes(capture.landmarker().read_bytes()[:5000])
    monkeypatch.setattr(capture, "landmarker", lambda *_: broken)
    with pytest.raises(ValueError, match=r"face_landmarker\.task: expected"):
        next(videos.items(videos.Settings(folder=GRID, name="other"), 0))


def test_boxes_overlap():
    box = np.array([0.0, 0, 2, 2])
    assert faces.overlap(box, box) == 1
    assert faces.overlap(box, box + 5) == 0
    assert faces.overlap(box, box + np.array([1, 0, 1, 0])) == pytest.approx(1 / 3)


@real
def test_it_says_nothing_on_stderr():
    code = (
        "from tdmm_lm.corpus.sources import Item, videos\n"
        f"s = videos.Settings(folder={str(GRID)!r})\n"
        f"print([type(x).__name__ for x in videos.samples(Item('x', 'train', {{'path': {str(FILES[1])!r}}}), s)])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (shown.stdout.strip(), shown.stderr) == ("['Sample']", "")


@pytest.mark.slow
@real
def test_memory_does_not_grow_with_the_video(tmp_path):
    """Peak memory of a minute is that of a quarter of one, to within what a clip weighs."""
    talk = [frame for _, frame in video.read(FILES[1])]
    peaks = []
    for seconds in (15, 60):
        frames = (talk[i % 75] for i in range(25 * seconds))
        video.write(tmp_path / "a.mp4", islice(frames, 25 * seconds), fps=25, audio=np.zeros(16000 * seconds))
        code = (
            "import resource\nfrom tdmm_lm.corpus.sources import Item, videos\n"
            f"s = videos.Settings(folder={str(tmp_path)!r}, finding={{'longest_seconds': 5}})\n"
            f"for x in videos.samples(Item('x', 'train', {{'path': {str(tmp_path / 'a.mp4')!r}}}), s): pass\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        peaks.append(float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 25, "MB; the frames of 45 s would take 350"
