"""BVH: real captures land where the file's own joints lie, go out and come back, and bad files say what is wrong."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, formats, rotations
from tdmm_lm.formats import bvh
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton

CMU_METRES = 0.056444
CMU = {  # which of CMU's joints is which of ours; of its two neck joints the second is where the skull turns
    "pelvis": "Hips", "spine1": "LowerBack", "spine2": "Spine", "spine3": "Spine1", "neck": "Neck", "head": "Neck1",
    "left_hip": "LeftUpLeg", "left_knee": "LeftLeg", "left_ankle": "LeftFoot", "left_foot": "LeftToeBase",
    "right_hip": "RightUpLeg", "right_knee": "RightLeg", "right_ankle": "RightFoot", "right_foot": "RightToeBase",
    "left_collar": "LeftShoulder", "left_shoulder": "LeftArm", "left_elbow": "LeftForeArm", "left_wrist": "LeftHand",
    "right_collar": "RightShoulder", "right_shoulder": "RightArm", "right_elbow": "RightForeArm",
    "right_wrist": "RightHand",
}
CLIPS = ("01_01", "02_03", "05_02", "06_01", "07_02", "08_01")


def quietly(path, **more) -> MotionClip:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bvh.read(path, **more)


@pytest.fixture(scope="module")
def cmu() -> Path:
    data = bundle.data()
    if data is None or not (data / "cmu_mocap" / "bvh").is_dir():
        pytest.skip("CMU's captures are not here: set TDMM_DATA to a folder with cmu_mocap/bvh")
    return data / "cmu_mocap" / "bvh"


def their_joints(path: Path) -> tuple[list[str], np.ndarray]:
    """The file's own joints in the world, by the library's forward kinematics alone."""
    from pymotion.io.bvh import BVH
    from pymotion.ops.skeleton import fk_quat

    file = BVH()
    file.load(str(path))
    turns, places, parents, offsets, _, _ = file.get_data()
    return list(file.data["names"]), fk_quat(turns, places[:, 0], offsets, parents)[0]


@pytest.mark.parametrize("name", CLIPS)
def test_our_joints_lie_where_the_files_do(cmu, name):
    clip = quietly(cmu / f"{name}.bvh")
    names, true = their_joints(cmu / f"{name}.bvh")
    ours = skeleton.joints(clip).numpy()
    for joint, theirs in CMU.items():
        off = np.linalg.norm(ours[:, body.JOINTS.index(joint)] - CMU_METRES * true[:, names.index(theirs)], axis=-1)
        assert off.max() < 1e-4, joint
    assert (clip.fps, clip.modality, clip.rig) == (120, "body", "skeleton")


def test_the_unit_is_told_by_the_height_and_said(cmu):
    with pytest.warns(UserWarning, match=r"07_02.bvh: taken to be in CMU's units, from the skeleton's height\.$"):
        clip = bvh.read(cmu / "07_02.bvh")
    told = quietly(cmu / "07_02.bvh", units=CMU_METRES)
    np.testing.assert_allclose(told.values, clip.values, atol=1e-6)
    doubled = quietly(cmu / "07_02.bvh", units=2 * CMU_METRES)
    np.testing.assert_allclose(doubled.shape.reshape(-1, 3)[4], 2 * clip.shape.reshape(-1, 3)[4], rtol=1e-5)


def test_the_rest_pose_is_a_t_pose(cmu):
    """CMU's hierarchy has spread legs; its first frame is a T-pose, which must be ours without a turn."""
    clip = quietly(cmu / "01_01.bvh")
    offsets = skeleton.of(clip).offsets
    for joint, down in (("left_knee", [0, -1, 0]), ("right_ankle", [0, -1, 0]), ("left_elbow", [1, 0, 0])):
        bone = offsets[body.JOINTS.index(joint)]
        np.testing.assert_allclose(bone / np.linalg.norm(bone), down, atol=1e-6)
    angles = np.degrees(rotations.matrix_to_axis_angle(body.local_rotations(clip)[0]).norm(dim=-1).numpy())
    for joint in ("left_hip", "right_hip", "left_knee", "right_ankle", "left_elbow", "right_wrist", "spine2"):
        assert angles[body.JOINTS.index(joint)] < 1.1, joint


@pytest.mark.parametrize("name", CLIPS)
def test_written_and_read_again_within_a_millimetre(cmu, name, tmp_path):
    clip = quietly(cmu / f"{name}.bvh")
    formats.write(clip, tmp_path / "out.bvh")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # our own files are in centimetres, nothing need be said
        back = formats.read(tmp_path / "out.bvh")
    assert back.fps == clip.fps
    assert (skeleton.joints(back) - skeleton.joints(clip)).norm(dim=-1).max() < 1e-5
    np.testing.assert_allclose(back.values, clip.values, atol=1e-5)  # the rotations themselves, not only the places
    np.testing.assert_allclose(back.shape, clip.shape, atol=1e-6)


def lengthened(cmu: Path, path: Path) -> np.ndarray:
    """07_01 with every joint's frame turned at rest so that each bone lies along its own X, as LAFAN1 has them."""
    from pymotion.io.bvh import BVH
    from pymotion.rotations import quat_np
    from scipy.spatial.transform import Rotation

    file = BVH()
    file.load(str(cmu / "07_01.bvh"))
    turns, _, parents, offsets, _, _ = file.get_data()
    rng = np.random.default_rng(0)
    frames = []
    for joint in range(len(parents)):
        children = [k for k in range(1, len(parents)) if parents[k] == joint and np.linalg.norm(offsets[k]) > 0.1]
        bone = offsets[children[0]] if children else np.array([0.0, 1, 0])
        to_x, _ = Rotation.align_vectors([[1, 0, 0]], [bone / np.linalg.norm(bone)])
        frame = (Rotation.from_rotvec([rng.uniform(-3, 3), 0, 0]) * to_x).as_matrix()
        frames.append(frames[0] if file.data["names"][joint].endswith("HipJoint") else frame)
    turned = np.stack(frames)  # takes a vector in the old frame to the new one
    matrices = quat_np.to_matrix(turns)
    above = np.stack([np.eye(3) if j == 0 else turned[parents[j]] for j in range(len(parents))])
    matrices = above @ matrices @ turned.transpose(0, 2, 1)
    file.data["offsets"] = np.stack([offsets[0], *(turned[parents[j]] @ offsets[j] for j in range(1, len(parents)))])
    positions = np.tile(file.data["offsets"], (len(turns), 1, 1))
    positions[:, 0] = file.data["positions"][:, 0]
    file.set_data(quat_np.from_matrix(matrices), positions)
    file.save(str(path))
    return matrices


def test_a_rest_pose_without_a_pose_is_understood(cmu, tmp_path):
    """Bones along X at rest say nothing about a T-pose: joints lie right all the same, and rotations nearly so."""
    lengthened(cmu, tmp_path / "x.bvh")
    clip, true = quietly(tmp_path / "x.bvh"), quietly(cmu / "07_01.bvh")
    assert (skeleton.joints(clip) - skeleton.joints(true)).norm(dim=-1).max() < 2e-4
    np.testing.assert_allclose(skeleton.of(clip).lengths, skeleton.of(true).lengths, atol=1e-5)
    between = skeleton.global_rotations(clip)[1:].mT @ skeleton.global_rotations(true)[1:]
    angle = np.degrees(rotations.matrix_to_axis_angle(between).norm(dim=-1).numpy())
    assert np.median(angle, 0).max() < 45  # no joint is inside out; turns about bones are known on average only
    assert np.median(angle) < 15


def written(path: Path, *, joints: str | None = None, frames: str = "0 90 0 0 0 0", rows: int = 2,
            time: str = "0.0333333", count: int | None = None) -> Path:
    """A small body in centimetres whose every joint turns about no axis but the root's."""
    text = joints or BODY
    wanted = text.lower().count("rotation") - 3
    row = frames + " 0" * wanted
    path.write_text(f"{text}MOTION\nFrames: {rows if count is None else count}\nFrame Time: {time}\n"
                    + "".join(f"{row}\n" for _ in range(rows)))
    return path


def chain(names: list[tuple[str, str]], inside: str = "", channels: str = "3 Zrotation Xrotation Yrotation") -> str:
    for name, offset in reversed(names):
        ending = inside or "End Site\n{\nOFFSET 0 0 5\n}\n"
        inside = f"JOINT {name}\n{{\nOFFSET {offset}\nCHANNELS {channels}\n{ending}}}\n"
    return inside


def made(prefix: str = "", channels: str = "3 Zrotation Xrotation Yrotation", root: str | None = None) -> str:
    """A hierarchy in Mixamo's names, in a T-pose, 1.6 m tall."""
    def leg(side: str, x: float) -> str:
        return chain([(f"{prefix}{side}UpLeg", f"{x} -5 0"), (f"{prefix}{side}Leg", "0 -42 0"),
                      (f"{prefix}{side}Foot", "0 -40 0"), (f"{prefix}{side}ToeBase", "0 -8 14")], "", channels)

    def arm(side: str, x: float) -> str:
        return chain([(f"{prefix}{side}Shoulder", f"{4 * x} 9 0"), (f"{prefix}{side}Arm", f"{12 * x} 0 0"),
                      (f"{prefix}{side}ForeArm", f"{27 * x} 0 0"), (f"{prefix}{side}Hand", f"{26 * x} 0 0")], "",
                     channels)

    neck = chain([(f"{prefix}Neck", "0 14 0"), (f"{prefix}Head", "0 9 2")], "", channels)
    spine = chain([(f"{prefix}Spine", "0 10 0"), (f"{prefix}Spine1", "0 12 0"), (f"{prefix}Spine2", "0 12 0")],
                  neck + arm("Left", 1) + arm("Right", -1), channels)
    root = root or "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    return (f"HIERARCHY\nROOT {prefix}Hips\n{{\nOFFSET 0 0 0\nCHANNELS {root}\n"
            f"{leg('Left', 9)}{leg('Right', -9)}{spine}}}\n")


BODY = made()


def test_a_t_pose_in_centimetres_is_itself(tmp_path):
    clip = bvh.read(written(tmp_path / "a.bvh"))
    assert (clip.frames, clip.fps) == (2, 30)
    np.testing.assert_allclose(body.local_rotations(clip), torch.eye(3).expand(2, 22, 3, 3), atol=1e-6)
    joints = skeleton.joints(clip)[0].numpy()
    np.testing.assert_allclose(joints[body.JOINTS.index("left_wrist")], [0.69, 1.33, 0], atol=1e-5)
    np.testing.assert_allclose(joints[body.JOINTS.index("right_foot")], [-0.09, -0.05, 0.14], atol=1e-5)


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_any_order_of_angles(tmp_path, order):
    channels = " ".join(f"{axis}rotation" for axis in order)
    text = made(root=f"6 Xposition Yposition Zposition {channels}")
    clip = bvh.read(written(tmp_path / "a.bvh", joints=text, frames="0 90 0 20 30 40"))
    expected = torch.eye(3)
    for axis, degrees in zip(order, (20, 30, 40)):
        turn = torch.zeros(3)
        turn["XYZ".index(axis)] = np.radians(degrees)
        expected = expected @ rotations.axis_angle_to_matrix(turn)
    np.testing.assert_allclose(body.local_rotations(clip)[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("time", ["0.0333333", ".033333", "0.03333", "0.0333"])
def test_rounded_frame_times_mean_whole_rates(tmp_path, time):
    assert bvh.read(written(tmp_path / "a.bvh", time=time)).fps == 30


@pytest.mark.parametrize(("time", "fps"), [("0.0333667", 29.97), ("0.0083333", 120), ("0.04", 25), ("0.0066667", 150)])
def test_other_rates_stay(tmp_path, time, fps):
    assert bvh.read(written(tmp_path / "a.bvh", time=time)).fps == pytest.approx(fps, rel=1e-6)


def test_layouts_that_files_have(tmp_path):
    plain = bvh.read(written(tmp_path / "plain.bvh", frames="3 90 4 0 0 30"))
    turns = "Zrotation Xrotation Yrotation"
    ways = {
        "prefix": made("mixamorig:"),
        "blanks": made("Bip01 "),
        "brace on the line": BODY.replace("\n{", " {"),
        "windows": BODY.replace("\n", "\r\n"),
        "angles first": made(root=f"6 {turns} Xposition Yposition Zposition"),
        "every joint has places": made(channels=f"6 Xposition Yposition Zposition {turns}"),
        "small letters": BODY.replace("Xrotation", "XROTATION").replace("Zposition", "ZPOSITION"),
    }
    for name, text in ways.items():
        row = "0 0 30 3 90 4" if name == "angles first" else "3 90 4 0 0 30"
        path = written(tmp_path / "a.bvh", joints=text, frames=row)
        if name == "every joint has places":
            offsets = [line.split()[1:] for line in text.splitlines() if line.startswith("OFFSET")]
            offsets = [o for o in offsets[1:] if o != ["0", "0", "5"]]
            row = "3 90 4 0 0 30 " + " ".join(" ".join(o) + " 0 0 0" for o in offsets)
            path.write_text(f"{text}MOTION\nFrames: 2\nFrame Time: 0.0333333\n{row}\n{row}\n\n\n")
        clip = bvh.read(path)
        np.testing.assert_allclose(clip.values, plain.values, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(clip.shape, plain.shape, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("factor", "unit"), [(0.01, ""), (10, "millimetres"), (1 / 2.54, "inches")])
def test_other_units_are_told_apart(tmp_path, factor, unit):
    lines = []
    for line in BODY.splitlines():
        words = line.split()
        lines.append(f"OFFSET {' '.join(str(factor * float(w)) for w in words[1:])}" if words[0] == "OFFSET" else line)
    path = written(tmp_path / "a.bvh", joints="\n".join(lines) + "\n", frames="0 0 0 0 0 0")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        clip = bvh.read(path)
    np.testing.assert_allclose(skeleton.of(clip).lengths[4], 0.42, rtol=1e-5)
    assert [unit in str(one.message) for one in said] == ([True] if unit else [])


def test_z_up_files_are_turned_and_far_rest_poses_face_z(tmp_path):
    def swapped(line: str) -> str:  # x, y, z -> x, -z, y: Y up to Z up
        words = line.split()
        return f"OFFSET {words[1]} {-float(words[3])} {words[2]}" if words[:1] == ["OFFSET"] else line

    text = "\n".join(map(swapped, BODY.splitlines())) + "\n"
    clip = bvh.read(written(tmp_path / "a.bvh", joints=text, frames="10 -5 90 0 0 0"))
    true = bvh.read(written(tmp_path / "b.bvh", frames="10 90 5 0 0 0"))
    np.testing.assert_allclose(clip.values, true.values, atol=1e-6)
    np.testing.assert_allclose(clip.shape, true.shape, atol=1e-6)


def test_missing_joints_lie_between_their_neighbours(tmp_path):
    neck = chain([("Head", "0 23 2")])
    arms = "".join(
        chain([(f"{side}Arm", f"{16 * x} 9 0"), (f"{side}ForeArm", f"{27 * x} 0 0"), (f"{side}Hand", f"{26 * x} 0 0")])
        for side, x in (("Left", 1), ("Right", -1))
    )
    legs = "".join(
        chain([(f"{side}UpLeg", f"{9 * x} -5 0"), (f"{side}Leg", "0 -42 0"), (f"{side}Foot", "0 -40 0")])
        for side, x in (("Left", 1), ("Right", -1))
    )
    text = ("HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation "
            f"Yrotation\n{legs}{chain([('Chest', '0 33 0')], neck + arms)}}}\n")
    clip = bvh.read(written(tmp_path / "a.bvh", joints=text))
    joints = skeleton.joints(clip)[0].numpy()
    at = lambda name: joints[body.JOINTS.index(name)]  # noqa: E731
    np.testing.assert_allclose(at("spine1"), [0, 1.01, 0], atol=1e-5)
    np.testing.assert_allclose(at("spine2"), [0, 1.12, 0], atol=1e-5)
    np.testing.assert_allclose(at("spine3"), [0, 1.23, 0], atol=1e-5)
    np.testing.assert_allclose(at("neck"), [0, 1.345, 0.01], atol=1e-5)
    np.testing.assert_allclose(at("left_collar"), [0.08, 1.275, 0], atol=1e-5)
    assert at("left_foot")[2] > 0.05
    assert at("left_foot")[1] < at("left_ankle")[1]


def test_a_turning_joint_that_ours_lack_is_said(tmp_path):
    text = BODY.replace("JOINT LeftLeg\n{\nOFFSET 0 -42 0", "JOINT LeftMiddle\n{\nOFFSET 0 -20 0\nCHANNELS 3 Zrotation "
                        "Xrotation Yrotation\nJOINT LeftLeg\n{\nOFFSET 0 -22 0").replace(
                        "JOINT RightUpLeg", "}\nJOINT RightUpLeg", 1)
    path = written(tmp_path / "a.bvh", joints=text, rows=1)
    rows = path.read_text().splitlines()
    values = rows[-1].split()
    values[6 + 4] = "50"  # LeftUpLeg has channels 6..8, LeftMiddle 9..11: it bends about X
    path.write_text("\n".join([*rows[:-1], " ".join(values)]) + "\n")
    with pytest.warns(UserWarning, match=r"left_\w+ lies up to \d+ mm off, after joints that ours lack"):
        bvh.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("Frame Time: 0.0333333", "Frame Time: 0"), "Frame Time: expected 0.001 to 1 s, got 0;"),
        (lambda t: t.replace("0.0333333", "0.000001"), "Frame Time: expected 0.001 to 1 s, got 0.000001"),
        (lambda t: t.replace("0.0333333", "-1"), "Frame Time: expected 0.001 to 1 s, got -1"),
        (lambda t: t.replace("0.0333333", "nan"), "Frame Time: expected 0.001 to 1 s, got nan"),
        (lambda t: t.replace("0.0333333", "fast"), "Frame Time: expected seconds, got fast"),
        (lambda t: t.replace("Frames: 2", "Frames: 0"), "Frames: expected one or more, got 0"),
        (lambda t: t.replace("Frames: 2", "Frames: 3"), "expected 3 frames as its header says, got 2: the file is cut"),
        (lambda t: t.replace("Frames: 2", "Frames: 1"), "expected 1 frames as its header says, got more"),
        (lambda t: t.replace("Frames: 2", "Frames: 99999999999"), r"expected at most \d+ frames, got 99999999999"),
        (lambda t: t[:-8], r"frame 1: expected 69 numbers, got 6\d: the file is cut off"),
        (lambda t: t[: t.index("JOINT LeftFoot")], "expected MOTION after the hierarchy, got the end: the file"),
        (lambda t: t.replace("0 90 0 0", "0 nan 0 0", 1), "frame 0: expected finite numbers"),
        (lambda t: t.replace("0 90 0 0", "0 high 0 0", 1), "expected numbers in every frame"),
        (lambda t: t.replace("OFFSET 0 -42 0", "OFFSET 0 inf 0", 1), "OFFSET: expected three numbers"),
        (lambda t: t.replace("OFFSET 0 -42 0", "OFFSET 0 -42", 1), "expected a hierarchy of joints, got the line"),
        (lambda t: t.replace("OFFSET 0 -42 0", "OFFSET 0 0 0"), "expected bones with a length, got none at left_knee"),
        (lambda t: t.replace("3 Zrotation Xrotation Yrotation", "3 Zrotation Zrotation Yrotation", 1), "a count and"),
        (lambda t: t.replace("3 Zrotation", "4 Zrotation", 1), "joint LeftUpLeg: expected a count and channels"),
        (lambda t: t.replace("Zposition", "Wposition", 1), "joint Hips: expected a count and channels"),
        (lambda t: t.replace("LeftForeArm", "Wing"), "expected joints for left_elbow, found none among Hips"),
        (lambda t: t.replace("MOTION", "}\nMOTION"), "expected a brace opened for each"),
        (lambda t: t.replace("ROOT", "ROOT a\n{\nOFFSET 0 0 0\nCHANNELS 0\n}\nROOT"), "expected one skeleton"),
        (lambda t: "HIERARCHY\nMOTION\nFrames: 1\nFrame Time: 0.1\n1\n", "expected a closed hierarchy before MOTION"),
        (lambda t: "HIERARCHY\n" + "\x00\xff" * 50, "expected a hierarchy of joints, got the line"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, change, message):
    path = written(tmp_path / "a.bvh")
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message) as error:
        formats.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_rate_may_be_given_where_the_file_says_zero(tmp_path):
    assert formats.read(written(tmp_path / "a.bvh", time="0"), fps=60).fps == 60


def test_one_frame_is_a_clip_and_too_large_a_file_is_none(tmp_path, monkeypatch):
    assert formats.read(written(tmp_path / "a.bvh", rows=1)).frames == 1
    monkeypatch.setattr(bvh, "MOST_BYTES", 2**20)
    with (tmp_path / "a.bvh").open("ab") as file:
        file.truncate(3 * 2**20)
    with pytest.raises(ValueError, match="expected at most 1 MB, got 3 MB"):
        formats.read(tmp_path / "a.bvh")


def test_deep_and_wide_hierarchies_are_refused_or_read(tmp_path):
    text = "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 0\n" + "JOINT a\n{\nOFFSET 0 1 0\nCHANNELS 0\n" * 600
    (tmp_path / "a.bvh").write_text(text + "}\n" * 601 + "MOTION\n")
    with pytest.raises(ValueError, match="expected at most 500 joints"):
        formats.read(tmp_path / "a.bvh")


def test_a_face_clip_has_no_place_in_a_bvh(tmp_path, arkit_clip):
    with pytest.raises(ValueError, match="expected a body clip for this format, got a face clip"):
        formats.write(arkit_clip, tmp_path / "out.bvh")
    assert not list(tmp_path.iterdir())


def test_angles_that_lock_come_back(tmp_path):
    """A pitch of a right angle, where yaw and roll are one."""
    turns = torch.eye(3).repeat(3, 22, 1, 1)
    for frame, pitch in enumerate((np.pi / 2, -np.pi / 2, np.pi / 2 - 1e-6)):
        yaw = rotations.axis_angle_to_matrix(torch.tensor([0, 0.7, 0.0]))
        turns[frame, 1] = yaw @ rotations.axis_angle_to_matrix(torch.tensor([pitch, 0, 0], dtype=torch.float32))
    clip = body.assemble(np.zeros((3, 3)), turns, fps=20)
    formats.write(clip, tmp_path / "a.bvh")
    back = formats.read(tmp_path / "a.bvh")
    np.testing.assert_allclose(body.local_rotations(back), turns, atol=1e-6)
