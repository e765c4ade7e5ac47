"""The dispatch: by content first, by name second; every format keeps the contract."""

from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import formats
from tdmm_lm.motion import face


@pytest.mark.parametrize("name", sorted(formats.modules()))
def test_every_format_offers_the_five_names(name):
    module = formats.modules()[name]
    assert set(module.MODALITIES) <= {"face", "body"}
    assert module.MODALITIES
    assert isinstance(module.SUFFIXES, tuple)
    assert all(suffix.startswith(".") for suffix in module.SUFFIXES)
    assert module.sniff(b"", Path("nothing")) is False
    assert module.read is None or callable(module.read)
    assert module.write is None or callable(module.write)


def test_what_is_written_is_known():
    assert formats.written() == (".bvh", ".csv", ".flame.npz", ".glb", ".joints.npz", ".npy", ".npz")


@pytest.mark.parametrize("ending", [".npz", ".csv"])
def test_content_outranks_the_name(tmp_path, arkit_clip, ending):
    formats.write(arkit_clip, tmp_path / f"clip{ending}")
    (tmp_path / f"clip{ending}").rename(tmp_path / "upload")
    assert formats.read(tmp_path / "upload").frames == arkit_clip.frames
    (tmp_path / "upload").rename(tmp_path / "wrong.mp4")
    np.testing.assert_allclose(
        formats.read(tmp_path / "wrong.mp4").values[:, :52], arkit_clip.values[:, :52], atol=1e-6
    )


def test_unknown_files_list_the_known_formats(tmp_path):
    (tmp_path / "clip.fbx").write_text("Kaydara FBX Binary")
    known = "arkit_csv, bvh, flame, glb, joints, npz, smpl, video"
    with pytest.raises(ValueError, match=f"expected one of the formats {known}, got something else"):
        formats.read(tmp_path / "clip.fbx")


def test_unknown_endings_list_the_known(tmp_path, arkit_clip):
    with pytest.raises(ValueError, match=r"expected an ending among \.bvh, \.csv, .*\.npy, \.npz, got \.fbx"):
        formats.write(arkit_clip, tmp_path / "clip.fbx")
    assert not list(tmp_path.iterdir())


def test_no_file_a_folder_and_an_empty_file_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a file, found none"):
        formats.read(tmp_path / "clip.npz")
    with pytest.raises(FileNotFoundError, match="found a folder"):
        formats.read(tmp_path)
    (tmp_path / "clip.npz").touch()
    with pytest.raises(ValueError, match="got an empty one"):
        formats.read(tmp_path / "clip.npz")


def test_evenly_keeps_rows_on_frames_and_turns_the_short_way():
    rows = np.zeros((3, 71), np.float32)
    rows[:, 0] = [0, 1, 5]
    head = face.layout(71)["head"]
    rows[:, head.start + 1] = [3.0, -3.0, 0.0]  # 3 and -3 radians about Y are 16 degrees apart, over pi
    even = formats.evenly(rows, np.array([0.0, 0.2, 0.4]), 10, 5)
    np.testing.assert_array_equal(even[[0, 2, 4], 0], [0, 1, 5])
    np.testing.assert_allclose(even[[1, 3], 0], [0.5, 3])
    np.testing.assert_array_equal(even[0], rows[0])
    assert abs(abs(even[1, head.start + 1]) - np.pi) < 1e-5


def test_evenly_holds_the_ends():
    rows = np.arange(2, dtype=np.float32)[:, None] * np.ones((2, 71), np.float32)
    even = formats.evenly(rows, np.array([0.1, 0.2]), 10, 5)
    np.testing.assert_allclose(even[:, 0], [0, 0, 1, 1, 1])
