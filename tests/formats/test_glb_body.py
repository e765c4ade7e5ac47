"""Bodies as GLB: ours come back exactly, other people's skeletons by their names, and what is neither says so."""

import json

import numpy as np
import pytest
import torch

from tdmm_lm import formats, gltf, rotations
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton

MIXAMO = dict(zip(body.JOINTS, (
    "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot", "Spine2",
    "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm",
    "LeftForeArm", "RightForeArm", "LeftHand", "RightHand",
)))


@pytest.fixture
def clip() -> MotionClip:
    """The default skeleton, every joint in smooth motion, turning round itself as it walks."""
    rng = np.random.default_rng(0)
    t = np.arange(40)[:, None, None] / 30
    angles = 0.5 * np.sin(2 * np.pi * rng.uniform(0.3, 1, (22, 3)) * t + rng.uniform(0, 6, (22, 3)))
    angles[:, 0, 1] += 4 * t[:, 0, 0]
    places = np.stack([0.3 * t[:, 0, 0], 0.9 + 0 * t[:, 0, 0], t[:, 0, 0]], 1)
    return body.assemble(places, rotations.axis_angle_to_matrix(torch.from_numpy(angles)), fps=30)


def foreign(clip: MotionClip, path, change=lambda document: None):
    """The clip as somebody else's tool writes it: other names, an armature in centimetres that lies on its back."""
    formats.write(clip, path)
    document, binary = gltf.chunks(path)
    del document["asset"]["extras"]
    for node in document["nodes"]:
        node["name"] = f"mixamorig:{MIXAMO[node['name']]}" if node["name"] in MIXAMO else "Head"  # a mesh called Head
    half = float(np.sqrt(0.5))
    document["nodes"].append({
        "name": "Armature", "rotation": [-half, 0, 0, half], "scale": [0.01] * 3, "children": [1],
    })
    document["nodes"][1]["rotation"] = [half, 0, 0, half]
    document["scenes"][0]["nodes"] = [0, 23]
    place = document["animations"][0]["samplers"][0]["output"]
    about = document["accessors"][place]
    view = document["bufferViews"][about["bufferView"]]
    data = np.frombuffer(binary, "<f4", 3 * about["count"], view["byteOffset"]).reshape(-1, 3)
    turned = (100 * np.stack([data[:, 0], -data[:, 2], data[:, 1]], 1)).astype("<f4")  # Y up to Z up
    binary = bytearray(binary)
    binary[view["byteOffset"] : view["byteOffset"] + turned.nbytes] = turned.tobytes()
    root = next(
        channel["sampler"] for channel in document["animations"][0]["channels"]
        if channel["target"] == {"node": 1, "path": "rotation"}
    )
    about = document["accessors"][document["animations"][0]["samplers"][root]["output"]]
    view = document["bufferViews"][about["bufferView"]]
    turns = np.frombuffer(bytes(binary), "<f4", 4 * about["count"], view["byteOffset"]).reshape(-1, 4)
    x, y, z, w = turns.T
    turns = half * np.stack([x + w, y - z, z + y, w - x], 1)  # a quarter about X, then the clip's own
    binary[view["byteOffset"] : view["byteOffset"] + turns.nbytes] = turns.astype("<f4").tobytes()
    for node in document["nodes"][2:23]:
        node["translation"] = [100 * x for x in node["translation"]]
    change(document)
    path.write_bytes(gltf.packed(document, bytes(binary)))
    return path


def test_ours_come_back_exactly(tmp_path, clip):
    own = MotionClip(clip.values, 119.88, "body", "skeleton", skeleton.load().shape)
    formats.write(own, tmp_path / "a.glb")
    back = formats.read(tmp_path / "a.glb")
    assert (back.fps, back.frames, back.modality, back.rig) == (119.88, clip.frames, "body", "skeleton")
    np.testing.assert_allclose(back.values, clip.values, atol=3e-6)
    np.testing.assert_array_equal(back.shape, own.shape)
    assert not len(formats.read(written(tmp_path / "b.glb", clip)).shape)


def written(path, clip):
    formats.write(clip, path)
    return path


def test_the_figure_is_played_as_the_skeleton_moves(tmp_path, clip):
    """The skinned vertices, evaluated as glTF says, are the figure's own posed ones."""
    from tdmm_lm.geometry import figure

    document, binary = gltf.chunks(written(tmp_path / "a.glb", clip))
    primitive = document["meshes"][0]["primitives"][0]["attributes"]
    points = gltf.rows(document, binary, primitive["POSITION"])
    joint = gltf.rows(document, binary, primitive["JOINTS_0"])[:, 0].astype(int)
    bind = gltf.rows(document, binary, document["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4)[:, 3, :3]
    places, turns = skeleton.joints(clip).numpy(), skeleton.global_rotations(clip).numpy()
    shown = figure.make(skeleton.of(clip))
    for frame in (0, 20):
        skinned = np.einsum("vab,vb->va", turns[frame][joint], points + bind[joint]) + places[frame][joint]
        np.testing.assert_allclose(skinned, shown.posed(places[frame], turns[frame]), atol=1e-5)


def test_other_peoples_skeletons_are_read(tmp_path, clip):
    back = formats.read(foreign(clip, tmp_path / "a.glb"))
    assert (back.fps, back.frames) == (30, clip.frames)
    np.testing.assert_allclose(skeleton.joints(back), skeleton.joints(clip), atol=1e-4)
    np.testing.assert_allclose(skeleton.global_rotations(back), skeleton.global_rotations(clip), atol=1e-3)


@pytest.mark.parametrize("way", ["STEP", "CUBICSPLINE"])
def test_other_interpolations(tmp_path, clip, way):
    def change(document):
        for sampler in document["animations"][0]["samplers"]:
            sampler["interpolation"] = way

    path = foreign(clip, tmp_path / "a.glb", change)
    if way == "CUBICSPLINE":
        with pytest.raises(ValueError, match="expected 120 finite rows of 3 for 40 keys, got others"):
            formats.read(path)
        from tdmm_lm.geometry import gltf_body

        times, seconds = np.arange(9.0), np.linspace(0, 8, 33)
        curve, slope = times**3 - times, 3 * times**2 - 1  # a cubic is its own spline
        values = np.stack([slope, curve, slope], 1).reshape(-1, 1).repeat(3, 1)
        sampled = gltf_body._sampled(times, values, seconds, way, turns=False)
        np.testing.assert_allclose(sampled[:, 0], seconds**3 - seconds, atol=1e-9)
    else:
        np.testing.assert_allclose(skeleton.joints(formats.read(path)), skeleton.joints(clip), atol=1e-4)


def test_one_frame_is_a_clip(tmp_path, clip):
    one = MotionClip(clip.values[:1], 30, "body", "skeleton")
    back = formats.read(written(tmp_path / "a.glb", one))
    np.testing.assert_allclose(back.values, one.values, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("animations"), "expected a GLB written by tdmm, got another, which is no moving body"),
        (lambda d: d["nodes"][5].update(name="Wing"), "expected joints for left_knee, found none among"),
        (lambda d: d["nodes"][5].update(children=[1]), "expected a tree of nodes"),
        (lambda d: d["accessors"][-1].update(count=10**9), "runs over it"),
        (lambda d: d["skins"][0]["joints"].append(99), "expected a GLB"),
        (lambda d: d["animations"][0]["samplers"][0].update(input=10**6), "expected a GLB"),
        (lambda d: d["animations"][0]["samplers"][1].update(d["animations"][0]["samplers"][0]), "finite rows of 4"),
        (lambda d: d["nodes"][1].update(scale=[0, 0, 0]), "expected"),
    ],
)
def test_damaged_and_foreign_files_say_so(tmp_path, clip, change, message):
    path = foreign(clip, tmp_path / "a.glb", change)
    with pytest.raises(ValueError, match=message) as error:
        formats.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_our_own_damaged_files_say_so(tmp_path, clip):
    for change, message in (
        (lambda d: d["asset"]["extras"]["tdmm_lm"].update(fps=1e6), "expected keys at 1 to 1000 Hz, got 1e"),
        (lambda d: d["asset"]["extras"]["tdmm_lm"].update(shape=[0.1] * 7), "clip.shape|shape"),
        (lambda d: d["nodes"][3].update(name="x"), "right_hip"),
    ):
        document, binary = gltf.chunks(written(tmp_path / "a.glb", clip))
        change(document)
        (tmp_path / "a.glb").write_bytes(gltf.packed(json.loads(json.dumps(document)), binary))
        with pytest.raises(ValueError, match=message):
            formats.read(tmp_path / "a.glb")
