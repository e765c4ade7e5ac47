"""A recipe becomes a table: the same twice, going on where it was, readable by `datasets`, with a card of its own."""

import dataclasses
import json
import resource
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import yaml

from tdmm_lm import bundle, codec, config
from tdmm_lm.corpus import build, labels, prompts, recordings, table
from tdmm_lm.corpus.building import checking, recipe, rows
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.perform import perform
from tdmm_lm.corpus.sources import Rejected, performed, recorded
from tdmm_lm.geometry.measure import FEATURES
from tdmm_lm.observe import FAMILIES
from tdmm_lm.sample import Sample

SMALL = build.Settings(sources={"performed": {"clips": {"train": 25, "test": 8}}}, shard=10, workers=1)
TAPE = build.Settings(sources={"made_up.tape": {}}, shard=10, workers=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "small"
    assert "4 shards, 33 rows" in build.build(SMALL, folder)
    return folder


@pytest.fixture
def taped(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    told = build.build(TAPE, tmp_path / "tape")
    return tmp_path / "tape", told


def all_bytes(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_are_whole_and_checked(made):
    found = list(table.rows(made))
    assert len({row["id"] for row in found}) == 33
    assert {row["split"] for row in found} == {"train", "test"}
    row = found[0]
    assert len(row["texts"]) == 3 == len(row["prompts"]) == row["described"]
    assert row["labels"]["family"]
    assert row["codes"] is None
    assert json.loads(row["provenance"])["generator"] == "tdmm_lm.corpus.perform"
    sample = table.sample_of(row)
    assert sample.clips["face"].values.shape[1] == 70
    assert sample.labels["seconds"] == pytest.approx(sample.clips["face"].seconds)
    assert 5 < sum(row["edit"] is not None for row in found) < 28
    assert "33 rows" in checking.check(made)


def test_a_source_of_sound_and_refusals(taped):
    folder, told = taped
    found = list(table.rows(folder))
    assert len(found) == 35
    row = next(one for one in found if one["id"] == "tape/0")
    assert row["texts"][0] == "Somebody on a tape."
    assert (row["speaker"], row["licence"], row["described"]) == ("train-talker", "CC0", 3)
    assert json.loads(row["provenance"])["given_labels"] == {"mood": "blue"}
    wave = table.sound_of(row)
    assert len(wave) == 16_000
    assert 0.09 < np.abs(wave).max() < 0.101
    refused = list(table.rejected(folder))
    assert [one["id"] for one in refused if one["split"] == "train"] == ["tape/6", "tape/13", "tape/20", "tape/34"]
    assert set(json.loads(refused[0]["figures"])) == {"level"}
    assert "rejected 5: hiss 5" in told
    assert "35 rows" in checking.check(folder)
    stats = json.loads((folder / "stats.json").read_text())
    assert stats["rejected"] == {"hiss": 5}
    assert stats["splits"] == {"train": 26, "test": 9}
    seen = {name: np.flatnonzero(bins["counts"]).tolist() for name, bins in stats["histograms"].items()}
    assert (seen["box_share"], seen["sharpness"]) == ([15], [9])
    assert seen["overall"] == [39], "beyond the last edge"
    assert {path.name for path in (folder / "pictures").iterdir()} >= {
        "duration.png", "face_size.png", "head_pose.png", "sharpness.png", "sound.png",
    }


def test_datasets_reads_it(taped, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, _ = taped
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(held) for split, held in found.items()} == {"train": 26, "test": 9}
    refused = datasets.load_dataset(str(folder), "rejected", cache_dir=str(tmp_path / "cache"))
    assert len(refused["rejected"]) == 5
    streamed = datasets.load_dataset(str(folder), split="train", streaming=True)
    row = next(iter(streamed))
    assert table.clip_of(row).frames == 25
    assert len(table.sound_of(row)) == 16_000
    held = found["train"].cast_column("audio", datasets.Audio(decode=False))
    assert held[0]["audio"]["bytes"].startswith(b"fLaC")


def test_the_card_says_what_the_rows_are(taped):
    text = (taped[0] / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert [one["split"] for one in head["configs"][0]["data_files"]] == ["train", "test"]
    assert "35 clips" in text
    assert "| train | 26 |" in text
    assert "| CC0 | 35 |" in text
    assert "hiss 5" in text
    for name in table.SCHEMA.names:
        assert name in text


def test_goes_on_and_repeats(made, tmp_path):
    again = tmp_path / "again"
    build.build(SMALL, again)
    assert all_bytes(again) == all_bytes(made)
    first, second = sorted(again.glob("*.parquet"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    (again / ".train-performed-00002.parquet.x1").mkdir()  # what a killed build leaves
    kept = {path: path.stat().st_mtime_ns for path in again.glob("*.parquet") if path != second}
    assert f"{second}: was broken, made again." in build.build(SMALL, again)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert all_bytes(again) == all_bytes(made)
    assert not list(again.glob(".*.x1"))


def test_rejections_that_are_lost_are_found_again(taped):
    folder, _ = taped
    before, beside = all_bytes(folder), folder / "rejected" / "train-tape-00000.parquet"
    whole = beside.read_bytes()
    flipped = bytearray(whole)
    flipped[60:80] = bytes(20)
    for broken, got in ((None, "got 0"), (whole[:-50], "got a broken file"), (bytes(flipped), "a whole Parquet file")):
        beside.unlink()
        if broken is not None:
            beside.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"train-tape-00000\.parquet: expected .*{got}.*build again") as said:
            checking.check(folder)
        assert str(beside) in str(said.value)
        if broken == bytes(flipped):  # its footer is whole
            with pytest.raises(ValueError, match="remove it and build again"):
                build.build(TAPE, folder)
            beside.unlink()
        assert "train-tape-00000 was made again." in build.build(TAPE, folder)
        assert all_bytes(folder) == before


def test_a_full_disk_is_one_line_and_leaves_no_half(made, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the kernel refuses to write on, as a full disk does
    try:
        with pytest.raises(ValueError, match=r"parquet: expected room to write it, got .*finished shards stay") as said:
            build.build(SMALL, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(said.value)
    assert {path.name for path in (tmp_path / "full").iterdir()} == {".building", "recipe.json"}
    build.build(SMALL, tmp_path / "full")
    assert all_bytes(tmp_path / "full") == all_bytes(made)


def test_mistakes_are_named(made, tmp_path, monkeypatch):
    def said(**changes):
        with pytest.raises(ValueError, match=r"expected|unknown") as error:
            build.build(build.Settings(**{"sources": {"performed": {}}, **changes}), tmp_path / "x")
        return str(error.value)

    with pytest.raises(ValueError, match="expected a folder of this recipe, got one of another"):
        build.build(SMALL.model_copy(update={"seed": 9}), made)
    assert "corpus.sources: expected one of" in said(sources={"vhs": {}})
    told = said(sources={"performed": {"clip": 1}})
    assert "sources.performed: clip: unknown key; known: clips, words, balance, seconds" in told
    assert "sources.performed.clips.train: expected 1 to" in said(sources={"performed": {"clips": {"train": 0}}})
    unknown = {"recorded": {"rows": {"vhs": 1}}}
    assert "sources.recorded.rows: expected among grid, facegood, got vhs" in said(sources=unknown)
    monkeypatch.delenv("TDMM_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"expected the folder of real data in \$TDMM_DATA, which is unset"):
        build.build(build.Settings(sources={"recorded": {}}), tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="nonsense"):
        build.build(build.Settings(sources={"performed": {}}, codec="nonsense"), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(FileNotFoundError, match=r"expected a data set's \*\.parquet, found none"):
        checking.check(tmp_path)
    (tmp_path / "held").mkdir()
    with build._held(tmp_path / "held"), pytest.raises(ValueError, match="expected no other build at work in it"):
        build.build(SMALL, tmp_path / "held")


def test_a_source_that_changed_is_refused(taped, monkeypatch):
    from made_up import tape

    folder, _ = taped
    old = tape.items
    monkeypatch.setattr(tape, "items", lambda settings, seed: list(old(settings, seed))[1:])
    with pytest.raises(ValueError, match=r"expected a shard of 10 items from tape/\d+ on, got one of others"):
        build.build(TAPE, folder)
    monkeypatch.setattr(tape, "items", lambda settings, seed: list(old(settings, seed))[:10])
    with pytest.raises(ValueError, match="expected the shards of this recipe's items, got train-tape-00001"):
        build.build(TAPE, folder)
    monkeypatch.setattr(tape, "items", lambda settings, seed: [])
    with pytest.raises(ValueError, match="expected something to make rows of, found nothing"):
        build.build(TAPE, folder)
    monkeypatch.setattr(tape, "items", lambda settings, seed: [*old(settings, seed)] * 2)
    with pytest.raises(ValueError, match=r"sources\.made_up\.tape: expected an id once, got tape/0 twice"):
        build.build(TAPE, folder)


def test_a_codec_trained_anew_is_another_recipe(tmp_path):
    own = shutil.copytree(bundle.path("tokenizers/face"), tmp_path / "face")
    settings = SMALL.model_copy(update={"codec": str(own)})
    told = recipe.told(settings)
    assert told["codec_sha256"] == codec.weights_sha256(own)
    with (own / "model.safetensors").open("ab") as file:
        file.write(b"more")
    assert recipe.told(settings) != told
    with pytest.raises(ValueError, match=r"model\.safetensors: expected this codec's weights"):  # before any work
        build.build(settings, tmp_path / "x")
    with pytest.raises(ValueError, match="haed"):
        build.build(SMALL.model_copy(update={"rig": "haed"}), tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("samples", "kept"), [(15_000, 15_000), (17_000, 16_000), (0, None)])
def test_sound_is_as_long_as_its_clip(monkeypatch, samples, kept):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    from made_up import tape

    settings = tape.Settings()
    taken = next(tape.samples(next(tape.items(settings, 0)), settings))
    wave = np.full(samples, 0.5, np.float32)
    row = rows.Maker(TAPE).row(dataclasses.replace(taken, audio=wave))
    if kept is None:
        assert row["audio"] is None
        return
    heard = table.sound_of(row)
    assert len(heard) == 16_000
    assert np.count_nonzero(heard) == kept


def test_a_source_of_null_is_left_out(monkeypatch):
    monkeypatch.delenv("TDMM_DATA", raising=False)
    settings = config.load(build.Settings, bundle.path("recipes/corpus/nano.yaml"), ["sources.recorded=null"])
    assert [module for module, _ in recipe.sources(settings).values()] == [performed]
    with pytest.raises(ValueError, match=r"sources: .*at least 1"):
        config.load(
            build.Settings, bundle.path("recipes/corpus/nano.yaml"), ["sources.recorded=null", "sources.performed=null"]
        )


@pytest.mark.parametrize("path", sorted(bundle.path("recipes/corpus").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_are_settings(path):
    if "sources" not in config.read(path):  # the lexicon and other tables lie beside them
        return
    settings = config.load(build.Settings, path)
    for module, own in recipe.sources(settings).values():
        assert own
        if module is performed:
            assert next(performed.items(own, settings.seed)).split == "train"  # its words are the lexicon's
    assert "workers" not in recipe.told(settings)


def test_ten_thousand_clips_are_balanced_to_one():
    even = Counter(performed.dealt(10_000, np.random.default_rng(0)))
    assert set(even) == set(lexicon().words)
    assert set(even.values()) == {50}
    words = performed.dealt(10_000, np.random.default_rng(0), by="families")
    assert len(words) == 10_000
    families = Counter(lexicon().word(word).family for word in words)
    counts = Counter(words)
    for family, share in zip(FAMILIES, prompts.CHANCES / prompts.CHANCES.sum()):
        assert abs(families[family] - 10_000 * share) < 1
        each = [counts[word] for word in lexicon().of_family(family)]
        assert max(each) - min(each) <= 1
    assert words != performed.dealt(10_000, np.random.default_rng(1), by="families")
    few = Counter(performed.dealt(100, np.random.default_rng(0), ("smile", "wink", "frown", "grin"), by="families"))
    assert set(few) == {"smile", "wink", "frown", "grin"}
    assert abs(few["smile"] - few["grin"]) <= 1
    with pytest.raises(ValueError, match=r"lexicon: expected one of .*, got 'grimace like a goat'"):
        performed.dealt(100, np.random.default_rng(0), ("grimace like a goat",))


def test_the_word_dealt_is_the_word_of_the_labels():
    settings = performed.Settings(clips={"train": 150}, seconds=(5.0,), edits=0, prompts=0)
    pairs = 0
    for item in performed.items(settings, 0):
        known = next(performed.samples(item, settings)).labels
        assert known["word"] == item.what["word"]
        pairs += len(known["shown"]) > 1
    assert pairs > 5


class Sampler(codec.Codec):
    """A codec by hand: two codes a frame, from the head's rotation."""

    features, books, codebook_size, fps, code_fps = FEATURES["gaze"].stop, 2, 512, 25.0, 25.0
    settings = codec.ModelSettings(groups={"all": (FEATURES["gaze"].stop, 1)})

    def __init__(self):
        torch.nn.Module.__init__(self)

    def encode(self, x):
        turn = x[..., FEATURES["head"].start : FEATURES["head"].start + 2]
        return ((turn.clamp(-1, 1) + 1) * 255).long()


def test_a_codec_gives_codes_and_the_rig_observes_recordings(monkeypatch):
    maker = rows.Maker(build.Settings(sources={"performed": {}}, codec="by hand"))
    vars(maker)["codec"] = Sampler()
    settings = performed.Settings(edits=1.0, clips={"train": 1})
    row = maker.row(next(performed.samples(next(performed.items(settings, 0)), settings)))
    frames = round(row["labels"]["seconds"] * 25)
    assert len(row["codes"]) == frames * 2 == len(row["edit"]["codes"])
    score = prompts.sample(4)
    tape = (Sample("tape/1", (), {"face": perform(score)}, "train", "a tape", "CC0"),)
    monkeypatch.setitem(recordings.SOURCES, "grid", lambda folder: iter(tape))
    settings = recorded.Settings(rows={"grid": 2}, folder=Path("a folder of its own"))
    (item,) = recorded.items(settings, 0)
    whole, piece = (maker.row(sample) for sample in recorded.samples(item, settings))
    assert whole["labels"]["seconds"] == pytest.approx(score.seconds)
    assert 0.55 * score.seconds < piece["labels"]["seconds"] <= score.seconds
    assert whole["texts"]
    assert whole["prompts"] == []
    assert whole["id"] != piece["id"]
    known = labels.Labels.model_validate(whole["labels"])
    assert known.word is None


def test_what_makes_no_row_is_refused_not_raised():
    maker = rows.Maker(SMALL)
    sample = Sample("a", (), {"face": perform(prompts.sample(1))}, "train", "a tape", "")
    assert maker.row(sample) == Rejected("a", "a tape", "no_licence", "expected a licence, got none.")
    odd = type(sample.clips["face"])(np.zeros((5, 30)), 25.0, "face", "head")
    refused = maker.row(Sample("b", (), {"face": odd}, "train", "a tape", "CC0"))
    assert refused.reason == "not_a_row"
    assert "30" in refused.detail


def test_shards_can_be_told_apart_and_read_in_groups(made):
    path = table.shards(made)[-1]
    found = pa.parquet.read_metadata(path)
    assert found.row_group(0).num_rows <= table.GROUP
    assert table.made_of(path)[1] == found.num_rows


def test_more_texts_and_labels_as_texts(tmp_path):
    wanted = {"sources": {"performed": {"clips": {"train": 4}}}, "texts": 1, "styles": ["label"], "audio": False}
    build.build(build.Settings.model_validate(wanted), tmp_path / "plain")
    names = [row["id"] for row in table.rows(tmp_path / "plain")]
    told = [
        {"id": f"{names[0]}/0", "original": "smile", "text": "a paraphrase", "kept": True},
        {"id": f"{names[0]}/1", "original": "smile", "text": "smile", "kept": False},
        {"id": names[1], "text": "what was seen"},
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in told))
    build.build(build.Settings.model_validate(wanted | {"more_texts": [str(path)]}), tmp_path / "more")
    plain, more = (list(table.rows(tmp_path / name)) for name in ("plain", "more"))
    extra = [["a paraphrase"], ["what was seen"], [], []]
    assert [row["texts"] for row in more] == [one + row["texts"] for one, row in zip(extra, plain)]
    assert all(len(row["texts"]) == 1 for row in plain)
    assert "4 rows" in checking.check(tmp_path / "more")
    for line in (b'{"id": 3', b'{"x": 1}', b"[]", b"\xff\xfe", b'{"id": "a", "text": " "}'):
        (tmp_path / "bad.jsonl").write_bytes(b'{"id": "a", "text": "b"}\n' + line + b"\n")
        with pytest.raises(ValueError, match=r"more_texts: .*bad\.jsonl:2: expected JSON with an id and a text, got b"):
            build.build(
                build.Settings.model_validate(wanted | {"more_texts": [str(tmp_path / "bad.jsonl")]}), tmp_path / "bad"
            )
        assert not (tmp_path / "bad").exists()
    with pytest.raises(FileNotFoundError, match=r"more_texts: .*none\.jsonl: expected JSON lines with id and text"):
        build.build(
            build.Settings.model_validate(wanted | {"more_texts": [str(tmp_path / "none.jsonl")]}), tmp_path / "none"
        )


def test_a_shard_without_rows_harms_nobody(made, tmp_path):
    datasets = pytest.importorskip("datasets")
    shutil.copytree(made, tmp_path / "set")
    assert table.write([], tmp_path / "set" / "train-performed-00009.parquet") == 0
    assert list(table.verified(tmp_path / "set" / "train-performed-00009.parquet")) == []
    found = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"), split="train")
    assert len(found) == 25
