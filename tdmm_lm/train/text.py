"""Learn the nano text tokenizer from what the corpus says, the tasks ask and people add.

    tdmm train tokenizers/text.yaml -o runs/text
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sentencepiece
from pydantic import Field

from tdmm_lm import bundle, report
from tdmm_lm.config import Settings as Base
from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.corpus.wordings import wordings
from tdmm_lm.files import replacing
from tdmm_lm.lm import tasks, text


class Settings(Base):
    """Where the text comes from and how many pieces are learned from it."""

    scores: int = Field(20_000, gt=0)  # performances whose captions and prompts are read
    tasks: str = "recipes/tasks"
    lines: tuple[str, ...] = ()  # further text, each read a hundred times
    pieces: text.TextSettings = Field(default_factory=lambda: text.TextSettings.model_validate({}))
    seed: int = 0


def main(settings: Settings, output: Path) -> None:
    """Write the tokenizer's folder with its report, whole or not at all."""
    model = text.train(corpus(settings), settings.pieces)
    tokenizer = text.tokenizer(model)
    held = list(captions(2_000, settings.seed + 1, "test"))
    tokens = [len(tokenizer(line)["input_ids"]) for line in held]
    source = sentencepiece.SentencePieceProcessor(model_proto=model)
    alike = sum(tokenizer(line)["input_ids"] == source.encode(line) for line in held)
    exact = sum(tokenizer.decode(tokenizer(line)["input_ids"]) == line for line in held)
    figures = {
        "pieces": report.figure(len(tokenizer), "tokens"),
        "tokens_per_word": report.figure(sum(tokens) / sum(len(line.split()) for line in held), "tokens", n=len(held)),
        "same_as_sentencepiece": report.figure(alike / len(held), "share", n=len(held)),
        "round_trip": report.figure(exact / len(held), "share", n=len(held)),
    }
    made = report.report("text tokenizer", settings=settings.model_dump(mode="json"), figures=figures)
    with replacing(output) as folder:
        text.save(model, folder)
        (folder / "report.json").write_text(json.dumps(made, indent=2) + "\n")
    print(report.markdown(made))


def corpus(settings: Settings) -> Iterator[str]:
    """All lines, in a fixed order."""
    yield from captions(settings.scores, settings.seed, "train")
    phrasings = [
        tasks.SLOT.sub("", phrasing).strip() for task in tasks.load(bundle.path(settings.tasks)).values()
        for message in task.messages for phrasing in message.content
    ]
    edits = [tasks.SLOT.sub("", line) for edit in wordings().edits.values() for line in edit.train]
    times = [tasks.hint(tenths / 10) for tenths in range(4, 101)]
    yield from [*phrasings, *edits, *times, *map(str, range(100)), *settings.lines] * 100


def captions(scores: int, seed: int, split: str) -> Iterator[str]:
    """Descriptions in every style and a prompt for each of so many performances."""
    rng = np.random.default_rng(seed)
    for index in range(scores):
        shown = labels.of_score(prompts.sample(index, split=split))
        for style in ("full", "plain", "brief"):
            yield caption.describe(shown, rng, style, split=split)
        yield caption.prompt(shown, rng, split=split)
