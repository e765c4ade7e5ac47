"""An avatar's folder comes back, plays clips in its owner's own file, and gives them back out of it."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from tdmm_lm import gltf, rigs, rotations
from tdmm_lm.geometry import avatar
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.rigs import glb

AVATARS = runpy.run_path(str(Path(__file__).resolve().parent.parent / "avatars.py"))
STYLES = {
    "below a skeleton": {"names": AVATARS["short"], "scale": 0.01},
    "skinned": {"skinned": True, "scale": 0.01},
    "no skeleton, facing Z-": {"skeleton": False, "root_turn": (0, 1, 0, 0)},
    "eye bones, Z up": {"eyes": "bones", "root_turn": (-0.7071067811865476, 0, 0, 0.7071067811865476)},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A maker of imported avatars: the bundled head by other artists, landmarks without MediaPipe."""
    head, done = rigs.load("head"), {}

    def make(style):
        if style not in done:
            folder = tmp_path_factory.mktemp("avatar")
            AVATARS["write"](
                head, folder / "a.glb", identity=np.zeros(10, np.float32), stretch=np.ones(3), **STYLES[style]
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(avatar.sight, "landmark", AVATARS["marked"](head))
                avatar.import_glb(folder / "a.glb", folder / "rig", model=Path("unused"))
            done[style] = rigs.load(str(folder / "rig"))
        return done[style]

    return make


def posed(path, frame):
    """The avatar that a player shows at one key frame of the file's first animation."""
    document, binary = gltf.chunks(path)
    animation = document["animations"][0]
    for channel in animation["channels"]:
        node, what = document["nodes"][channel["target"]["node"]], channel["target"]["path"]
        values = gltf.array(document, binary, animation["samplers"][channel["sampler"]]["output"])
        count = gltf.array(document, binary, animation["samplers"][channel["sampler"]]["input"]).shape[0]
        assert "matrix" not in node
        node[what] = values.reshape(count, -1)[frame].tolist()
    world, points = gltf.world(document), []
    for number, node in enumerate(document["nodes"]):
        if "mesh" not in node:
            continue
        for primitive in document["meshes"][node["mesh"]]["primitives"]:
            rest = gltf.rows(document, binary, primitive["attributes"]["POSITION"]).astype(float)
            for weight, target in zip(node.get("weights") or [], primitive.get("targets", [])):
                rest = rest + weight * gltf.rows(document, binary, target["POSITION"])
            matrix = world[number]
            if "skin" in node:  # all on one joint
                skin = document["skins"][node["skin"]]
                bind = gltf.rows(document, binary, skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
                matrix = world[skin["joints"][1]] @ bind[1]
            points.append(rest @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(points)


@pytest.mark.parametrize("style", STYLES)
def test_the_owners_file_plays_what_the_rig_does(tmp_path, made, style):
    rig = made(style)
    clip = AVATARS["talking"](rig)
    (tmp_path / "a.glb").write_bytes(glb.animated(rig, clip))
    inside = np.linalg.inv(rig.parts.to_rig)
    for frame in (0, 12, 37, 49):
        with torch.no_grad():
            wanted = rig.vertices(torch.from_numpy(clip.values[frame : frame + 1]))[0].numpy()[:-5]
        shown = posed(tmp_path / "a.glb", frame)
        in_scene = wanted @ inside[:3, :3].T + inside[:3, 3]
        apart = cKDTree(shown).query(in_scene)[0] * np.linalg.det(rig.parts.to_rig[:3, :3]) ** (1 / 3)
        assert apart.max() < (5e-4 if "bones" in style else 2e-5)  # metres; eyes turn where shapes move along chords
    assert np.abs(posed(tmp_path / "a.glb", 49) - posed(tmp_path / "a.glb", 0)).max() > 0


@pytest.mark.parametrize("style", STYLES)
def test_the_clip_comes_back_out_of_it(tmp_path, made, style):
    rig = made(style)
    clip = AVATARS["talking"](rig)
    if not rig.jointed:
        clip.values[:, face.layout(70)["translation"]] = np.linspace(0, 0.1, 50)[:, None]
    (tmp_path / "a.glb").write_bytes(glb.animated(rig, clip))
    back = glb.played(*gltf.chunks(tmp_path / "a.glb"))
    np.testing.assert_allclose(back.values, clip.values, atol=1e-5)
    assert (back.rig, back.fps) == (rig.name, clip.fps)


def test_a_neck_turns_the_head_and_a_skeleton_keeps_its_place(tmp_path, made):
    rig = made("below a skeleton")
    clip = AVATARS["talking"](rig)
    clip.values[:, face.layout(70)["neck"]] = [0, 0.3, 0]
    clip.values[:, face.layout(70)["translation"]] = 0.2
    (tmp_path / "a.glb").write_bytes(glb.animated(rig, clip))
    back = glb.played(*gltf.chunks(tmp_path / "a.glb"))
    both = [rotations.axis_angle_to_matrix(torch.from_numpy(face.part(clip, name))) for name in ("head", "neck")]
    turned = rotations.axis_angle_to_matrix(torch.from_numpy(face.part(back, "head")))
    np.testing.assert_allclose(turned, both[0] @ both[1], atol=1e-5)
    assert np.abs(face.part(back, "translation")).max() < 1e-6


def test_the_owners_things_stay_as_they_are(tmp_path, made):
    rig = made("below a skeleton")
    (tmp_path / "a.glb").write_bytes(glb.animated(rig, AVATARS["talking"](rig)))
    before, after = gltf.chunks(rig.source), gltf.chunks(tmp_path / "a.glb")
    for key in ("materials", "textures", "images", "meshes", "scenes", "nodes", "scene"):
        assert before[0][key] == after[0][key], key
    assert before[0]["asset"]["generator"] == after[0]["asset"]["generator"]
    assert after[1].startswith(before[1])
    assert [animation["name"] for animation in after[0]["animations"]] == ["motion"]


def test_other_animations_and_weights_are_kept(tmp_path, made):
    rig = made("below a skeleton")
    document, binary = gltf.chunks(rig.source)
    face_mesh = document["meshes"][0]
    face_mesh["weights"][0] = 0.25
    face_mesh["extras"]["targetNames"][0] = "freckles"
    document["animations"] = [{"name": "idle", "samplers": [], "channels": []}]
    document["nodes"][4]["matrix"] = gltf.local(document["nodes"][4]).T.ravel().tolist()
    for key in ("translation", "rotation", "scale"):
        document["nodes"][4].pop(key, None)
    (tmp_path / "own.glb").write_bytes(gltf.packed(document, binary))
    other = glb.GlbRig(rig.parts, name="own", source=tmp_path / "own.glb", jointed=True, missing=())
    clip = AVATARS["talking"](other)
    (tmp_path / "a.glb").write_bytes(glb.animated(other, clip))
    document, binary = gltf.chunks(tmp_path / "a.glb")
    assert [animation["name"] for animation in document["animations"]] == ["motion", "idle"]
    first = document["animations"][0]["samplers"][0]["output"]
    assert (gltf.array(document, binary, first).reshape(clip.frames, -1)[:, 0] == 0.25).all()
    back = glb.played(document, binary)
    np.testing.assert_allclose(face.part(back, "head"), face.part(clip, "head"), atol=1e-5)


def test_weights_beyond_what_an_artist_may_be_asked_for(made, tmp_path):
    rig = made("below a skeleton")
    small = glb.Parts(**{**rig.parts.__dict__, "gains": np.full(52, 0.4, np.float32)})
    weak = glb.GlbRig(small, name="weak", source=rig.source, jointed=True, missing=())
    assert weak.upper == pytest.approx(0.8)
    clip = face.assemble({"expression": np.ones((2, 52))}, fps=25, rig="weak")
    (tmp_path / "a.glb").write_bytes(glb.animated(weak, clip))
    document, binary = gltf.chunks(tmp_path / "a.glb")
    output = document["animations"][0]["samplers"][0]["output"]
    assert gltf.array(document, binary, output).max() == glb.MOST


@pytest.mark.parametrize("group", ["jaw", "eyes"])
def test_joints_that_an_avatar_lacks(made, group):
    rig = made("below a skeleton")
    clip = AVATARS["talking"](rig)
    clip.values[:, face.layout(70)[group]] = 0.1
    with pytest.raises(ValueError, match=f"expected no {group} rotation, which rig .* has no known joint for"):
        glb.animated(rig, clip)


def test_folders_that_are_not_whole(made, tmp_path):
    rig = made("below a skeleton")
    folder = tmp_path / "rig"
    glb.save(rig.parts, folder, source=rig.source, jointed=True, missing=("tongueOut",))
    again = glb.load(folder)
    assert again.missing == ("tongueOut",)
    np.testing.assert_array_equal(again.template, rig.template)
    np.testing.assert_array_equal(again.landmarks.vertices, rig.landmarks.vertices)
    config = json.loads((folder / "config.json").read_text())
    assert config["gains"]["jawOpen"] == pytest.approx(0.6, abs=0.02)
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 9}))
    with pytest.raises(ValueError, match="expected an avatar of format 1, got glb 9"):
        rigs.load(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="expected an avatar written by `tdmm import`"):
        rigs.load(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected model\.safetensors in it, found none; run `tdmm import"):
        rigs.load(str(folder))
    with pytest.raises(ValueError, match="expected the folder of an avatar"):
        rigs.load("glb")


def test_every_look_has_a_move():
    around = np.array([[0, 0, 0.012]])
    for side, outwards in (("Left", 1), ("Right", -1)):
        moves = glb.gaze_shapes(around, side)
        assert set(moves) == {name for name in ARKIT if name.startswith("eyeLook") and name.endswith(side)}
        assert moves[f"eyeLookOut{side}"][0, 0] * outwards == pytest.approx(0.006)
        assert moves[f"eyeLookUp{side}"][0, 1] == pytest.approx(0.006)
