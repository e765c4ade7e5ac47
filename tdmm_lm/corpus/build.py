"""A recipe becomes a data set: Parquet shards of what its sources give, with labels, texts, prompts, edits, codes.

    tdmm corpus build recipes/corpus/nano.yaml -o runs/corpus
    tdmm corpus check runs/corpus

Shards are written whole and never rewritten: a build that was stopped, in whatever way, goes on where it was, and what
it ends with is byte for byte what it would have been. `datasets.load_dataset(FOLDER)` reads it with its splits.
"""

import fcntl
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tdmm_lm.corpus import table
from tdmm_lm.corpus.building import card, histograms, recipe, rows, running, shards
from tdmm_lm.corpus.building.recipe import Settings
from tdmm_lm.progress import track

__all__ = ["Settings", "build"]

RECIPE = "recipe.json"


def build(settings: Settings, out: Path) -> str:
    """Write the data set into ``out``; the answer says what there is, what was left out, and why.

    Raises:
        ValueError: not one row came of it, ``out`` holds a data set of another recipe or of other items, another build
            works in it, the disk is full, or a source is unknown or wrong.
        FileNotFoundError: a source's data are not there.
        ModuleNotFoundError: what a source, the runner or the card's pictures need is not installed.
    """
    rows.Maker(settings).ready()  # before any work
    said = json.dumps(recipe.told(settings), indent=2) + "\n"
    histograms.ready()
    everything = list(shards.plan(settings))
    path = out / RECIPE
    if path.is_file() and path.read_text() != said:
        raise ValueError(f"{out}: expected a folder of this recipe, got one of another; choose another --output.")
    with _held(out):
        if not path.is_file():
            with table.writing(path) as beside:
                beside.write_text(said)
        left, notes = _left(everything, out)
        _sweep(out)
        for _ in track(running.run(left, settings, out), "shards", total=len(left)):
            pass
        made = card.write(out, settings)
    reasons = Counter(made["rejected"])
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    if not made["rows"]:
        why = f"rejected {reasons.total()}: {told or 'nothing'}; the details are in {out / table.REJECTS}"
        raise ValueError(f"{out}: expected a row at least, got none; {why}.")
    lines = [f"{out}: {len(everything)} shards, {made['rows']} rows, {_time(made['hours'])}; README.md describes them."]
    if reasons:
        lines.append(f"rejected {reasons.total()}: {told}; the details are in {out / table.REJECTS}.")
    for name, (module, own) in recipe.sources(settings).items():
        if "summary" in vars(module):  # which of a source's filters work depends on what is installed
            off = {key: state for key, state in module.summary(own).items() if state.startswith("off")}
            lines += [f"{name}: {key} {state}." for key, state in off.items()]
    return "\n".join([*notes, *lines])


def _time(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 0.1 else f"{60 * hours:.1f} min"


def _left(everything: list[shards.Shard], out: Path) -> tuple[list[shards.Shard], list[str]]:
    """The shards that are not there or broken, and a note for each broken one.

    Raises:
        ValueError: a shard of other items, or one that the recipe does not have.
    """
    left, notes = [], []
    unknown = {path.stem for path in out.glob("*.parquet")} - {shard.name for shard in everything}
    if unknown:
        raise ValueError(
            f"{out}: expected the shards of this recipe's items, got {', '.join(sorted(unknown)[:3])} too; the sources "
            "have changed since: choose another --output."
        )
    for shard in everything:
        path = out / f"{shard.name}.parquet"
        found = table.made_of(path) if path.is_file() else ("", 0)
        if found is None:
            notes.append(f"{path}: was broken, made again.")
            path.unlink()
            left.append(shard)
        elif not path.is_file():
            left.append(shard)
        elif found[0] != table.fingerprint(shard.items):
            raise ValueError(
                f"{path}: expected a shard of {len(shard.items)} items from {shard.items[0].id} on, got one of others; "
                "the sources have changed since: choose another --output."
            )
        elif (wrong := table.missed(path)) is not None:
            notes.append(f"{wrong}; {shard.name} was made again.")
            path.unlink()
            left.append(shard)
    return left, notes


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """One build a folder at a time; the lock goes with the process, however that ends."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".building").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{out}: expected no other build at work in it, got one; wait for it or end it.") from None
        yield


def _sweep(out: Path) -> None:
    """Remove what a killed build had half written."""
    for folder in (out, out / table.REJECTS, out / card.PICTURES):
        for rest in folder.glob(".*.*"):
            if rest.is_dir():
                shutil.rmtree(rest, ignore_errors=True)
