"""HumanML3D and KIT-ML as they lie on a disk: captions, parts, splits, sides, what is broken."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import bundle
from tdmm_lm.corpus.sources import Rejected, humanml3d, kit_ml
from tdmm_lm.geometry import humanml3d as features
from tdmm_lm.motion import body
from tdmm_lm.rigs import skeleton

CORPORA = runpy.run_path(str(Path(__file__).resolve().parent / "public_corpora.py"))


def run(source, settings):
    items = list(source.items(settings, 0))
    made = [result for item in items for result in source.samples(item, settings)]
    good = [result for result in made if not isinstance(result, Rejected)]
    return items, good, {result.id: result for result in made if isinstance(result, Rejected)}


@pytest.mark.parametrize("places", [False, True])
def test_captions_parts_and_mirror_images(tmp_path, places):
    folder = CORPORA["make_humanml3d"](tmp_path / "HumanML3D", places=places)
    settings = humanml3d.Settings(folder=folder)
    items, good, rejected = run(humanml3d, settings)
    assert [(item.id, item.split) for item in items] == [
        ("humanml3d/000000", "train"), ("humanml3d/M000000", "train"), ("humanml3d/000001", "dev"),
        ("humanml3d/000002", "test"),
    ]
    assert not rejected
    found = {sample.id: sample for sample in good}
    assert list(found) == [
        "humanml3d/000000", "humanml3d/M000000", "humanml3d/000001", "humanml3d/000001@0.5-3", "humanml3d/000002",
    ]
    whole, part = found["humanml3d/000001"], found["humanml3d/000001@0.5-3"]
    assert whole.texts == ("a person walks.", "someone strolls forward")
    assert part.texts == ("they swing their arms",)
    assert (part.split, part.clips["body"].frames, part.clips["body"].fps) == ("dev", 50, 20)
    assert part.provenance["seconds"] == [0.5, 3.0]
    assert found["humanml3d/M000000"].labels == {"mirrored": True}
    assert found["humanml3d/M000000"].provenance["mirror_of"] == "000000"
    assert "non-commercial" in whole.licence
    assert json.dumps([sample.provenance for sample in good])
    # the motion itself: pelvis at the height it was made with, bones of the corpus's skeleton
    made = skeleton.joints(found["humanml3d/000000"].clips["body"])
    truth = CORPORA["walk"](81, 20, 0)[: len(made)]
    if not places:
        truth = features.normalise(CORPORA["walk"](81, 20, 0))[: len(made)]
    assert float((made - truth).norm(dim=-1).max()) < 0.01
    again = [sample.clips["body"].values for sample in run(humanml3d, settings)[1]]
    assert all(np.array_equal(sample.clips["body"].values, values) for sample, values in zip(good, again))


def test_mirror_images_may_be_left_out(tmp_path):
    folder = CORPORA["make_humanml3d"](tmp_path / "HumanML3D")
    items, *_ = run(humanml3d, humanml3d.Settings(folder=folder, mirrored=False))
    assert [item.id for item in items] == ["humanml3d/000000", "humanml3d/000001", "humanml3d/000002"]


def test_what_is_broken_is_named_and_the_rest_goes_on(tmp_path):
    folder = CORPORA["make_humanml3d"](tmp_path / "HumanML3D")
    vectors, rows = folder / "new_joint_vecs", np.load(folder / "new_joint_vecs/000000.npy")
    holed = rows.copy()
    holed[7, 3] = np.nan
    whole = (folder / "texts/000000.txt").read_text()
    kinds = {
        "cut": vectors.joinpath("000000.npy").read_bytes()[:5000], "empty": b"",
        "zip": b"PK\3\4 and no more", "object": None, "flat": rows[:, :100],
        "hole": holed, "short": rows[:20], "long": np.concatenate([rows] * 3),
    }
    for name, held in kinds.items():
        path = vectors / f"{name}.npy"
        if isinstance(held, bytes):
            path.write_bytes(held)
        else:
            np.save(path, np.array([{}], object) if held is None else held)
        (folder / f"texts/{name}.txt").write_text(whole)
    np.save(vectors / "mute.npy", rows)
    np.save(vectors / "odd.npy", rows)
    (folder / "texts/odd.txt").write_text("no marks\nbackwards#x/X#3.0#1.0\na person walks#a/DET#0.0#0.0\n")
    (folder / "texts/gone.txt").write_text(whole)
    CORPORA["lists"](folder, train=[*kinds, "mute", "odd", "gone", "000000"])
    _, good, rejected = run(humanml3d, humanml3d.Settings(folder=folder))
    assert [sample.id for sample in good] == ["humanml3d/odd", "humanml3d/000000"]
    reasons = {ident.removeprefix("humanml3d/"): result.reason for ident, result in rejected.items()}
    assert reasons == {
        "cut": "broken_file", "empty": "broken_file", "zip": "broken_file", "object": "broken_file",
        "flat": "wrong_shape",
        "hole": "not_finite", "short": "too_short", "long": "too_long", "mute": "missing_text", "odd:1": "bad_text",
        "odd:2": "bad_text", "gone": "missing_motion",
    }
    assert rejected["humanml3d/flat"].detail == "new_joint_vecs/flat.npy: expected (frames, 263), got (80, 100)."
    assert "NaN or infinity at frame 7" in rejected["humanml3d/hole"].detail
    assert rejected["humanml3d/short"].figures == {"seconds": 1.0}


def test_errors_of_the_folder_say_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected HumanML3D's folder, found none; make it with https"):
        list(humanml3d.items(humanml3d.Settings(folder=tmp_path / "none"), 0))
    (tmp_path / "HumanML3D").mkdir()
    (tmp_path / "HumanML3D" / "Mean.npy").touch()
    wanted = r"expected new_joint_vecs/ \(or new_joints/\), texts/, train.txt, .* missing, found only Mean.npy; make it"
    with pytest.raises(FileNotFoundError, match=wanted):
        list(humanml3d.items(humanml3d.Settings(folder=tmp_path / "HumanML3D"), 0))
    folder = CORPORA["make_humanml3d"](tmp_path / "other")
    CORPORA["lists"](folder, train=["000000"], test=["000000"])
    with pytest.raises(ValueError, match=r"expected 000000 in one list, it stands in train.txt too"):
        list(humanml3d.items(humanml3d.Settings(folder=folder), 0))
    CORPORA["lists"](folder, train=["../000000"])
    with pytest.raises(ValueError, match=r"expected ids, one a line, got '../000000'"):
        list(humanml3d.items(humanml3d.Settings(folder=folder), 0))


@pytest.mark.skipif(bundle.data() is None, reason="needs humanml3d_sample/ of the real data: set $TDMM_DATA")
@pytest.mark.parametrize("kind", ["new_joint_vecs", "new_joints"])
def test_the_one_clip_that_is_published(tmp_path, kind):
    given = bundle.data() / "humanml3d_sample"
    (tmp_path / kind).mkdir()
    name = "features" if kind == "new_joint_vecs" else "joints"
    (tmp_path / kind / "012314.npy").write_bytes((given / f"012314_{name}.npy").read_bytes())
    CORPORA["texts"](tmp_path, {"012314": "a person moves#a/DET#0.0#0.0\n"})
    CORPORA["lists"](tmp_path, train=["012314"])
    _, (sample,), _ = run(humanml3d, humanml3d.Settings(folder=tmp_path))
    truth = torch.from_numpy(np.load(given / "012314_joints.npy"))
    made = skeleton.joints(sample.clips["body"])
    assert float((made - truth[: len(made)]).norm(dim=-1).mean()) < 0.02


def test_kit_is_brought_to_our_body_and_sides(tmp_path):
    folder = CORPORA["make_kit_ml"](tmp_path / "KIT-ML")
    items, good, rejected = run(kit_ml, kit_ml.Settings(folder=folder))
    assert ([item.split for item in items], len(good), rejected) == (["train", "test"], 2, {})
    sample = good[0]
    clip = sample.clips["body"]
    assert (clip.fps, clip.frames, sample.texts) == (12.5, 50, ("a person walks",))
    assert sample.provenance["metres_per_unit"] == pytest.approx(CORPORA["KIT_UNIT"], rel=0.01)
    made, truth = skeleton.joints(clip), CORPORA["walk"](50, 12.5, 0)
    known = [body.JOINTS.index(name) for name in kit_ml.OURS]
    assert float((made - truth)[:, known].norm(dim=-1).mean()) < 0.01
    left = body.JOINTS.index("left_wrist")
    assert float((made - truth)[:, left].norm(dim=-1).mean()) < 0.02  # and not the right one's mirror image


def test_kit_says_what_it_cannot_read(tmp_path):
    folder = CORPORA["make_kit_ml"](tmp_path / "KIT-ML")
    rows = np.load(folder / "new_joint_vecs/00001.npy")
    flipped = rows.copy()
    flipped[:, 1] *= -1
    flipped[:, 4:64:3] *= -1
    CORPORA["texts"](folder, dict.fromkeys(("flipped", "wide"), "a person walks#a/DET#0.0#0.0\n"))
    np.save(folder / "new_joint_vecs/flipped.npy", flipped)
    np.save(folder / "new_joint_vecs/wide.npy", np.zeros((40, 263)))
    CORPORA["lists"](folder, train=["flipped", "wide", "00001"])
    _, good, rejected = run(kit_ml, kit_ml.Settings(folder=folder))
    assert [sample.id for sample in good] == ["kit_ml/00001"]
    assert rejected["kit_ml/flipped"].reason == "other_sides"
    assert rejected["kit_ml/wide"].detail.endswith("expected (frames, 251), got (40, 263); 263 is HumanML3D itself.")
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("00001_mmm.xml", "00001_annotations.json"):
        (raw / name).touch()
    with pytest.raises(ValueError, match=r"found the original recordings \(\*_mmm.xml, .*have to be computed first"):
        list(kit_ml.items(kit_ml.Settings(folder=raw), 0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected new_joint_vecs/, .* of KIT-ML, .* found only nothing"):
        list(kit_ml.items(kit_ml.Settings(folder=tmp_path / "empty"), 0))
