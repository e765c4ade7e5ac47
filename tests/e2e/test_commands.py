"""Every verb of the command line on real input, and what each says to bad input: one line, exit 2, no output."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tdmm_lm import bundle, formats
from tdmm_lm.motion import face


def tdmm(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "tdmm_lm", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=600
    )


def good(*arguments, **more):
    done = tdmm(*arguments, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sample():
    return sorted(bundle.path("assets/samples").glob("*.npz"))[0]


@pytest.fixture(scope="module")
def smile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smile")
    prompt = "a woman smiles broadly, then nods twice"
    outputs = [folder / f"x{ending}" for ending in (".npz", ".glb", ".csv")]
    good("animate", prompt, "--seconds", 4, "--seed", 1, *[word for path in outputs for word in ("-o", path)])
    return folder


def corners(path):
    """How far the mouth's corners rise over the clip, in weights."""
    weights = face.part(formats.read(path), "expression")
    up = [face.ARKIT.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
    down = [face.ARKIT.index(name) for name in ("mouthFrownLeft", "mouthFrownRight")]
    return float(weights[:, up].mean(1).max() - weights[:, down].mean(1).max())


def test_animate_keeps_length_and_seed(smile, tmp_path):
    clip = formats.read(smile / "x.npz")
    assert (clip.frames, clip.fps) == (100, 25)
    again = tmp_path / "again.npz"
    good("animate", "a woman smiles broadly, then nods twice", "--seconds", 4, "--seed", 1, "-o", again)
    assert again.read_bytes() == (smile / "x.npz").read_bytes()
    assert formats.read(smile / "x.csv").frames == 100


def test_smiles_and_frowns_turn_the_mouth_opposite_ways(smile, tmp_path):
    frown = tmp_path / "frown.npz"
    good("animate", "a woman frowns broadly, then nods twice", "--seconds", 4, "--seed", 1, "-o", frown)
    assert corners(smile / "x.npz") > 0.2
    assert corners(frown) < -0.2


def test_without_seconds_the_model_chooses_a_length(tmp_path):
    good("animate", "a man looks surprised", "--seed", 2, "-o", tmp_path / "x.npz")
    assert 25 <= formats.read(tmp_path / "x.npz").frames <= 250


def test_a_score_is_performed_as_written(tmp_path):
    score = tmp_path / "score.yaml"
    score.write_text(
        "seconds: 3\nexpressions: [{word: smile, intensity: 0.9}]\nhead: [{gesture: nod, count: 2, onset: 1.2}]\n"
    )
    good("animate", score, "-o", tmp_path / "x.npz")
    seen = json.loads(good("observe", tmp_path / "x.npz"))
    assert (seen["family"], seen["gesture"], seen["count"]) == ("joy", "nod", 2)


def test_describe_says_words_and_json_adds_what_was_observed(sample):
    text = good("describe", sample).strip()
    both = json.loads(good("describe", sample, "--json"))
    assert both["text"] == text
    assert len(text.split()) > 3
    assert both["observed"]["seconds"] == pytest.approx(formats.read(sample).seconds, abs=1e-3)
    assert good("describe", sample, "-q", "How many times does the person blink?").strip()


def test_tokens_go_out_and_come_back(sample, tmp_path):
    good("tokenize", sample, "-o", tmp_path / "codes.json")
    good("detokenize", tmp_path / "codes.json", "-o", tmp_path / "back.npz")
    assert formats.read(tmp_path / "back.npz").frames == round(formats.read(sample).seconds * 25)
    about = json.loads((tmp_path / "codes.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**about, "codec_sha256": "0" * 64}))
    refused = tdmm("detokenize", tmp_path / "other.json", "-o", tmp_path / "no.npz")
    assert (refused.returncode, (tmp_path / "no.npz").exists()) == (2, False)
    assert "tokenize again" in refused.stderr


def test_convert_to_another_rig_tells_the_residual(smile, tmp_path):
    if bundle.data() is None:
        pytest.skip("needs scanned_head/ of the real data: set $TDMM_DATA to their folder")
    said = good("convert", smile / "x.npz", tmp_path / "x.csv", "--rig", "ict")
    assert "residual" in said
    assert "mm" in said
    on_head, on_ict = (json.loads(good("observe", *given)) for given in (
        (smile / "x.npz",), (tmp_path / "x.csv", "--from", "ict"),  # a CSV does not say whose it is
    ))
    assert (on_ict["family"], on_ict["gesture"], on_ict["count"]) == tuple(
        on_head[key] for key in ("family", "gesture", "count")
    )


def test_render_makes_a_film_with_sound(smile, tmp_path):
    import av

    sound = tmp_path / "tone.wav"
    import soundfile

    soundfile.write(sound, 0.1 * np.sin(np.arange(64000) * 0.05), 16000)
    good("render", smile / "x.npz", "-o", tmp_path / "x.mp4", "--audio", sound, "--size", 128)
    with av.open(str(tmp_path / "x.mp4")) as film:
        assert film.streams.video[0].frames == 100
        assert film.streams.audio


def test_capture_reads_a_real_talker(tmp_path):
    if bundle.data() is None:
        pytest.skip("needs grid_s1/ and face_landmarker/ of the real data: set $TDMM_DATA to their folder")
    video = sorted((bundle.data() / "grid_s1" / "video").glob("*.mpg"))[0]
    said = good("capture", video, "-o", tmp_path / "x.npz")
    assert said == f"75 frames at 25 Hz -> {tmp_path / 'x.npz'}\n"  # the bar is none of stdout's
    assert formats.read(tmp_path / "x.npz").frames == 75
    assert good("describe", video).strip()
    assert json.loads(good("observe", video))["speech_share"] > 0.1


def test_bench_and_doctor_report(tmp_path):
    assert "torch" in good("doctor")
    refused = tdmm("bench", "nothing")
    assert refused.returncode == 2
    assert "expected one of" in refused.stderr


BAD = {
    "an unknown ending": ("animate", "she smiles", "-o", "x.fbx"),
    "an empty prompt": ("animate", "   ", "-o", "x.npz"),
    "a prompt too long": ("animate", "smile " * 1000, "-o", "x.npz"),
    "no seconds": ("animate", "she smiles", "--seconds", "0", "-o", "x.npz"),
    "negative seconds": ("animate", "she smiles", "--seconds", "-3", "-o", "x.npz"),
    "too many seconds": ("animate", "she smiles", "--seconds", "1000", "-o", "x.npz"),
    "seconds for a score": ("animate", "ok.yaml", "--seconds", "2", "-o", "x.npz"),
    "an unknown rig": ("animate", "she smiles", "--rig", "shrek", "-o", "x.npz"),
    "an unknown modality": ("animate", "she smiles", "--modality", "tail", "-o", "x.npz"),
    "a missing file": ("describe", "none.npz"),
    "an empty file": ("describe", "empty.npz"),
    "text as video": ("capture", "text.mp4", "-o", "x.npz"),
    "a torn archive": ("convert", "torn.npz", "x.csv"),
    "codes that are none": ("detokenize", "text.json", "-o", "x.npz"),
    "an unknown renderer": ("render", "ok.npz", "-o", "x.mp4", "--renderer", "crayon"),
    "an odd size": ("render", "ok.npz", "-o", "x.mp4", "--size", "33"),
    "a recipe without step": ("train", "empty.yaml", "-o", "x"),
    "a recipe with an unknown key": ("train", "extra.yaml", "-o", "x"),
    "a missing recipe": ("train", "none.yaml"),
    "a model folder that is none": ("describe", "ok.npz", "--lm", "nowhere"),
    "motion of no known rig": ("observe", "ok.npz", "--from", "nowhere"),
    "numbers of no known kind": ("export", ".", "out", "--dtype", "int3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_exit_2_and_no_output(case, tmp_path, sample):
    (tmp_path / "ok.npz").write_bytes(sample.read_bytes())
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "torn.npz").write_bytes(sample.read_bytes()[:-200])
    (tmp_path / "text.mp4").write_text("this is no film")
    (tmp_path / "text.json").write_text("{}")
    (tmp_path / "ok.yaml").write_text("seconds: 4\n")
    (tmp_path / "empty.yaml").write_text("seed: 1\n")
    (tmp_path / "extra.yaml").write_text("step: codec\nwidht: 3\n")
    before = sorted(tmp_path.iterdir())
    done = tdmm(*BAD[case], cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert sorted(tmp_path.iterdir()) == before


def test_every_verb_has_help_with_an_example():
    listed = good("--help")
    for verb in (
        "demo",
        "describe",
        "animate",
        "convert",
        "tokenize",
        "detokenize",
        "observe",
        "capture",
        "render",
        "train",
        "extend",
        "export",
        "import",
        "serve",
        "bench",
        "doctor",
    ):
        assert verb in listed
        assert "Example" in good(verb, "--help")
