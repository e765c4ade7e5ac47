"""GLB files play what the rig does: the animation, evaluated as glTF says, gives the rig's own vertices."""

import json
import runpy
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import formats, gltf, rigs, rotations
from tdmm_lm.formats import glb
from tdmm_lm.motion import MotionClip, face


def accessor(document, binary, number):
    """Any accessor's rows, sparse ones filled, as the specification says."""
    about = document["accessors"][number]
    kind = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[about["componentType"]]
    width = gltf.WIDTHS[about["type"]]

    def view(index, kind, shape):
        place = document["bufferViews"][index]
        assert place["byteOffset"] % 4 == 0
        return np.frombuffer(binary, kind, int(np.prod(shape)), place["byteOffset"]).reshape(shape)

    if "bufferView" in about:
        rows = view(about["bufferView"], kind, (about["count"], width)).copy()
    else:
        rows = np.zeros((about["count"], width), kind)
    if "sparse" in about:
        sparse = about["sparse"]
        index = view(
            sparse["indices"]["bufferView"],
            {5123: "<u2", 5125: "<u4"}[sparse["indices"]["componentType"]],
            sparse["count"],
        )
        assert (np.diff(index.astype(int)) > 0).all()
        rows[index] = view(sparse["values"]["bufferView"], kind, (sparse["count"], width))
    return rows


def played(path):
    """World vertices (frames, vertices, 3) of the file's animation at its key frames."""
    document, binary = gltf.chunks(path)
    primitive = document["meshes"][0]["primitives"][0]
    get = lambda number: accessor(document, binary, number)  # noqa: E731
    points = get(primitive["attributes"]["POSITION"])
    nodes, animation = document["nodes"], document["animations"][0]
    moves = {}
    for channel in animation["channels"]:
        values = get(animation["samplers"][channel["sampler"]]["output"])
        moves[channel["target"]["node"], channel["target"]["path"]] = values
    frames = document["accessors"][animation["samplers"][0]["input"]]["count"]
    if "targets" in primitive:
        weights = moves[0, "weights"].reshape(frames, -1)
        targets = np.stack([get(target["POSITION"]) for target in primitive["targets"]])
        shaped = points + np.einsum("ft,tvc->fvc", weights, targets)
    else:
        shaped = np.broadcast_to(points, (frames, *points.shape))
    world = {}

    def visit(node, above):
        local = np.tile(np.eye(4), (frames, 1, 1))
        turn = moves.get((node, "rotation"), np.tile([0, 0, 0, 1.0], (frames, 1)))
        np.testing.assert_allclose(np.linalg.norm(turn, axis=1), 1, atol=1e-6)
        local[:, :3, :3] = rotations.quaternion_to_matrix(torch.from_numpy(np.float64(turn[:, [3, 0, 1, 2]]))).numpy()
        local[:, :3, 3] = moves.get((node, "translation"), nodes[node].get("translation", [0, 0, 0]))
        world[node] = above @ local
        for child in nodes[node].get("children", []):
            visit(child, world[node])

    visit(1, np.tile(np.eye(4), (frames, 1, 1)))
    skin = document["skins"][0]
    bind = get(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    matrices = np.stack([world[joint] @ bind[k] for k, joint in enumerate(skin["joints"])], 1)
    index, weight = get(primitive["attributes"]["JOINTS_0"]), get(primitive["attributes"]["WEIGHTS_0"])
    mixed = (matrices[:, index] * weight[None, :, :, None, None]).sum(2)
    return np.einsum("fvab,fvb->fva", mixed[..., :3, :3], shaped) + mixed[..., :3, 3]


@pytest.mark.parametrize("case", ["shapes", "joints", "correctives", "plain"])
def test_the_file_plays_what_the_rig_does(tmp_path, flame_head, plain, moving, case):
    rig = (
        plain
        if case == "plain"
        else flame_head("shapes" if case == "shapes" else "joints", correctives=case == "correctives")
    )
    clip = moving(rig, joints=case != "plain")
    glb.write(clip, tmp_path / "a.glb", rig=rig)
    with torch.no_grad():
        truth = rig.vertices(torch.from_numpy(clip.values)).numpy()[:, np.unique(rig.faces)]
    shown = played(tmp_path / "a.glb")
    most = glb.STILL_METRES * len(rig.expressions) + 1e-6  # each shape leaves out what moves less than this
    assert np.abs(shown - truth).max() < most
    assert np.abs(truth - truth[0]).max() > 0.05


def test_identity_is_in_the_mesh(tmp_path, flame_head, moving):
    rig = flame_head()
    clip = moving(rig, joints=False)
    clip = MotionClip(clip.values, clip.fps, clip.modality, clip.rig, np.array([2.0, -1.0], np.float32))
    glb.write(clip, tmp_path / "a.glb", rig=rig)
    with torch.no_grad():
        truth = rig.vertices(torch.from_numpy(clip.values), torch.from_numpy(clip.shape)).numpy()[
            :, np.unique(rig.faces)
        ]
    assert np.abs(played(tmp_path / "a.glb") - truth).max() < glb.STILL_METRES * 52 + 1e-6
    np.testing.assert_array_equal(glb.read(tmp_path / "a.glb").shape, clip.shape)


@pytest.mark.parametrize("all_shapes", [True, False])
def test_read_gives_the_clip_back(tmp_path, flame_head, moving, all_shapes):
    rig = flame_head()
    clip = moving(rig, joints=True)
    clip.values[:, 5:30] = 0  # shapes that never move
    glb.write(clip, tmp_path / "a.glb", rig=rig, all_shapes=all_shapes)
    back = formats.read(tmp_path / "a.glb")
    assert (back.fps, back.rig, back.frames) == (25, "head", clip.frames)
    expressions = slice(0, len(rig.expressions))
    np.testing.assert_array_equal(back.values[:, expressions], clip.values[:, expressions])
    for name in ("jaw", "neck", "head", "eyes"):
        np.testing.assert_allclose(face.part(back, name), face.part(clip, name), atol=2e-6)
    # the root joint moves with the expression, which its node's place takes in
    assert np.abs(face.part(back, "translation") - face.part(clip, "translation")).max() < 5e-3
    document, _ = gltf.chunks(tmp_path / "a.glb")
    names = document["meshes"][0]["extras"]["targetNames"]
    assert names == [n for k, n in enumerate(rig.expressions) if all_shapes or not 5 <= k < 30]


def test_basis_morphs_joints_and_one_animation(tmp_path, flame_head, moving):
    rig = flame_head()
    glb.write(moving(rig, joints=True), tmp_path / "a.glb", rig=rig)
    document, _ = gltf.chunks(tmp_path / "a.glb")
    mesh, primitive = document["meshes"][0], document["meshes"][0]["primitives"][0]
    assert tuple(mesh["extras"]["targetNames"]) == face.ARKIT
    assert len(primitive["targets"]) == len(mesh["weights"]) == 52
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0", "COLOR_0", "JOINTS_0", "WEIGHTS_0"}
    assert [document["nodes"][j]["name"] for j in document["skins"][0]["joints"]] == [
        "root",
        "neck",
        "jaw",
        "left_eye",
        "right_eye",
    ]
    assert len(document["animations"]) == 1
    assert {channel["target"]["path"] for channel in document["animations"][0]["channels"]} == {
        "weights",
        "rotation",
        "translation",
    }


def test_unused_vertices_are_left_out(tmp_path, flame_head, moving):
    rig = flame_head()
    glb.write(moving(rig, joints=False), tmp_path / "a.glb", rig=rig)
    document, _ = gltf.chunks(tmp_path / "a.glb")
    position = document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    assert document["accessors"][position]["count"] == len(rig.template) - 1


def test_one_frame_and_a_still_clip_are_files_too(tmp_path, flame_head):
    rig = flame_head()
    glb.write(MotionClip(np.zeros((1, 70)), 25, "face", "head"), tmp_path / "a.glb", rig=rig, all_shapes=False)
    assert not formats.read(tmp_path / "a.glb").values.any()


def test_the_same_clip_gives_the_same_bytes(tmp_path, flame_head, moving):
    rig = flame_head()
    for name in ("a.glb", "b.glb"):
        formats.write(moving(rig, joints=True), tmp_path / name, rig=rig)
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_a_clip_that_does_not_fit_the_rig(tmp_path, flame_head, plain):
    with pytest.raises(ValueError, match="expected 70 channels for rig head, got 28"):
        formats.write(MotionClip(np.zeros((2, 28)), 25, "face", "flame"), tmp_path / "a.glb", rig=flame_head())
    clip = face.assemble({"expression": np.zeros((2, 3)), "jaw": np.ones((2, 3))}, fps=25, rig="plain")
    with pytest.raises(ValueError, match="expected no jaw rotation, which rig plain has no known joint for"):
        formats.write(clip, tmp_path / "a.glb", rig=plain)
    assert not list(tmp_path.iterdir())


def rewritten(path, change):
    """The file with its document changed."""
    document, binary = gltf.chunks(path)
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    path.write_bytes(
        struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(binary), len(text), gltf.JSON_CHUNK)
        + text
        + struct.pack("<II", len(binary), gltf.BINARY_CHUNK)
        + binary
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["asset"].pop("extras"), "expected a GLB written by tdmm, got another"),
        (lambda d: d.pop("animations"), "expected a GLB written by tdmm"),
        (lambda d: d["accessors"].clear(), "expected a GLB written by tdmm"),
        (lambda d: d["bufferViews"][-1].update(byteOffset=10**12), "runs over it"),
        (lambda d: d["accessors"][-1].update(count=10**15), "runs over it"),
        (
            lambda d: d["asset"]["extras"]["tdmm_lm"].update(expressions=["x"] * 10**7),
            "expected at most 134217728 weights",
        ),
        (lambda d: d["asset"]["extras"]["tdmm_lm"].update(fps="x"), "a.glb"),
    ],
)
def test_damaged_and_foreign_files_say_so(tmp_path, flame_head, moving, change, message):
    rig = flame_head()
    glb.write(moving(rig, joints=False), tmp_path / "a.glb", rig=rig)
    rewritten(tmp_path / "a.glb", change)
    with pytest.raises(ValueError, match=message) as error:
        formats.read(tmp_path / "a.glb")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [8, 40, 5000])
def test_cut_files_say_so(tmp_path, flame_head, moving, size):
    rig = flame_head()
    glb.write(moving(rig, joints=False), tmp_path / "a.glb", rig=rig)
    (tmp_path / "a.glb").write_bytes((tmp_path / "a.glb").read_bytes()[:size])
    with pytest.raises(ValueError, match=r"cut off|expected a GLB"):
        formats.read(tmp_path / "a.glb")


def test_the_pivot_of_any_rig_is_found(plain, flame_head):
    np.testing.assert_allclose(formats.pivot(plain), plain.PIVOT, atol=1e-6)
    rig = flame_head()
    np.testing.assert_allclose(formats.pivot(rig), rig.joints()[0], atol=1e-6)
    shape = np.array([1.0, 2.0], np.float32)
    np.testing.assert_allclose(formats.pivot(rig, shape), rig.joints(shape)[0], atol=1e-6)


AVATARS = runpy.run_path(str(Path(__file__).resolve().parent.parent / "avatars.py"))


@pytest.fixture
def avatar(tmp_path, monkeypatch):
    """The bundled head as another artist's file, imported without MediaPipe."""
    from tdmm_lm.geometry import avatar as importing

    head = rigs.load("head")
    monkeypatch.setattr(importing.sight, "landmark", AVATARS["marked"](head))
    AVATARS["write"](head, tmp_path / "own.glb", identity=np.zeros(10, np.float32), stretch=np.ones(3))
    importing.import_glb(tmp_path / "own.glb", tmp_path / "rig", model=Path("unused"))
    return rigs.load(str(tmp_path / "rig"))


def test_an_avatar_plays_in_its_owners_file(tmp_path, avatar):
    clip = AVATARS["talking"](avatar)
    formats.write(clip, tmp_path / "a.glb")  # the clip names its rig
    back = formats.read(tmp_path / "a.glb")
    np.testing.assert_allclose(back.values, clip.values, atol=1e-4)
    assert (back.rig, back.fps) == (avatar.name, 25)
    document, binary = gltf.chunks(tmp_path / "a.glb")
    assert document["images"][0]["mimeType"] == "image/png"
    weights = {c["target"]["node"] for c in document["animations"][0]["channels"] if c["target"]["path"] == "weights"}
    assert {document["nodes"][node]["name"] for node in weights} == {"Face", "Inside", "LeftEye", "RightEye"}
    jaw = document["meshes"][0]["extras"]["targetNames"].index("jawOpen")
    drawn = gltf.array(document, binary, document["animations"][0]["samplers"][0]["output"]).reshape(clip.frames, -1)
    assert drawn[:, jaw].max() == pytest.approx(0.7 / 0.6, rel=0.03)  # the artist's jaw opens 0.6 times as far


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["asset"]["extras"]["tdmm_lm"].update(gains=[1.0]), "expected 52 gains and a 4 x 4 transform"),
        (lambda d: d["asset"]["extras"]["tdmm_lm"].pop("bones"), "expected a GLB written by tdmm"),
        (lambda d: d["asset"]["extras"]["tdmm_lm"].update(gains="x"), "a.glb"),
        (lambda d: d.update(animations=[]), "expected a GLB written by tdmm"),
        (lambda d: d["nodes"].clear(), "expected a GLB written by tdmm"),
        (lambda d: d["accessors"][-1].update(count=10**15), "runs over it"),
    ],
)
def test_damaged_avatars_say_so(tmp_path, avatar, change, message):
    formats.write(AVATARS["talking"](avatar), tmp_path / "a.glb", rig=avatar)
    rewritten(tmp_path / "a.glb", change)
    with pytest.raises(ValueError, match=message) as error:
        formats.read(tmp_path / "a.glb")
    assert "\n" not in str(error.value)


def test_a_clip_that_an_avatar_cannot_play_leaves_nothing(tmp_path, avatar):
    clip = AVATARS["talking"](avatar)
    clip.values[:, face.layout(70)["jaw"]] = 0.1
    with pytest.raises(ValueError, match="expected no jaw rotation"):
        formats.write(clip, tmp_path / "a.glb", rig=avatar)
    assert not (tmp_path / "a.glb").exists()
