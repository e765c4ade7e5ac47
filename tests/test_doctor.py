"""The doctor names what is there and what is missing, and keeps only what has the right checksum."""

import hashlib

import pytest

from tdmm_lm import bundle, doctor


def asset(tmp_path, content, sha256):
    (tmp_path / "source.bin").write_bytes(content)
    return doctor.Asset("thing", "a/b.bin", "b.bin", (tmp_path / "source.bin").as_uri(), sha256, "some licence")


def test_fetching_checks_the_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path / "cache"))
    right = asset(tmp_path, b"good", hashlib.sha256(b"good").hexdigest())
    assert doctor.download(right).read_bytes() == b"good"
    wrong = asset(tmp_path, b"evil", hashlib.sha256(b"other").hexdigest())
    (bundle.cache() / "b.bin").unlink()
    with pytest.raises(ValueError, match="nothing was kept"):
        doctor.download(wrong)
    assert not (bundle.cache() / "b.bin").exists()


def test_an_unreachable_source_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path / "cache"))
    gone = asset(tmp_path, b"", "0" * 64)
    (tmp_path / "source.bin").unlink()
    with pytest.raises(ValueError, match=r"could not fetch .*put the file at .*b\.bin yourself"):
        doctor.download(gone)


def test_the_report_finds_assets_under_the_data_folder(tmp_path, monkeypatch):
    for thing in doctor.ASSETS:
        path = tmp_path / thing.local
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        monkeypatch.setenv("TDMM_DATA", str(tmp_path))
        assert doctor.find(thing) == path
    text = doctor.report()
    assert "torch" in text
    assert str(tmp_path) in text
