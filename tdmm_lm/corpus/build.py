"""A recipe becomes a data set: Parquet shards of performances and recordings with labels, texts, prompts, edits, codes.

    tdmm corpus build recipes/corpus/first.yaml -o runs/corpus
    tdmm corpus check runs/corpus

Shards are written whole, one after the other, and never rewritten: a build that was stopped goes on where it was. The
same recipe gives the same rows. `datasets.load_dataset("parquet", data_dir=...)` reads the folder with its splits.
"""

import json
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import numpy as np
import pyarrow.parquet
import torch
from pydantic import Field

from tdmm_lm import bundle, config, rigs
from tdmm_lm.corpus import caption, edits, labels, prompts, reading, recordings, table
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.perform import perform
from tdmm_lm.corpus.score import Score
from tdmm_lm.files import replacing
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import run as observing
from tdmm_lm.progress import track
from tdmm_lm.sample import Sample

if TYPE_CHECKING:
    from tdmm_lm.codec import Codec

Split = Literal["train", "dev", "test"]
STYLES: tuple[caption.Style, ...] = ("full", "full", "plain", "plain", "brief")  # drawn evenly


class Settings(config.Settings):
    """A data set. ``performances`` counts rows a split; ``recordings`` names sources and the rows made of each clip."""

    performances: dict[Split, int] = Field(default={"train": 1000, "dev": 100, "test": 100})
    seconds: tuple[float, ...] = Field(default=prompts.SECONDS, min_length=1)  # of performances, drawn evenly
    recordings: dict[str, int] = Field(default={})  # beyond the first row a clip, the others are cut from it
    texts: int = Field(default=3, ge=1)  # descriptions a row
    prompts: int = Field(default=3, ge=1)  # prompts a performance
    edits: float = Field(default=0.5, ge=0, le=1)  # share of performances with an edit
    codec: str | None = None  # a codec's folder or bundled name; without one rows have no codes
    rig: str = "head"  # on which clips are tokenised and recordings observed
    clips: bool = True  # keep the motion itself
    shard: int = Field(default=1000, ge=1)  # rows
    seed: int = Field(default=0, ge=0)


class Maker:
    """Turns scores and samples into rows; holds the rig and the codec once they are needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def rig(self) -> rigs.Rig:
        return rigs.load(self.settings.rig)

    @cached_property
    def codec(self) -> "Codec | None":
        from tdmm_lm import codec  # torch's weights, for recipes that tokenise

        name = self.settings.codec
        return codec.load(name if name and Path(name).is_dir() else bundle.path(name)) if name else None

    def codes(self, clip: MotionClip) -> list[int] | None:
        """The clip's codes, books flattened inside a frame."""
        from tdmm_lm import codec

        return codec.tokenize(self.codec, clip, self.rig).reshape(-1).tolist() if self.codec else None

    def performance(self, number: int, split: Split) -> dict[str, Any]:
        """The row of a split's ``number``-th score."""
        score = prompts.sample(
            number + self.settings.seed * 10_000_000, split=split, lengths=self.settings.seconds
        )
        rng = np.random.default_rng([self.settings.seed, crc32(split.encode()), number])
        known, clip = labels.of_score(score), perform(score)
        row = self._row(f"performance/{split}/{self.settings.seed}/{number}", clip, known, rng, split)
        row |= {
            "source": "performed by code",
            "licence": "Apache-2.0",
            "score": score.model_dump_json(),
            "prompts": [caption.prompt(known, rng, split=split) for _ in range(self.settings.prompts)],
        }
        if rng.random() < self.settings.edits:
            instruction, after = edits.edit(score, rng, split=split)
            row["edit"] = {
                "instruction": instruction,
                "score": after.model_dump_json(),
                "codes": self.codes(perform(after)),
            }
        return row

    def recording(self, sample: Sample, number: int) -> dict[str, Any]:
        """The row of a recording as a whole (0) or of the ``number``-th piece cut from it, observed."""
        rng = np.random.default_rng([self.settings.seed, crc32(sample.id.encode()), number])
        clip = sample.clips["face"]
        if number:
            length = int(rng.integers(round(0.6 * clip.frames), clip.frames + 1))
            start = int(rng.integers(0, clip.frames - length + 1))
            clip = MotionClip(clip.values[start : start + length], clip.fps, clip.modality, clip.rig, clip.shape)
        known = labels.of_observation(observing.run(clip, self.rig))
        row = self._row(f"{sample.id}#{number}", clip, known, rng, sample.split)
        return row | {"source": sample.source, "licence": sample.licence, "prompts": [], "score": None}

    def _row(self, name: str, clip: MotionClip, known: Labels, rng: np.random.Generator, split: str) -> dict[str, Any]:
        styles = rng.choice(len(STYLES), self.settings.texts)
        return {
            "id": name,
            "split": split,
            "labels": known.model_dump(),
            "edit": None,
            "codes": self.codes(clip),
            "texts": [caption.describe(known, rng, STYLES[style], split="train") for style in styles],
            "face": table.packed(clip) if self.settings.clips else None,
        }


def build(settings: Settings, out: Path, *, workers: int | None = None) -> str:
    """Write the data set into ``out``; the answer says what there is. ``workers`` are processes, by default
    one a core where there is much to do; they change nothing but the time.

    Raises:
        ValueError: ``out`` holds a data set of another recipe, or an unknown source of recordings.
        FileNotFoundError: recordings are asked for and `$TDMM_DATA` is unset.
    """
    unknown = set(settings.recordings) - set(recordings.SOURCES)
    if unknown:
        raise ValueError(
            f"recordings: expected among {', '.join(recordings.SOURCES)}, got {', '.join(sorted(unknown))}."
        )
    data = bundle.data()
    if settings.recordings and data is None:
        raise FileNotFoundError("recordings: expected the folder of real data in $TDMM_DATA, which is unset.")
    _claim(settings, out)
    maker = Maker(settings)
    parts: list[tuple[str, Split, int]] = []  # name, split, first row of a shard
    for split, rows in settings.performances.items():
        parts += [
            (f"{split}-performances-{first // settings.shard:05d}", split, first)
            for first in range(0, rows, settings.shard)
        ]
    left = [(settings, split, first, out / f"{name}.parquet") for name, split, first in parts]
    left = [part for part in left if not part[-1].is_file()]
    workers = workers or (os.cpu_count() or 1 if len(left) > 2 else 1)
    if workers == 1 or not left:
        for part in track(left, "performances"):
            _performances(*part, maker)
    else:
        # spawned, not forked: torch's threads do not survive a fork
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(track(pool.map(_performances, *zip(*left)), "performances", total=len(left)))
    for source, times in settings.recordings.items():
        assert data is not None
        for split in ("train", "test"):
            path = out / f"{split}-{source}.parquet"
            if not path.is_file():
                samples = (sample for sample in recordings.SOURCES[source](data) if sample.split == split)
                rows_ = (maker.recording(s, i) for s in samples for i in range(times if split == "train" else 1))
                table.write(rows_, path)
    files = sorted(out.glob("*.parquet"))
    return f"{out}: {len(files)} shards, {sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)} rows."


def _performances(settings: Settings, split: Split, first: int, path: Path, maker: Maker | None = None) -> None:
    """Write one shard, the rows from the ``first`` on."""
    maker = maker or _maker(settings)
    numbers = range(first, min(first + settings.shard, settings.performances[split]))
    table.write((maker.performance(number, split) for number in numbers), path)


@lru_cache(maxsize=1)
def _maker_of(settings: str) -> Maker:
    torch.set_num_threads(1)
    return Maker(Settings.model_validate_json(settings))


def _maker(settings: Settings) -> Maker:
    """This process's own, made once."""
    return _maker_of(settings.model_dump_json())


def _claim(settings: Settings, out: Path) -> None:
    """Make the folder this recipe's, or see that it is."""
    path, said = out / "recipe.json", json.loads(settings.model_dump_json())
    if path.is_file() and json.loads(path.read_text()) != said:
        raise ValueError(f"{out}: expected a folder of this recipe, got one of another; choose another --output.")
    with replacing(path) as beside:
        beside.write_text(json.dumps(said, indent=2) + "\n")


def check(folder: Path) -> str:
    """Counts of a data set, after every row was verified.

    Labels and clips of performances are made again from their scores and must be the same; every description must read
    back as its labels; no id, no score may stand in two splits.

    Raises:
        ValueError: the first row that is wrong, and how.
    """
    counts: dict[str, Counter[str]] = {
        key: Counter() for key in ("split", "source", "family", "gesture", "blinks", "level", "gaze")
    }
    owner: dict[str, str] = {}
    texts: set[int] = set()
    for row in track(table.rows(folder), "rows"):
        known = Labels.model_validate(row["labels"])
        where = row["id"]
        if owner.setdefault(row["score"] or where, row["split"]) != row["split"]:
            raise ValueError(
                f"{where}: expected its score in one split, found it in {owner[row['score']]} and {row['split']}."
            )
        if row["score"]:
            _same(row, known)
        for text in row["texts"]:
            wrong = [key for key, right in reading.agrees(caption.parse(text), known).items() if not right]
            if set(wrong) - {"level"}:
                raise ValueError(
                    f"{where}: expected a text that says its labels, got {', '.join(wrong)} wrong in {text!r}."
                )
        texts |= {crc32(text.encode()) for text in (*row["texts"], *row["prompts"])}
        counts["split"][row["split"]] += 1
        counts["source"][row["source"]] += 1
        for key in ("family", "gesture", "blinks", "level", "gaze"):
            counts[key][str(row["labels"][key])] += 1
    total = sum(counts["split"].values())
    lines = [f"{folder}: {total} rows, {len(texts)} distinct texts and prompts; labels, clips and texts agree."]
    lines += [
        f"  {key}: " + ", ".join(f"{name or 'neutral'} {n}" for name, n in count.most_common())
        for key, count in counts.items()
    ]
    return "\n".join(lines)


def _same(row: dict[str, Any], known: Labels) -> None:
    """Raises ValueError where a performance's row is not what its score says."""
    score = Score.model_validate_json(row["score"])
    truth = labels.of_score(score)
    facts = ("families", "family", "gesture", "count", "nods", "gaze", "blinks", "level", "words")
    wrong = [fact for fact in facts if _of(truth, fact) != _of(known, fact)]
    if wrong:
        raise ValueError(f"{row['id']}: expected the labels of its score, got another {', '.join(wrong)}.")
    if row["face"]:
        difference = np.abs(perform(score).values - table.clip_of(row).values).max()
        if difference > 1e-3:
            raise ValueError(f"{row['id']}: expected its score's motion, got one that differs by {difference:.3f}.")


def _of(known: Labels, fact: str) -> Any:
    return known.families if fact == "families" else known.model_dump()[fact]
