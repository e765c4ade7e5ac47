"""Bodies on the command line: between all formats, resampled, rendered; what is refused is one line, no file."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, codec, formats, video
from tdmm_lm.motion import body
from tdmm_lm.rigs import skeleton


def tdmm(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tdmm_lm", *map(str, arguments)], capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def walk():
    data = bundle.data()
    if data is None or not (data / "cmu_mocap" / "bvh").is_dir():
        pytest.skip("CMU's captures are not here: set TDMM_DATA to a folder with cmu_mocap/bvh")
    return data / "cmu_mocap" / "bvh" / "07_01.bvh"


def test_a_capture_goes_round_all_formats(walk, tmp_path):
    done = tdmm("convert", walk, tmp_path / "a.npz", "--fps", 30)
    assert (done.returncode, done.stdout) == (0, f"79 frames at 30 Hz -> {tmp_path / 'a.npz'}\n")
    assert done.stderr == f"note: {walk}: taken to be in CMU's units, from the skeleton's height.\n"
    first = formats.read(tmp_path / "a.npz")
    source = tmp_path / "a.npz"
    for ending in (".bvh", ".glb", ".npy", ".joints.npz"):
        target = tmp_path / f"a{ending}"
        done = tdmm("convert", source, target)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        if ending != ".npy":  # it has no rate
            source = target
    back = formats.read(source)
    assert (back.fps, back.frames) == (30, 79)
    off = (skeleton.joints(back) - skeleton.joints(first)).norm(dim=-1)
    assert off.mean() < 1e-3
    assert off.max() < 5e-3  # after joints alone, whose rotations were fitted


def test_resampling_turns_and_does_not_cut_corners(walk, tmp_path):
    done = tdmm("convert", walk, tmp_path / "a.npz", "--fps", 20)
    assert done.returncode == 0, done.stderr
    slow = formats.read(tmp_path / "a.npz")
    tdmm("convert", walk, tmp_path / "b.npz")
    full = formats.read(tmp_path / "b.npz")
    np.testing.assert_allclose(skeleton.joints(slow), skeleton.joints(full)[::6][: slow.frames], atol=1e-5)
    np.testing.assert_array_equal(slow.shape, full.shape)
    assert body.local_rotations(slow).shape == (slow.frames, 22, 3, 3)


def test_render_draws_a_body_at_its_rate(walk, tmp_path):
    tdmm("convert", walk, tmp_path / "a.npz", "--fps", 10)
    done = tdmm("render", tmp_path / "a.npz", "-o", tmp_path / "a.mp4", "--size", 128)
    assert done.returncode == 0, done.stderr
    told = video.info(tmp_path / "a.mp4")
    assert (told.fps, told.frames, told.size) == (10, 26, (128, 128))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "{body}", "{out}.csv"], "expected a face clip for this format, got a body clip; use .bvh, "),
        (["convert", "{face}", "{out}.bvh"], "expected a body clip for this format, got a face clip; use .csv, "),
        (["convert", "{body}", "{out}.bvh", "--rig", "head"], "--rig: expected none for a body"),
        (["convert", "{body}", "{out}.npz", "--fps", "1e6"], "--fps: expected 1 to 1000 Hz"),
        (["convert", "{still}", "{out}.npz"], "Frame Time: expected 0.001 to 1 s, got 0; where it is 0, give fps"),
        (["convert", "{cut}", "{out}.npz"], "the file is cut off"),
        (["observe", "{body}"], "expected a face clip, got a body clip"),
        (["render", "{body}", "-o", "{out}.mp4", "--renderer", "mesh"], "--renderer mesh: expected a face clip"),
        (["render", "{face}", "-o", "{out}.mp4", "--renderer", "skeleton"], "--renderer skeleton: expected a body"),
    ],
)
def test_what_is_refused_is_one_line(walk, tmp_path, arguments, message):
    text = walk.read_text()
    (tmp_path / "still.bvh").write_text(text.replace("Frame Time: .0083333", "Frame Time: 0"))
    (tmp_path / "cut.bvh").write_text(text[: len(text) // 2])
    places = {
        "body": tmp_path / "body.npz", "still": tmp_path / "still.bvh", "cut": tmp_path / "cut.bvh",
        "face": sorted(bundle.path("assets/samples").glob("*.npz"))[0], "out": tmp_path / "out",
    }
    formats.write(body.assemble(np.zeros((2, 3)), torch.eye(3).repeat(2, 22, 1, 1), fps=30), places["body"])
    before = sorted(tmp_path.iterdir())
    done = tdmm(*(argument.format(**places) for argument in arguments))
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before



def test_codes_and_back(walk, tmp_path):
    done = tdmm("tokenize", walk, "-o", tmp_path / "codes.json")
    assert (done.returncode, done.stdout) == (0, f"14 codes -> {tmp_path / 'codes.json'}\n"), done.stderr
    done = tdmm("detokenize", tmp_path / "codes.json", "-o", tmp_path / "again.bvh")
    assert (done.returncode, done.stdout) == (0, f"53 frames -> {tmp_path / 'again.bvh'}\n"), done.stderr
    again, once = formats.read(tmp_path / "again.bvh"), body.resample(formats.read(walk), 20)
    assert (again.frames, again.fps) == (once.frames, 20)
    away = [skeleton.joints(clip) - skeleton.joints(clip)[:, :1] for clip in (again, once)]
    assert float((away[0] - away[1]).norm(dim=-1).mean()) < 0.3  # metres, turned as the codec's headings went


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"codes": [[512]]}, "codes: expected 0 to 511, got 512"),
        ({"codes": [[1, 2]]}, "expected int64 (batch, frames, 1)"),
        ({"codes": []}, "codes: expected whole numbers (frames, books)"),
        ({"modality": "hand"}, "modality: expected face or body, got 'hand'"),
        ({"frames": 99}, "frames: expected 1 to 8, got 99"),
        ({"codec_sha256": "0" * 64}, "tokenize again"),
    ],
)
def test_wrong_codes_are_one_line(tmp_path, changes, said):
    good = {
        "modality": "body", "codes": [[1], [2]], "codec_sha256": codec.weights_sha256(bundle.path("tokenizers/body"))
    }
    (tmp_path / "codes.json").write_text(json.dumps({**good, **changes}))
    done = tdmm("detokenize", tmp_path / "codes.json", "-o", tmp_path / "x.npz")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()


def test_a_broken_codec_is_one_line(walk, tmp_path):
    """Weights and config of different codecs."""
    (tmp_path / "mixed").mkdir()
    for name, modality in (("config.json", "body"), ("model.safetensors", "face")):
        shutil.copy(bundle.path(f"tokenizers/{modality}") / name, tmp_path / "mixed")
    done = tdmm("tokenize", walk, "-o", tmp_path / "codes.json", "--codec", tmp_path / "mixed")
    assert done.returncode == 2
    assert "expected this codec's weights" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "codes.json").exists()
