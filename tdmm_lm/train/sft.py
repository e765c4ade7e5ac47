"""Teach a language model motion in both directions: rows of a corpus and task files through TRL's SFTTrainer.

The model is new (``qwen3:``) or any Hugging Face causal LM (``base:``), which is grown by the codecs' tokens first;
with ``lora:`` only an adapter and the new tokens' rows are trained. Started again it goes on where it stopped.

    tdmm train recipes/sft.yaml -o runs/sft
"""

import json
import math
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

from tdmm_lm import bundle, codec, config
from tdmm_lm.corpus import caption, table
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.wordings import wordings
from tdmm_lm.files import replacing
from tdmm_lm.lm import data, extend, muon, tasks, text, vocab
from tdmm_lm.progress import track


class Settings(config.Settings):
    """A run. ``trainer`` goes whole to `trl.SFTConfig`, ``lora`` to `peft.LoraConfig`, ``qwen3`` to `Qwen3Config`."""

    corpus: tuple[str, ...] = Field(min_length=1)  # folders that `tdmm corpus build` wrote
    tasks: str = "recipes/tasks"  # a folder; bundled ones by their bundled name
    codecs: dict[str, str] = Field({"face": "tokenizers/face"}, min_length=1)
    base: str | None = None  # folder or hub name
    qwen3: dict[str, Any] | None = None  # a new model's shape
    tokenizer: str = "tokenizers/text"  # of a new model
    length: int = Field(384, ge=16)  # tokens in a packed row
    per_row: int = Field(2, ge=1)  # conversations made of a corpus row
    prompt_weight: float = Field(0.1, ge=0, le=1)  # of what the assistant does not say, in the loss
    optimizer: Literal["muon", "trainer"] = "trainer"  # trainer: the one that ``trainer.optim`` names
    compute: Literal["float32", "bfloat16"] = "float32"  # bfloat16: weights stay float32 and are cast once a step
    compile: bool = False  # the layers, by torch.compile; left alone where the machine has no C++ compiler
    minutes: float | None = Field(None, gt=0)  # end after so long, the learning rate falling over the last third
    save_minutes: float = Field(10, gt=0)
    resume: Literal["auto", "never"] = "auto"
    seed: int = 0
    lora: dict[str, Any] | None = None
    blend: float = Field(1, gt=0, le=1)  # share of the trained weights in the result, the base's are the rest
    trainer: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_model(self) -> "Settings":
        if (self.base is None) == (self.qwen3 is None):
            raise ValueError("expected either base or qwen3")
        if self.lora is not None and (self.base is None or self.compute != "float32" or self.optimizer != "trainer"):
            raise ValueError("lora: expected a base, compute: float32 and optimizer: trainer with it")
        if self.blend != 1 and (self.base is None or self.lora is not None):
            raise ValueError("blend: expected a base and no lora with it")
        return self


def main(settings: Settings, output: Path) -> None:
    """Train, and leave in ``output`` a servable folder (or, with ``lora``, the adapter for `tdmm export`)."""
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    codecs = {modality: _found(name) for modality, name in settings.codecs.items()}
    model, tokenizer, grown = start(settings, codecs)
    with replacing(output / "settings.json") as path:
        path.write_text(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
    if settings.lora is not None:  # the adapter refers to this folder
        base = output / "base"
        if not base.exists():
            extend.save(model, tokenizer, grown, base, codecs)
        model = adapted(model, grown, settings.lora)
        print(f"adapter: {model.get_nb_trainable_parameters()[0]:,} of {model.num_parameters():,} parameters train")

    made = packed(settings, tokenizer, grown, output)
    print(f"{len(made)} packed rows of {settings.length} tokens; {model.num_parameters():,} parameters")
    trainer = make_trainer(settings, model, tokenizer, made, output)
    if settings.compile:
        compile_layers(model)
    last = _last(output) if settings.resume == "auto" else None
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if settings.lora is not None:
        with replacing(output / "adapter") as folder:
            model.save_pretrained(folder)
    else:
        if settings.blend != 1:
            blend(model, start(settings, codecs)[0], settings.blend)
        extend.save(model, tokenizer, grown, output / "model", codecs)
    with replacing(output / "log.json") as path:
        path.write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")


def start(settings: Settings, codecs: dict[str, Path]) -> tuple[Any, Any, vocab.MotionVocab]:
    """The model before training, its tokenizer and motion vocabulary."""
    if settings.qwen3 is not None:
        tokenizer = text.load(_found(settings.tokenizer))
        shape = Qwen3Config(
            vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None, **settings.qwen3,
        )
        model: Any = Qwen3ForCausalLM(shape)
        return model, tokenizer, extend.grow(model, tokenizer, codecs, seed=settings.seed)
    base = str(settings.base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if (Path(base) / vocab.FILE).is_file():
        grown = vocab.load(base)
        for modality, folder in codecs.items():
            vocab.match(grown, modality, codec.weights_sha256(folder), str(folder))
        return model, tokenizer, grown
    return model, tokenizer, extend.grow(model, tokenizer, codecs, seed=settings.seed)


@torch.no_grad()
def blend(model: Any, base: Any, share: float) -> None:
    """Put the weights of ``model`` at ``share`` of the way from ``base``'s to its own.

    What a model learns last it learns at the price of what it knew; in between it has most of both (Wortsman et al.
    2022, Robust fine-tuning of zero-shot models, equation 1).
    """
    for weight, before in zip(model.parameters(), base.parameters(), strict=True):
        weight.lerp_(before.to(weight.device, weight.dtype), 1 - share)


def compile_layers(model: Any) -> None:
    """Compile every decoder layer, attention written out: fused by the compiler it beats the processor's own kernel."""
    if not torch.cuda.is_available() and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        print("compile: left out, this machine has no C++ compiler")
        return
    model.set_attn_implementation("eager")
    for layer in model.base_model.layers:
        layer.compile()


def adapted(model: Any, grown: vocab.MotionVocab, lora: dict[str, Any]) -> Any:
    """The model with an adapter that also trains the rows of the motion tokens, tied heads included."""
    from peft import LoraConfig, get_peft_model

    rows = sorted(
        token for kind in grown.modalities.values()
        for token in (kind.begin_id, kind.end_id, *range(kind.first_id, kind.first_id + kind.codes))
    )
    name = next(name for name, module in model.named_modules() if module is model.get_input_embeddings()).split(".")[-1]
    trained = {name: rows}
    if not model.config.tie_word_embeddings:
        head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
        trained[head.split(".")[-1]] = rows
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", trainable_token_indices=trained, **lora))


def packed(settings: Settings, tokenizer: Any, grown: vocab.MotionVocab, output: Path) -> Any:
    """The packed training rows as a `datasets.Dataset`, made once and kept in ``output/rows``."""
    import datasets

    kept = output / "rows"
    if kept.is_dir():
        return datasets.load_from_disk(str(kept))
    known = tasks.load(_found(settings.tasks))
    kind = grown[next(iter(settings.codecs))]

    talks = data.conversations(rows(settings.corpus), known, kind=kind, per_row=settings.per_row, seed=settings.seed)
    encoded = (data.encode(messages, tokenizer, grown) for messages in talks)
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    made = list(data.pack(track(encoded, "packing conversations"), settings.length, pad_id))
    if not made:
        raise ValueError(f"corpus: expected conversations of at most {settings.length} tokens, got none.")
    order = np.random.default_rng(settings.seed).permutation(len(made))
    columns = {
        key: np.stack([np.asarray(made[i][key], width) for i in order])
        for key, width in (("input_ids", np.int32), ("position_ids", np.int32), ("answers", np.int8))
    }
    with replacing(kept) as folder:
        datasets.Dataset.from_dict(columns).save_to_disk(str(folder))
    return datasets.load_from_disk(str(kept))


def rows(folders: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The training rows of data sets, with what the tasks ask for among their labels.

    Raises:
        FileNotFoundError: a folder without rows.
        ValueError: rows without codes.
    """
    for folder in folders:
        for row in table.rows(Path(folder)):
            if row["split"] != "train":
                continue
            if not row["codes"]:
                raise ValueError(f"{folder}: {row['id']}: expected codes; name a codec in the corpus recipe.")
            yield row | {"labels": row["labels"] | facts(row)}


def facts(row: dict[str, Any]) -> dict[str, str]:
    """A row's labels in words, and a description of it in each style: ``full``, ``plain``, ``brief``."""
    known = Labels.model_validate(row["labels"])
    rng = np.random.default_rng(zlib.crc32(row["id"].encode()))
    percent = caption.tens(known.speech_share)
    return {
        "family": wordings().families[known.family][0], "gesture": known.gesture.replace("_", " "),
        "speech": {0: "never", 100: "all the time"}.get(percent, f"about {percent} % of the time"),
        "full": caption.describe(known, rng, "full"), "plain": caption.describe(known, rng, "plain"),
        "brief": caption.describe(known, rng, "brief"),
    }


def make_trainer(settings: Settings, model: Any, tokenizer: Any, made: Any, output: Path) -> "Trainer":
    """TRL's trainer with this run's loss, clock and optimizer."""
    given = {
        "output_dir": str(output), "seed": settings.seed, "report_to": "none", "save_strategy": "no",
        "save_total_limit": 2, "logging_steps": 20, "remove_unused_columns": False, "max_length": None,
        "use_cpu": not torch.cuda.is_available(), "bf16": False, "activation_checkpointing": False,
        "dataset_kwargs": {"skip_prepare_dataset": True}, **settings.trainer,
    }
    try:
        arguments = SFTConfig(**given)
    except TypeError as error:
        raise ValueError(f"trainer: expected SFTConfig's names; {error}.") from None
    optimizer = None
    if settings.optimizer == "muon":
        optimizer = muon.Muon(muon.groups(model), lr=arguments.learning_rate, weight_decay=arguments.weight_decay)
    clock = Clock(settings.save_minutes, settings.minutes, output / "clock.json")
    trainer = Trainer(
        model=model, args=arguments, train_dataset=made, processing_class=tokenizer, data_collator=collate,
        callbacks=[clock], optimizers=(optimizer, None),
    )
    trainer.settings, trainer.clock = settings, clock
    return trainer


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Packed rows as one batch; ``labels`` are the ids, -100 on padding."""
    batch = {key: torch.tensor([row[key] for row in rows]) for key in ("input_ids", "position_ids", "answers")}
    batch["labels"] = batch["input_ids"].masked_fill(batch["answers"] < 0, -100)
    return batch


class Clock(TrainerCallback):
    """Saves every so many minutes, ends the run after so many, and counts across interruptions."""

    def __init__(self, save_minutes: float, minutes: float | None, file: Path) -> None:
        self.save_minutes, self.minutes, self.file = save_minutes, minutes, file
        self.before = 0.0  # seconds of earlier runs
        self.started = self.saved = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = self.saved = time.monotonic()
        if state.global_step and self.file.is_file():
            self.before = float(json.loads(self.file.read_text())["seconds"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.minutes is not None and self.seconds >= 60 * self.minutes:
            control.should_training_stop = True
        if time.monotonic() - self.saved >= 60 * self.save_minutes:
            control.should_save = True
            self.saved = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.file.write_text(json.dumps({"seconds": self.seconds, "step": state.global_step}) + "\n")


class Trainer(SFTTrainer):
    """SFTTrainer with a loss over weighted positions, which also leaves TRL's fused head, that reads the bias of a
    wrapped head, and an optional clock for the learning rate."""

    settings: Settings
    clock: Clock

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs["labels"][:, 1:]
        weights = torch.where(inputs["answers"][:, 1:] > 0, 1.0, self.settings.prompt_weight)
        scored = (labels != -100) & (weights > 0)
        given = {"input_ids": inputs["input_ids"], "position_ids": inputs["position_ids"], "use_cache": False}
        if self.settings.compute == "bfloat16":
            backbone, head = model.base_model, model.get_output_embeddings()
            cast = {name: value.to(torch.bfloat16) for name, value in backbone.named_parameters()}
            hidden = torch.func.functional_call(backbone, cast, kwargs=given).last_hidden_state[:, :-1]
            logits = functional.linear(hidden[scored], head.weight.to(torch.bfloat16))
        else:
            logits = model(**given).logits[:, :-1][scored]
        losses = functional.cross_entropy(logits.float(), labels[scored], reduction="none")
        self._count(losses.detach(), inputs["answers"][:, 1:][scored] > 0, inputs["input_ids"].numel())
        return (losses * weights[scored]).sum() / weights[scored].sum()

    def _count(self, losses: torch.Tensor, said: torch.Tensor, tokens: int) -> None:
        """For the log: what the assistant's tokens cost (nats), and tokens a second since the start."""
        self._total_train_tokens += tokens
        metrics = self._metrics["train"]
        metrics["answer_loss"].append(losses[said].mean().item() if said.any() else math.nan)
        metrics["num_tokens"] = [self._total_train_tokens]
        metrics["minutes"] = [self.clock.seconds / 60]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        minutes, optimizer = self.settings.minutes, optimizer or self.optimizer
        if minutes is None:
            return super().create_scheduler(num_training_steps, optimizer)
        warmup = max(1, self.args.get_warmup_steps(num_training_steps))

        def rate(step: int) -> float:
            done = max(step / num_training_steps, self.clock.seconds / (60 * minutes))
            return min(1.0, (step + 1) / warmup) * min(1.0, max(0.02, 3 * (1 - done)))

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return self.lr_scheduler


def _last(output: Path) -> Path | None:
    """The newest whole checkpoint."""
    found = [folder for folder in output.glob("checkpoint-*") if (folder / "trainer_state.json").is_file()]
    return max(found, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def _found(name: str) -> Path:
    """A path of the user's, else a bundled one."""
    return Path(name) if Path(name).exists() else bundle.path(name)
