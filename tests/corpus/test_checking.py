"""`check` passes what was built and finds, one by one, everything that may be wrong with a row, a shard or the card."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm.__main__ import app
from tdmm_lm.corpus import build, table
from tdmm_lm.corpus.building import checking
from tdmm_lm.corpus.sources import SHARED

SOURCES = {"performed": {"clips": {"train": 6, "test": 3}}, "made_up.tape": {"count": 12}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        folder = tmp_path_factory.mktemp("checked") / "made"
        build.build(build.Settings(sources=SOURCES, workers=1), folder)
        yield folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def refuses(folder, name, change, expected):
    """A shard with its first row changed, the file in order, is refused in one line."""
    path = folder / f"{name}.parquet"
    held = list(table.verified(path))
    print_of, _ = table.made_of(path)
    change(held[0])
    table.write(held, path, made_of=print_of)
    with pytest.raises(ValueError, match=expected) as error:
        checking.check(folder)
    assert "\n" not in str(error.value)


def test_what_was_built_passes(made):
    told = checking.check(made)
    assert "20 rows" in told
    assert "rejected: hiss 1" in told


@pytest.mark.parametrize(("name", "change", "expected"), [
    ("train-performed", lambda row: row["labels"].update(blinks=9), "labels of its score, got another blinks"),
    ("train-performed", lambda row: row.update(texts=["They do nothing."], described=1), "family.* wrong in 'They do"),
    ("train-performed", lambda row: row["face"].update(values=bytes(len(row["face"]["values"]))), "its score's motion"),
    ("train-performed", lambda row: row.update(licence=""), "expected a licence, got none"),
    ("train-performed", lambda row: row.update(split="test"), "expected the split train of its file, got 'test'"),
    ("train-performed", lambda row: row.update(id="performed/train/0/1"), "expected an id once, got it twice"),
    ("train-performed", lambda row: row.update(codes=[1, 2]), "names no codec, got 2"),
    ("train-performed", lambda row: row.update(labels=None), "expected labels behind its 3 descriptions"),
    ("train-tape", lambda row: row.update(speaker="test-talker"), "speaker test-talker in one split, found it in test"),
    ("train-tape", lambda row: row["audio"].update(bytes=b"fLaC then nothing"), "expected sound that decodes"),
    ("train-tape", lambda row: row.update(audio=table.flac(np.zeros(14_000), "x")), "1.00 s, got 0.88 s"),
    ("train-tape", lambda row: row.update(texts=["More", *row["texts"]]), r"other texts, .*text.*; build again"),
], ids=lambda given: given if isinstance(given, str) and given.endswith(("performed", "tape")) else "")
def test_a_wrong_row_is_named(folder, name, change, expected):
    refuses(folder, f"{name}-00000", change, expected)


def test_a_score_in_two_splits_is_found(folder):
    first = next(table.verified(folder / "test-performed-00000.parquet"))

    def same(row):
        row.update({key: first[key] for key in ("score", "labels", "texts", "face")})

    refuses(folder, "train-performed-00000", same, "expected its score in one split, found it in test and train")


def test_speakers_of_all_splits_pass_where_their_owners_have_it_so(folder):
    one, other = (next(table.verified(folder / f"{split}-tape-00000.parquet")) for split in ("train", "test"))
    other |= {"speaker": one["speaker"]}
    with pytest.raises(ValueError, match="speaker train-talker in one split"):
        both(one, other)
    shared = {"provenance": json.dumps(json.loads(one["provenance"]) | {SHARED: True})}
    both(one | shared, other | shared)


def both(*rows):
    seen = checking.Seen()
    for row in rows:
        checking.verify(row, seen, None, split=row["split"])


def test_codes_out_of_range_are_found(folder, monkeypatch):
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(recipe | {"codec": "tokenizers/face"}))
    expected = r"expected \d+ codes a frame from 0 to \d+, got 2 from 0 to 10000"
    refuses(folder, "train-performed-00000", lambda row: row.update(codes=[0, 10_000]), expected)


def test_broken_files_are_found(folder):
    path = folder / "train-performed-00000.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(ValueError, match=r"train-performed-00000\.parquet: expected a whole Parquet file, got"):
        checking.check(folder)
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(ValueError, match="expected a whole Parquet file, got"):
        checking.check(folder)
    table.write([{"id": "a"}], path, table.REJECTED)
    with pytest.raises(ValueError, match="expected this version's columns, got others"):
        checking.check(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"stats\.json: expected what the rows come to, got other rows, .*build again"):
        checking.check(folder)
    (folder / "stats.json").unlink()
    with pytest.raises(ValueError, match="expected the numbers of a finished build, found none"):
        checking.check(folder)


def test_the_command_ends_with_two_and_one_line(folder, capsys, monkeypatch):
    from tdmm_lm import __main__ as command

    monkeypatch.setattr("sys.argv", ["tdmm", "corpus", "check", str(folder)])
    (folder / "stats.json").unlink()
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert app
