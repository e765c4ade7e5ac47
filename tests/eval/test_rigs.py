"""Heads agree on codes where their readings agree, and the figures say where they do not."""

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import bundle, codec, landmarks, rigs
from tdmm_lm.corpus import perform, prompts, recordings
from tdmm_lm.eval.rigs import same_code
from tdmm_lm.geometry import avatar
from tdmm_lm.material import face as material
from tdmm_lm.motion import face

AVATARS = runpy.run_path(str(Path(__file__).resolve().parent.parent / "avatars.py"))


class Rounding:
    """In place of a codec: the code is how far the mouth is open, in steps."""

    code_fps = fps = 25.0

    def __init__(self, column):
        self.column = column

    def encode(self, x):
        return (x[..., self.column : self.column + 1] * 1e3).round().long()


def clips(head, count=3):
    return [perform.perform(prompts.sample(i, split="test", seconds=2.0)) for i in range(count)]


@pytest.fixture(scope="module")
def head():
    return rigs.load("head")


@pytest.fixture(scope="module")
def artist(tmp_path_factory, head):
    """The bundled head's shape by an artist who scaled shapes, without a tongue."""
    folder = tmp_path_factory.mktemp("avatar")
    AVATARS["write"](
        head, folder / "a.glb", identity=np.zeros(10, np.float32), stretch=np.ones(3), without=("tongueOut",)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(avatar.sight, "landmark", AVATARS["marked"](head))
        avatar.import_glb(folder / "a.glb", folder / "rig", model=Path("unused"))
    return rigs.load(str(folder / "rig"))


def test_an_artists_gains_change_no_code(head, artist):
    figures = same_code(codec.load(bundle.path("tokenizers/face")), {"head": head, "avatar": artist}, clips(head))
    assert figures["same_code"]["value"] >= 0.95
    assert figures["same_code_head_avatar"]["value"] >= 0.95
    assert figures["same_code"]["n"] == 150
    assert figures["apart_gaze_avatar"]["value"] < 0.1


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """The scanned head as an avatar, named and scaled as an artist would."""
    if bundle.data() is None:
        pytest.skip("needs the scanned head: set $TDMM_DATA to the folder of real data")
    scan, folder = rigs.load("ict"), tmp_path_factory.mktemp("scanned")
    AVATARS["write"](
        scan, folder / "a.glb", names=AVATARS["short"], identity=np.zeros(10, np.float32), stretch=np.ones(3)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(avatar.sight, "landmark", AVATARS["marked"](scan))
        avatar.import_glb(folder / "a.glb", folder / "rig", model=Path("unused"))
    return rigs.load(str(folder / "rig"))


def test_three_heads_give_the_same_codes(head, scanned):
    """The bundled head, the scanned head and an avatar, on talking and on performing."""
    model = codec.load(bundle.path("tokenizers/face"))
    data = material.Data(shares={"grid": 0.5, "performances": 0.5})
    heads = {"head": head, "ict": rigs.load("ict"), "avatar": scanned}
    held_out = [clip for made in material.clips(data, "test", 2).values() for clip in itertools.islice(made, 8)]
    agreed = same_code(model, heads, held_out)
    assert agreed["same_code"]["value"] >= 0.95
    assert agreed["same_code"]["n"] > 1000


def test_the_figures_say_where_codes_come_from(head):
    other = rigs.load("ict") if bundle.data() else None
    if other is None:
        pytest.skip("needs the scanned head: set $TDMM_DATA to the folder of real data")
    place = landmarks.NAMES.index("lip_outer_lower_4")
    figures = same_code(Rounding(3 * place + 1), {"head": head, "scan": other}, clips(head, 2))
    changed = {key: figures[f"changed_by_{key}"]["value"] for key in landmarks.REGIONS}
    assert changed["lips"] > 0
    assert sum(changed.values()) == changed["lips"]
    assert figures["same_code"]["value"] < 1
    assert figures["residual_mm_scan"]["value"] > figures["residual_mm_head"]["value"]


def test_nothing_to_compare(head):
    with pytest.raises(ValueError, match="expected heads and clips, got 0 and 1"):
        same_code(Rounding(0), {}, clips(head, 1))
    with pytest.raises(ValueError, match="expected heads and clips, got 1 and 0"):
        same_code(Rounding(0), {"head": head}, [])


def test_a_talker_is_the_same_on_an_avatar(head, artist):
    if bundle.data() is None:
        pytest.skip("needs grid_s1/ of the real data: set $TDMM_DATA to their folder")
    talk = [sample.clips["face"] for sample, _ in zip(recordings.grid(bundle.data()), range(4))]
    model = codec.load(bundle.path("tokenizers/face"))
    assert same_code(model, {"head": head, "avatar": artist}, talk)["same_code"]["value"] >= 0.95
    # and where the same weights were recorded on either, whoever made the shapes
    for clip in talk:
        own = face.assemble(
            {name: face.part(clip, name) for name in ("expression", "head")}, fps=clip.fps, rig=artist.name
        )
        np.testing.assert_array_equal(codec.tokenize(model, clip, head), codec.tokenize(model, own, artist))
