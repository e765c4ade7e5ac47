"""A run in figures: every column with its interval, judges with what speaks for and against them, nothing left out.

The same answers give the same ``results.json``, byte for byte: times, the machine and what a killed run may have spent
in vain stand in ``run.json``.
"""

import csv
import datetime
import importlib.metadata
import json
import platform
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tdmm_lm import __version__, report
from tdmm_lm.eval import agreement, judging, statistics
from tdmm_lm.eval.running import Run, Sample
from tdmm_lm.eval.statistics import Estimate
from tdmm_lm.eval.suites import Column
from tdmm_lm.files import replacing

SCHEMA = 1
SHARE = "share"
PACKAGES = ("numpy", "scipy", "torch", "transformers", "pycocoevalcap", "httpx")
PEOPLE = ("id", "axis", "rater", "score")  # columns of the CSV of what people gave


def made(run: Run) -> dict[str, Any]:
    """The whole ``results.json``.

    Raises:
        ValueError: a people's file that is broken.
    """
    samples = run.samples
    clusters = [sample.item.cluster for sample in samples]
    options: dict[str, Any] = {"resamples": run.settings.resamples, "seed": run.settings.seed}
    columns = {}
    table = _table(samples, list(run.suite.COLUMNS))
    for place, (name, found) in enumerate(zip(run.suite.COLUMNS, statistics.means(table, clusters, **options))):
        column = run.suite.COLUMNS[name]
        if column.unit == SHARE:  # an interval that stays in 0..1 and has a width where all are right
            found = statistics.share(table[:, place], clusters)
        columns[name] = _figure(found, 0.0) | _told(column)  # all of them count, or measure a size
    sets = run.suite.sets([one.item for one in samples], [one.answer for one in samples], run.data)
    for name, function in sets.items():
        column = run.suite.SETS[name]
        if column.unit == SHARE and function.shares is not None:
            found = statistics.share(function.shares, clusters)
        else:
            found = statistics.statistic(function, len(samples), clusters, method=column.spread, **options)
        bounds = (0.0, 1.0) if column.unit == SHARE else (-np.inf, np.inf)
        columns[name] = _figure(found, *bounds) | _told(column) | {"n": function.n}
    people, counted = _people(run.settings.people, samples)
    judges = {name: _judge(run, name, clusters, people, options) for name in run.judges}
    return {
        "schema": SCHEMA, "suite": run.settings.suite, "version": __version__, "model": run.model,
        "settings": run.settings.model_dump(mode="json", exclude={"published", "published_note"}),
        "packages": {"python": platform.python_version()} | {
            name: importlib.metadata.version(name) for name in PACKAGES
        },
        "n": len(samples), "clusters": len(set(clusters)), "seed": run.settings.seed,
        "columns": columns, "judges": judges, "agreement": _among(run, clusters, options),
        "faults": dict(sorted(Counter(one.answer.fault for one in samples if one.answer.fault).items())),
        "duplicated": list(run.duplicated), "left_out": {one.id: one.reason for one in run.left_out}, "people": counted,
        "tokens": {
            "in": sum(one.answer.tokens_in for one in samples), "out": sum(one.answer.tokens_out for one in samples),
        },
        "published": run.settings.published, "published_note": run.settings.published_note,
    }


def values(results: dict[str, Any]) -> dict[str, float | None]:
    """Every figure's value: columns by their names, judges' as ``judge.axis``."""
    found = {name: column["value"] for name, column in results["columns"].items()}
    for judge, graded in results["judges"].items():
        found |= {f"{judge}.{axis}": figure["value"] for axis, figure in graded["axes"].items()}
    return found


def rows(run: Run) -> list[dict[str, Any]]:
    """``samples.jsonl``: every sample with what was asked for, what came, and what it was given."""
    made = []
    for one in run.samples:
        made.append({
            "id": one.item.id, "cluster": one.item.cluster, "reference": one.item.reference, "text": one.answer.text,
            "candidate": one.candidate, "motion_frames": one.answer.clip.frames if one.answer.clip else None,
            "fault": one.answer.fault, "tokens_in": one.answer.tokens_in, "tokens_out": one.answer.tokens_out,
            "columns": one.columns, "judges": {name: asdict(grade) for name, grade in one.grades.items()},
        })
    return made


def write(run: Run, results: dict[str, Any], made: Sequence[dict[str, Any]], out: Path) -> None:
    """``results.json``, ``samples.jsonl`` and ``run.json``."""
    when = datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat()
    with replacing(out / "run.json") as path:
        path.write_text(json.dumps({"when": when, "machine": report.machine(), "spent": run.spent}, indent=2) + "\n")
    with replacing(out / "results.json") as path:
        path.write_text(json.dumps(results, indent=2) + "\n")
    with replacing(out / "samples.jsonl") as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in made))


def _figure(found: Estimate, low: float = -np.inf, high: float = np.inf) -> dict[str, Any]:
    """``low`` and ``high`` are what the figure cannot pass: there an interval ends."""
    ends = None if found.interval is None else [float(min(max(end, low), high)) for end in found.interval]
    return {
        "value": found.value, "interval": ends, "n": found.n,
        "clusters": found.clusters, "method": found.method, "reason": found.reason,
    }


def _told(column: Column) -> dict[str, Any]:
    return {"unit": column.unit, "better": column.better, "what": column.what}


def _table(samples: Sequence[Sample], names: Sequence[str]) -> Float[np.ndarray, "samples columns"]:
    """Columns as numbers, nan where one does not apply."""
    rows = [[one.columns[name] for name in names] for one in samples]
    return np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)


def scores(samples: Sequence[Sample], judge: str, axis: str) -> Float[np.ndarray, " samples"]:
    """A judge's grades, nan where there is none."""
    return np.array([one.grades[judge].scores.get(axis, np.nan) for one in samples], np.float64)


def _judge(
    run: Run, name: str, clusters: list[str], people: dict[str, Float[np.ndarray, "samples raters"]],
    options: dict[str, Any],
) -> dict[str, Any]:
    """What a judge gave, what it could not, and what is known of its worth."""
    prompt, samples = run.judges[name], run.samples
    settings = next(one for one in run.settings.judges if one.name == name)
    grades = [one.grades[name] for one in samples]
    axes, bias = {}, {}
    worth: dict[str, dict[str, Any]] = {}
    validations: dict[str, dict[str, Estimate]] = {}
    for axis in prompt.axes:
        given = scores(samples, name, axis)
        found = statistics.mean(given, clusters, **options)
        axes[axis] = _figure(found, judging.LOW, judging.HIGH) | {"unit": "1 to 5", "better": "higher"}
        bias[axis] = _figure(agreement.length_bias(given, [one.candidate for one in samples], clusters, **options))
        if axis in people:
            against = validations[axis] = agreement.with_people(given, people[axis], clusters, **options)
            worth[axis] = {key: _figure(one) for key, one in against.items()}
    banners = [agreement.validated(None).banner]
    if validations:  # every axis stands for itself
        told = {axis: agreement.validated(validations.get(axis, {}).get("kappa")).banner for axis in prompt.axes}
        named = f"{agreement.BANNER} on "
        banners = [text.replace(agreement.BANNER, named + axis) for axis, text in told.items() if text]
    faults = Counter(grade.fault for grade in grades if grade.fault)
    asked_again = Counter(fault for grade in grades for fault in grade.faults)
    return {
        "model": next((grade.model for grade in grades if grade.model), settings.endpoint.model),
        "prompt": prompt.name, "prompt_version": prompt.version, "prompt_sha256": prompt.sha256,
        "options": settings.endpoint.options, "sees": settings.sees, "axes": axes, "length_bias": bias,
        "with_people": worth, "banner": "; ".join(banners),
        "graded": sum(1 for grade in grades if grade.scores), "faults": dict(sorted(faults.items())),
        "invalid_answers": dict(sorted(asked_again.items())),
        "injections": sum(grade.injected for grade in grades),
        "injected_samples": sum(bool(grade.injected) for grade in grades),
        "cut": sum(grade.cut for grade in grades),
    }


def _among(run: Run, clusters: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """Krippendorff's alpha among the judges on every axis that two of them have."""
    axes = defaultdict(list)
    for name, prompt in run.judges.items():
        for axis in prompt.axes:
            axes[axis].append(name)
    result = {}
    for axis, names in axes.items():
        if len(names) > 1:
            ratings = np.stack([scores(run.samples, name, axis) for name in names], 1)
            result[axis] = {"judges": names, "alpha_ordinal": _figure(agreement.alpha(ratings, clusters, **options))}
    return result


def _people(
    path: str | None, samples: Sequence[Sample]
) -> tuple[dict[str, Float[np.ndarray, "samples raters"]], dict[str, int]]:
    """By axis what people gave, a column a rater; how many ratings were used, and how many were of other samples.

    Raises:
        FileNotFoundError: no such file.
        ValueError: other columns, a score that is no grade, or two by one rater of one thing.
    """
    if path is None:
        return {}, {}
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected people's grades (CSV: {', '.join(PEOPLE)}), found none.")
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is None or not set(PEOPLE) <= set(reader.fieldnames):
            raise ValueError(f"{path}: expected the columns {', '.join(PEOPLE)}, got {reader.fieldnames}.")
        given = list(reader)
    places = {one.item.id: place for place, one in enumerate(samples)}
    raters = sorted({str(row["rater"]) for row in given})
    found: dict[str, Float[np.ndarray, "samples raters"]] = {}
    used = 0
    for number, row in enumerate(given, 2):
        where = f"{path}: line {number}"
        try:
            score = float(row["score"])
        except (ValueError, TypeError):
            raise ValueError(f"{where}: score: expected a number, got {row['score']!r}.") from None
        if not judging.LOW <= score <= judging.HIGH:
            raise ValueError(f"{where}: score: expected {judging.LOW} to {judging.HIGH}, got {row['score']!r}.")
        if row["id"] not in places:
            continue
        table = found.setdefault(row["axis"], np.full((len(samples), len(raters)), np.nan))
        place = places[row["id"]], raters.index(str(row["rater"]))
        if np.isfinite(table[place]):
            raise ValueError(f"{where}: expected one grade a rater, sample and axis, got a second.")
        table[place] = score
        used += 1
    return found, {"raters": len(raters), "ratings": used, "of_other_samples": len(given) - used}
