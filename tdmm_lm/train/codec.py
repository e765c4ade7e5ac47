"""Train a codec: ``tdmm train tokenizers/face.yaml -o runs/face`` (or body.yaml).

A straight line: examples, the linear map fitted to them, windows, losses, steps. A checkpoint every few minutes;
started again in the same folder it goes on and ends with the same weights. The released folder is ``OUT/codec``;
curves for TensorBoard are in ``OUT/curves``. Several processes: ``accelerate launch -m tdmm_lm train RECIPE -o OUT``.
"""

import json
import math
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from tdmm_lm import codec, config, report
from tdmm_lm.eval import codec as evaluation
from tdmm_lm.files import replacing
from tdmm_lm.progress import track
from tdmm_lm.train import merging

FITTED = 500  # clips that the linear map is fitted to
STARTED = 16_000  # frames that the codebook starts among
MERGED = 1500  # clips on which codes are confused
COMPARED = 24_000  # frames that the k-means of the report is made from


class Settings(config.Settings):
    """A run. ``model`` and ``quantizer`` are what the file that ``codec`` names takes: the network and its codes;
    ``data`` is a section of the file that ``material`` names."""

    codec: str = "vq"
    material: str = "face"  # what it learns
    model: dict[str, Any]
    quantizer: dict[str, Any] = Field(default={})
    data: dict[str, Any]
    start: Path | None = None  # a codec's folder: goes on from its weights and codes, with the same ``model``
    readings: float = Field(0.7, ge=0, le=1)  # share of windows that the encoder sees as some rig reads them
    window: int = Field(48, ge=2)  # frames of an example
    batch: int = Field(32, ge=1)  # examples a step and process
    steps: int = Field(4000, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0)  # steps
    weight_decay: float = Field(1e-4, ge=0)
    clip_gradient: float = Field(1.0, gt=0)
    average: float = Field(0.998, ge=0, lt=1)  # moving average of the weights that is released
    emphasis: dict[str, dict[str, float]] = Field(default={})  # of a source: times that a group's error weighs there
    losses: dict[str, float]  # what each weighs: reconstruction, velocity, commitment and the modality's own
    merged: int = Field(0, ge=0)  # codes that become one with others at the end: those that rigs confuse most
    test_every: int = Field(500, ge=1)  # steps between tests on the development split; the best weights are released
    patience: int = Field(100, ge=1)  # so many tests without a better one end the run
    precision: Literal["no", "bf16"] = "no"  # of the networks' products while training; bf16 is twice as fast on a CPU
    save_minutes: float = Field(10, ge=0)
    log_every: int = Field(50, ge=1)  # steps
    seed: int = 0


def main(settings: Settings, output: Path) -> None:
    """Train, and leave in ``output`` the codec's folder with its report and picture, curves, settings, a checkpoint.

    Raises:
        ValueError: settings that do not fit together, or no example as long as the window.
    """
    accelerator = Accelerator(mixed_precision=settings.precision)
    first_process, device = accelerator.is_main_process, accelerator.device
    learnt = config.find("material", settings.material)
    data = config.check(learnt.Data, settings.data, "data")
    named = ("reconstruction", "velocity", *learnt.LOSSES, "commitment", "agreement")
    if not set(settings.losses) <= set(named) or "reconstruction" not in settings.losses:
        raise ValueError(f"losses: expected reconstruction and any of {', '.join(named[1:])}; got {settings.losses}.")
    torch.manual_seed(settings.seed)
    groups = settings.model.get("groups", {name: (width, width) for name, width in learnt.GROUPS.items()})
    for source, factors in settings.emphasis.items():
        if not set(factors) <= set(groups) or not all(0 < factor < math.inf for factor in factors.values()):
            raise ValueError(
                f"emphasis.{source}: expected factors above 0 of any of {', '.join(groups)}, got {factors}."
            )
    model = config.find("codec", settings.codec).build(
        {**settings.model, **settings.quantizer, "groups": groups, "modality": learnt.MODALITY}
    )
    if settings.window % model.frames_per_code:
        raise ValueError(f"window: expected whole code frames of {model.frames_per_code}, got {settings.window}.")
    if settings.merged:
        merging.check(model, settings.merged)
    found = {split: learnt.examples(data, split, settings.seed) for split in ("train", "dev")}
    checkpoint = output / "checkpoint.safetensors"
    kept = load_file(checkpoint) if checkpoint.is_file() else {}
    clock = _Clock(kept.get("seconds", torch.zeros(2)))
    if settings.start and not kept:
        _start(model, settings.start)

    # Examples: the linear map is fitted to a mixture of a part of them, then all are kept as components only.
    shares = {name: share / sum(data.shares.values()) for name, share in data.shares.items()}
    strange = set(settings.emphasis) - set(shares)
    if strange:
        raise ValueError(f"emphasis: expected any of {', '.join(shares)}, got {', '.join(sorted(strange))}.")
    emphasis = {
        name: torch.tensor([settings.emphasis.get(name, {}).get(group, 1.0) for group in groups]) for name in shares
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # clip by clip, several threads would mostly wait for each other
    rows = {name: list(track(made, name)) for name, made in found["train"].items()}
    if kept:
        model.load_state_dict({key[6:]: value for key, value in kept.items() if key.startswith("model.")})
    elif not settings.start:
        counts = {name: round(FITTED * share) for name, share in shares.items()}
        some, others = learnt.fitting(data, counts, settings.seed)
        held = model.fit(some, learnt.metrics(data), others)
        if first_process:
            print("variance held by the components: " + ", ".join(f"{key} {share:.4f}" for key, share in held.items()))
    train = {
        name: [
            model.project(torch.stack([row, *learnt.elsewhere(data, row)], 1))  # (frames, readings, components)
            for row in track(made, f"{name}, as rigs read it") if len(row) >= settings.window
        ]
        for name, made in rows.items()
    }
    dev = [(model.project(row), emphasis[name][None]) for name, made in found["dev"].items() for row in made]
    short = [name for name, made in train.items() if not made]
    if short:
        raise ValueError(f"data: expected clips of {settings.window} frames or more of {', '.join(short)}, got none.")
    del rows
    torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / "settings.json") as path:
        path.write_text(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
    if not kept and not settings.start:
        model.start(_batch(train, shares, settings, -1, windows=STARTED // settings.window)[0])

    model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )
    average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    state = _resume(kept, model, average, optimizer)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    log = _Log(output, state.step) if first_process else None
    wrapped.train()
    saved, whole = time.monotonic(), model.synthesis
    parts = [components for _, components in model.parts().values()]
    for step in track(range(state.step, settings.steps), "training"):
        # Chance depends on the step and the process alone, so that a run can go on.
        torch.manual_seed(settings.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings)
        z, seen, names = _batch(
            train, shares, settings, step, windows=settings.batch, process=accelerator.process_index
        )
        z, seen = z.to(device), seen.to(device)
        weights = torch.stack([emphasis[name] for name in names]).to(device)
        y, codes, own = wrapped(seen, z if "agreement" in settings.losses else None)
        error = y - z
        losses = {
            "reconstruction": _distance(error, parts, weights),
            "velocity": _distance(error[:, 1:] - error[:, :-1], parts, weights),
            **learnt.losses(error @ whole), **own,
        }
        loss = torch.stack([weight * losses[name] for name, weight in settings.losses.items()]).sum()
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(wrapped.parameters(), settings.clip_gradient)
        optimizer.step()
        keep = min(settings.average, (step + 1) / (step + 10))
        for name, parameter in model.named_parameters():
            average[name].lerp_(parameter.detach(), 1 - keep)

        state.step = step + 1
        state.add({name: float(losses[name].detach()) for name in settings.losses})
        if log and state.step % settings.log_every == 0:
            log.write(state.step, {**state.means(), "codes": len(codes[..., 0].unique())})
        ended = state.step == settings.steps
        if state.step % settings.test_every == 0 or ended:
            away = _held_out(model, average, dev, device, parts)
            state.judge(away, model, average)
            ended = ended or state.since_best >= settings.patience
            if log:
                log.write(state.step, {"held_out": away})
        if first_process and (ended or time.monotonic() - saved >= 60 * settings.save_minutes):
            _save(checkpoint, model, average, optimizer, state, clock)
            saved = time.monotonic()
        if ended:
            break
    accelerator.wait_for_everyone()
    if not log:
        return
    log.close()

    model.load_state_dict(state.best)
    model = model.to("cpu").eval()
    with torch.no_grad():  # what is measured is what the folder will hold
        for parameter in (*model.encoder.parameters(), *model.decoder.parameters()):
            parameter.copy_(parameter.to(codec.DTYPES[model.settings.stored]))
    torch.set_num_threads(1)  # as above
    if settings.merged:
        some_of = {name: made[: max(1, round(MERGED * shares[name]))] for name, made in train.items()}
        model = merging.merge(model, (clip for made in some_of.values() for clip in made), settings.merged)
    tests = {name: list(made) for name, made in learnt.examples(data, "test", settings.seed).items()}
    frames = _batch(train, shares, settings, -2, windows=COMPARED // settings.window)[0].flatten(0, 1)
    centres = evaluation.kmeans(frames, model.codebook_size)
    figures = evaluation.reconstruction(model, learnt, tests, centres)
    figures |= learnt.closing(model, data, settings.seed, centres)
    taken, worked = (clock.seconds() / 60).tolist()
    figures["minutes"] = report.figure(taken, "minutes", n=state.step)
    figures["processor_minutes"] = report.figure(worked, "minutes of one core", n=state.step)
    figures["parameters"] = report.figure(sum(p.numel() for p in model.parameters()), "numbers")
    with replacing(output / "codec") as folder:
        codec.save(model, folder)
        used = {**settings.model_dump(mode="json"), "data": data.model_dump(), "licences": learnt.licences(data)}
        made = report.report(f"{settings.material} codec", settings=used, figures=figures)
        report.write(made, folder, tables=evaluation.tables(learnt, figures, tests))
        evaluation.picture(model, learnt, tests, folder / "reconstruction.png")
    torch.set_num_threads(threads)


def _start(model: codec.Codec, folder: Path) -> None:
    """The weights, codes and linear map of a codec of the same kind."""
    before = codec.load(folder)
    if before.settings != model.settings or type(before.quantizer) is not type(model.quantizer):
        mine, its = (one.settings.model_dump(mode="json") for one in (model, before))
        other = [key for key in mine if mine[key] != its.get(key)] or ["codec"]
        raise ValueError(
            f"start: expected a codec with the model and quantizer of this recipe, and {folder} has other "
            f"{', '.join(other)}; copy them from its config.json."
        )
    model.load_state_dict(before.state_dict())


class _Clock:
    """Seconds of this run and of those that it goes on from: passed, and of one core's work."""

    def __init__(self, before: Float[Tensor, "2"]) -> None:
        self.before = before.double() - torch.tensor([time.monotonic(), time.process_time()]).double()

    def seconds(self) -> Float[Tensor, "2"]:
        return self.before + torch.tensor([time.monotonic(), time.process_time()]).double()


class _State:
    """Where a run stands: steps done, sums of losses since the last line of the log, the best weights so far."""

    def __init__(self, step: int, sums: dict[str, float], best: dict[str, Tensor], away: float, since: int) -> None:
        self.step, self.best, self.away, self.since_best = step, best, away, since
        self._sums, self._count = sums, 0 if not sums else int(sums.pop("count"))

    def add(self, losses: dict[str, float]) -> None:
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in losses.items()}
        self._count += 1

    def means(self) -> dict[str, float]:
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means

    def judge(self, away: float, model: codec.Codec, average: dict[str, Tensor]) -> None:
        """Keep these weights where they are the best."""
        self.since_best += 1
        if away < self.away:
            self.best = {key: average.get(key, value).detach().clone() for key, value in model.state_dict().items()}
            self.away, self.since_best = away, 0

    def tensors(self) -> dict[str, Tensor]:
        sums = {f"sum.{name}": torch.tensor(value, dtype=torch.float64) for name, value in self._sums.items()}
        best = {f"best.{name}": value for name, value in self.best.items()}
        return sums | best | {
            "step": torch.tensor(self.step), "count": torch.tensor(self._count), "since": torch.tensor(self.since_best),
            "away": torch.tensor(self.away, dtype=torch.float64),
        }


class _Log:
    """Curves, as lines of JSON and for TensorBoard; what a cut run wrote after its checkpoint is taken back."""

    def __init__(self, output: Path, step: int) -> None:
        path = output / "log.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        before = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        with replacing(path) as beside:
            beside.write_text("".join(before))
        self._file = path.open("a")
        self._curves = SummaryWriter(output / "curves", purge_step=step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **{key: round(value, 6) for key, value in values.items()}}) + "\n")
        self._file.flush()
        for key, value in values.items():
            self._curves.add_scalar(key, value, step)

    def close(self) -> None:
        self._file.close()
        self._curves.close()


def _distance(
    error: Float[Tensor, "b t components"], parts: list[slice], weights: Float[Tensor, "b groups"]
) -> Tensor:
    """Mean length of errors, group by group and not squared, so that quiet frames count and no group drowns another;
    each window's as its source weighs that group."""
    lengths = torch.stack([(error[..., part].square().sum(-1) + 1e-3).sqrt() for part in parts], -1)  # (b, t, groups)
    return (weights[:, None] * lengths).mean((0, 1)).sum()


@torch.no_grad()
def _held_out(
    model: codec.Codec, average: dict[str, Tensor], dev: list[tuple[Tensor, Tensor]], device: torch.device,
    parts: list[slice],
) -> float:
    """The reconstruction loss on the development split (components of clips, weights) with the averaged weights."""
    training, now = model.training, {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model.load_state_dict(average, strict=False)
    model.eval()
    sums, frames = 0.0, 0
    for z, weights in dev:
        whole = z[: len(z) - len(z) % model.frames_per_code][None].to(device)
        if whole.shape[1]:
            sums += float(_distance(model(whole)[0] - whole, parts, weights.to(device))) * whole.shape[1]
            frames += whole.shape[1]
    model.load_state_dict(now, strict=False)
    model.train(training)
    return sums / max(1, frames)


def _schedule(step: int, settings: Settings) -> float:
    """Share of the learning rate: up in ``warmup`` steps, then half a cosine down to a fiftieth."""
    return min(1.0, (step + 1) / max(1, settings.warmup)) * (0.51 + 0.49 * math.cos(math.pi * step / settings.steps))


def _batch(
    examples: dict[str, list[Float[Tensor, "frames readings components"]]], shares: dict[str, float],
    settings: Settings, step: int, *, windows: int, process: int = 0,
) -> tuple[Float[Tensor, "windows t components"], Float[Tensor, "windows t components"], list[str]]:
    """Windows drawn at the sources' shares, as they are and as some rig reads them, and their sources; the same for the
    same step and process."""
    rng = np.random.default_rng([settings.seed, step + 2, process] if process else [settings.seed, step + 2])
    plain, seen = [], []
    names = rng.choice(list(shares), windows, p=list(shares.values())).tolist()
    for name in names:
        clip = examples[name][rng.integers(len(examples[name]))]
        start = int(rng.integers(len(clip) - settings.window + 1))
        reading = int(rng.integers(clip.shape[1])) if rng.random() < settings.readings else 0
        plain.append(clip[start : start + settings.window, 0])
        seen.append(clip[start : start + settings.window, reading])
    return torch.stack(plain), torch.stack(seen), names


def _save(
    path: Path, model: codec.Codec, average: dict[str, Tensor], optimizer: Any, state: _State, clock: _Clock
) -> None:
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    tensors |= {**state.tensors(), "seconds": clock.seconds()}
    with replacing(path) as beside:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, beside)


def _resume(
    kept: dict[str, Tensor], model: codec.Codec, average: dict[str, Tensor], optimizer: torch.optim.AdamW
) -> _State:
    """Averages and optimizer as they were at a checkpoint, if there is one, and where the run stood."""
    if not kept:
        return _State(0, {}, {}, math.inf, 0)
    for name, parameter in model.named_parameters():
        average[name].copy_(kept[f"average.{name}"])
        names = {key: f"optimizer.{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
        if names["step"] in kept:  # a weight without a gradient so far has none
            moments = {key: kept[stored] for key, stored in names.items()}
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in moments.items()
            }
    sums = {key[4:]: float(value) for key, value in kept.items() if key.startswith("sum.")}
    best = {key[5:]: value for key, value in kept.items() if key.startswith("best.")}
    if sums:
        sums["count"] = int(kept["count"])
    return _State(int(kept["step"]), sums, best, float(kept["away"]), int(kept["since"]))
