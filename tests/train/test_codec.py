"""A few steps of codec training: what it leaves, that it learns, that a cut run goes on as if it had not been."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tdmm_lm import bundle, codec, config, material
from tdmm_lm.train import codec as training

TINY = {
    "model": {
        "groups": {"displacement": [624, 20], "head": [6, 6], "gaze": [4, 4]}, "codebook_size": 32, "width": 16,
        "dilations": [1, 2], "code_dim": 30,
    },
    "data": {"shares": {"performances": 1.0}, "performances": 12, "rigs": {"head": 1.0}, "test_performances": 2},
    "window": 24, "batch": 8, "steps": 6, "warmup": 2,
    "losses": {
        "reconstruction": 1.0, "velocity": 1.0, "lips": 0.5, "head": 1.0, "gaze": 0.5, "commitment": 10.0,
    },
    "log_every": 2, "test_every": 3,
}


def settings(**changes: object) -> training.Settings:
    return config.check(training.Settings, {**TINY, **changes}, "test")


def test_a_run(tmp_path) -> None:
    training.main(settings(), tmp_path)
    model = codec.load(tmp_path / "codec")
    assert model.codebook_size == 32
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "velocity" in line] == [2, 4, 6]
    assert [line["step"] for line in lines if "held_out" in line] == [3, 6]
    assert set(TINY["losses"]) < set(lines[0])  # a loss's weight and its curve have one name
    report = json.loads((tmp_path / "codec" / "report.json").read_text())
    assert report["settings"]["steps"] == 6
    keys = {"performed_lip_error_mm", "mean_frame_performed_lip_error_mm", "kept_gesture", "codes_used", "blink_f1"}
    assert keys < set(report["figures"])
    assert report["figures"]["performed_head_error_deg"]["peer"] == "k-means 32, frame by frame"
    text = (tmp_path / "codec" / "report.md").read_text()
    assert text.startswith("# face codec")
    assert "| k-means 32, frame by frame |" in text
    assert "| mean frame |" in text
    assert (tmp_path / "codec" / "reconstruction.png").stat().st_size > 5000
    assert json.loads((tmp_path / "settings.json").read_text())["batch"] == 8


def test_curves_for_tensorboard(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    training.main(settings(), tmp_path)
    curves = EventAccumulator(str(tmp_path / "curves"))
    curves.Reload()
    assert {*TINY["losses"], "held_out", "codes"} == set(curves.Tags()["scalars"])
    assert [event.step for event in curves.Scalars("velocity")] == [2, 4, 6]


def lines_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def alike(one: Path, other: Path) -> None:
    """The same curve within 1e-6 and the same codec."""
    for here, there in zip(lines_of(one), lines_of(other), strict=True):
        assert here.keys() == there.keys()
        assert all(abs(here[key] - there[key]) <= 1e-6 for key in here), (here, there)
    assert codec.weights_sha256(one / "codec") == codec.weights_sha256(other / "codec")


class Cut(Exception):
    """Someone ended the run."""


def test_a_cut_run_goes_on_the_same(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    training.main(settings(), tmp_path / "whole")

    saved = training._save

    def cut(path, model, average, optimizer, state, clock):
        saved(path, model, average, optimizer, state, clock)
        if state.step == 3:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(training, "_save", cut)
        with pytest.raises(Cut):
            training.main(settings(save_minutes=0), tmp_path / "cut")
    assert int(load_file(tmp_path / "cut" / "checkpoint.safetensors")["step"]) == 3
    training.main(settings(), tmp_path / "cut")

    one, other = (load_file(tmp_path / name / "codec" / "model.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    for name in one:
        assert torch.allclose(one[name].float(), other[name].float(), atol=1e-6), name
    alike(tmp_path / "whole", tmp_path / "cut")


def recipe(folder: Path, **changes: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"step": "codec", **TINY, **changes}))
    return path


def test_killed_and_started_again(tmp_path) -> None:
    """A process that is killed outright, wherever it is, loses what came after its last checkpoint and nothing else."""
    path = recipe(tmp_path, steps=40, save_minutes=0, log_every=4, test_every=10)
    command = [sys.executable, "-m", "tdmm_lm", "train", str(path), "-o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    run = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment, stderr=subprocess.DEVNULL)
    log, deadline = tmp_path / "killed" / "log.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and (not log.is_file() or len(log.read_text().splitlines()) < 3):
        time.sleep(0.05)
    run.kill()  # SIGKILL
    assert run.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "codec").exists()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, env=environment, capture_output=True)
    alike(tmp_path / "whole", tmp_path / "killed")


def test_two_processes(tmp_path) -> None:
    """Two processes on the CPU, each with its own batch, end with one codec."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    run = subprocess.run(
        [*launch, "-m", "tdmm_lm", "train", str(recipe(tmp_path)), "-o", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    training.main(settings(), tmp_path / "one")
    assert codec.load(tmp_path / "two" / "codec").codebook_size == 32
    assert [line["step"] for line in lines_of(tmp_path / "two") if "velocity" in line] == [2, 4, 6]
    assert codec.weights_sha256(tmp_path / "two" / "codec") != codec.weights_sha256(tmp_path / "one" / "codec")


def test_it_learns(tmp_path) -> None:
    """Three performances by heart: every loss of motion falls by a third at least."""
    losses = {**TINY["losses"], "velocity": 2.0, "commitment": 30.0}
    run = settings(
        data={**TINY["data"], "performances": 3}, batch=16, steps=150, log_every=30, test_every=150, warmup=10,
        learning_rate=5e-3, losses=losses, model={**TINY["model"], "width": 32},
    )
    training.main(run, tmp_path)
    lines = [line for line in lines_of(tmp_path) if "velocity" in line]
    for name in ("reconstruction", "lips", "head", "velocity"):
        assert lines[-1][name] < 0.67 * lines[0][name], name


def test_the_best_weights_are_released(tmp_path) -> None:
    """A run that gets worse ends after `patience` tests and releases what was best."""
    training.main(settings(steps=3), tmp_path / "good")
    run = settings(steps=60, learning_rate=0.5, warmup=0, clip_gradient=1e6, patience=2)
    training.main(run, tmp_path / "worse")
    tests = [line for line in lines_of(tmp_path / "worse") if "held_out" in line]
    away = [line["held_out"] for line in tests]
    assert tests[-1]["step"] < 60
    assert len(away) == away.index(min(away)) + 1 + 2


def test_bodies(tmp_path) -> None:
    if bundle.data() is None:
        pytest.skip("needs cmu_mocap/ of the real data: set $TDMM_DATA to their folder")
    run = settings(
        material="body", data={"shares": {"cmu": 1.0}, "warps": [1.0], "exchanged": 1}, steps=4,
        model={"groups": {"motion": [263, 20]}, "fps": 20, "strides": [2, 2], "codebook_size": 32, "width": 16,
               "dilations": [1], "code_dim": 16},
        losses={"reconstruction": 1.0, "velocity": 0.5, "joints": 0.01, "contacts": 0.1, "foot_velocity": 0.01,
                "heading": 0.1, "commitment": 1.0},
    )
    training.main(run, tmp_path)
    model = codec.load(tmp_path / "codec")
    assert (model.settings.modality, model.code_fps) == ("body", 5)
    figures = json.loads((tmp_path / "codec" / "report.json").read_text())["figures"]
    assert {"mpjpe_mm_05", "mpjpe_mm_08", "kmeans_mpjpe_mm_08", "foot_skate_delta", "by_action_dance"} < set(figures)
    assert 0 < figures["bvh_roundtrip_mm"]["value"] < 1
    assert figures["mpjpe_mm_08"]["n"] > 500


def test_settings_are_checked(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="test: depth: unknown key"):
        settings(depth=3)
    with pytest.raises(ValueError, match="losses: expected reconstruction and any of velocity, lips, lids, brows, jaw"):
        training.main(settings(losses={"head": 1.0}), tmp_path)
    monkeypatch.delenv("TDMM_DATA", raising=False)
    output = tmp_path / "nothing"

    def said(**changes: object) -> str:
        with pytest.raises(ValueError, match="expected") as error:
            training.main(settings(**changes), output)
        assert not output.exists()
        return str(error.value)

    def data(**changes: object) -> dict[str, object]:
        return {**TINY["data"], **changes}

    needs = "expected $TDMM_DATA to name the folder of real data; set it, or leave the source out."
    assert said(data=data(shares={"grid": 0.5})) == f"data.shares: grid: {needs}"
    bodies = {"material": "body", "losses": {"reconstruction": 1.0}, "model": {"strides": [2]}}
    assert said(**bodies, data={"shares": {"cmu": 1.0}}) == f"data.shares: cmu: {needs}"
    assert "data.shares: expected one of grid, facegood" in said(data=data(shares={"nobody": 1.0}))
    assert "data.shares.posed: expected a number above 0, got 0" in said(data=data(shares={"posed": 0.0}))
    assert "emphasis.performances: expected factors above 0 of any of displacement, head, gaze, got {'hands': 2.0}" in (
        said(emphasis={"performances": {"hands": 2.0}})
    )
    assert "emphasis: expected any of performances, got grid" in said(emphasis={"grid": {"head": 2.0}})
    assert "window: expected whole code frames of 5, got 24" in said(model={**TINY["model"], "strides": [5]})
    assert "material: expected one of body, coefficients, face, got 'hands'" in said(material="hands")
    assert "expected clips of 5000 frames or more of performances" in said(window=5000)
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path))
    assert "rigs: expected at least one of ict on this machine" in said(data=data(rigs={"ict": 1.0}))
    assert re.search(r"rigs: expected one of .*, got 'nobody'", said(data=data(rigs={"nobody": 1.0})))


def test_going_on_from_a_codec(tmp_path) -> None:
    """It starts where the other ended, in the same linear map."""
    training.main(settings(steps=30, test_every=30), tmp_path / "one")
    going_on = settings(start=tmp_path / "one" / "codec", steps=1, test_every=1, learning_rate=1e-9)
    training.main(going_on, tmp_path / "two")
    one, two = (codec.load(tmp_path / name / "codec") for name in ("one", "two"))
    assert torch.equal(one.synthesis, two.synthesis)
    assert not torch.equal(one.codebook(), two.codebook())
    ended, gone_on = (lines_of(tmp_path / name)[-1]["held_out"] for name in ("one", "two"))
    assert gone_on == pytest.approx(ended, rel=0.02)  # the codebook learns a step, nothing else does
    shutil.rmtree(tmp_path / "one")  # a run that goes on from its own checkpoint does not need it any more
    training.main(going_on, tmp_path / "two")
    model = {**TINY["model"], "width": 8}
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    with pytest.raises(ValueError, match=r"start: expected a codec with the model .* has other width; copy them"):
        training.main(settings(start=tmp_path / "one" / "codec", model=model), tmp_path / "three")
    with pytest.raises(FileNotFoundError, match=r"expected a codec's folder with config\.json"):
        training.main(settings(start=tmp_path / "none"), tmp_path / "three")


def test_fewer_codes_at_the_end(tmp_path) -> None:
    training.main(settings(merged=8), tmp_path)
    model = codec.load(tmp_path / "codec")
    assert (model.codebook_size, len(model.codebook()[0])) == (24, 24)
    report = json.loads((tmp_path / "codec" / "report.json").read_text())
    assert report["figures"]["performed_head_error_deg"]["peer"] == "k-means 24, frame by frame"
    with pytest.raises(ValueError, match="merged: expected 1 to 30 of the codec's 32 codes to go, got 31"):
        training.main(settings(merged=31), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_emphasis() -> None:
    """A source's windows alone weigh more, in the group that is named."""
    error, parts = torch.ones(2, 5, 4), [slice(0, 2), slice(2, 4)]
    plain = training._distance(error, parts, torch.ones(2, 2)).item()
    weighed = training._distance(error, parts, torch.tensor([[1.0, 3.0], [1.0, 1.0]])).item()
    assert weighed == pytest.approx(1.5 * plain)


def test_emphasis_in_a_run(tmp_path) -> None:
    """The same first step, whose errors of the named source weigh more, and from there on another codec."""
    losses = []
    for name, emphasis in (("plain", {}), ("weighed", {"performances": {"head": 5.0, "gaze": 5.0}})):
        training.main(settings(emphasis=emphasis, log_every=1, steps=2), tmp_path / name)
        losses.append([line["reconstruction"] for line in lines_of(tmp_path / name) if "reconstruction" in line])
    assert losses[1][0] > 1.2 * losses[0][0]
    assert codec.weights_sha256(tmp_path / "plain" / "codec") != codec.weights_sha256(tmp_path / "weighed" / "codec")


def test_a_folder_of_ones_own(tmp_path) -> None:
    """Motion files as they are, split by a hash of their names; another modality's are refused."""
    from tdmm_lm import formats
    from tdmm_lm.corpus import perform, prompts
    from tdmm_lm.motion import body

    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for i in range(30):
        clip = perform.perform(prompts.sample(i))
        formats.write(clip, tmp_path / "mine" / ("deep" if i % 2 else ".") / f"{i}.npz")
    splits = {split: list(material.folder(tmp_path / "mine", "face", split)) for split in material.SPLITS}
    assert sum(map(len, splits.values())) == 30
    assert min(map(len, splits.values())) >= 1
    training.main(settings(data={**TINY["data"], "shares": {str(tmp_path / "mine"): 1.0}}), tmp_path / "out")
    with pytest.raises(ValueError, match="expected a body clip, got one of modality face"):
        list(material.folder(tmp_path / "mine", "body", "train"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected motion files \(.*\.bvh.*\), found none"):
        list(material.folder(tmp_path / "empty", body.__name__, "train"))


@pytest.mark.parametrize(
    ("name", "sizes"), [("face", (634, 1024, 1, 25.0)), ("body", (263, 512, 1, 5.0))]
)
def test_the_recipes(name: str, sizes: tuple[int, int, int, float]) -> None:
    data = config.read(bundle.path(f"tokenizers/{name}.yaml"))
    assert data.pop("step") == "codec"
    recipe = config.check(training.Settings, data, f"{name}.yaml")
    model = config.find("codec", recipe.codec).build({**recipe.model, **recipe.quantizer, "modality": recipe.material})
    assert (model.features, model.codebook_size, model.books, model.code_fps) == sizes
    assert sum(p.numel() for p in model.parameters()) <= 1_000_000
