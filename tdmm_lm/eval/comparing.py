"""Two runs of one suite side by side: differences on the same samples, with intervals, p-values and Holm's correction.

    tdmm eval compare runs/m2l-a runs/m2l-b -o runs/ab --judge http://127.0.0.1:8001/v1

With a judge both runs' texts are put before it, in both orders: a win counts where both orders agree.
"""

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm.corpus.asking import endpoint as endpoints
from tdmm_lm.corpus.asking.answers import Answers
from tdmm_lm.corpus.asking.endpoint import Endpoint
from tdmm_lm.eval import agreement, judging, running, statistics, tables
from tdmm_lm.eval.judging import Judge
from tdmm_lm.files import replacing

CODES = {"A": -1.0, "tie": 0.0, "B": 1.0}  # for the second run
SWAPPED = {"A": "B", "B": "A", "tie": "tie"}


def read(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A run's results and its samples by id.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: files of another version.
    """
    results, samples = folder / "results.json", folder / "samples.jsonl"
    for path in (results, samples):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a finished run of `tdmm eval run`, found none.")
    try:
        made = json.loads(results.read_text())
        rows = {row["id"]: row for row in map(json.loads, samples.read_text().splitlines())}
        made["columns"], made["judges"], made["suite"], made["model"]
        for row in rows.values():
            row["columns"], row["judges"], row["cluster"], row["candidate"], row["reference"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: expected results.json and samples.jsonl of a run, got {error!r}.") from None
    return made, rows


def compare(
    first: Path, second: Path, *, resamples: int = 1000, seed: int = 0, judge: judging.Settings | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Every column that both have, on the samples that both have.

    Raises:
        FileNotFoundError, ValueError: no runs, runs of other suites, or none of their samples in common.
    """
    (one, a), (other, b) = read(first), read(second)
    if one["suite"] != other["suite"]:
        raise ValueError(f"{second}: expected a run of {one['suite']}, as {first} is, got {other['suite']}.")
    shared = [name for name in a if name in b]
    if not shared:
        raise ValueError(f"{second}: expected samples that {first} has too, found none; run both with one seed.")
    clusters = [a[name]["cluster"] for name in shared]
    columns = _columns(one, other, a[shared[0]], b[shared[0]])
    left, right = (
        np.array([[_value(rows[name], column) for column in columns] for name in shared], float) for rows in (a, b)
    )
    found = statistics.compare(left, right, clusters, resamples=resamples, seed=seed)
    result: dict[str, Any] = {
        "schema": 1, "suite": one["suite"], "a": one["model"], "b": other["model"], "n": len(shared),
        "only_a": len(a) - len(shared), "only_b": len(b) - len(shared), "clusters": len(set(clusters)),
        "columns": {".".join(column): asdict(each) for column, each in zip(columns, found)},
    }
    if judge is not None and out is not None:
        result["pairwise"] = pairwise([(a[name], b[name]) for name in shared], clusters, judge, out, seed=seed)
    if out is not None:
        write(result, out, {one["model"] if one["model"] != other["model"] else "a": one, other["model"]: other})
    return result


def _columns(
    one: dict[str, Any], other: dict[str, Any], a: dict[str, Any], b: dict[str, Any]
) -> list[tuple[str, ...]]:
    """("family",) for a column of samples, ("judge1", "expression") for a judge's axis, where both runs have it."""
    names: list[tuple[str, ...]] = [(name,) for name in a["columns"] if name in b["columns"]]
    for judge, graded in one["judges"].items():
        if judge in other["judges"]:
            names += [(judge, axis) for axis in graded["axes"] if axis in other["judges"][judge]["axes"]]
    return names


def _value(row: dict[str, Any], column: tuple[str, ...]) -> float:
    value = row["columns"].get(column[0]) if len(column) == 1 else row["judges"][column[0]]["scores"].get(column[1])
    return np.nan if value is None else float(value)


def pairwise(
    pairs: list[tuple[dict[str, Any], dict[str, Any]]], clusters: list[str], settings: judging.Settings, out: Path,
    *, seed: int = 0,
) -> dict[str, Any]:
    """Both orders of every pair; ``win_rate`` is the second run's, ``flip_rate`` the share whose winner changed with
    the order."""
    with ExitStack() as stack:
        answers = Answers(out / running.CALLS)
        stack.callback(answers.close)
        settings = settings.model_copy(update={"endpoint": running.named(settings.endpoint)})
        judge = Judge(settings, stack.enter_context(Endpoint(settings.endpoint, answers)))

        def both(pair: tuple[dict[str, Any], dict[str, Any]]) -> list[tuple[str, str, int]]:
            one, other = (row["candidate"] for row in pair)
            reference = pair[0]["reference"]
            straight = judge.better(one, other, reference)
            back = judge.better(other, one, reference)
            return [straight, (SWAPPED.get(back[0], ""), *back[1:])]

        found = [verdicts for _, verdicts in endpoints.each(both, pairs, settings.endpoint.at_once)]
    codes = np.array([[CODES.get(verdict, np.nan) for verdict, _, _ in one] for one in found], float)
    orders = agreement.orders(codes[:, 1], codes[:, 0], clusters, seed=seed)
    faults = Counter(fault for one in found for _, fault, _ in one if fault)
    return {
        "judge": settings.name, "model": settings.endpoint.model, "prompt": judge.prompt.name,
        "prompt_sha256": judge.prompt.sha256, **asdict(orders), "faults": dict(sorted(faults.items())),
        "injections": sum(count for one in found for _, _, count in one), "banner": agreement.validated(None).banner,
    }


def markdown(result: dict[str, Any]) -> str:
    """The comparison for people."""
    lines = [
        f"# {result['suite']}: {result['b']} against {result['a']}", "",
        f"{result['n']} samples in both, {result['clusters']} clusters; left out: {result['only_a']} of the first, "
        f"{result['only_b']} of the second.", "",
        "| column | first | second | difference (95 %) | p | p, Holm | Wilcoxon |", "|---|---|---|---|---|---|---|",
    ]
    for name, one in result["columns"].items():
        gap = one["difference"]
        told = [tables.shown(one[key]) for key in ("p", "holm", "wilcoxon")]
        lines.append(
            f"| {name} | {tables.shown(one['a'])} | {tables.shown(one['b'])} | "
            f"{tables.shown(gap['value'], gap['interval'])} | " + " | ".join(told) + " |"
        )
    if "pairwise" in result:
        pair = result["pairwise"]
        rates = ", ".join(f"{key} {tables.shown(pair[key]['value'], pair[key]['interval'])}" for key in RATES)
        lines += ["", f"**{pair['banner']}**" if pair["banner"] else "", "", f"Judge {pair['model']}: {rates}."]
        lines += [f"Invalid: {pair['faults']}."] if pair["faults"] else []
    return "\n".join(lines) + "\n"


RATES = ("win_rate", "flip_rate", "first_bias")


def write(result: dict[str, Any], out: Path, runs: dict[str, dict[str, Any]]) -> None:
    """``compare.json``, ``compare.md`` and ``table.tex`` with both runs as rows."""
    texts = {
        "compare.json": json.dumps(result, indent=2) + "\n", "compare.md": markdown(result),
        "table.tex": tables.latex(runs),
    }
    for name, text in texts.items():
        with replacing(out / name) as path:
            path.write_text(text)
