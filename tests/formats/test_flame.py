"""FLAME archives: every public layout lands in the same places, and what fits none names them all."""

import numpy as np
import pytest
import torch

from tdmm_lm import formats, rotations
from tdmm_lm.formats import flame
from tdmm_lm.motion import MotionClip, face

N = 6
RNG = np.random.default_rng(0)
EXP, HEAD, JAW, NECK, MOVE = (RNG.normal(0, 0.2, (N, width)).astype(np.float32) for width in (50, 3, 3, 3, 3))
EYES, SHAPE = RNG.normal(0, 0.1, (N, 6)).astype(np.float32), RNG.normal(size=10).astype(np.float32)


def six_rows(turns):
    """pytorch3d's 6D: the first two rows of each matrix."""
    matrix = rotations.axis_angle_to_matrix(torch.from_numpy(turns.reshape(len(turns), -1, 3)))
    return matrix[..., :2, :].flatten(1).numpy()


def body():
    poses = np.zeros((N, 165), np.float32)
    poses[:, 66:69], poses[:, 69:75] = JAW, EYES
    poses[:, 45:48] = HEAD  # joint 15, its chain at rest
    return poses


HEAD_JAW = np.concatenate([HEAD, JAW], 1)
PUBLIC = {  # layout -> what a file of it holds, and the groups it carries
    "smplx FLAME arguments": (
        {
            "expression": EXP,
            "jaw_pose": JAW,
            "global_orient": HEAD,
            "neck_pose": NECK,
            "leye_pose": EYES[:, :3],
            "reye_pose": EYES[:, 3:],
            "transl": MOVE,
            "betas": SHAPE[None],
        },
        {"jaw", "head", "neck", "eyes", "translation", "shape"},
    ),
    "VHAP, GaussianAvatars": (
        {
            "expr": EXP,
            "jaw_pose": JAW,
            "rotation": HEAD,
            "neck_pose": NECK,
            "eyes_pose": EYES,
            "translation": MOVE,
            "shape": SHAPE,
            "static_offset": np.zeros((1, 5143, 3), np.float32),
            "timestep_id": np.arange(N),
        },
        {"jaw", "head", "neck", "eyes", "translation", "shape"},
    ),
    "BEAT2, SMPL-X with expressions": (
        {
            "expressions": EXP,
            "poses": body(),
            "trans": MOVE,
            "betas": np.ones(300),
            "mocap_frame_rate": np.array(30),
            "model": np.array("smplx_2020"),
            "gender": np.array("neutral"),
        },
        {"jaw", "head", "eyes"},
    ),
    "SMIRK": (
        {
            "expression_params": EXP,
            "jaw_params": JAW,
            "pose_params": HEAD,
            "shape_params": np.tile(SHAPE, (N, 1)),
            "eyelid_params": np.zeros((N, 2)),
        },
        {"jaw", "head", "shape"},
    ),
    "flame-pytorch arguments": (
        {
            "expression_params": EXP,
            "pose_params": HEAD_JAW,
            "shape_params": SHAPE[None],
            "neck_pose": NECK,
            "eye_pose": EYES,
        },
        {"jaw", "head", "neck", "eyes", "shape"},
    ),
    "EMOCA": ({"expcode": EXP, "posecode": HEAD_JAW, "shapecode": np.tile(SHAPE, (N, 1))}, {"jaw", "head", "shape"}),
    "DECA, SPECTRE, DiffPoseTalk, TFHP": (
        {"exp": EXP[None], "pose": HEAD_JAW[None], "shape": SHAPE[None], "cam": np.zeros((N, 3))},
        {"jaw", "head", "shape"},
    ),
    "metrical-tracker": (
        {"exp": EXP, "jaw": six_rows(JAW), "eyes": six_rows(EYES), "shape": SHAPE[None]},
        {"jaw", "eyes", "shape"},
    ),
    "expression and jaw": ({"expression": EXP, "jaw": JAW, "head": HEAD}, {"jaw", "head"}),
}
TRUTH = {"jaw": JAW, "head": HEAD, "neck": NECK, "eyes": EYES, "translation": MOVE}


def test_every_layout_has_an_example():
    assert set(PUBLIC) == {layout.name for layout in flame.LAYOUTS}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_layouts_land_in_the_same_places(tmp_path, name):
    arrays, carried = PUBLIC[name]
    np.savez(tmp_path / "track.npz", **arrays)
    rated = "mocap_frame_rate" in arrays
    clip = formats.read(tmp_path / "track.npz", fps=None if rated else 25)
    assert (clip.rig, clip.fps, clip.frames) == ("flame", 30 if rated else 25, N)
    np.testing.assert_array_equal(face.part(clip, "expression"), np.pad(EXP, ((0, 0), (0, 50))))
    for group, truth in TRUTH.items():
        np.testing.assert_allclose(face.part(clip, group), truth if group in carried else 0 * truth, atol=1e-5)
    np.testing.assert_allclose(clip.shape, SHAPE if "shape" in carried else [], atol=1e-6)


def test_round_trip_through_smplx_names(tmp_path):
    clip = face.assemble({"expression": np.tile(EXP, 2), **TRUTH}, fps=29.97, rig="flame", shape=SHAPE)
    formats.write(clip, tmp_path / "a.flame.npz")
    back = formats.read(tmp_path / "a.flame.npz")
    np.testing.assert_array_equal(back.values, clip.values)
    np.testing.assert_array_equal(back.shape, clip.shape)
    assert back.fps == 29.97


def test_a_bodys_head_is_its_orientation_in_the_world(tmp_path):
    arrays = dict(PUBLIC["BEAT2, SMPL-X with expressions"][0])
    poses = np.zeros((N, 165), np.float32)
    poses[:, 1], poses[:, 37] = 0.5, 0.25  # pelvis and neck about Y
    np.savez(tmp_path / "a.npz", **{**arrays, "poses": poses})
    np.testing.assert_allclose(face.part(formats.read(tmp_path / "a.npz"), "head"), [[0, 0.75, 0]] * N, atol=1e-6)


def test_no_layout_lists_them_all(tmp_path):
    np.savez(tmp_path / "a.npz", weights=np.zeros((3, 4)))
    ours = r"our own \(format_version, values, fps, modality, rig, shape\); "
    with pytest.raises(
        ValueError, match=f"expected a clip in a known layout, got weights; known layouts: {ours}"
    ) as error:
        formats.read(tmp_path / "a.npz", fps=25)
    assert all(str(layout) in str(error.value) for layout in flame.LAYOUTS)
    assert "\n" not in str(error.value)


def test_our_own_without_its_version_is_told_what_is_missing(tmp_path):
    np.savez(tmp_path / "a.npz", values=np.zeros((3, 70), np.float32), fps=25.0)
    with pytest.raises(ValueError, match=r"got values, fps; known layouts: our own \(format_version, values, fps, "):
        formats.read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose": np.zeros((N, 15))}, r"expected FLAME arrays as DECA.* got pose \(6, 15\); known layouts"),
        ({"pose": HEAD_JAW[:3]}, "pose: expected 6 frames as exp has, got 3"),
        ({"exp": np.zeros((N, 200))}, "exp: expected at most 100 weights, got 200"),
        ({"exp": np.full((N, 50), np.inf)}, "exp: expected finite numbers, got NaN or infinity at frame 0"),
        ({"exp": np.array(["a"])}, "exp: expected numbers, got <U1"),
        ({"exp": np.array([{}], object)}, "exp: expected numbers or text, got an array of objects"),
        ({"fps": np.zeros(2)}, "fps: expected one number"),
    ],
)
def test_what_does_not_fit_says_so(tmp_path, changes, message):
    np.savez(tmp_path / "a.npz", **{"exp": EXP, "pose": HEAD_JAW, "fps": np.array(25), **changes})
    with pytest.raises(ValueError, match=message):
        formats.read(tmp_path / "a.npz")


def test_no_rate_is_not_guessed(tmp_path):
    np.savez(tmp_path / "a.npz", exp=EXP, pose=HEAD_JAW)
    with pytest.raises(ValueError, match=r"expected a frame rate in fps, mocap_frame_rate, .* found none; give it"):
        formats.read(tmp_path / "a.npz")


def test_arrays_that_nobody_needs_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", exp=EXP, pose=HEAD_JAW, fps=25, extra=np.array([{"a": 1}], object))
    assert formats.read(tmp_path / "a.npz").frames == N


def test_other_rigs_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="expected a FLAME head, got 'head'"):
        formats.write(MotionClip(np.zeros((2, 70)), 25, "face", "head"), tmp_path / "a.flame.npz")


def test_smplx_takes_what_is_written(tmp_path):
    """The arrays are named and shaped as smplx's FLAME wants them."""
    clip = face.assemble({"expression": np.tile(EXP, 2), **TRUTH}, fps=25, rig="flame", shape=SHAPE)
    formats.write(clip, tmp_path / "a.flame.npz")
    with np.load(tmp_path / "a.flame.npz", allow_pickle=False) as file:
        shapes = {name: file[name].shape for name in file.files}
    assert shapes == {
        "expression": (N, 100),
        "jaw_pose": (N, 3),
        "global_orient": (N, 3),
        "neck_pose": (N, 3),
        "leye_pose": (N, 3),
        "reye_pose": (N, 3),
        "transl": (N, 3),
        "betas": (1, 10),
        "fps": (),
    }
