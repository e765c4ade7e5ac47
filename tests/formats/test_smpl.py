"""SMPL-family files: every layout, Z up turned, the owner's skeleton as smplx itself computes it."""

import numpy as np
import pytest
import torch

from tdmm_lm import formats, rotations
from tdmm_lm.formats import smpl
from tdmm_lm.motion import body
from tdmm_lm.rigs import skeleton

FRAMES = 12
PARENTS = (*body.PARENTS, *([20] * 16), *([21] * 17))  # SMPL-X's 55, hands and face hung anywhere


def params(seed: int = 0) -> dict[str, np.ndarray]:
    """A body that stands in AMASS's world (Z up), walks along its Y and bends everywhere."""
    rng = np.random.default_rng(seed)
    poses = 0.3 * rng.normal(size=(FRAMES, 165))
    upright = rotations.axis_angle_to_matrix(torch.tensor([np.pi / 2, 0, 0]))  # Y up to Z up
    lean = rotations.axis_angle_to_matrix(torch.from_numpy(0.2 * rng.normal(size=(FRAMES, 3))))
    poses[:, :3] = rotations.matrix_to_axis_angle(upright.double() @ lean).numpy()
    trans = np.stack([0 * np.arange(FRAMES), 0.02 * np.arange(FRAMES), 0.9 + 0 * np.arange(FRAMES)], 1)
    return {"poses": poses, "trans": trans, "betas": rng.normal(size=16), "mocap_framerate": np.float64(120)}


def saved(path, held):
    np.savez(path, **held)
    return path


@pytest.fixture
def model(tmp_path):
    """A small made-up body in the owners' format: a vertex cloud about the default skeleton's joints."""
    rng = np.random.default_rng(1)
    default = skeleton.load().offsets.astype(float)
    places = [default[0]]
    for joint in range(1, 55):
        step = default[joint] if joint < 22 else [0.01, 0.02, 0]
        places.append(places[PARENTS[joint]] + step)
    joints = np.array(places) + np.array([0.003, -0.35, 0.01])
    vertices = np.repeat(joints, 3, 0) + rng.normal(0, 0.02, (165, 3))
    regressor = np.zeros((55, 165))
    for joint in range(55):
        regressor[joint, 3 * joint : 3 * joint + 3] = rng.dirichlet(np.ones(3))
    held = {
        "v_template": vertices, "shapedirs": rng.normal(0, 0.01, (165, 3, 20)), "J_regressor": regressor,
        "posedirs": np.zeros((165, 3, 486)), "weights": rng.dirichlet(np.ones(55), 165),
        "kintree_table": np.stack([np.array(PARENTS) % 2**32, np.arange(55)]), "f": np.zeros((1, 3), int),
    }
    (tmp_path / "models" / "smplx").mkdir(parents=True)
    np.savez(tmp_path / "models" / "smplx" / "SMPLX_NEUTRAL.npz", **held)
    return tmp_path / "models", held


def test_joints_lie_where_smplx_puts_them(tmp_path, model, monkeypatch):
    lbs = pytest.importorskip("smplx.lbs")
    folder, held = model
    given = params()
    tensor = lambda array: torch.from_numpy(np.asarray(array, float))  # noqa: E731
    _, truth = lbs.lbs(
        tensor(given["betas"])[None].expand(FRAMES, -1), tensor(given["poses"]), tensor(held["v_template"]),
        tensor(held["shapedirs"][:, :, :16]), tensor(held["posedirs"].reshape(-1, 486).T), tensor(held["J_regressor"]),
        torch.tensor(PARENTS), tensor(held["weights"]),
    )
    truth = truth[:, :22].numpy() + given["trans"][:, None]
    truth = truth[..., [0, 2, 1]] * [1, 1, -1]  # Z up to Y up
    path = saved(tmp_path / "walk.npz", given)
    by_argument = smpl.read(path, model=folder)
    by_file = smpl.read(path, model=folder / "smplx" / "SMPLX_NEUTRAL.npz")
    monkeypatch.setenv("TDMM_SMPL", str(folder))
    by_environment = formats.read(path)
    for clip in (by_argument, by_file, by_environment):
        assert (clip.fps, clip.frames, clip.rig) == (120, FRAMES, "skeleton")
        np.testing.assert_allclose(skeleton.joints(clip), truth, atol=1e-5)


def test_without_a_model_the_default_skeleton_turns_alike(tmp_path, monkeypatch):
    monkeypatch.delenv("TDMM_SMPL", raising=False)
    given = params()
    clip = formats.read(saved(tmp_path / "walk.npz", given))
    assert not len(clip.shape)
    local = rotations.axis_angle_to_matrix(torch.from_numpy(given["poses"][:, :66]).unflatten(1, (-1, 3)))
    np.testing.assert_allclose(body.local_rotations(clip)[:, 1:], local[:, 1:], atol=1e-6)
    joints = skeleton.joints(clip).numpy()
    assert (joints[:, body.JOINTS.index("head"), 1] > joints[:, 0, 1] + 0.3).all()  # it stands
    np.testing.assert_allclose(body.translation(clip)[:, 1], 0.9, atol=1e-6)
    np.testing.assert_allclose(np.diff(body.translation(clip)[:, 2]), -0.02, atol=1e-6)  # Y of Z up is -Z of Y up


@pytest.mark.parametrize("layout", ["smplh", "smpl", "stageii", "arguments"])
def test_every_layout_holds_the_same_body(tmp_path, layout):
    given = params()
    truth = formats.read(saved(tmp_path / "truth.npz", given))
    poses = given["poses"]
    held = {
        "smplh": {"poses": poses[:, :156], "trans": given["trans"], "mocap_framerate": np.float64(120)},
        "smpl": {"poses": poses[:, :72], "trans": given["trans"], "mocap_frame_rate": np.array([120])},
        "stageii": {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "pose_hand": poses[:, 75:],
                    "trans": given["trans"], "mocap_frame_rate": np.float64(120), "gender": np.array(b"neutral")},
        "arguments": {"body_pose": poses[:, 3:66], "fps": np.float64(120)},
    }[layout]
    if layout == "arguments":  # these have Y up already
        turn = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        root = turn.double() @ rotations.axis_angle_to_matrix(torch.from_numpy(poses[:, :3]))
        held["global_orient"] = rotations.matrix_to_axis_angle(root).numpy()
        held["transl"] = given["trans"] @ turn.numpy().T
    clip = formats.read(saved(tmp_path / "clip.npz", held))
    np.testing.assert_allclose(clip.values, truth.values, atol=1e-5)
    assert clip.fps == 120


def test_a_body_that_stands_along_y_is_left_standing(tmp_path):
    given = params()
    given["poses"][:, :3] = 0.1
    with pytest.warns(UserWarning, match="taken to have Y up, since the body stands along Y; AMASS has Z up"):
        clip = formats.read(saved(tmp_path / "a.npz", given))
    np.testing.assert_allclose(body.translation(clip), given["trans"], atol=1e-6)


def test_faces_are_still_read_as_faces(tmp_path):
    held = {"poses": np.zeros((4, 165)), "expressions": np.zeros((4, 100)), "trans": np.zeros((4, 3)),
            "mocap_frame_rate": np.float64(30)}
    assert formats.read(saved(tmp_path / "beat.npz", held)).modality == "face"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mocap_framerate": None}, r"expected a frame rate in fps, mocap_frame_rate, .*, found none; give it"),
        ({"mocap_framerate": np.float64(0)}, "expected 1 to 1000 Hz, got 0.0"),
        ({"mocap_framerate": np.float64(1e6)}, "expected 1 to 1000 Hz, got 1000000.0"),
        ({"mocap_framerate": np.array("fast")}, "mocap_framerate: expected one number"),
        ({"poses": np.zeros((4, 63))}, r"poses: expected \(frames, 66 or more\), got float64 \(4, 63\)"),
        ({"poses": np.zeros((0, 156))}, r"poses: expected \(frames, 66 or more\), got float64 \(0, 156\)"),
        ({"poses": np.full((4, 156), np.inf)}, "poses: expected finite numbers, got NaN or infinity at frame 0"),
        ({"trans": np.zeros((3, 3))}, "trans: expected 12 frames as the poses have, got 3"),
        ({"trans": np.full((12, 3), np.nan)}, "trans: expected finite numbers"),
        ({"poses": np.array([["a"] * 156])}, r"poses: expected \(frames, 66 or more\), got <U1"),
        ({"poses": np.array([{}] * 4)}, "poses: expected numbers or text, got an array of objects"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, change, message):
    held = {name: value for name, value in {**params(), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message) as error:
        formats.read(saved(tmp_path / "a.npz", held))
    assert "\n" not in str(error.value)


def test_a_rate_may_be_given(tmp_path):
    held = {name: value for name, value in params().items() if name != "mocap_framerate"}
    assert formats.read(saved(tmp_path / "a.npz", held), fps=60).fps == 60


def test_models_that_are_none_or_not_there_say_so(tmp_path, model):
    folder, held = model
    path = saved(tmp_path / "a.npz", {**params(), "gender": np.array("female")})
    with pytest.raises(ValueError, match=r"expected the model smplx/SMPLX_FEMALE.npz in .*, found none; unset"):
        smpl.read(path, model=folder)
    with pytest.raises(FileNotFoundError, match="expected SMPL's models, a file or folder, found none"):
        smpl.read(path, model=tmp_path / "nowhere")
    broken = {name: array for name, array in held.items() if name != "shapedirs"}
    with pytest.raises(ValueError, match="expected a SMPL model, found no shapedirs"):
        smpl.read(path, model=saved(tmp_path / "b.npz", broken))
    with pytest.raises(ValueError, match="expected vertices, shapes and joints of one body, got"):
        smpl.read(path, model=saved(tmp_path / "b.npz", {**held, "J_regressor": held["J_regressor"][:5]}))
    with pytest.raises(ValueError, match="betas: expected finite numbers"):
        smpl.read(
            saved(tmp_path / "c.npz", {**params(), "betas": np.array(["tall"])}),
            model=folder / "smplx" / "SMPLX_NEUTRAL.npz",
        )
