"""Our clip file: exact, the same bytes twice, and deaf to everything hostile."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from tdmm_lm import formats
from tdmm_lm.formats import npz
from tdmm_lm.motion import MotionClip

GOOD = {
    "format_version": np.int64(1),
    "values": np.zeros((4, 70), np.float32),
    "fps": np.float64(25),
    "modality": np.str_("face"),
    "rig": np.str_("head"),
    "shape": np.zeros(0, np.float32),
}


def broken(tmp_path, **changes):
    """A file like ours with some arrays changed; None leaves one out."""
    kept = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    np.savez(tmp_path / "clip.npz", **kept)
    return tmp_path / "clip.npz"


def test_round_trip_is_exact_and_reproducible(tmp_path):
    values = np.random.default_rng(0).normal(size=(7, 70)).astype(np.float32)
    clip = MotionClip(values, 29.97, "face", "head", np.array([0.5, -1], np.float32))
    formats.write(clip, tmp_path / "a.npz")
    formats.write(clip, tmp_path / "b.npz")
    back = formats.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.values, clip.values)
    np.testing.assert_array_equal(back.shape, clip.shape)
    assert (back.fps, back.modality, back.rig) == (29.97, "face", "head")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": None}, "values: expected an array, found none; there are format_version, fps"),
        ({"values": np.zeros((4, 70), np.int64)}, r"values: expected floats of rank 2, got int64"),
        ({"values": np.zeros(70, np.float32)}, r"values: expected floats of rank 2, got float32 of shape \(70,\)"),
        ({"values": np.full((4, 70), np.nan, np.float32)}, "got NaN or infinity at frame 0"),
        ({"values": np.zeros((0, 70), np.float32)}, "at least one frame"),
        ({"fps": np.float64(0)}, "expected 1 to 1000 Hz, got 0.0"),
        ({"fps": np.float64(np.nan)}, "expected 1 to 1000 Hz"),
        ({"fps": np.zeros(3)}, "fps: expected a number of rank 0"),
        ({"rig": np.int64(3)}, "rig: expected text"),
        ({"format_version": np.int64(2)}, "format_version: expected 1, got 2"),
        ({"shape": np.zeros((2, 2), np.float32)}, "shape: expected floats of rank 1"),
    ],
)
def test_wrong_keys_kinds_shapes_and_numbers_say_so(tmp_path, changes, message):
    path = broken(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as error:
        npz.read(path)
    assert "\n" not in str(error.value)


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return open, (str(self.place), "w")


def test_arrays_of_objects_are_refused_unread(tmp_path):
    np.savez(tmp_path / "clip.npz", **{**GOOD, "values": np.array([Trap(tmp_path / "sprung")], object)})
    with pytest.raises(
        ValueError, match="values: expected numbers or text, got an array of objects, which is never unpickled"
    ):
        npz.read(tmp_path / "clip.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_in_disguise_is_refused_unread(tmp_path):
    (tmp_path / "clip.npz").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ValueError, match="expected a numpy archive"):
        formats.read(tmp_path / "clip.npz")
    assert not (tmp_path / "sprung").exists()


def test_zip_bombs_are_refused_by_their_directory(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("format_version.npy", "w", force_zip64=True) as member,
    ):
        block = bytes(1 << 24)
        for _ in range(40):
            member.write(block)
    assert (tmp_path / "bomb.npz").stat().st_size < 1e6
    with pytest.raises(ValueError, match=r"expected at most 512 MB unpacked, got 640 MB"):
        formats.read(tmp_path / "bomb.npz")


def test_too_many_members_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for i in range(300):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(ValueError, match="expected at most 256 arrays, got 300"):
        npz.arrays(tmp_path / "many.npz")


def test_a_header_larger_than_its_data_is_refused(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"shape": (10**9, 70), "fortran_order": False, "descr": "<f4"})
    with zipfile.ZipFile(tmp_path / "clip.npz", "w") as archive:
        archive.writestr("values.npy", head.getvalue() + bytes(280))
    with pytest.raises(ValueError, match=r"values: expected 280000000000 bytes as its header says"):
        npz.arrays(tmp_path / "clip.npz")


@pytest.mark.parametrize("header", [b"__import__('os')", b"{'shape': (3, ", b"{'descr': '<f4", b"{'shape'; (3,)}"])
def test_broken_headers_are_refused(tmp_path, header):
    with zipfile.ZipFile(tmp_path / "clip.npz", "w") as archive:
        archive.writestr("values.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match="values: expected an array, got a broken header"):
        npz.arrays(tmp_path / "clip.npz")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_cut_files_say_so(tmp_path, arkit_clip, share):
    formats.write(arkit_clip, tmp_path / "clip.npz")
    whole = (tmp_path / "clip.npz").read_bytes()
    (tmp_path / "clip.npz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="cut off"):
        formats.read(tmp_path / "clip.npz")


def test_a_flipped_byte_is_noticed(tmp_path, arkit_clip):
    formats.write(arkit_clip, tmp_path / "clip.npz")
    data = bytearray((tmp_path / "clip.npz").read_bytes())
    data[len(data) // 2] ^= 0x40
    (tmp_path / "clip.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"clip.npz"):
        formats.read(tmp_path / "clip.npz")


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="expected a FLAME head"):
        formats.write(MotionClip(np.zeros((2, 70)), 25, "face", "head"), tmp_path / "clip.flame.npz")
    assert not list(tmp_path.iterdir())
