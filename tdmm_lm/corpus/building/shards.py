"""The shards of a recipe: which items make which file, and one of them made.

A shard is a fixed run of one source's items of one split. The recipe and the source's list decide it, never the runner;
whoever makes a shard again makes the same bytes.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tdmm_lm.corpus import table
from tdmm_lm.corpus.building import recipe, rows
from tdmm_lm.corpus.sources import Item, Rejected, utf8


@dataclass(frozen=True)
class Shard:
    """``name`` is its file's, without an ending; ``items`` are what it is made of."""

    name: str
    source: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Made:
    """What came of a shard: rows, and rejections by reason."""

    name: str
    rows: int
    reasons: dict[str, int]


def plan(settings: recipe.Settings) -> Iterator[Shard]:
    """All shards, one after another as the lists of the sources go on.

    Raises:
        ValueError: a source lists no item at all, one twice, or one of an unknown split.
    """
    for name, (module, own) in recipe.sources(settings).items():
        waiting: dict[str, list[Item]] = {split: [] for split in recipe.SPLITS}
        done: Counter[str] = Counter()
        seen = set[str]()
        for item in module.items(own, settings.seed):
            if item.split not in waiting:
                raise ValueError(
                    f"sources.{name}: {item.id}: expected a split among train, dev, test, got {item.split!r}."
                )
            if item.id in seen:
                raise ValueError(f"sources.{name}: expected an id once, got {item.id} twice.")
            seen.add(item.id)
            waiting[item.split].append(item)
            if len(waiting[item.split]) == settings.shard:
                yield _shard(name, item.split, done[item.split], waiting[item.split])
                done[item.split] += 1
                waiting[item.split] = []
        for split, left in waiting.items():
            if left:
                yield _shard(name, split, done[split], left)
                done[split] += 1
        if not done:
            raise ValueError(f"sources.{name}: expected something to make rows of, found nothing.")


def _shard(source: str, split: str, number: int, items: list[Item]) -> Shard:
    return Shard(f"{split}-{source.rpartition('.')[2]}-{number:05d}", source, tuple(items))


def make(shard: Shard, settings: recipe.Settings, out: Path) -> Made:
    """Write a shard's rows, and before them what was rejected: the rows' file says that both are finished.

    Raises:
        ValueError: no room on the disk, or a source that breaks its word.
    """
    maker = _maker(settings.model_dump_json())
    module, own = recipe.sources(settings)[shard.source]
    refused: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()

    def found() -> Iterator[dict[str, Any]]:
        for item in shard.items:
            made = rows.of_item(module.samples(item, own), maker, split=item.split, where=f"sources.{shard.source}")
            for one in made:
                if not isinstance(one, Rejected):
                    yield one
                    continue
                reasons[one.reason] += 1
                told = asdict(one) | {"figures": json.dumps(one.figures, sort_keys=True), "split": item.split}
                refused.append({key: utf8(value) for key, value in told.items()})

    path, beside = out / f"{shard.name}.parquet", out / table.REJECTS / f"{shard.name}.parquet"
    print_of = table.fingerprint(shard.items)
    beside.unlink(missing_ok=True)
    with table.writing(path) as whole:
        count = table.fill(found(), whole, made_of=print_of, refused=refused)
        if refused:  # these are known when the rows are, and must be there before them
            table.write(refused, beside, table.REJECTED, made_of=print_of)
    return Made(shard.name, count, dict(sorted(reasons.items())))


@lru_cache(maxsize=1)
def _maker(settings: str) -> rows.Maker:
    """This process's own, made once: it holds rigs and the codec."""
    import torch

    torch.set_num_threads(1)  # workers share the cores among themselves
    return rows.Maker(recipe.Settings.model_validate_json(settings))


def to_json(shard: Shard) -> str:
    """A shard as text, for runners that send it away."""
    return json.dumps(asdict(shard))


def from_json(text: str) -> Shard:
    """The inverse of `to_json`."""
    shard = Shard(**json.loads(text))
    return replace(shard, items=tuple(Item(**item) for item in shard.items))  # type: ignore[arg-type]
