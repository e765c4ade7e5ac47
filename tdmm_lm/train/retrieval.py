"""Train the encoder that puts texts and motions into one space (TMR-style), on performances and what is said of them.

    tdmm train recipes/retrieval.yaml -o runs/retrieval

A batch is so many motions, each with one of its texts; every other pair in it is wrong, but for pairs whose labels are
the same (TMR leaves out what is nearly the same; here that is known). Started again it goes on from its checkpoint.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer

from tdmm_lm import bundle, codec, config, report
from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.perform import perform
from tdmm_lm.corpus.score import Score
from tdmm_lm.eval import statistics
from tdmm_lm.files import replacing
from tdmm_lm.lm import retrieval
from tdmm_lm.metrics import measure
from tdmm_lm.progress import track

STYLES = ("full", "plain", "brief", "phrase", "sentence", "timed", "prompt")
RANKS = ("recall_1", "recall_5", "recall_10", "median_rank", "r_precision_1", "r_precision_2", "r_precision_3")


class Settings(config.Settings):
    """A run."""

    codec: str = "tokenizers/face"  # whose linear map motion goes through
    tokenizer: str = "tokenizers/text"
    model: dict[str, Any] = Field(default={})  # width, layers, ... of `tdmm_lm.lm.retrieval`
    performances: int = Field(12_000, ge=2)
    test: int = Field(1000, ge=32)
    batch: int = Field(128, ge=2)
    steps: int = Field(3000, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    save_minutes: float = Field(10, gt=0)
    seed: int = 0


def main(settings: Settings, output: Path) -> None:
    """Leave ``output/encoder`` with its report."""
    began = time.monotonic()
    torch.manual_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(bundle.either(settings.tokenizer))
    encoder = retrieval.new(codec.load(bundle.either(settings.codec)), tokenizer, **settings.model)
    output.mkdir(parents=True, exist_ok=True)
    known, parts = _examples(settings, encoder, output / "examples.safetensors", "train", settings.performances)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    first = _resume(output / "checkpoint.safetensors", encoder, optimizer)
    saved = time.monotonic()
    encoder.train()
    for step in track(range(first, settings.steps), "training"):
        torch.manual_seed(settings.seed * 1_000_003 + step)
        rng = np.random.default_rng([settings.seed, step])
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1, (step + 1) / max(1, settings.warmup)) * _fall(step, settings)
        chosen = rng.choice(len(known), min(settings.batch, len(known)), replace=False)
        texts = [told(known[place], rng) for place in chosen]
        motion = encoder.motions(*retrieval.padded([parts[place] for place in chosen]))
        said = encoder.texts(*retrieval.tokens(tokenizer, texts, encoder.settings))
        products = said @ motion.mT * encoder.scale.exp().clamp(max=100)
        loss = contrast(products, alike([known[place] for place in chosen]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            with (output / "log.jsonl").open("a") as file:
                file.write(json.dumps({"step": step + 1, "loss": round(loss.item(), 5)}) + "\n")
        if time.monotonic() - saved > 60 * settings.save_minutes:
            _save(output / "checkpoint.safetensors", encoder, optimizer, step + 1)
            saved = time.monotonic()
    _release(settings, encoder, tokenizer, output, (time.monotonic() - began) / 60)


def told(known: Labels, rng: np.random.Generator, split: str = "train") -> str:
    """A text of a performance in one of seven manners."""
    style = STYLES[int(rng.integers(len(STYLES)))]
    return caption.prompt(known, rng, split=split) if style == "prompt" else caption.describe(
        known, rng, style, split=split  # type: ignore[arg-type]
    )


def alike(known: list[Labels]) -> Bool[Tensor, "b b"]:
    """Pairs that a text could not tell apart: the same expressions, strengths, gestures and glances in their order."""
    keys = [
        (
            one.families, tuple(shown.level for shown in one.shown),
            tuple((moved.name, moved.count) for moved in one.gestures), one.gaze,
        )
        for one in known
    ]
    return torch.tensor([[a == b for b in keys] for a in keys]) & ~torch.eye(len(keys), dtype=torch.bool)


def contrast(products: Float[Tensor, "b b"], left_out: Bool[Tensor, "b b"]) -> Tensor:
    """InfoNCE in both directions; pairs left out are neither right nor wrong."""
    products = products.masked_fill(left_out, -torch.inf)
    right = torch.arange(len(products))
    return (functional.cross_entropy(products, right) + functional.cross_entropy(products.mT, right)) / 2


def _fall(step: int, settings: Settings) -> float:
    return 0.51 + 0.49 * float(np.cos(np.pi * step / settings.steps))


def _performed(split: str, count: int, seed: int) -> Iterator[tuple[Labels, Any]]:
    for score in _scores(split, count, seed):
        yield labels.of_score(score), perform(score)


def _scores(split: str, count: int, seed: int) -> Iterator[Score]:
    return (prompts.sample(seed * 1_000_003 + 800_000 + i, split=split) for i in range(count))


def _examples(
    settings: Settings, encoder: retrieval.Encoder, kept: Path, split: str, count: int
) -> tuple[list[Labels], list[Float[Tensor, "frames components"]]]:
    """Labels and components of performances, these kept on the disk for a run that goes on."""
    asker = retrieval.Retrieval(encoder, None)  # type: ignore[arg-type]
    if kept.is_file():
        stored = load_file(kept)
        if len(stored) == count:
            known = [labels.of_score(score) for score in _scores(split, count, settings.seed)]
            return known, [stored[str(i)] for i in range(count)]
    known, parts = [], []
    for one, clip in track(_performed(split, count, settings.seed), "performing", count):
        known.append(one)
        parts.append(asker.parts(clip).contiguous())
    with replacing(kept) as path:
        save_file({str(i): part for i, part in enumerate(parts)}, path)
    return known, parts


def _save(path: Path, encoder: retrieval.Encoder, optimizer: torch.optim.Optimizer, step: int) -> None:
    tensors = {f"model.{key}": value for key, value in encoder.state_dict().items()}
    for name, parameter in encoder.named_parameters():
        tensors |= {f"optimizer.{key}.{name}": value for key, value in optimizer.state[parameter].items()}
    with replacing(path) as beside:
        save_file({key: value.contiguous() for key, value in tensors.items()} | {"step": torch.tensor(step)}, beside)


def _resume(path: Path, encoder: retrieval.Encoder, optimizer: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    kept = load_file(path)
    encoder.load_state_dict({key[6:]: value for key, value in kept.items() if key.startswith("model.")})
    for name, parameter in encoder.named_parameters():
        state = {key: kept[f"optimizer.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = state
    return int(kept["step"])


def _release(
    settings: Settings, encoder: retrieval.Encoder, tokenizer: Any, output: Path, minutes: float
) -> None:
    """The folder, measured as it lies on the disk: unseen performances in unseen wordings."""
    with replacing(output / "encoder") as folder:
        retrieval.save(encoder, tokenizer, folder)
        asker = retrieval.load(folder)
        rng = np.random.default_rng(settings.seed)
        found = list(_performed("test", settings.test, settings.seed + 1))
        texts = [caption.describe(known, rng, "full", split="test") for known, _ in found]
        said = asker.of_texts(texts).numpy().astype(np.float64)
        shown = asker.of_clips([clip for _, clip in track(found, "measuring")]).numpy().astype(np.float64)
        ranks = {name: measure(name, list(shown), list(said)) for name in RANKS}
        figures = {name: report.figure(one.value, one.unit, n=len(found)) for name, one in ranks.items()}
        figures["families_apart"] = silhouette(shown, [known.family for known, _ in found])
        figures["minutes"] = report.figure(minutes, "minutes", n=settings.steps)
        figures["parameters"] = report.figure(sum(p.numel() for p in encoder.parameters()), "numbers")
        weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        used = settings.model_dump(mode="json") | {"weights_sha256": weights}
        report.write(report.report("retrieval encoder", settings=used, figures=figures), folder)


def silhouette(vectors: Float[np.ndarray, "n d"], names: list[str]) -> dict[str, Any]:
    """How well families form clusters (Rousseeuw 1987), -1..1, cosine."""
    from sklearn.metrics import silhouette_samples

    values = silhouette_samples(vectors, names, metric="cosine")
    found = statistics.mean(values)
    return report.figure(found.value, "silhouette", n=len(names), interval=found.interval)
