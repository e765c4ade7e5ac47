"""Heads out of anyone's GLB: names in every style, all nodes and primitives as one mesh, and clear refusals."""

import json
import runpy
import struct
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import avatar_file, gltf, rigs
from tdmm_lm.motion.face import ARKIT

AVATARS = runpy.run_path(str(Path(__file__).resolve().parent / "avatars.py"))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("eyeBlinkLeft", "eyeBlinkLeft"), ("EyeBlink_L", "eyeBlinkLeft"), ("eyeBlink.R", "eyeBlinkRight"),
        ("bs.jawOpen", "jawOpen"), ("Wolf3D_eyeBlinkLeft", "eyeBlinkLeft"), ("EYELOOKINLEFT", "eyeLookInLeft"),
        ("BrowInnerUp_R", "browInnerUp"), ("cheekPuffLeft", "cheekPuff"), ("mouthLeft", "mouthLeft"),
        ("mouth_Left", "mouthLeft"), ("blendShape1.noseSneer_R", "noseSneerRight"), ("eye blink left", "eyeBlinkLeft"),
        ("jawOpenX", None), ("xjawOpen", None), ("Fcl_ALL_Joy", None), ("", None), ("L", None),
    ],
)
def test_names_in_every_style(given, meant):
    assert avatar_file.arkit(given) == meant


@pytest.mark.parametrize("style", ["short", "shifted"])
def test_every_name_is_found_in_every_style(style):
    assert [avatar_file.arkit(AVATARS[style](name)) for name in ARKIT] == list(ARKIT)


def test_of_two_targets_for_one_shape_the_exact_name_counts():
    mesh = {"primitives": [{"targets": [{}] * 4}], "extras": {"targetNames": [
        "eyeBlink_L", "eyeBlinkLeft", "browInnerUp_L", "browInnerUp_R",
    ]}}
    assert avatar_file.targets(mesh, {}) == [None, "eyeBlinkLeft", "browInnerUp", "browInnerUp"]


@pytest.fixture(scope="module")
def head():
    return rigs.load("head")


@pytest.mark.parametrize("skinned", [False, True])
def test_the_scene_is_one_mesh_again(tmp_path, head, skinned):
    points = AVATARS["write"](head, tmp_path / "a.glb", gains={}, skinned=skinned, scale=0.01)
    avatar = avatar_file.read(tmp_path / "a.glb")
    used = np.unique(head.faces)
    assert len(avatar.points) == len(used)  # what artists split at seams is welded
    assert len(avatar.faces) == len(head.faces)
    order, wanted = (np.lexsort(np.round(x, 6).T) for x in (avatar.points, points[used]))
    np.testing.assert_allclose(avatar.points[order], points[used][wanted], atol=1e-6)
    jaw = ARKIT.index("jawOpen")
    moved = head.arrays.shapedirs_expression[used][wanted][:, :, jaw] * AVATARS["STRETCH"]
    skin = np.linalg.norm(avatar.shapes[order][:, :, jaw], axis=1) > 0
    np.testing.assert_allclose(avatar.shapes[order][:, :, jaw][skin], moved[skin], atol=1e-6)
    assert avatar.missing == ()
    assert avatar.jointed
    assert avatar.carried[:, 0].min() == 1  # everything hangs on the head
    assert avatar.carried[:, 1].sum() == avatar.carried[:, 2].sum() > 100


def rewritten(path, change):
    document, binary = gltf.chunks(path)
    change(document)
    path.write_bytes(gltf.packed(document, binary))


def first(document):
    return document["meshes"][0]["primitives"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: [mesh["extras"].update(targetNames=["x"] * 52) for mesh in d["meshes"][:2]],
         "at least 20 ARKit-named .* got 8; missing: jawOpen, eyeBlinkLeft, eyeBlinkRight, mouthSmile"),
        (lambda d: d["meshes"].clear(), "expected a glTF 2.0 scene, got a damaged one"),
        (lambda d: d.update(nodes=[], scenes=[]), "got 0; missing: jawOpen"),
        (lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]), "got Draco-compressed ones"),
        (lambda d: first(d).update(extensions={"KHR_draco_mesh_compression": {}}), "got Draco-compressed ones"),
        (lambda d: d["bufferViews"][0].update(extensions={"EXT_meshopt_compression": {}}), "got meshopt-compressed"),
        (lambda d: d["buffers"][0].update(uri="a.bin"), "got a buffer in another file; export as one .glb"),
        (lambda d: d["nodes"][-1]["children"].append(len(d["nodes"]) - 1), "expected a tree of nodes"),
        (lambda d: d["accessors"][0].update(count=10**9), "runs over it"),
        (lambda d: d["accessors"][first(d)["indices"]].update(count=4), "expected triangles of"),
        (lambda d: first(d)["targets"][0].update(POSITION=first(d)["attributes"]["TEXCOORD_0"]),
         "expected a morph target of"),
    ],
)
def test_what_cannot_be_read_says_so_in_one_line(tmp_path, head, change, message):
    AVATARS["write"](head, tmp_path / "a.glb")
    rewritten(tmp_path / "a.glb", change)
    with pytest.raises(ValueError, match=message) as error:
        avatar_file.read(tmp_path / "a.glb")
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("data", [b"", b"glTF", b"PK\3\4" + bytes(100), struct.pack("<4sII", b"glTF", 2, 12)])
def test_other_files_say_so(tmp_path, data):
    (tmp_path / "a.glb").write_bytes(data)
    with pytest.raises(ValueError, match=r"expected a GLB file|cut off"):
        avatar_file.read(tmp_path / "a.glb")


def test_transparent_surfaces_hide_nothing(tmp_path, head):
    AVATARS["write"](head, tmp_path / "a.glb")

    def glass(document):
        document["materials"].append({
            "alphaMode": "BLEND", "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 0.1]},
        })
        document["meshes"][1]["primitives"][0]["material"] = 1

    before = avatar_file.read(tmp_path / "a.glb")
    rewritten(tmp_path / "a.glb", glass)
    after = avatar_file.read(tmp_path / "a.glb")
    document, _ = gltf.chunks(tmp_path / "a.glb")
    inside = document["accessors"][document["meshes"][1]["primitives"][0]["indices"]]["count"] // 3
    assert len(before.faces) - len(after.faces) == inside > 0
    assert json.dumps(document)  # still a document


def test_colours_come_from_the_texture(tmp_path, head):
    AVATARS["write"](head, tmp_path / "a.glb", identity=np.zeros(10, np.float32), stretch=np.ones(3), unit=1.0)
    avatar = avatar_file.read(tmp_path / "a.glb")
    red = avatar.colours[:, 0] - avatar.colours[:, 1]
    lips = np.abs(avatar.points - [0, -0.034, 0.113]).max(1) < 0.01
    forehead = np.abs(avatar.points - [0, 0.08, 0.1]).max(1) < 0.015
    assert red[lips].max() > red[forehead].mean() + 0.05
