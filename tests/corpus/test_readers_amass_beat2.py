"""AMASS and BEAT2 as they lie on a disk: rates, cuts, splits, words and pauses, what is broken."""

import json
import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import config
from tdmm_lm.corpus import caption
from tdmm_lm.corpus.sources import SHARED, Rejected, amass, beat2
from tdmm_lm.formats import smpl
from tdmm_lm.motion import face
from tdmm_lm.rigs import skeleton

CORPORA = runpy.run_path(str(Path(__file__).resolve().parent / "public_corpora.py"))


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    monkeypatch.delenv("TDMM_SMPL", raising=False)


def run(source, settings):
    items = list(source.items(settings, 0))
    made = [result for item in items for result in source.samples(item, settings)]
    good = {result.id: result for result in made if not isinstance(result, Rejected)}
    return items, good, {result.id: result for result in made if isinstance(result, Rejected)}


def test_amass_whole_files_of_both_releases(tmp_path):
    folder = CORPORA["make_amass"](tmp_path / "amass")
    items, good, rejected = run(amass, amass.Settings(folder=folder))
    assert [(item.id, item.split) for item in items] == [
        ("amass/CMU/01/01_01_poses", "train"), ("amass/Eyes_Japan_Dataset/aita/walk-01_poses", "train"),
        ("amass/SFU/0005/jump_stageii", "dev"), ("amass/Transitions_mocap/mazen/turn_poses", "test"),
    ]
    assert not rejected
    sample = good["amass/CMU/01/01_01_poses"]
    clip = sample.clips["body"]
    assert (clip.fps, clip.frames, sample.texts, sample.speaker) == (120, 480, (), "CMU/01")
    joints = skeleton.joints(clip)
    assert float(joints[:, 15, 1].mean() - joints[:, 0, 1].mean()) > 0.3  # Y is up: the head above the pelvis
    assert good["amass/SFU/0005/jump_stageii"].clips["body"].fps == 30
    assert sample.licence.startswith("AMASS")


def test_amass_with_humanml3ds_index_gives_its_cuts(tmp_path):
    folder = CORPORA["make_amass"](tmp_path / "amass")
    index, texts = CORPORA["make_index"](tmp_path / "HumanML3D")
    settings = amass.Settings(folder=folder, index=index, texts=texts)
    items, good, rejected = run(amass, settings)
    assert [(item.id, item.split) for item in items] == [
        ("amass/000000", "train"), ("amass/000002", "dev"), ("amass/000003", "test"),
    ]
    assert list(good) == ["amass/000000", "amass/000000@1-2", "amass/000002"]
    whole = smpl.read(folder / "CMU/01/01_01_poses.npz").values
    # frames 10 to 60 at 20 fps of a file at 120 Hz; then its second from 1 s to 2 s
    assert np.array_equal(good["amass/000000"].clips["body"].values, whole[60:360])
    assert np.array_equal(good["amass/000000@1-2"].clips["body"].values, whole[180:300])
    assert good["amass/000000"].texts == ("a person sways",)
    assert good["amass/000000"].provenance["seconds"] == [0.5, 3.0]
    assert all(sample.provenance[SHARED] is True for sample in good.values())  # HumanML3D's split is of motions
    eyes = smpl.read(folder / "Eyes_Japan_Dataset/aita/walk-01_poses.npz").values
    assert np.array_equal(good["amass/000002"].clips["body"].values, eyes[3 * 80 : 3 * 140])  # 3 s are left out first
    assert rejected["amass/000003"].reason == "missing_motion"
    assert json.dumps([item.what for item in items])
    other = folder / "EyesJapanDataset/aita"
    other.mkdir(parents=True)
    (folder / "Eyes_Japan_Dataset/aita/walk-01_poses.npz").rename(other / "walk-01_stageii.npz")
    assert run(amass, settings)[1]["amass/000002"].provenance["file"] == "EyesJapanDataset/aita/walk-01_stageii.npz"


def test_amass_names_what_is_broken(tmp_path):
    folder = CORPORA["make_amass"](tmp_path / "amass")
    (folder / "CMU/02").mkdir()
    held = CORPORA["smpl"](30, 156, z_up=True)
    np.savez(folder / "CMU/02/narrow_poses.npz", **held | {"poses": held["poses"][:, :40]}, mocap_framerate=60.0)
    np.savez(folder / "CMU/02/rateless_poses.npz", **held)
    np.savez(folder / "CMU/02/objects_poses.npz", **held | {"poses": np.array([{}], object)}, mocap_framerate=60.0)
    cut = (folder / "CMU/01/01_01_poses.npz").read_bytes()
    (folder / "CMU/02/cut_poses.npz").write_bytes(cut[: len(cut) // 2])
    _, good, rejected = run(amass, amass.Settings(folder=folder))
    assert len(good) == 4
    assert {ident.split("/")[-1]: result.reason for ident, result in rejected.items()} == dict.fromkeys(
        ("cut_poses", "narrow_poses", "objects_poses", "rateless_poses"), "broken_file"
    )
    assert "expected (frames, 66 or more)" in rejected["amass/CMU/02/narrow_poses"].detail


def test_amass_errors_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected AMASS's folder, found none; get it from https://amass"):
        list(amass.items(amass.Settings(folder=tmp_path / "none"), 0))
    (tmp_path / "CMU.tar.bz2").touch()
    with pytest.raises(ValueError, match=r"expected DATA_SET/SUBJECT/\*_poses.npz .* found only CMU.tar.bz2; get it"):
        list(amass.items(amass.Settings(folder=tmp_path), 0))
    with pytest.raises(ValueError, match=r"index and texts: expected both"):
        config.check(amass.Settings, {"folder": str(tmp_path), "index": "index.csv"}, "recipe")
    folder = CORPORA["make_amass"](tmp_path / "amass")
    index, texts = CORPORA["make_index"](tmp_path / "HumanML3D")
    index.write_text("path,from,to\n")
    with pytest.raises(ValueError, match=r"expected the columns source_path, start_frame, end_frame, new_name"):
        list(amass.items(amass.Settings(folder=folder, index=index, texts=texts), 0))
    index.write_text("source_path,start_frame,end_frame,new_name\n./pose_data/../../x_poses.npy,0,9,000000.npy\n")
    with pytest.raises(ValueError, match=r"index.csv:2: expected DATA_SET/SUBJECT/FILE"):
        list(amass.items(amass.Settings(folder=folder, index=index, texts=texts), 0))
    (texts / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"of HumanML3D, val.txt missing"):
        list(amass.items(amass.Settings(folder=folder, index=index, texts=texts), 0))


def test_beat2_recordings_in_pieces_with_words(tmp_path, monkeypatch):
    folder = CORPORA["make_beat2"](tmp_path / "BEAT2")
    monkeypatch.setattr(beat2.flame_rig, "load", lambda: None)
    settings = beat2.Settings(folder=folder, faces=True)
    items, good, rejected = run(beat2, settings)
    assert [(item.id, item.split) for item in items] == [
        ("beat2/1_wayne_0_73_73", "train"), ("beat2/2_scott_1_3_4", "test")
    ]
    assert not rejected
    assert list(good) == [
        "beat2/1_wayne_0_73_73@0.00-6.00", "beat2/1_wayne_0_73_73@6.00-12.00", "beat2/2_scott_1_3_4@0.00-6.00",
        "beat2/2_scott_1_3_4@6.00-12.00",
    ]
    first, second = good["beat2/1_wayne_0_73_73@0.00-6.00"], good["beat2/1_wayne_0_73_73@6.00-12.00"]
    assert (first.labels["transcript"], second.labels["transcript"]) == ("well i think", 'so"')
    assert second.labels["words"] == [{"word": 'so"', "start": 1.2, "end": 2.0}]
    assert (first.labels["family"], first.labels["language"], first.speaker) == ("anger", "English", "beat2/1_wayne")
    assert caption.parse(first.texts[0]).family == "anger"
    assert "family" not in good["beat2/2_scott_1_3_4@0.00-6.00"].labels
    for sample in good.values():
        assert {kind: (clip.frames, clip.fps) for kind, clip in sample.clips.items()} == {
            "body": (180, 30), "face": (180, 30)
        }
        assert sample.audio.shape == (96_000,)
        assert sample.provenance[SHARED] is True
    held = np.load(folder / "beat_english_v2.0.0/smplxflame_30/1_wayne_0_73_73.npz")
    np.testing.assert_allclose(
        face.part(second.clips["face"], "expression"), held["expressions"][180:], atol=1e-6
    )
    np.testing.assert_allclose(face.part(second.clips["face"], "jaw"), held["poses"][180:, 66:69], atol=1e-6)
    joints = skeleton.joints(first.clips["body"])
    assert float(joints[:, 15, 1].mean() - joints[:, 0, 1].mean()) > 0.3  # kept: it has Y up
    assert json.dumps([(sample.labels, sample.provenance) for sample in good.values()])


def test_beat2_more_and_less(tmp_path, monkeypatch):
    folder = CORPORA["make_beat2"](tmp_path / "BEAT2")
    inside = beat2.Settings(folder=folder / "beat_english_v2.0.0", additional=True)
    items, good, _ = run(beat2, inside)
    assert items[-1].id == "beat2/30_katya_0_1_1"
    assert all(set(sample.clips) == {"body"} for sample in good.values())  # no FLAME, no faces
    assert caption.parse(good["beat2/30_katya_0_1_1@0.00-6.00"].texts[0]).family == "neutral"
    monkeypatch.setenv("TDMM_FLAME", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"rig flame: expected config.json .* get FLAME from its owners"):
        list(beat2.items(beat2.Settings(folder=folder, faces=True), 0))


def test_beat2_names_what_is_broken(tmp_path):
    folder = CORPORA["make_beat2"](tmp_path / "BEAT2")
    english = folder / "beat_english_v2.0.0"
    names = ("3_a_0_1_1", "3_a_0_2_2", "3_a_0_3_3", "3_a_0_4_4", "3_a_0_5_5", "oddly_named")
    for name in names:
        for below, ending in (("smplxflame_30", "npz"), ("wave16k", "wav"), ("textgrid", "TextGrid")):
            given = english / below / f"1_wayne_0_73_73.{ending}"
            (english / below / f"{name}.{ending}").write_bytes(given.read_bytes())
    rows = "".join(f"{name},train\n" for name in (*names, "9_x_0_1_1"))
    (english / "train_test_split.csv").write_text(f"id,type\n{rows}")
    held = dict(np.load(english / "smplxflame_30/3_a_0_1_1.npz"))
    np.savez(english / "smplxflame_30/3_a_0_1_1.npz", **held | {"expressions": held["expressions"][:, :50]})
    (english / "wave16k/3_a_0_2_2.wav").unlink()
    (english / "wave16k/3_a_0_3_3.wav").write_bytes(b"RIFF")
    grid = (english / "textgrid/3_a_0_4_4.TextGrid").read_text()
    (english / "textgrid/3_a_0_4_4.TextGrid").write_text(grid[: len(grid) // 2])
    (english / "textgrid/3_a_0_5_5.TextGrid").write_text(grid.replace('"words"', '"phrases"'))
    _, good, rejected = run(beat2, beat2.Settings(folder=folder))
    assert not good
    assert {ident.removeprefix("beat2/"): result.reason for ident, result in rejected.items()} == {
        "3_a_0_1_1": "broken_file", "3_a_0_2_2": "missing_audio", "3_a_0_3_3": "broken_audio", "3_a_0_4_4": "bad_text",
        "3_a_0_5_5": "bad_text", "oddly_named": "bad_name", "9_x_0_1_1": "missing_motion",
    }
    assert "expressions: expected (frames, 100), got (360, 50)" in rejected["beat2/3_a_0_1_1"].detail
    assert rejected["beat2/3_a_0_5_5"].detail.endswith("expected a tier named words, got phrases, phones.")
    (english / "train_test_split.csv").write_text("name,split\n")
    with pytest.raises(ValueError, match=r"expected the columns id, type, got \['name', 'split'\]"):
        list(beat2.items(beat2.Settings(folder=folder), 0))
    (english / "train_test_split.csv").write_text("id,type\n1_wayne_0_1_1,trian\n")
    with pytest.raises(ValueError, match=r"csv:2: expected an id and one of train, val, .*, got .*'trian'"):
        list(beat2.items(beat2.Settings(folder=folder), 0))
    (english / "train_test_split.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_test_split.csv missing; clone it from https://huggingface"):
        list(beat2.items(beat2.Settings(folder=folder), 0))
    with pytest.raises(FileNotFoundError, match=r"expected beat_english_v2.0.0/ .* found only BEAT2; clone it"):
        list(beat2.items(beat2.Settings(folder=tmp_path), 0))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("short", [False, True])
def test_text_grids_long_and_short(tmp_path, short, encoding):
    words = [(0, 0.25, ""), (0.25, 1.5, 'it\'s "12" [3]'), (1.5, 2, "schön")]
    path = tmp_path / "a.TextGrid"
    path.write_bytes(CORPORA["text_grid"](words, 2, short=short).encode(encoding))
    assert beat2.words_of(path) == words


@pytest.mark.parametrize(("line", "instead"), [("xmax = 0.25", ""), ("xmax = 0.25", "xmax = --undefined--"),
                                             ("intervals: size = 2", "intervals: size = 1e999")])
def test_a_text_grid_with_a_text_for_a_number(tmp_path, line, instead):
    path = tmp_path / "a.TextGrid"
    text = CORPORA["text_grid"]([(0, 0.25, "so"), (0.25, 1.5, "it is")], 2, short=False)
    assert line in text
    path.write_text(text.replace(line, instead))
    with pytest.raises(ValueError, match="expected a TextGrid in Praat's text format"):
        beat2.words_of(path)


def test_cuts_lie_in_pauses_and_cover_all():
    rng = np.random.default_rng(0)
    for _ in range(50):
        time, words = float(rng.uniform(0, 3)), []
        while time < 60:
            stop = time + float(rng.uniform(0.1, 0.7))
            words.append((time, stop, "word"))
            time = stop + float(rng.choice([0, 0, 0.05, 0.4, 4.0]))
        pieces = list(beat2.cuts(words, time + 1, 2.0, 10.0))
        assert (pieces[0][0], pieces[-1][1]) == (0, time + 1)
        assert all(before[1] == after[0] for before, after in pairwise(pieces))
        assert all(2 <= stop - start <= 10 + 1e-9 for start, stop in pieces)
        for _, stop in pieces[:-1]:
            assert not any(a + 1e-9 < stop < b - 1e-9 for a, b, _ in words)
    assert list(beat2.cuts([], 1.5, 2.0, 10.0)) == []
    assert [round(stop, 3) for _, stop in beat2.cuts([(0.0, 30.0, "aah")], 30.0, 2.0, 10.0)] == [10, 20, 30]
