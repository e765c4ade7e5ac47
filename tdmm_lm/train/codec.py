"""Train a codec on performances made by code and on recordings: ``tdmm train tokenizers/face.yaml -o runs/face``.

A straight line: examples, the linear map fitted to them, windows, losses, steps. A checkpoint every few minutes;
started again in the same folder it goes on and ends with the same weights. The released folder is ``OUT/codec``.
"""

import copy
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdmm_lm import bundle, codec, config, landmarks, report, rigs
from tdmm_lm.corpus import prompts, recordings
from tdmm_lm.corpus.perform import limit, perform, smoothstep
from tdmm_lm.eval import codec as evaluation
from tdmm_lm.files import replacing
from tdmm_lm.geometry import solve
from tdmm_lm.geometry.measure import features, measure
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.progress import track

ONE_WAY = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")  # of these a face can show one at a time


class Metric(config.Settings):
    """What an error weighs, in millimetres of a landmark, all of them moving. Decides what the codes hold."""

    regions: dict[str, float] = Field(default={"lips": 1.5, "lids": 1.5})  # of landmarks, others 1
    shape: float = 3.0  # a whole unit of error in one ARKit weight
    head: float = 0.45  # a degree of the head's rotation
    gaze: float = 0.06  # a degree of an eye's


class Settings(config.Settings):
    """A run. ``model`` is the section of the quantizer named by ``codec`` (its ``ModelSettings``)."""

    codec: str = "vq"
    model: dict[str, Any]
    metric: Metric = Metric()
    performances: int = Field(3000, ge=1)
    sources: dict[str, float] = Field(default={"grid": 0.2, "facegood": 0.08})  # recordings: their shares of a batch
    rigs: dict[str, float] = Field(default={"head": 0.6, "ict": 0.4})  # heads to measure on; missing ones are left out
    window: int = Field(48, ge=2)  # frames of an example
    batch: int = Field(32, ge=1)  # examples a step
    steps: int = Field(4000, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0)  # steps
    clip_gradient: float = Field(1.0, gt=0)
    average: float = Field(0.998, ge=0, lt=1)  # moving average of the weights that is released
    losses: dict[str, float]  # what each weighs: the model's groups, velocity, commitment
    posed_steps: int = Field(0, ge=0)  # at the end, for the encoder alone: faces that nobody performed (`_learn_posed`)
    posed: int = Field(1500, ge=1)  # how many of them there are
    save_minutes: float = Field(10, ge=0)
    log_every: int = Field(50, ge=1)  # steps
    test_performances: int = Field(300, ge=1)
    seed: int = 0


def main(settings: Settings, output: Path) -> None:
    """Train, and leave in ``output`` the codec's folder with its report, the log, the settings and a checkpoint."""
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / "settings.json") as path:
        path.write_text(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
    checkpoint = output / "checkpoint.safetensors"
    kept = load_file(checkpoint) if checkpoint.is_file() else {}
    clock = _Clock(kept.get("seconds", torch.zeros(2)))
    torch.manual_seed(settings.seed)
    heads = _heads(settings.rigs)
    module = config.find("codec", settings.codec)
    model = module.build(settings.model)
    named = (*model.parts(), "velocity", "commitment")
    if set(settings.losses) != set(named):
        raise ValueError(f"losses: expected weights of {', '.join(named)}; got {', '.join(settings.losses)}.")

    # Examples: the linear map is fitted to a mixture of a part of them, then all are kept as components only.
    clips = {name: list(made) for name, made in _clips(settings, "train").items()}
    shares = {**settings.sources, "performances": 1 - sum(settings.sources.values())}
    rng = np.random.default_rng(settings.seed)
    some = [clip for name, made in clips.items() for clip in _some(made, round(500 * shares[name]), rng)]
    first_head = next(iter(heads.values()))
    if kept:  # with the linear map of then, whatever has become of the examples
        model.load_state_dict({key[6:]: value for key, value in kept.items() if key.startswith("model.")})
    else:
        held = model.fit(torch.cat(list(_rows(some, heads, settings))), metrics(settings.metric, first_head))
        print("variance held by the components: " + ", ".join(f"{name} {share:.4f}" for name, share in held.items()))
    examples = {
        name: [model.project(row) for row in _rows(track(made, name), heads, settings) if len(row) >= settings.window]
        for name, made in clips.items()
    }
    if not kept:
        model.start(_batch(examples, shares, settings, -1, windows=8000 // settings.window))

    average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    first = _resume(kept, model, average, optimizer)
    model.train()
    saved, sums = time.monotonic(), dict.fromkeys(settings.losses, 0.0)
    log = (output / "log.jsonl").open("a")
    for step in track(range(first, settings.steps), "training"):
        torch.manual_seed(settings.seed * 1_000_003 + step)  # chance depends on the step alone, so that a run can go on
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings)
        z = _batch(examples, shares, settings, step, windows=settings.batch)
        y, codes, commitment = model(z)
        losses = _losses(model, y - z, settings) | {"commitment": commitment}
        loss = sum(settings.losses[name] * value for name, value in losses.items())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_gradient)
        optimizer.step()
        keep = min(settings.average, (step + 1) / (step + 10))
        for name, parameter in model.named_parameters():
            average[name].lerp_(parameter.detach(), 1 - keep)

        sums = {name: total + float(losses[name].detach()) for name, total in sums.items()}
        if (step + 1) % settings.log_every == 0:
            means = {name: round(total / settings.log_every, 5) for name, total in sums.items()}
            log.write(json.dumps({"step": step + 1, **means, "codes": len(codes.unique())}) + "\n")
            log.flush()
            sums = dict.fromkeys(sums, 0.0)
        if time.monotonic() - saved >= 60 * settings.save_minutes or step + 1 == settings.steps:
            _save(checkpoint, model, average, optimizer, step + 1, clock.seconds())
            saved = time.monotonic()
    log.close()

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(average[name])
    model.eval()
    if settings.posed_steps:
        _learn_posed(model, examples, shares, heads, settings)
    tested = {name: list(made) for name, made in _clips(settings, "test").items()}
    tests = {name: list(_rows(made, {first_head.name: first_head}, settings)) for name, made in tested.items()}
    seen = _batch(examples, shares, settings, -2, windows=24_000 // settings.window).flatten(0, 1)
    figures = evaluation.reconstruction(model, tests, evaluation.kmeans(seen, model.codebook_size))
    figures |= evaluation.kept(model, tested["performances"], first_head)
    taken, worked = (clock.seconds() / 60).tolist()
    figures["minutes"] = report.figure(taken, "minutes", n=settings.steps + settings.posed_steps)
    figures["processor_minutes"] = report.figure(worked, "minutes of one core", n=settings.steps + settings.posed_steps)
    figures["parameters"] = report.figure(sum(p.numel() for p in model.parameters()), "numbers")
    licences = sorted({sample.licence for found in _sources(settings, "test").values() for sample in found})
    with replacing(output / "codec") as folder:
        codec.save(model, folder)
        used = {**settings.model_dump(mode="json"), "data": ["performances made by tdmm_lm.corpus", *licences]}
        report.write(report.report("face codec", settings=used, figures=figures), folder)


class _Clock:
    """Seconds of this run and of those that it goes on from: passed, and of one core's work."""

    def __init__(self, before: Float[Tensor, "2"]) -> None:
        self.before = before.double() - torch.tensor([time.monotonic(), time.process_time()]).double()

    def seconds(self) -> Float[Tensor, "2"]:
        return self.before + torch.tensor([time.monotonic(), time.process_time()]).double()


def _learn_posed(
    model: Any, examples: dict[str, list[Tensor]], shares: dict[str, float], heads: dict[str, rigs.Rig],
    settings: Settings,
) -> None:
    """Teach the encoder what it never saw: any shapes together, as an animator poses them, without a person's noise.

    Codes and decoder are held, so codes keep their meaning; on the examples of before it learns on, held to the
    codes that it gave them.
    """
    made = _rows((_posed(settings.seed * 1_000_003 + i) for i in range(settings.posed)), heads, settings)
    posed = {"posed": [model.project(row) for row in track(made, "posed", settings.posed)]}
    codebook, before = model.codebook()[0].detach(), copy.deepcopy(model.encoder)
    optimizer = torch.optim.AdamW(model.encoder.parameters(), lr=settings.learning_rate / 4, weight_decay=1e-4)
    model.decoder.requires_grad_(False)
    half = settings.batch // 2
    for step in track(range(settings.posed_steps), "posed faces"):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate / 4 * (1.01 - step / settings.posed_steps)
        seen = _batch(examples, shares, settings, settings.steps + step, windows=half)
        new = _batch(posed, {"posed": 1.0}, settings, settings.steps + step, windows=settings.batch - half)
        with torch.no_grad():
            wanted = codebook[torch.cdist(before(seen), codebook).argmin(-1)]
        coded = model.encoder(torch.cat([seen, new]))
        nearest = codebook[torch.cdist(coded.detach(), codebook).argmin(-1)]
        again = model.decoder(coded + (nearest - coded).detach())
        losses = _losses(model, again - torch.cat([seen, new]), settings)
        losses["commitment"] = 2 * (coded - torch.cat([wanted, nearest[half:]])).square().mean()
        loss = torch.stack([settings.losses[name] * value for name, value in losses.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.encoder.parameters(), settings.clip_gradient)
        optimizer.step()
    model.decoder.requires_grad_(True)


def _posed(seed: int, seconds: float = 3.0) -> MotionClip:
    """One to four shapes, both sides mostly alike, come and go on a head that turns; half have a person's noise."""
    rng = np.random.default_rng([seed, 4])
    t = np.arange(round(seconds * face.CODE_FPS)) / face.CODE_FPS
    weights = np.zeros((len(t), len(face.ARKIT)))
    if rng.random() < 0.5:
        weights += rng.uniform(0, 0.03, len(face.ARKIT))
    for name in rng.choice(face.ARKIT, int(rng.integers(1, 5)), replace=False):
        onset, attack, release = rng.uniform(-0.3, 1.0), rng.uniform(0.12, 0.8), rng.uniform(0.12, 0.8)
        offset = onset + attack + rng.uniform(0.2, 2.5)
        curve = rng.uniform(0.15, 1.0) * smoothstep((t - onset) / attack) * (1 - smoothstep((t - offset) / release))
        other = name.replace("Left", "?").replace("Right", "Left").replace("?", "Right")
        both = other in face.ARKIT and name not in ONE_WAY and rng.random() < 0.75
        for one in (name, other) if both else (name,):
            weights[:, face.ARKIT.index(one)] = np.maximum(weights[:, face.ARKIT.index(one)], curve)
    turn = np.radians(rng.normal(0, 5, 3)) * (rng.random() < 0.5) * np.ones((len(t), 1))
    if rng.random() < 0.5:
        turn = turn + np.radians(rng.normal(0, 8, 3)) * np.sin(2 * np.pi * rng.uniform(0.2, 1.8) * t)[:, None]
    return face.assemble({"expression": limit(weights), "head": turn}, fps=face.CODE_FPS, rig="head")


def metrics(metric: Metric, rig: rigs.Rig) -> dict[str, Float[Tensor, "rows group"]]:
    """For each of the face's groups the matrix whose product with an error is what the error weighs (mm)."""
    weights = np.full(len(landmarks.NAMES), evaluation.EYES_APART_MM / math.sqrt(len(landmarks.NAMES)))
    for name, weight in metric.regions.items():
        weights[list(landmarks.region(name))] *= weight
    # Shapes that move little skin say as much as those that move much: errors of weights count beside those of places.
    basis = torch.from_numpy(solve.basis(rig)).flatten(0, 1)  # (3 landmarks, expressions)
    trust = torch.from_numpy(solve.landmark_weights()).repeat_interleave(3)[:, None]
    weighted = basis * trust
    gram = weighted.mT @ weighted + 1e-4 * torch.eye(basis.shape[1]).double()
    inverse = torch.linalg.solve(gram, (weighted * trust).mT)
    places = torch.diag(torch.from_numpy(weights).repeat_interleave(3))
    return {
        "displacement": torch.cat([places, metric.shape * inverse]),
        "head": torch.eye(6) * math.degrees(metric.head) / math.sqrt(2),  # a small turn moves 6D by up to sqrt 2 of it
        "gaze": torch.eye(4) * math.degrees(metric.gaze),
    }


def _losses(model: Any, error: Float[Tensor, "b t components"], settings: Settings) -> dict[str, Tensor]:
    """Mean distance of each group, not squared, so that quiet frames count; ``velocity``: of differences in time."""
    losses: dict[str, Tensor] = {"velocity": error.new_zeros(())}
    for name, (_, part) in model.parts().items():
        distance = error[..., part]
        losses[name] = (distance.square().sum(-1) + 1e-3).sqrt().mean()
        step = distance[:, 1:] - distance[:, :-1]
        losses["velocity"] = losses["velocity"] + settings.losses[name] * (step.square().sum(-1) + 1e-3).sqrt().mean()
    return losses


def _schedule(step: int, settings: Settings) -> float:
    """Share of the learning rate: up in ``warmup`` steps, then half a cosine down to a fiftieth."""
    return min(1.0, (step + 1) / max(1, settings.warmup)) * (0.51 + 0.49 * math.cos(math.pi * step / settings.steps))


def _heads(shares: dict[str, float]) -> dict[str, rigs.Rig]:
    """The rigs that are on this machine."""
    heads = {}
    for name in shares:
        try:
            heads[name] = rigs.load(name)
        except FileNotFoundError as error:
            print(f"left out: {error}")
    if not heads:
        raise ValueError(f"rigs: expected at least one of {', '.join(shares)} on this machine, found none.")
    return heads


def _sources(settings: Settings, split: str) -> dict[str, Iterator[Any]]:
    data = bundle.data()
    if settings.sources and data is None:
        raise ValueError("sources: expected $TDMM_DATA to name the folder of real data; or train with sources={}.")
    for name in settings.sources:
        if name not in recordings.SOURCES:
            raise ValueError(f"sources: expected names among {', '.join(recordings.SOURCES)}, got {name!r}.")
    return {
        name: (sample for sample in recordings.SOURCES[name](data) if sample.split == split)
        for name in settings.sources if data is not None
    }


def _clips(settings: Settings, split: str) -> dict[str, Iterator[MotionClip]]:
    """Clips a source, performances last."""
    count = settings.performances if split == "train" else settings.test_performances
    made = (perform(prompts.sample(settings.seed * 1_000_003 + i, split=split)) for i in range(count))
    recorded = {name: (sample.clips["face"] for sample in found) for name, found in _sources(settings, split).items()}
    return {**recorded, "performances": made}


def _some(clips: list[MotionClip], count: int, rng: np.random.Generator) -> list[MotionClip]:
    return [clips[i] for i in rng.permutation(len(clips))[:max(1, count)]]


def _rows(clips: Any, heads: dict[str, rigs.Rig], settings: Settings) -> Iterator[Float[Tensor, "frames features"]]:
    """The features of clips, each measured on one of the heads: all of them drive the same ARKit shapes."""
    chances = np.array([settings.rigs[name] for name in heads])
    rng = np.random.default_rng(settings.seed)
    for clip in clips:
        rig = heads[str(rng.choice(list(heads), p=chances / chances.sum()))]
        yield torch.from_numpy(features(measure(face.resample(clip, face.CODE_FPS), rig)))


def _batch(
    examples: dict[str, list[Tensor]], shares: dict[str, float], settings: Settings, step: int, *, windows: int
) -> Float[Tensor, "windows t components"]:
    """Windows drawn at the sources' shares; the same for the same step."""
    rng = np.random.default_rng([settings.seed, step + 2])
    names = list(examples)
    chances = np.array([shares[name] for name in names])
    chosen = []
    for name in rng.choice(names, windows, p=chances / chances.sum()):
        clip = examples[name][rng.integers(len(examples[name]))]
        start = int(rng.integers(len(clip) - settings.window + 1))
        chosen.append(clip[start : start + settings.window])
    return torch.stack(chosen)


def _save(
    path: Path, model: Any, average: dict[str, Tensor], optimizer: torch.optim.AdamW, step: int,
    seconds: Float[Tensor, "2"],
) -> None:
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    tensors |= {"step": torch.tensor(step), "seconds": seconds}
    with replacing(path) as beside:
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, beside)


def _resume(tensors: dict[str, Tensor], model: Any, average: dict[str, Tensor], optimizer: torch.optim.AdamW) -> int:
    """Averages and optimizer as they were at a checkpoint, if there is one; the step to go on with."""
    if not tensors:
        return 0
    for name, parameter in model.named_parameters():
        average[name].copy_(tensors[f"average.{name}"])
        kept = {key: tensors.get(f"optimizer.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if all(value is not None for value in kept.values()):  # a weight without a gradient so far has none
            optimizer.state[parameter] = kept
    return int(tensors["step"])
