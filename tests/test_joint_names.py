"""The usual naming schemes, each in its own words, land on the same 22 joints."""

import pytest

from tdmm_lm import joint_names
from tdmm_lm.motion import body


def tree(text: str) -> tuple[list[str], list[int]]:
    """``a>b>c; a>d``: chains of joints, each new one under the one before it."""
    names: list[str] = []
    parents: list[int] = []
    for chain in text.split(";"):
        links = [link.strip() for link in chain.split(">")]
        for above, name in zip([None, *links[:-1]], links):
            if name not in names:
                names.append(name)
                parents.append(-1 if above is None else names.index(above))
    return names, parents


def sided(chain: str, *signs: tuple[str, str]) -> str:
    """The chain with its marks `@` (and `#`) for the left and again for the right."""
    left, right = chain, chain
    for mark, (one, other) in zip("@#", signs):
        left, right = left.replace(mark, one), right.replace(mark, other)
    return f"{left};{right}"


def scheme(trunk: str, leg: str, arm: str, *signs: tuple[str, str]) -> str:
    return ";".join([trunk, sided(leg, *signs), sided(arm, *signs)])


LONG = ("Left", "Right")
SCHEMES = {
    "MotionBuilder": scheme(
        "Hips>Spine>Spine1>Spine2>Neck>Head", "Hips>@UpLeg>@Leg>@Foot>@ToeBase",
        "Spine2>@Shoulder>@Arm>@ForeArm>@Hand>@HandIndex1", LONG,
    ),
    "Mixamo": scheme(
        "mixamorig:Hips>mixamorig:Spine>mixamorig:Spine1>mixamorig:Spine2>mixamorig:Neck>mixamorig:Head"
        ">mixamorig:HeadTop_End",
        "mixamorig:Hips>mixamorig:@UpLeg>mixamorig:@Leg>mixamorig:@Foot>mixamorig:@ToeBase>mixamorig:@Toe_End",
        "mixamorig:Spine2>mixamorig:@Shoulder>mixamorig:@Arm>mixamorig:@ForeArm>mixamorig:@Hand", LONG,
    ),
    "Mixamo without colon": scheme(
        "mixamorigHips>mixamorigSpine>mixamorigSpine1>mixamorigSpine2>mixamorigNeck>mixamorigHead",
        "mixamorigHips>mixamorig@UpLeg>mixamorig@Leg>mixamorig@Foot>mixamorig@ToeBase",
        "mixamorigSpine2>mixamorig@Shoulder>mixamorig@Arm>mixamorig@ForeArm>mixamorig@Hand", LONG,
    ),
    "SMPL": scheme(
        "Pelvis>Spine1>Spine2>Spine3>Neck>Head", "Pelvis>@_Hip>@_Knee>@_Ankle>@_Foot",
        "Spine3>@_Collar>@_Shoulder>@_Elbow>@_Wrist>@_Hand", ("L", "R"),
    ),
    "SMPL in Maya": scheme(
        "f_avg_root>f_avg_Pelvis>f_avg_Spine1>f_avg_Spine2>f_avg_Spine3>f_avg_Neck>f_avg_Head",
        "f_avg_Pelvis>f_avg_@_Hip>f_avg_@_Knee>f_avg_@_Ankle>f_avg_@_Foot",
        "f_avg_Spine3>f_avg_@_Collar>f_avg_@_Shoulder>f_avg_@_Elbow>f_avg_@_Wrist>f_avg_@_Hand", ("L", "R"),
    ),
    "Biped": scheme(
        "Bip01>Bip01 Pelvis>Bip01 Spine>Bip01 Spine1>Bip01 Spine2>Bip01 Neck>Bip01 Head",
        "Bip01 Pelvis>Bip01 @ Thigh>Bip01 @ Calf>Bip01 @ Foot>Bip01 @ Toe0",
        "Bip01 Neck>Bip01 @ Clavicle>Bip01 @ UpperArm>Bip01 @ Forearm>Bip01 @ Hand>Bip01 @ Finger0", ("L", "R"),
    ),
    "Unreal": scheme(
        "root>pelvis>spine_01>spine_02>spine_03>neck_01>head", "pelvis>thigh_@>calf_@>foot_@>ball_@",
        "spine_03>clavicle_@>upperarm_@>lowerarm_@>hand_@>index_01_@", ("l", "r"),
    ),
    "LAFAN1": scheme(
        "Hips>Spine>Spine1>Spine2>Neck>Head", "Hips>@UpLeg>@Leg>@Foot>@Toe",
        "Spine2>@Shoulder>@Arm>@ForeArm>@Hand", LONG,
    ),
    "Xsens BVH": scheme(
        "Hips>Chest>Chest2>Chest3>Chest4>Neck>Head", "Hips>@Hip>@Knee>@Ankle>@Toe",
        "Chest4>@Collar>@Shoulder>@Elbow>@Wrist", LONG,
    ),
    "Xsens MVN": scheme(
        "Pelvis>L5>L3>T12>T8>Neck>Head", "Pelvis>@UpperLeg>@LowerLeg>@Foot>@Toe",
        "T8>@Shoulder>@UpperArm>@ForeArm>@Hand", LONG,
    ),
    "VRoid": scheme(
        "Root>J_Bip_C_Hips>J_Bip_C_Spine>J_Bip_C_Chest>J_Bip_C_UpperChest>J_Bip_C_Neck>J_Bip_C_Head",
        "J_Bip_C_Hips>J_Bip_@_UpperLeg>J_Bip_@_LowerLeg>J_Bip_@_Foot>J_Bip_@_ToeBase",
        "J_Bip_C_UpperChest>J_Bip_@_Shoulder>J_Bip_@_UpperArm>J_Bip_@_LowerArm>J_Bip_@_Hand", ("L", "R"),
    ),
    "OptiTrack": scheme(
        "Hip>Ab>Chest>Neck>Head", "Hip>@Thigh>@Shin>@Foot>@Toe", "Chest>@Shoulder>@UArm>@FArm>@Hand", ("L", "R"),
    ),
    "Poser": scheme(
        "hip>abdomen>chest>neck>head", "hip>@Buttock>@Thigh>@Shin>@Foot>@Toe",
        "chest>@Collar>@Shldr>@ForeArm>@Hand", ("l", "r"),
    ),
    "CMU ASF": scheme(
        "root>lowerback>upperback>thorax>lowerneck>upperneck>head",
        "root>@hipjoint>@femur>@tibia>@foot>@toes", "thorax>@clavicle>@humerus>@radius>@wrist>@hand", ("l", "r"),
    ),
    "Blender, side last": scheme(
        "hips>spine>chest>neck>head", "hips>thigh.@>shin.@>foot.@>toe.@",
        "chest>shoulder.@>upper_arm.@>forearm.@>hand.@", ("L", "R"),
    ),
    "HumanML3D": ";".join(
        f"{body.JOINTS[parent]}>{name}" for name, parent in zip(body.JOINTS[1:], body.PARENTS[1:])
    ),
}
EXPECTED = {  # words of the scheme's own for places that are easily confused: our joint -> part of its name
    "MotionBuilder": {"left_collar": "LeftShoulder", "left_shoulder": "LeftArm", "left_knee": "LeftLeg"},
    "SMPL": {"left_collar": "L_Collar", "left_shoulder": "L_Shoulder", "left_foot": "L_Foot", "right_wrist": "R_Wrist"},
    "Biped": {"right_collar": "Bip01 R Clavicle", "right_foot": "Bip01 R Toe0", "pelvis": "Bip01 Pelvis"},
    "Unreal": {"left_foot": "ball_l", "spine2": "spine_02", "pelvis": "pelvis"},
    "Xsens BVH": {"left_hip": "LeftHip", "left_shoulder": "LeftShoulder", "spine1": "Chest", "spine3": "Chest4"},
    "Xsens MVN": {"spine1": "L5", "spine3": "T8", "left_collar": "LeftShoulder", "left_shoulder": "LeftUpperArm"},
    "CMU ASF": {"left_knee": "ltibia", "left_wrist": "lwrist", "neck": "lowerneck", "spine3": "thorax"},
    "OptiTrack": {"left_shoulder": "LUArm", "left_elbow": "LFArm", "spine1": "Ab", "spine3": "Chest"},
}


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_maps_all_it_has(name):
    names, parents = tree(SCHEMES[name])
    found = joint_names.mapped(names, parents)
    lacking = {"spine2"} if name in ("OptiTrack", "Poser", "Blender, side last") else set()
    assert set(found) == set(body.JOINTS) - lacking
    assert len(set(found.values())) == len(found)
    for ours, theirs in EXPECTED.get(name, {}).items():
        assert names[found[ours]] == theirs
    for ours, place in found.items():  # sides are not mixed up
        if "_" in ours:
            mirrored = ours.replace("left", "*").replace("right", "left").replace("*", "right")
            assert parents[place] == parents[found[mirrored]] or names[place] != names[found[mirrored]]


def test_optional_joints_may_be_missing():
    names, parents = tree(scheme(
        "Hips>Chest>Head", "Hips>@UpLeg>@Leg>@Foot", "Chest>@Arm>@ForeArm>@Hand", LONG
    ))
    found = joint_names.mapped(names, parents)
    assert set(body.JOINTS) - set(found) == {
        "spine1", "spine2", "neck", "left_collar", "right_collar", "left_foot", "right_foot"
    }


def test_missing_joints_are_named():
    names, parents = tree(scheme("Hips>Spine>Head", "Hips>@UpLeg>@Leg", "Spine>@Arm>@ForeArm>@Hand", LONG))
    with pytest.raises(ValueError, match=r"expected joints for left_ankle, right_ankle, found none among Hips, Spine"):
        joint_names.mapped(names, parents)
    with pytest.raises(ValueError, match=r"expected joints for pelvis, left_hip, .*, found none among bone0, bone1"):
        joint_names.mapped([f"bone{k}" for k in range(9)], [-1, *range(8)])


def test_limbs_that_hang_elsewhere_are_refused():
    text = SCHEMES["LAFAN1"].replace("LeftUpLeg>LeftLeg", "LeftUpLeg;Head>LeftLeg")
    with pytest.raises(ValueError, match=r"expected left_knee \(LeftLeg\) under left_hip \(LeftUpLeg\)"):
        joint_names.mapped(*tree(text))
    with pytest.raises(ValueError, match="expected the head under the pelvis"):
        joint_names.mapped(*tree(SCHEMES["LAFAN1"].replace("Hips>Spine>", "World>Spine>", 1) + ";World>Hips"))
    with pytest.raises(ValueError, match="expected at most 500 joints, got 501"):
        joint_names.mapped(["x"] * 501, [-1] * 501)
