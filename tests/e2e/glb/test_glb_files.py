"""GLB files in other people's hands: Khronos' validator finds no error, and three.js plays them in a headless Chromium.

Needs node and npm (the two packages are installed beside this file on the first run) and, to play, Chromium.
"""

import itertools
import json
import os
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tdmm_lm import rigs, rotations
from tdmm_lm.formats import glb
from tdmm_lm.motion import MotionClip, body, face

HERE = Path(__file__).resolve().parent
MADE = runpy.run_path(str(HERE.parent.parent / "formats" / "conftest.py"))
AVATARS = runpy.run_path(str(HERE.parent.parent / "avatars.py"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the packages of package.json installed."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        pytest.skip("needs node and npm")
    if not (HERE / "node_modules" / "three").is_dir():
        done = subprocess.run([npm, "install"], cwd=HERE, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"npm install failed, which needs the network: {done.stderr.strip().splitlines()[-1:]}")
    return program


@pytest.fixture(scope="module")
def chromium() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs Chromium (apt-get install chromium), or its path in $CHROMIUM")
    return found


def bundled() -> rigs.Rig:
    try:
        return rigs.load("head")
    except (FileNotFoundError, ValueError) as error:
        pytest.skip(f"needs the bundled head: {error}")


def nodding() -> tuple[MotionClip, rigs.Rig]:
    """Two seconds of the bundled head: it opens its mouth and smiles, blinks, turns and nods."""
    rig = bundled()
    t = np.arange(50) / 25
    weights = np.zeros((50, len(rig.expressions)), np.float32)
    for name, bump in {"jawOpen": np.sin(np.pi * t) ** 2, "mouthSmileLeft": t / 2, "mouthSmileRight": t / 2}.items():
        weights[:, rig.expressions.index(name)] = bump
    for side in ("Left", "Right"):
        weights[:, rig.expressions.index(f"eyeBlink{side}")] = np.exp(-(((t - 1.5) / 0.1) ** 2))
    head = np.stack([0.2 * np.sin(2 * np.pi * t), 0.4 * t, 0 * t], 1)
    return face.assemble({"expression": weights, "head": head}, fps=25, rig=rig.name), rig


CASES = {
    "bundled head": lambda: nodding(),
    "five joints": lambda: (MADE["make_moving"](rig := MADE["make_head"](), joints=True), rig),
    "correctives": lambda: (
        MADE["make_moving"](rig := MADE["make_head"]("joints", correctives=True), joints=True),
        rig,
    ),
    "root alone": lambda: (MADE["make_moving"](rig := MADE["_Plain"](), joints=False), rig),
    "still": lambda: (MotionClip(np.zeros((1, 70)), 25, "face", "head"), MADE["make_head"]()),
}


def walking(frames: int = 40) -> MotionClip:
    """A body that swings legs and arms on the spot."""
    turns = torch.zeros(frames, 22, 3)
    swing = 0.6 * torch.sin(2 * torch.pi * torch.arange(frames) / 30)
    for side, sign in (("left", 1), ("right", -1)):
        turns[:, body.JOINTS.index(f"{side}_hip"), 0] = sign * swing
        turns[:, body.JOINTS.index(f"{side}_shoulder"), 2] = -1.3 * sign
        turns[:, body.JOINTS.index(f"{side}_elbow"), 1] = sign * swing
    places = np.tile([0, 0.93, 0], (frames, 1))
    return body.assemble(places, rotations.axis_angle_to_matrix(turns), fps=30)


@pytest.mark.parametrize("frames", [40, 1])
def test_the_validator_finds_no_error_in_bodies(tmp_path, node, frames):
    glb.write(walking(frames), tmp_path / "a.glb")
    done = subprocess.run(
        [node, "validate.mjs", tmp_path / "a.glb"], cwd=HERE, capture_output=True, text=True, timeout=120
    )
    issues = json.loads(done.stdout)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_three_js_plays_bodies(tmp_path, node, chromium):
    glb.write(walking(), tmp_path / "a.glb")
    done = subprocess.run(
        [node, "play.mjs", tmp_path / "a.glb", tmp_path, chromium, "0", "0.25"],
        cwd=HERE, capture_output=True, text=True, timeout=180,
    )
    report = json.loads(done.stdout)
    assert report["errors"] == []
    assert report["seen"][0]["bones"] == list(body.JOINTS)
    assert 1.4 < report["seen"][0]["height"] < 2
    first, second = (np.asarray(Image.open(tmp_path / f"{k}.png").convert("RGB")).astype(int) for k in range(2))
    assert 0.05 < (np.abs(first - first[0, 0]).sum(-1) > 30).mean() < 0.6, "a body before a background"
    assert np.abs(first - second).mean() > 1


@pytest.mark.parametrize("all_shapes", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_the_validator_finds_no_error(tmp_path, node, case, all_shapes):
    clip, rig = CASES[case]()
    glb.write(clip, tmp_path / "a.glb", rig=rig, all_shapes=all_shapes)
    done = subprocess.run(
        [node, "validate.mjs", tmp_path / "a.glb"], cwd=HERE, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_the_validator_is_awake(tmp_path, node):
    clip, rig = CASES["five joints"]()
    glb.write(clip, tmp_path / "a.glb", rig=rig)
    data = (tmp_path / "a.glb").read_bytes().replace(b'"skin":0', b'"skin":7')
    (tmp_path / "a.glb").write_bytes(data)
    done = subprocess.run(
        [node, "validate.mjs", tmp_path / "a.glb"], cwd=HERE, capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout)["issues"]["numErrors"] > 0


def test_three_js_plays_it(tmp_path, node, chromium):
    clip, rig = nodding()
    glb.write(clip, tmp_path / "a.glb", rig=rig)
    moments = (0.0, 0.5, 1.5)
    done = subprocess.run(
        [node, "play.mjs", tmp_path / "a.glb", tmp_path, chromium, *map(str, moments)],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["errors"] == []
    pictures = [np.asarray(Image.open(tmp_path / f"{k}.png").convert("RGB")).astype(int) for k in range(len(moments))]
    background = pictures[0][0, 0]
    assert 0.05 < (np.abs(pictures[0] - background).sum(-1) > 30).mean() < 0.9, "a head before a background"
    assert np.abs(pictures[0] - pictures[1]).mean() > 2
    assert np.abs(pictures[1] - pictures[2]).mean() > 2
    for moment, seen in zip(moments, report["seen"], strict=True):
        assert seen["targets"] == list(rig.expressions)
        assert seen["bones"][0] == "root"
        assert seen["duration"] == pytest.approx((clip.frames - 1) / clip.fps, abs=1e-4)
        place = moment * clip.fps
        wanted = np.stack(
            [np.interp(place, np.arange(clip.frames), column) for column in face.part(clip, "expression").T]
        )
        np.testing.assert_allclose(seen["weights"], wanted, atol=1e-4)


@pytest.fixture(scope="module")
def avatar(tmp_path_factory):
    """A maker of avatars: the bundled head by another artist, imported without MediaPipe."""
    from tdmm_lm.geometry import avatar as importing

    folder, head = tmp_path_factory.mktemp("avatar"), bundled()

    def make(name: str, **options: object) -> rigs.Rig:
        own = folder / f"{name}.glb"
        AVATARS["write"](head, own, identity=np.zeros(10, np.float32), stretch=np.ones(3), scale=0.01, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importing.sight, "landmark", AVATARS["marked"](head))
            importing.import_glb(own, folder / name, model=Path("unused"))
        return rigs.load(str(folder / name))

    return make


@pytest.mark.parametrize("options", [{}, {"skinned": True}, {"eyes": "bones"}, {"skeleton": False}], ids=str)
def test_the_validator_finds_no_error_in_avatars(tmp_path, node, avatar, options):
    rig = avatar("-".join(options) or "plain", **options)
    glb.write(AVATARS["talking"](rig), tmp_path / "a.glb", rig=rig)
    done = subprocess.run(
        [node, "validate.mjs", tmp_path / "a.glb"], cwd=HERE, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_three_js_plays_an_avatar(tmp_path, node, chromium, avatar):
    rig = avatar("played")
    clip = AVATARS["talking"](rig)
    glb.write(clip, tmp_path / "a.glb", rig=rig)
    moments = (0.0, 0.52, 1.52)
    done = subprocess.run(
        [node, "play.mjs", tmp_path / "a.glb", tmp_path, chromium, *map(str, moments)],
        cwd=HERE, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert not report["errors"]
    drawn = [np.asarray(Image.open(tmp_path / f"{i}.png").convert("RGB")).astype(int) for i in range(len(moments))]
    assert all(np.abs(a - b).max() > 60 for a, b in itertools.pairwise(drawn))  # it moves
    names = [name for name in rig.expressions if name.startswith("eyeLook") and name.endswith("Right")]
    for moment, seen in zip(moments, report["seen"], strict=True):  # the page reports on the mesh that it met last
        assert seen["targets"] == names
        row = face.part(clip, "expression")[round(moment * clip.fps)]
        wanted = [row[rig.expressions.index(name)] / rig.parts.gains[rig.expressions.index(name)] for name in names]
        np.testing.assert_allclose(seen["weights"], wanted, atol=1e-4)
