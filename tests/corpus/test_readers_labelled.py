"""MEAD, RAVDESS and MMHead as they lie on a disk: labels as text, splits by person, broken files, errors that help."""

import errno
import json
import pickle
import runpy
import shutil
import types
from pathlib import Path

import av
import numpy as np
import pytest

from tdmm_lm import bundle, config
from tdmm_lm import video as media
from tdmm_lm.config import Settings
from tdmm_lm.corpus import caption, sources
from tdmm_lm.corpus.sources import Rejected, mead, mmhead, ravdess
from tdmm_lm.motion import face
from tdmm_lm.sample import Sample

CORPORA = runpy.run_path(str(Path(__file__).resolve().parent / "public_corpora.py"))


class Videos(Settings):
    """The section of a stand-in for the source ``videos``."""

    folder: Path
    audio: bool = True


def tracked(item, settings):
    """A stand-in for tracking: a face over a second with the file's sound, and one that was lost."""
    path = Path(item.what["path"])
    wave = media.audio(path) if path.stat().st_size else np.zeros(16_000, np.float32)
    clip = face.assemble({"expression": np.zeros((25, 52))}, fps=25, rig="head")
    yield Sample(
        f"{item.id}#0", (), {"face": clip}, item.split, "video", "unknown", {"blinks": 1},
        audio=wave if settings.audio else None, provenance={"file": str(path), "seconds": [0.0, 1.0]},
    )
    yield Rejected(f"{item.id}#1", "video", "no_face", f"{path}: expected a face, found none.")


@pytest.fixture
def videos(monkeypatch):
    fake = types.SimpleNamespace(Settings=Videos, samples=tracked)
    monkeypatch.setattr(sources, "videos", fake, raising=False)
    return fake


@pytest.fixture
def flame(monkeypatch):
    """As if FLAME had been imported: no reader looks into it."""
    monkeypatch.setattr(mmhead.flame, "load", lambda: None)


def run(source, settings):
    items = list(source.items(settings, 0))
    made = [result for item in items for result in source.samples(item, settings)]
    good = {result.id: result for result in made if not isinstance(result, Rejected)}
    return items, good, {result.id: result for result in made if isinstance(result, Rejected)}


def test_mead_labels_become_family_level_and_text(tmp_path, videos):
    folder = CORPORA["make_mead"](tmp_path / "MEAD")
    items, good, rejected = run(mead, mead.Settings(folder=folder))
    assert [(item.id, item.split) for item in items] == [
        ("mead/M003/front/angry/level_3/001", "train"), ("mead/M003/front/neutral/level_1/001", "train"),
        ("mead/W037/front/contempt/level_1/001", "test"),
    ]
    assert {result.reason for result in rejected.values()} == {"no_face"}
    assert {result.source for result in rejected.values()} == {"MEAD"}
    sample = good["mead/M003/front/angry/level_3/001#0"]
    assert sample.texts == ("A person talks and looks very angry.",)
    assert sample.labels == {"blinks": 1, "emotion": "angry", "family": "anger", "level": "strong", "view": "front"}
    assert (sample.speaker, sample.source, sample.split) == ("mead/M003", "MEAD", "train")
    film = folder / "M003/video/front/angry/level_3/001.mp4"
    assert sample.provenance == {"seconds": [0.0, 1.0], "file": str(film)}
    assert film.is_file()
    assert abs(float(sample.audio[4000:12000].max()) - 0.2) < 0.05  # the tone of the .m4a
    lost = rejected["mead/M003/front/angry/level_3/001#1"].detail
    assert lost == f"{folder / 'M003/video/front/angry/level_3/001.mp4'}: expected a face, found none."
    for sample in good.values():
        read = caption.parse(sample.texts[0])
        assert (read.family, read.level) == (sample.labels["family"], sample.labels["level"])
    views = mead.Settings(folder=folder, views=("front", "left_30"))
    assert "mead/M003/left_30/angry/level_3/001" in [item.id for item in mead.items(views, 0)]


def test_mead_leaves_what_is_no_file_to_the_videos(tmp_path):
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "never.mp4")
    (tmp_path / "folder.mp4").mkdir()
    assert [mead._silent(tmp_path / name) for name in ("gone.mp4", "folder.mp4")] == [False, False]


def test_a_full_disk_is_no_fault_of_meads(tmp_path, videos, monkeypatch):
    def full(*paths):
        raise av.error.FFmpegError(errno.ENOSPC, "no space left on device")

    folder = CORPORA["make_mead"](tmp_path / "MEAD")
    monkeypatch.setattr(mead, "joined", full)
    with pytest.raises(ValueError, match="expected room for sound and pictures, got a full disk"):
        run(mead, mead.Settings(folder=folder))


def test_every_label_of_mead_and_ravdess_reads_back(tmp_path):
    for family, adjective in mead.EMOTIONS.values():
        for level, adverb in mead.LEVELS.values():
            read = caption.parse(f"A person talks and looks {adverb}{adjective}.")
            assert (read.family, read.level or "clear") == (family, level)
    for number in ravdess.EMOTIONS:
        known = ravdess.named(f"01-01-{number}-01-01-01-12")
        assert caption.parse(known["text"]).family == known["family"]


def test_mead_names_what_is_broken(tmp_path, videos):
    folder = CORPORA["make_mead"](tmp_path / "MEAD")
    (folder / "M003/audio/angry/level_3/001.m4a").unlink()
    (folder / "M003/audio/neutral/level_1/001.m4a").write_bytes(b"no sound")
    for label in ("neutral/level_2", "bored/level_1"):
        shutil.copytree(folder / "M003/video/front/neutral/level_1", folder / "M003/video/front" / label)
    _, good, rejected = run(mead, mead.Settings(folder=folder))
    assert list(good) == ["mead/W037/front/contempt/level_1/001#0"]
    reasons = {ident.removeprefix("mead/"): result.reason for ident, result in rejected.items()}
    assert reasons == {
        "M003/front/angry/level_3/001": "missing_audio", "M003/front/neutral/level_1/001": "broken_audio",
        "M003/front/neutral/level_2/001": "unknown_label", "M003/front/bored/level_1/001": "unknown_label",
        "W037/front/contempt/level_1/001#1": "no_face",
    }
    missing = rejected["mead/M003/front/angry/level_3/001"].detail
    assert missing == "expected M003/audio/angry/level_3/001.m4a, found none."
    with pytest.raises(ValueError, match=r"mead.videos: nonsense: unknown key; known: folder, audio"):
        run(mead, mead.Settings(folder=folder, videos={"nonsense": 1}))
    with pytest.raises(FileNotFoundError, match=r"expected MEAD's folder, found none; get it from"):
        list(mead.items(mead.Settings(folder=tmp_path / "none"), 0))
    packed = tmp_path / "packed/M003"
    packed.mkdir(parents=True)
    (packed / "video.tar").touch()
    with pytest.raises(ValueError, match=r"expected SPEAKER/video/front/EMOTION/.* found only M003/; .*unpack each"):
        list(mead.items(mead.Settings(folder=packed.parent), 0))


@pytest.mark.skipif(bundle.data() is None, reason="needs grid_s1/ of the real data: set $TDMM_DATA to its folder")
@pytest.mark.parametrize("silent", [False, True])
def test_a_real_face_goes_the_whole_way(tmp_path, silent):
    pytest.importorskip("mediapipe")
    pytest.importorskip("scenedetect")
    given = bundle.data() / "grid_s1/video/bbaf3s.mpg"
    for path in ("MEAD/M003/video/front/happy/level_2/001.mp4", "RAVDESS/Actor_24/01-01-03-02-01-01-24.mp4"):
        (tmp_path / path).parent.mkdir(parents=True)
        shutil.copy(given, tmp_path / path)
    if silent:
        pictures = tmp_path / "MEAD/M003/video/front/happy/level_2/001.mp4"
        media.write(pictures, (frame for _, frame in media.read(given)), fps=25)
        heard = tmp_path / "MEAD/M003/audio/happy/level_2/001.m4a"
        CORPORA["write_m4a"](heard, media.audio(given))
    _, good, rejected = run(mead, mead.Settings(folder=tmp_path / "MEAD"))
    assert not rejected
    (sample,) = good.values()
    assert sample.texts == ("A person talks and looks happy.",)
    clip = sample.clips["face"]
    assert (clip.modality, clip.fps) == ("face", 25)
    assert sample.provenance["file"] == str(tmp_path / "MEAD/M003/video/front/happy/level_2/001.mp4")
    start, stop = sample.provenance["seconds"]
    wave = media.audio(given)[round(start * 16_000) : round(stop * 16_000)]
    shared = min(len(wave), len(sample.audio))
    assert np.corrcoef(wave[:shared], sample.audio[:shared])[0, 1] > 0.9
    if not silent:
        _, good, _ = run(ravdess, ravdess.Settings(folder=tmp_path / "RAVDESS"))
        assert [(sample.split, sample.speaker) for sample in good.values()] == [("test", "ravdess/24")]


@pytest.mark.parametrize("zipped", [False, True])
def test_ravdess_names_become_labels(tmp_path, videos, zipped):
    folder = CORPORA["make_ravdess"](tmp_path / "RAVDESS", zipped=zipped)
    items, good, _ = run(ravdess, ravdess.Settings(folder=folder))
    assert [(item.id, item.split) for item in items] == [
        ("ravdess/01-01-05-02-01-01-01", "train"), ("ravdess/01-01-01-01-02-02-20", "dev"),
        ("ravdess/01-01-08-01-02-01-24", "test"),
    ]
    sample = good["ravdess/01-01-05-02-01-01-01#0"]
    assert sample.texts == ('A man says "Kids are talking by the door" and looks very angry.',)
    assert (sample.labels["family"], sample.labels["level"], sample.speaker) == ("anger", "strong", "ravdess/01")
    assert Path(sample.provenance["file"]).is_file()
    assert good["ravdess/01-01-08-01-02-01-24#0"].texts == (
        'A woman says "Dogs are sitting by the door" and looks surprised.',
    )
    assert good["ravdess/01-01-01-01-02-02-20#0"].labels["level"] == ""
    both = ravdess.Settings(folder=folder, channels=("speech", "song"))
    sung = run(ravdess, both)[1]["ravdess/01-02-03-01-01-01-01#0"]
    assert sung.texts == ('A man sings "Kids are talking by the door" and looks happy.',)


def test_ravdess_names_what_is_broken(tmp_path, videos):
    folder = tmp_path / "RAVDESS"
    (folder / "Actor_01").mkdir(parents=True)
    for name in ("01-01-01-02-01-01-01", "01-01-09-01-01-01-01", "holiday"):
        (folder / "Actor_01" / f"{name}.mp4").touch()
    _, good, rejected = run(ravdess, ravdess.Settings(folder=folder))
    assert (good, {result.reason for result in rejected.values()}, len(rejected)) == ({}, {"bad_name"}, 3)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/Video_Speech_Actor_01.zip").touch()
    with pytest.raises(ValueError, match=r"expected Actor_NN/01-01-\*.mp4 .* found only Video_Speech_Actor_01.zip"):
        list(ravdess.items(ravdess.Settings(folder=tmp_path / "other"), 0))
    with pytest.raises(FileNotFoundError, match=r"expected RAVDESS's folder, found none"):
        list(ravdess.items(ravdess.Settings(folder=tmp_path / "none"), 0))


def test_mmhead_motion_sound_and_five_levels_of_text(tmp_path, flame):
    folder = CORPORA["make_mmhead"](tmp_path / "MMHead")
    items, good, rejected = run(mmhead, mmhead.Settings(folder=folder, fps=25))
    assert [(item.id, item.split) for item in items] == [
        ("mmhead/CELEBVHQ_a_0", "train"), ("mmhead/MEAD_b_1", "dev"), ("mmhead/RAVDESS_c_2", "test"),
    ]
    assert not rejected
    sample = good["mmhead/CELEBVHQ_a_0"]
    clip, rows = sample.clips["face"], pickle.loads((folder / "facial_motion/CELEBVHQ_a_0.pkl").read_bytes())
    assert (clip.rig, clip.fps, clip.frames, len(sample.texts)) == ("flame", 25, 50, 7)
    np.testing.assert_array_equal(face.part(clip, "expression")[:, :50], rows[:, :50])
    np.testing.assert_array_equal(face.part(clip, "neck"), rows[:, 50:53])
    np.testing.assert_array_equal(face.part(clip, "jaw"), rows[:, 53:])
    assert sample.labels["texts"]["emotion_scenario"] == [
        "Something about emotion_scenario.", "Another scene.", "A third.",
    ]
    assert sample.audio.shape == (32_000,)
    assert good["mmhead/RAVDESS_c_2"].audio is None
    assert json.dumps(sample.labels)
    strict = run(mmhead, mmhead.Settings(folder=folder, fps=25, needs_audio=True))[2]
    assert strict["mmhead/RAVDESS_c_2"].reason == "missing_audio"


def test_mmhead_lists_in_another_way_and_other_files(tmp_path, flame):
    folder = CORPORA["make_mmhead"](tmp_path / "MMHead")
    (folder / "all.json").write_text(json.dumps([{"name": "x", "part": "test"}, {"name": "y", "part": "train"}]))
    rows = np.zeros((30, 56), np.float32)
    (folder / "flat").mkdir()
    np.save(folder / "flat/x.npy", rows)
    np.savez(folder / "flat/y.npz", motion=rows, other=rows)
    for ident in ("x", "y"):
        (folder / "flat" / f"{ident}.action.txt").write_text("Somebody waits.\n")
    given = {
        "folder": str(folder), "fps": 25, "lists": ["all.json"], "id_key": "name", "split_key": "part",
        "texts": "flat/{id}.{level}.txt", "levels": ["action"], "audio": None,
    }
    x = config.check(mmhead.Settings, given | {"motion": "flat/{id}.npy"}, "recipe")
    items, good, rejected = run(mmhead, x)
    assert [(item.id, item.split) for item in items] == [("mmhead/x", "test"), ("mmhead/y", "train")]
    assert (list(good), rejected["mmhead/y"].reason) == (["mmhead/x"], "missing_motion")
    y = config.check(mmhead.Settings, given | {"motion": "flat/{id}.npz"}, "recipe")
    assert run(mmhead, y)[2]["mmhead/y"].detail.endswith(
        "expected one array (frames, 56), got motion (30, 56), other (30, 56); name it in the setting key."
    )
    keyed = config.check(mmhead.Settings, given | {"motion": "flat/{id}.npz", "key": "motion"}, "recipe")
    assert list(run(mmhead, keyed)[1]) == ["mmhead/y"]
    plain = config.check(mmhead.Settings, given | {"id_key": "id"}, "recipe")
    with pytest.raises(ValueError, match=r"all.json: expected a mapping of .* to IDs, or objects with 'id' and 'part'"):
        list(mmhead.items(plain, 0))
    with pytest.raises(ValueError, match=r"motion: expected a path with \{id\} and \{level\}, got 'flat/\{name\}.npy'"):
        config.check(mmhead.Settings, given | {"motion": "flat/{name}.npy"}, "recipe")
    (folder / "all.json").write_text(json.dumps({"train": 5}))
    with pytest.raises(ValueError, match=r"all.json: expected a mapping of .* to IDs"):
        list(mmhead.items(x, 0))


class Evil:
    """What a pickle may do to who unpickles it: here it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_mmhead_names_what_is_broken_and_runs_nothing(tmp_path, flame):
    folder = CORPORA["make_mmhead"](tmp_path / "MMHead")
    held = {
        "evil": pickle.dumps(Evil(tmp_path / "was_run")), "cut": pickle.dumps(np.zeros((9, 56)))[:-200],
        "flat": pickle.dumps(np.zeros((9, 53))), "hole": pickle.dumps(np.full((9, 56), np.nan)),
        "mute": pickle.dumps(np.zeros((9, 56))),
    }
    for ident, data in held.items():
        (folder / "facial_motion" / f"{ident}.pkl").write_bytes(data)
        if ident != "mute":
            (folder / "text_annotations/action" / f"{ident}.txt").write_text("Somebody waits.\n")
    (folder / "audio/CELEBVHQ_a_0.wav").write_bytes(b"RIFF")
    (folder / "talking_subset.json").write_text(json.dumps({"train": [*held, "gone", "CELEBVHQ_a_0"]}))
    _, good, rejected = run(mmhead, mmhead.Settings(folder=folder, fps=25))
    assert not (tmp_path / "was_run").exists()
    assert list(good) == ["mmhead/RAVDESS_c_2"]
    assert {ident.removeprefix("mmhead/"): result.reason for ident, result in rejected.items()} == {
        "evil": "broken_file", "cut": "broken_file", "flat": "broken_file", "hole": "broken_file",
        "mute": "missing_text", "gone": "missing_motion", "CELEBVHQ_a_0": "broken_audio",
    }
    assert "evil.pkl: refused" in rejected["mmhead/evil"].detail
    assert "flat.pkl: expected (frames, 56), got float64 (9, 53)." in rejected["mmhead/flat"].detail


def test_mmhead_errors_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"expected MMHead's folder, found none; ask for it at https://hugging"):
        list(mmhead.items(mmhead.Settings(folder=tmp_path / "none", fps=25), 0))
    folder = CORPORA["make_mmhead"](tmp_path / "MMHead")
    monkeypatch.setenv("TDMM_FLAME", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"rig flame: expected config.json .* get FLAME from its owners"):
        list(mmhead.items(mmhead.Settings(folder=folder, fps=25), 0))
    monkeypatch.setattr(mmhead.flame, "load", lambda: None)
    shutil.rmtree(folder / "facial_motion")
    (folder / "facial_motion.zip").touch()
    with pytest.raises(FileNotFoundError, match=r"facial_motion missing, .*; unpack facial_motion.zip there"):
        list(mmhead.items(mmhead.Settings(folder=folder, fps=25), 0))
    (folder / "facial_motion").mkdir()
    (folder / "t2m_subset.json").write_text('{"test": ["CELEBVHQ_a_0"]}')
    with pytest.raises(ValueError, match=r"expected CELEBVHQ_a_0 in one split, got train and test"):
        list(mmhead.items(mmhead.Settings(folder=folder, fps=25), 0))
    (folder / "t2m_subset.json").write_text("{")
    with pytest.raises(ValueError, match=r"t2m_subset.json: expected JSON"):
        list(mmhead.items(mmhead.Settings(folder=folder, fps=25), 0))
    with pytest.raises(ValueError, match=r"fps: expected a value, found none"):
        config.check(mmhead.Settings, {"folder": str(folder)}, "recipe")
