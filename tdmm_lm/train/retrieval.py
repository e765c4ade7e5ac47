"""Train the encoder that puts texts and motions into one space (TMR-style), on performances and what is said of them.

    tdmm train recipes/retrieval.yaml -o runs/retrieval

A batch is so many motions, each with one of its texts; every other pair in it is wrong, but for pairs whose labels are
the same (TMR leaves out what is nearly the same; here that is known). Started again it goes on from its checkpoint.

With ``corpus=[FOLDER]`` motions and texts are a built data set's instead, so that data sets can be compared by how well
each one's texts tell its motions apart (TDMM-LM, Fig. 6).
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer

from tdmm_lm import bundle, codec, config, report
from tdmm_lm.corpus import caption, labels, prompts, table
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.perform import perform
from tdmm_lm.corpus.score import Score
from tdmm_lm.eval import statistics
from tdmm_lm.files import replacing
from tdmm_lm.lm import retrieval
from tdmm_lm.metrics import measure
from tdmm_lm.motion import MotionClip
from tdmm_lm.progress import track

STYLES = ("full", "plain", "brief", "phrase", "sentence", "timed", "prompt")
RANKS = ("recall_1", "recall_5", "recall_10", "median_rank", "r_precision_1", "r_precision_2", "r_precision_3")


class Settings(config.Settings):
    """A run."""

    codec: str = "tokenizers/face"  # whose linear map motion goes through
    tokenizer: str = "tokenizers/text"
    corpus: tuple[str, ...] = ()  # folders of built data sets, whose rows with a face are learnt; none: performances
    model: dict[str, Any] = Field(default={})  # width, layers, ... of `tdmm_lm.lm.retrieval`
    performances: int = Field(12_000, ge=2)  # or rows of ``corpus``, at most
    test: int = Field(1000, ge=32)  # likewise; of ``corpus`` the rows of its split "test"
    batch: int = Field(128, ge=2)
    steps: int = Field(3000, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    save_minutes: float = Field(10, gt=0)
    seed: int = 0


class Example(NamedTuple):
    """What is known of a motion, what its data set says of it (nothing of performances), and the motion when asked."""

    labels: Labels
    texts: tuple[str, ...]
    clip: Callable[[], MotionClip]


def main(settings: Settings, output: Path) -> None:
    """Leave ``output/encoder`` with its report.

    Raises:
        FileNotFoundError: a folder of ``corpus`` without rows.
        ValueError: too few rows with a face and texts in ``corpus`` to train on or to test with, or ``output`` is of a
            run on others.
    """
    began = time.monotonic()
    torch.manual_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(bundle.either(settings.tokenizer))
    encoder = retrieval.new(codec.load(bundle.either(settings.codec)), tokenizer, **settings.model)
    output.mkdir(parents=True, exist_ok=True)
    known = _examples(settings, "train", settings.performances)
    unseen = _examples(settings, "test", settings.test)
    parts = _parts(known, encoder, output / "examples.safetensors", settings)
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
        loss = contrast(products, alike([known[place].labels for place in chosen], texts))
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
    _release(settings, encoder, tokenizer, unseen, output, (time.monotonic() - began) / 60)


def told(example: Example, rng: np.random.Generator, split: str = "train") -> str:
    """One of the data set's texts, or a text of a performance in one of seven manners."""
    known, texts, _ = example
    if texts:
        return texts[int(rng.integers(len(texts)))]
    style = STYLES[int(rng.integers(len(STYLES)))]
    return caption.prompt(known, rng, split=split) if style == "prompt" else caption.describe(
        known, rng, style, split=split  # type: ignore[arg-type]
    )


def alike(known: Sequence[Labels], texts: Sequence[str]) -> Bool[Tensor, "b b"]:
    """Pairs that a text could not tell apart: the same expressions, strengths, gestures and glances in their order, or
    the very same text."""
    keys = [
        (
            one.families, tuple(shown.level for shown in one.shown),
            tuple((moved.name, moved.count) for moved in one.gestures), one.gaze,
        )
        for one in known
    ]
    pairs = list(zip(keys, texts, strict=True))
    same = torch.tensor([[a == b or said == other for b, other in pairs] for a, said in pairs])
    return same & ~torch.eye(len(keys), dtype=torch.bool)


def contrast(products: Float[Tensor, "b b"], left_out: Bool[Tensor, "b b"]) -> Tensor:
    """InfoNCE in both directions; pairs left out are neither right nor wrong."""
    products = products.masked_fill(left_out, -torch.inf)
    right = torch.arange(len(products))
    return (functional.cross_entropy(products, right) + functional.cross_entropy(products.mT, right)) / 2


def _fall(step: int, settings: Settings) -> float:
    return 0.51 + 0.49 * float(np.cos(np.pi * step / settings.steps))


def _examples(settings: Settings, split: str, count: int) -> list[Example]:
    if not settings.corpus:
        seed = settings.seed + (split == "test")
        scores = (prompts.sample(seed * 1_000_003 + 800_000 + i, split=split) for i in range(count))
        return [Example(labels.of_score(score), (), partial(perform, score)) for score in scores]
    def rows(*columns: str) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(table.rows(Path(folder), [*columns]) for folder in settings.corpus)

    fit = [
        place for place, row in enumerate(rows("split", "texts", "labels.family", "score", "face.frames"))
        if row["split"] == split and row["texts"] and row["labels"] and (row["face"] or row["score"])
    ]
    least = 32 if split == "test" else 2
    if len(fit) < least:
        raise ValueError(
            f"corpus: expected {least} rows or more of split {split} with a face and texts in "
            f"{', '.join(settings.corpus)}, got {len(fit)}."
        )
    chosen = set(np.random.default_rng(settings.seed).permutation(fit)[:count].tolist())
    return [
        Example(Labels.model_validate(row["labels"]), tuple(row["texts"]), partial(_shown, row))
        for place, row in enumerate(rows("texts", "labels", "score", "face")) if place in chosen
    ]


def _shown(row: dict[str, Any]) -> MotionClip:
    return table.clip_of(row) if row["face"] else perform(Score.model_validate_json(row["score"]))


def _parts(
    known: list[Example], encoder: retrieval.Encoder, kept: Path, settings: Settings
) -> list[Float[Tensor, "frames components"]]:
    """Components of the motions, kept on the disk for a run that goes on."""
    asker = retrieval.Retrieval(encoder, None)  # type: ignore[arg-type]
    of = {"of": settings.model_dump_json(include={"codec", "tokenizer", "corpus", "model", "performances", "seed"})}
    if kept.is_file():
        with safe_open(kept, "pt") as file:
            if file.metadata() != of:
                raise ValueError(
                    f"{kept.parent}: expected a run of this codec, corpus, model and seed, got one of others; choose "
                    "another --output."
                )
            return [file.get_tensor(str(i)) for i in range(len(known))]
    parts = [asker.parts(one.clip()).contiguous() for one in track(known, "performing")]
    with replacing(kept) as path:
        save_file({str(i): part for i, part in enumerate(parts)}, path, of)
    return parts


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
    settings: Settings, encoder: retrieval.Encoder, tokenizer: Any, unseen: list[Example], output: Path, minutes: float
) -> None:
    """The folder, measured as it lies on the disk: unseen performances in unseen wordings, or unseen rows."""
    with replacing(output / "encoder") as folder:
        retrieval.save(encoder, tokenizer, folder)
        asker = retrieval.load(folder)
        rng = np.random.default_rng(settings.seed)
        texts = [told(one, rng) if one.texts else caption.describe(one.labels, rng, "full", split="test")
                 for one in unseen]
        said = asker.of_texts(texts).numpy().astype(np.float64)
        shown = asker.of_clips([one.clip() for one in track(unseen, "measuring")]).numpy().astype(np.float64)
        ranks = {name: measure(name, list(shown), list(said)) for name in RANKS}
        figures = {name: report.figure(one.value, one.unit, n=len(unseen)) for name, one in ranks.items()}
        families = [one.labels.family for one in unseen]
        if len(set(families)) > 1:
            figures["families_apart"] = silhouette(shown, families)
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
