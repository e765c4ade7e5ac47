"""Joints alone: real ones in and out within a millimetre, every width that files have, and what is none is said."""

import warnings

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, formats
from tdmm_lm.formats import joints
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton


@pytest.fixture(scope="module")
def sample():
    data = bundle.data()
    if data is None or not (data / "humanml3d_sample").is_dir():
        pytest.skip("HumanML3D's sample is not here: set TDMM_DATA to a folder with humanml3d_sample")
    return data / "humanml3d_sample"


def dancing(frames: int = 30, fps: float = 20) -> MotionClip:
    """The default skeleton with every joint in smooth motion, walking."""
    rng = np.random.default_rng(0)
    t = np.arange(frames)[:, None, None] / fps
    angles = 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 1, (22, 3)) * t + rng.uniform(0, 6, (22, 3)))
    from tdmm_lm import rotations

    places = np.stack([0.1 * t[:, 0, 0], 0.9 + 0 * t[:, 0, 0], t[:, 0, 0]], 1)
    return body.assemble(places, rotations.axis_angle_to_matrix(torch.from_numpy(angles)), fps=fps)


def test_real_joints_come_back(sample, tmp_path):
    true = np.load(sample / "012314_joints.npy")
    clip = formats.read(sample / "012314_joints.npy", fps=20)
    assert (clip.frames, clip.fps, clip.modality) == (len(true), 20, "body")
    off = np.linalg.norm(skeleton.joints(clip).numpy() - true, axis=-1)
    assert off.mean() < 1e-3
    lengths = np.linalg.norm(true[:, 1:] - true[:, body.PARENTS[1:]], axis=-1).mean(0)
    np.testing.assert_allclose(skeleton.of(clip).lengths[1:], lengths, atol=1e-4)
    formats.write(clip, tmp_path / "out.npy")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), skeleton.joints(clip).numpy(), atol=1e-6)


def test_published_features_are_read_too(sample):
    clip = formats.read(sample / "012314_features.npy")
    true = np.load(sample / "012314_features.npy")
    assert (clip.frames, clip.fps) == (len(true), 20)
    np.testing.assert_allclose(body.translation(clip)[:, 1], true[:, 3], atol=1e-5)


@pytest.mark.parametrize("ending", [".npy", ".joints.npz"])
def test_out_and_in_again(tmp_path, ending):
    clip = dancing()
    formats.write(clip, tmp_path / f"a{ending}")
    back = formats.read(tmp_path / f"a{ending}", fps=20 if ending == ".npy" else None)
    assert back.fps == 20
    np.testing.assert_allclose(skeleton.joints(back), skeleton.joints(clip), atol=1e-3)


@pytest.mark.parametrize("count", [22, 24, 52, 55])
def test_longer_skeletons_begin_with_ours(tmp_path, count):
    places = skeleton.joints(dancing()).numpy()
    wide = np.concatenate([places, np.zeros((len(places), count - 22, 3))], 1)
    np.save(tmp_path / "a.npy", wide)
    np.save(tmp_path / "b.npy", places)
    np.testing.assert_array_equal(
        formats.read(tmp_path / "a.npy", fps=30).values, formats.read(tmp_path / "b.npy", fps=30).values
    )


def test_our_clip_file_holds_bodies_exactly(tmp_path):
    clip = dancing(fps=119.88)
    clip = MotionClip(clip.values, clip.fps, clip.modality, clip.rig, skeleton.load().shape)
    formats.write(clip, tmp_path / "a.npz")
    back = formats.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.values, clip.values)
    np.testing.assert_array_equal(back.shape, clip.shape)
    assert (back.fps, back.modality, back.rig) == (119.88, "body", "skeleton")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 22, 3)), r"expected \(frames, 22 or 24 or 52 or 55, 3\) or \(frames, 263\), got \(0, 22, 3\)"),
        (np.zeros((5, 21, 3)), r"expected \(frames, 22 or .*, got \(5, 21, 3\)"),
        (np.zeros((5, 66)), r"got \(5, 66\)"),
        (np.zeros(5), r"got \(5,\)"),
        (np.float32(3), "expected an array of joints|got"),
        (np.array(["a"]), "expected numbers, got <U1"),
        (1e30 * skeleton.joints(dancing()).numpy(), "expected metres, places within 10000 m, got"),
        (np.zeros((5, 22, 3)), "expected bones with a length|expected metres|without length"),
        (1000 * skeleton.joints(dancing()).numpy(), r"expected metres, legs of 0.3 to 1.5 m, got 8\d\d; scale"),
        (np.where(np.eye(30)[7][:, None, None], np.nan, skeleton.joints(dancing()).numpy()), "NaN or .* at frame 7"),
    ],
)
def test_arrays_that_are_no_joints_say_so(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=message) as error:
        formats.read(tmp_path / "a.npy", fps=20)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("fps", "message"), [(None, "found none; give it"), (0, "1 to 1000"), (1e6, "1 to 1000")])
def test_rates_that_are_none_say_so(tmp_path, fps, message):
    np.save(tmp_path / "a.npy", skeleton.joints(dancing()).numpy())
    with pytest.raises(ValueError, match=message):
        formats.read(tmp_path / "a.npy", fps=fps)


def test_pickles_and_cut_files_are_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.array([{"joints": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="expected an array of joints, got none or a damaged one"):
        formats.read(tmp_path / "a.npy", fps=20)
    np.save(tmp_path / "b.npy", skeleton.joints(dancing()).numpy())
    whole = (tmp_path / "b.npy").read_bytes()
    for size in (20, 1000):
        (tmp_path / "b.npy").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="expected an array of joints, got none or a damaged one"):
            formats.read(tmp_path / "b.npy", fps=20)
    formats.write(dancing(), tmp_path / "c.joints.npz")
    (tmp_path / "c.joints.npz").write_bytes((tmp_path / "c.joints.npz").read_bytes()[:700])
    with pytest.raises(ValueError, match="expected a numpy archive, got none or one that is cut off"):
        formats.read(tmp_path / "c.joints.npz")
    (tmp_path / "d.npy").write_bytes(whole.replace(b"'shape': (", b"'shape': ((", 1))
    with pytest.raises(ValueError, match="expected an array of joints, got none or a damaged one"):
        formats.read(tmp_path / "d.npy", fps=20)
    monkeypatch.setattr(joints, "MOST_FRAMES", 10)
    (tmp_path / "b.npy").write_bytes(whole)
    with pytest.raises(ValueError, match="expected at most 10 frames, got 30"):
        formats.read(tmp_path / "b.npy", fps=20)


@pytest.mark.parametrize("ending", [".npy", ".joints.npz", ".csv", ".flame.npz"])
def test_one_kind_of_clip_does_not_fit_anothers_file(tmp_path, arkit_clip, ending):
    wrong = dancing() if ending in (".csv", ".flame.npz") else arkit_clip
    with pytest.raises(ValueError, match=r"expected a \w+ clip for this format, got a \w+ clip; use \.") as error:
        formats.write(wrong, tmp_path / f"a{ending}")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.fixture(autouse=True)
def _loud():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
