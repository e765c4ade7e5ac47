"""A run's figures as tables: Markdown for a README, booktabs for a paper, with the papers' own figures beside them.

The best of the rows that may be compared is bold, the second underlined; arrows say which way is better. Rows of papers
stand apart: other data, other models, other judges.
"""

import math
from typing import Any

ARROWS = {"higher": "↑", "lower": "↓", "none": ""}
TEX_ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "none": ""}


def shown(value: float | None, interval: list[float] | None = None) -> str:
    """A value with its interval, in as many digits as one needs."""
    if value is None or not math.isfinite(value):
        return "–"
    if interval is None:
        return _digits(value)
    return f"{_digits(value)} ({_digits(interval[0])} to {_digits(interval[1])})"


def _digits(value: float) -> str:
    size = abs(value)
    text = f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
    if value and float(text) == 0:
        text = f"{value:.1e}"
    return text.replace("-", "−")


def figures(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All figures by name, judges' as ``judge.axis``."""
    found = dict(results["columns"])
    for judge, graded in results["judges"].items():
        for axis, figure in graded["axes"].items():
            found[f"{judge}.{axis}"] = figure | {"what": f"{axis}, by {graded['model']}"}
    return found


def markdown(results: dict[str, Any]) -> str:
    """``table.md``."""
    lines = [
        f"# {results['suite']}: {results['model']}", "",
        f"{results['n']} samples in {results['clusters']} clusters, seed {results['seed']}; 95 % intervals from "
        f"{results['settings']['resamples']} draws of whole clusters; version {results['version']}.", "",
    ]
    for judge, graded in results["judges"].items():
        if graded["banner"]:
            lines += [f"> **{judge}: {graded['banner']}**", ""]
    lines += ["| figure | | value (95 %) | n | unit | what |", "|---|---|---|---|---|---|"]
    for name, figure in figures(results).items():
        text = shown(figure["value"], figure["interval"]) + (f" ({figure['reason']})" if figure["reason"] else "")
        lines.append(
            f"| {name} | {ARROWS[figure['better']]} | {text} | {figure['n']} | {figure['unit']} | {figure['what']} |"
        )
    lines += ["", *counts(results)]
    if results["published"]:
        names = list(dict.fromkeys(name for row in results["published"].values() for name in row))
        lines += [
            f"## Published figures: {results['published_note']}", "",
            "| row | " + " | ".join(names) + " |", "|---|" + "---|" * len(names),
        ]
        lines += [
            f"| {row} | " + " | ".join(shown(given.get(name)) for name in names) + " |"
            for row, given in results["published"].items()
        ]
    return "\n".join(lines).rstrip() + "\n"


def counts(results: dict[str, Any]) -> list[str]:
    """What went wrong, in lines."""
    lines = []
    if results["faults"]:
        lines.append("Not answered: " + _listed(results["faults"]) + ".")
    if results["duplicated"]:
        lines.append(f"Ids that came twice and were asked once: {len(results['duplicated'])}.")
    if results["left_out"]:
        lines.append(f"Left out, not asked about: {'; '.join(f'{k}: {why}' for k, why in results['left_out'].items())}")
    if results["people"]:
        lines.append("People: " + _listed(results["people"]) + ".")
    for name, judge in results["judges"].items():
        told = [f"{name} graded {judge['graded']} of {results['n']}"]
        if judge["faults"]:
            told.append("not graded: " + _listed(judge["faults"]))
        if judge["invalid_answers"]:
            told.append("invalid answers: " + _listed(judge["invalid_answers"]))
        if judge["injected_samples"]:
            told.append(
                f"{judge['injections']} sentences that speak to a judge taken out of {judge['injected_samples']} texts"
            )
        bias = {axis: one["value"] for axis, one in judge["length_bias"].items() if one["value"] is not None}
        if bias:
            told.append("Spearman of grade and length " + ", ".join(f"{axis} {shown(v)}" for axis, v in bias.items()))
        lines.append("; ".join(told) + ".")
    for axis, one in results["agreement"].items():
        alpha = one["alpha_ordinal"]
        lines.append(f"Judges' agreement on {axis}: Krippendorff's alpha {shown(alpha['value'], alpha['interval'])}.")
    return [line for text in lines for line in (text, "")]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def latex(rows: dict[str, dict[str, Any]], published: dict[str, dict[str, float]] | None = None) -> str:
    """``table.tex``: a booktabs table of runs (name -> results), best bold, second underlined, intervals small."""
    runs = {name: figures(results) for name, results in rows.items()}
    columns = list(dict.fromkeys(name for found in runs.values() for name in found))
    kinds = {name: next(found[name] for found in runs.values() if name in found) for name in columns}
    lines = [
        "% needs \\usepackage{booktabs}", "\\begin{tabular}{l" + "c" * len(columns) + "}", "\\toprule",
        " & ".join(["", *(f"{_tex(name)} {TEX_ARROWS[kinds[name]['better']]}".strip() for name in columns)]) + r" \\",
        "\\midrule",
    ]
    ranks = {name: _ranked(runs, name, kinds[name]["better"]) for name in columns}
    for run, found in runs.items():
        cells = [_cell(found.get(name), ranks[name].get(run)) for name in columns]
        lines.append(" & ".join([_tex(run), *cells]) + r" \\")
    if published:
        lines.append("\\midrule")
        lines.append(f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{\\emph{{published, on other data}}}} \\\\")
        for row, given in published.items():
            cells = [_digits(given[name]).replace("−", "$-$") if name in given else "" for name in columns]
            lines.append(" & ".join([_tex(row), *cells]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _ranked(runs: dict[str, dict[str, Any]], name: str, better: str) -> dict[str, int]:
    """Places 0 and 1 of the runs in a column; none with one run, or where no way is better."""
    values = {run: found[name]["value"] for run, found in runs.items() if name in found}
    known = [(value, run) for run, value in values.items() if value is not None]
    if better == "none" or len(known) < 2:
        return {}
    best = sorted({value for value, _ in known}, reverse=better == "higher")
    return {run: best.index(value) for value, run in known}


def _cell(figure: dict[str, Any] | None, place: int | None) -> str:
    if figure is None or figure["value"] is None:
        return "--"
    text = _digits(figure["value"]).replace("−", "$-$")
    text = {0: f"\\textbf{{{text}}}", 1: f"\\underline{{{text}}}"}.get(place if place is not None else -1, text)
    if figure["interval"]:
        half = (figure["interval"][1] - figure["interval"][0]) / 2
        text += f"{{\\tiny $\\pm${_digits(half)}}}"
    return text


def _tex(text: str) -> str:
    words = {"\\": "textbackslash{}", "~": "textasciitilde{}", "^": "textasciicircum{}"}
    return text.translate({ord(letter): f"\\{words.get(letter, letter)}" for letter in "&%$#_{}\\~^"})
