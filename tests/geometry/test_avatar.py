"""Avatars become rigs whatever their attitude, size, names and gains; with MediaPipe's eyes where it is here."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, gltf, landmarks, rigs
from tdmm_lm.geometry import avatar, measure, solve
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT

AVATARS = runpy.run_path(str(Path(__file__).resolve().parent.parent / "avatars.py"))
SAME = {"identity": np.zeros(10, np.float32), "stretch": np.ones(3)}  # the bundled head's own shape
A, B = 0.7071067811865476, 0.25881904510252074
ATTITUDES = {
    "metres": {"unit": 1.0}, "centimetres": {}, "millimetres": {"unit": 0.001}, "a scaled root": {"scale": 0.01},
    "no known unit": {"unit": 0.2}, "Z up": {"root_turn": (A, 0, 0, A)}, "facing Z-": {"root_turn": (0, 1, 0, 0)},
    "facing X": {"root_turn": (0, A, 0, A)}, "askew": {"root_turn": (0, B, 0, 0.9659258262890683), "scale": 0.01},
    "hair and a body": {"dressed": True},
}


@pytest.fixture(scope="module")
def head():
    return rigs.load("head")


@pytest.fixture
def marked(monkeypatch, head):
    """Landmarks without MediaPipe, on avatars of the bundled head's own shape."""
    monkeypatch.setattr(avatar.sight, "landmark", AVATARS["marked"](head))


def made(folder, head, **options):
    AVATARS["write"](head, folder / "a.glb", **{**SAME, **options})
    said = avatar.import_glb(folder / "a.glb", folder / "rig", model=Path("unused"))
    return rigs.load(str(folder / "rig")), said


@pytest.mark.parametrize("case", ATTITUDES)
def test_any_attitude_and_size_gives_the_same_head(tmp_path, head, marked, case):
    rig, said = made(tmp_path, head, gains={}, **ATTITUDES[case])
    np.testing.assert_allclose(rig.eyes, head.eyes, atol=5e-4)
    places = measure.places(torch.zeros(1, 70), rig)[0], measure.places(torch.zeros(1, 70), head)[0]
    assert np.abs(places[0] - places[1]).max() < 2e-3
    assert f"in {'a unit of its own' if case == 'no known unit' else ''}" in said
    assert rig.parts.pivot == pytest.approx([0, -0.06, 0.02], abs=2e-3)  # the head's bone
    assert rig.jointed
    assert np.ptp(rig.template[:, 1]) < 0.65  # what is not the head is left out


def test_gains_undo_what_the_artist_did(tmp_path, head, marked):
    rig, said = made(tmp_path, head)
    wanted = np.array([AVATARS["GAINS"].get(name, 1.0) for name in ARKIT])
    np.testing.assert_allclose(rig.parts.gains, wanted, rtol=0.06)
    assert "gains 0.60 to 1.4" in said
    for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight", "eyeLookUpLeft"):
        row = torch.zeros(1, 70)
        row[0, ARKIT.index(name)] = 0.8
        ours, theirs = (measure.places(row, r)[0] - measure.places(0 * row, r)[0] for r in (rig, head))
        assert np.abs(ours - theirs).max() < 0.06 * np.abs(theirs).max()
    low = rig.upper < 1
    assert not low.any()


def test_the_same_weights_are_the_same_geometry(tmp_path, head, marked):
    rig, _ = made(tmp_path, head, without=("mouthDimpleLeft", "tongueOut"))
    clip = AVATARS["talking"](rig)
    there = measure.measure(clip, rig)
    here = measure.measure(face.assemble(
        {name: face.part(clip, name) for name in ("expression", "head")}, fps=25, rig="head"), head)
    np.testing.assert_array_equal(there.displacement, here.displacement)
    np.testing.assert_array_equal(there.gaze, here.gaze)
    back = solve.solve(there, rig)
    assert back.rig == rig.name
    again = measure.measure(solve.solve(here, head), head)
    np.testing.assert_allclose(measure.measure(back, rig).displacement, again.displacement, atol=1e-6)
    assert np.abs(face.part(back, "expression") - face.part(clip, "expression")).mean() < 0.01
    moved, lost = solve.retarget(clip, rig, head)
    np.testing.assert_array_equal(face.part(moved, "expression"), face.part(clip, "expression"))
    np.testing.assert_array_equal(solve.retarget(moved, head, rig)[0].values, clip.values)
    assert 0.001 < lost < 1.0  # of their surfaces, which are not alike


def test_missing_shapes_are_named_and_shown_by_others(tmp_path, head, marked):
    rig, said = made(tmp_path, head, without=("mouthSmileLeft_", "mouthStretchLeft", "cheekPuff", "browOuterUpLeft"))
    assert rig.missing == ("mouthStretchLeft", "browOuterUpLeft", "cheekPuff")
    assert "49 of 52 shapes (without mouthStretchLeft, browOuterUpLeft, cheekPuff)" in said
    row = torch.zeros(1, 70)
    row[0, ARKIT.index("mouthStretchLeft")] = 1
    ours, theirs = (measure.places(row, r)[0] - measure.places(0 * row, r)[0] for r in (rig, head))
    assert (ours * theirs).sum() > 0.7 * np.linalg.norm(ours) * np.linalg.norm(theirs)
    shown = np.abs(rig.parts.standins[ARKIT.index("browOuterUpLeft")]).sum()
    assert shown == 0  # nothing is like it


def test_eyes_without_shapes_turn_with_their_bones(tmp_path, head, marked):
    rig, said = made(tmp_path, head, eyes="bones", gains={})
    assert rig.parts.turned.tolist() == [1, 1]
    assert "gaze by bones" in said
    clip = AVATARS["talking"](rig)
    gaze = measure.surface(clip, rig).gaze[-1]
    assert np.degrees(gaze[:, 0]) == pytest.approx([12, 12], abs=1.5)  # both to the person's left
    assert np.degrees(gaze[:, 1]) == pytest.approx([0, 0], abs=1)


def test_a_head_without_eyeballs(tmp_path, head, marked):
    AVATARS["write"](head, tmp_path / "a.glb", eyes="none")  # another face: nothing but eyeballs is taken for one
    placed = avatar._placed(avatar.avatar_file.read(tmp_path / "a.glb"))
    part = avatar._components(placed.faces, len(placed.points))
    assert not avatar._eyes(placed, part, avatar._skin(placed, part), head)[1].any()
    rig, _ = made(tmp_path, head, eyes="none")
    np.testing.assert_allclose(rig.eyes, head.eyes, atol=1e-3)  # behind the lids, as on the bundled head
    assert rig.parts.turned.tolist() == [0, 0]
    assert rig.parts.gains[ARKIT.index("eyeLookInLeft")] == 1


def test_left_and_right_that_are_swapped(tmp_path, head, marked):
    def swapped(name):
        other = {"Left": "Right", "Right": "Left"}
        for side in other:
            if name.endswith(side) and not name.startswith(("jaw", "mouthLeft", "mouthRight")):
                return name.removesuffix(side) + other[side]
        return name

    AVATARS["write"](head, tmp_path / "a.glb", names=swapped, **SAME)
    with pytest.raises(ValueError, match="expected eyeBlinkLeft on the person's own left, got it on the right: swap"):
        avatar.import_glb(tmp_path / "a.glb", tmp_path / "rig", model=Path("unused"))
    assert not (tmp_path / "rig").exists()


def test_a_shape_that_moves_nothing(tmp_path, head, marked):
    with pytest.raises(ValueError, match="expected eyeBlinkLeft, eyeBlinkRight and jawOpen to move something"):
        made(tmp_path, head, gains={"jawOpen": 0.0})


def test_shut_at_finds_the_weight_that_hides_the_eyeball(head):
    blink = avatar.basis(head)[:, :, ARKIT.index("eyeBlinkLeft")]
    ball = avatar._ball(head, 0)
    whole = avatar.shut_at(head.template, head.faces, blink, ball)
    assert 0.8 <= whole <= 1.05
    assert avatar.shut_at(head.template, head.faces, 0.6 * blink, ball) == pytest.approx(whole / 0.6, abs=0.06)
    assert avatar.shut_at(head.template, head.faces, 0 * blink, ball) is None
    assert avatar.shut_at(head.template, head.faces, blink, np.zeros(len(ball), bool)) is None


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The scanned head with another face, marked by MediaPipe."""
    pytest.importorskip("mediapipe")
    pytest.importorskip("pyvista")
    if bundle.data() is None:
        pytest.skip("needs the scanned head and face_landmarker/: set $TDMM_DATA to the folder of real data")
    from tdmm_lm.formats import video

    folder, scan = tmp_path_factory.mktemp("avatar"), rigs.load("ict")
    points = AVATARS["write"](scan, folder / "a.glb", names=AVATARS["short"], root_turn=(0, 1, 0, 0))
    avatar.import_glb(folder / "a.glb", folder / "rig", model=video.landmarker())
    return rigs.load(str(folder / "rig")), scan, points


def test_a_scanned_face_is_marked_and_calibrated(seen):
    rig, scan, points = seen
    truth = (points[scan.landmarks.vertices] * scan.landmarks.weights[..., None]).sum(1)
    found = measure.places(torch.zeros(1, 70), rig)[0]
    pupils = list(measure.PUPILS)
    truth += (found - truth)[pupils].mean(0) * [0, 1, 1]
    gaps = 1000 * np.linalg.norm(found - truth, axis=1)
    for region, most in (("lips", 3), ("lids", 3), ("cheeks", 3)):
        assert gaps[list(landmarks.region(region))].mean() < most, region
    assert 1000 * abs(np.linalg.norm(np.subtract(*rig.eyes)) - rig.interocular) < 1e-3
    own = avatar.gains(scan, rigs.load("head"))
    for name, artist in {"jawOpen": 0.6, "mouthSmileLeft": 1.4, "mouthPucker": 1.4, "browInnerUp": 0.6}.items():
        k = ARKIT.index(name)
        assert rig.parts.gains[k] / own[k] == pytest.approx(artist, rel=0.2), name
    assert rig.parts.gains[ARKIT.index("mouthSmileRight")] > 1.9 * rig.parts.gains[ARKIT.index("jawOpen")]


def test_the_animated_file_keeps_the_owners_picture(seen, tmp_path):
    rig, _, _ = seen
    from tdmm_lm import formats

    formats.write(AVATARS["talking"](rig), tmp_path / "out.glb", rig=rig)
    before, after = gltf.chunks(rig.source), gltf.chunks(tmp_path / "out.glb")
    assert after[1].startswith(before[1][: before[0]["buffers"][0]["byteLength"]])
    for key in ("materials", "textures", "images", "meshes", "scenes"):
        assert before[0][key] == after[0][key]
