"""A few steps of codec training: what it leaves, that it learns, that a cut run goes on as if it had not been."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tdmm_lm import bundle, codec, config
from tdmm_lm.train import codec as training

TINY = {
    "model": {
        "groups": {"displacement": [624, 20], "head": [6, 6], "gaze": [4, 4]}, "codebook_size": 32, "width": 16,
        "dilations": [1, 2], "code_dim": 30,
    },
    "performances": 12, "sources": {}, "rigs": {"head": 1.0}, "window": 24, "batch": 8, "steps": 6, "warmup": 2,
    "losses": {"displacement": 1.0, "head": 1.0, "gaze": 0.5, "velocity": 1.0, "commitment": 10.0},
    "log_every": 2, "test_performances": 2,
}


def settings(**changes: object) -> training.Settings:
    return config.check(training.Settings, {**TINY, **changes}, "test")


def test_a_run(tmp_path) -> None:
    training.main(settings(), tmp_path)
    model = codec.load(tmp_path / "codec")
    assert model.codebook_size == 32
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert set(TINY["losses"]) < set(lines[0])  # a loss's weight and its curve have one name
    report = json.loads((tmp_path / "codec" / "report.json").read_text())
    assert report["settings"]["steps"] == 6
    keys = {"performances_lips_mm", "performances_lips_mm_mean_frame", "kept_gesture", "codes_used"}
    assert keys < set(report["figures"])
    assert report["figures"]["performances_head_deg"]["peer"] == "k-means 32, frame by frame"
    assert (tmp_path / "codec" / "report.md").read_text().startswith("# face codec")
    assert json.loads((tmp_path / "settings.json").read_text())["batch"] == 8


class Cut(Exception):
    """Someone ended the run."""


def test_a_cut_run_goes_on_the_same(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    training.main(settings(), tmp_path / "whole")

    saved = training._save

    def cut(path, model, average, optimizer, step, seconds):
        saved(path, model, average, optimizer, step, seconds)
        if step == 3:
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
    assert codec.weights_sha256(tmp_path / "whole" / "codec") == codec.weights_sha256(tmp_path / "cut" / "codec")


def test_posed_faces_are_for_the_encoder_alone(tmp_path) -> None:
    training.main(settings(), tmp_path / "before")
    training.main(settings(posed_steps=3, posed=8), tmp_path / "after")
    before, after = (load_file(tmp_path / name / "codec" / "model.safetensors") for name in ("before", "after"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"encoder"}


def test_it_learns(tmp_path) -> None:
    """Three performances by heart: every loss of motion falls by a third at least."""
    losses = {**TINY["losses"], "velocity": 2.0, "commitment": 30.0}
    run = settings(
        performances=3, batch=16, steps=150, log_every=30, warmup=10, learning_rate=5e-3, losses=losses,
        model={**TINY["model"], "width": 32},
    )
    training.main(run, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name in ("displacement", "head", "velocity"):
        assert lines[-1][name] < 0.67 * lines[0][name], name


def test_settings_are_checked(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="test: depth: unknown key"):
        settings(depth=3)
    with pytest.raises(ValueError, match="losses: expected weights of displacement, head, gaze, velocity, commitment"):
        training.main(settings(losses={"head": 1.0}), tmp_path)
    monkeypatch.delenv("TDMM_DATA", raising=False)
    with pytest.raises(ValueError, match=r"sources: expected \$TDMM_DATA to name the folder of real data"):
        training.main(settings(sources={"grid": 0.5}), tmp_path)
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="rigs: expected at least one of ict on this machine"):
        training.main(settings(rigs={"ict": 1.0}), tmp_path)
    with pytest.raises(ValueError, match=r"rigs: expected one of .*, got 'nobody'"):
        training.main(settings(rigs={"nobody": 1.0}), tmp_path)


def test_the_recipe() -> None:
    data = config.read(bundle.path("tokenizers/face.yaml"))
    assert data.pop("step") == "codec"
    recipe = config.check(training.Settings, data, "face.yaml")
    model = config.find("codec", recipe.codec).build(recipe.model)
    assert (model.features, model.codebook_size, model.books, model.code_fps) == (634, 512, 1, 25.0)
    assert sum(p.numel() for p in model.parameters()) <= 1_000_000
