"""Outputs are whole or absent."""

import pytest

from tdmm_lm.files import replacing


def test_a_file_appears_whole(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    with replacing(target) as path:
        path.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_and_no_rest(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with replacing(target) as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale").write_text("")
    with replacing(target) as path:
        path.mkdir()
        (path / "fresh").write_text("")
    assert [p.name for p in target.iterdir()] == ["fresh"]
