"""A recipe becomes a table: the same twice, resumable, readable by `datasets`, and `check` finds what is wrong."""

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from tdmm_lm import bundle, codec, config
from tdmm_lm.corpus import build, prompts, table
from tdmm_lm.corpus.perform import perform
from tdmm_lm.geometry.measure import FEATURES
from tdmm_lm.sample import Sample

SMALL = build.Settings(performances={"train": 25, "test": 8}, shard=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "small"
    assert "4 shards, 33 rows" in build.build(SMALL, folder, workers=1)
    return folder


def test_rows_are_whole_and_checked(made):
    rows = list(table.rows(made))
    assert len({row["id"] for row in rows}) == 33
    assert {row["split"] for row in rows} == {"train", "test"}
    row = rows[0]
    assert len(row["texts"]) == 3 == len(row["prompts"])
    assert row["labels"]["family"]
    assert row["codes"] is None
    sample = table.sample_of(row)
    assert sample.clips["face"].values.shape[1] == 70
    assert sample.labels["seconds"] == pytest.approx(sample.clips["face"].seconds)
    assert 5 < sum(row["edit"] is not None for row in rows) < 28
    assert "33 rows" in build.check(made)


def test_datasets_reads_it(made, tmp_path):
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset("parquet", data_dir=str(made), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 25, "test": 8}


def test_resumes_and_repeats(made, tmp_path):
    build.build(SMALL, tmp_path / "again", workers=1)
    names = [path.name for path in sorted(made.glob("*.parquet"))]
    lost = tmp_path / "again" / names[0]
    lost.unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "again").glob("*.parquet")}
    build.build(SMALL, tmp_path / "again", workers=1)
    assert all((tmp_path / "again" / name).stat().st_mtime_ns == when for name, when in kept.items())
    for name in names:
        assert pa.parquet.read_table(made / name).equals(pa.parquet.read_table(tmp_path / "again" / name))


def test_check_finds_a_wrong_label_and_a_wrong_text(made, tmp_path):
    rows = list(table.rows(made))
    wrong = {**rows[0], "labels": {**rows[0]["labels"], "blinks": rows[0]["labels"]["blinks"] + 3}}
    (tmp_path / "labels").mkdir()
    table.write(iter([wrong]), tmp_path / "labels" / "train.parquet")
    with pytest.raises(ValueError, match="expected the labels of its score, got another blinks"):
        build.check(tmp_path / "labels")
    (tmp_path / "texts").mkdir()
    table.write(iter([{**rows[0], "texts": ["They do nothing known."]}]), tmp_path / "texts" / "train.parquet")
    with pytest.raises(ValueError, match=r"expected a text that says its labels, got .*family.* wrong"):
        build.check(tmp_path / "texts")
    (tmp_path / "splits").mkdir()
    table.write(iter([rows[0], {**rows[0], "split": "dev"}]), tmp_path / "splits" / "train.parquet")
    with pytest.raises(ValueError, match="expected its score in one split, found it in"):
        build.check(tmp_path / "splits")


def test_mistakes_are_named(made, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="expected a folder of this recipe, got one of another"):
        build.build(SMALL.model_copy(update={"seed": 9}), made)
    with pytest.raises(ValueError, match="recordings: expected among grid, facegood, got vhs"):
        build.build(build.Settings(recordings={"vhs": 1}), tmp_path / "x")
    monkeypatch.delenv("TDMM_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"recordings: expected the folder of real data in \$TDMM_DATA"):
        build.build(build.Settings(recordings={"grid": 1}), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(FileNotFoundError, match=r"expected a data set's \*\.parquet, found none"):
        build.check(tmp_path)


@pytest.mark.parametrize("name", ["first", "clips"])
def test_recipes_are_settings(name):
    settings = config.load(build.Settings, bundle.path(f"recipes/corpus/{name}.yaml"))
    assert settings.performances["train"] > 1000
    assert settings.performances["test"] >= 500


class Sampler(codec.Codec):
    """A codec by hand: two codes a frame, from the head's rotation."""

    features, books, codebook_size, fps, code_fps = FEATURES["gaze"].stop, 2, 512, 25.0, 25.0
    settings = codec.ModelSettings(groups={"all": (FEATURES["gaze"].stop, 1)})

    def __init__(self):
        torch.nn.Module.__init__(self)

    def encode(self, x):
        turn = x[..., FEATURES["head"].start : FEATURES["head"].start + 2]
        return ((turn.clamp(-1, 1) + 1) * 255).long()


def test_a_codec_gives_codes_and_the_rig_observes_recordings():
    maker = build.Maker(build.Settings(codec="by hand", edits=1.0))
    vars(maker)["codec"] = Sampler()
    row = maker.performance(0, "train")
    frames = round(row["labels"]["seconds"] * 25)
    assert len(row["codes"]) == frames * 2 == len(row["edit"]["codes"])
    score = prompts.sample(4)
    recorded = Sample("tape/1", (), {"face": perform(score)}, "test", "a tape", "CC0")
    whole, piece = maker.recording(recorded, 0), maker.recording(recorded, 1)
    assert whole["labels"]["seconds"] == pytest.approx(score.seconds)
    assert 0.55 * score.seconds < piece["labels"]["seconds"] <= score.seconds
    assert whole["texts"]
    assert whole["prompts"] == []
    assert whole["id"] != piece["id"]
