"""``report.html``: a run's tables and pictures, and the best and the worst clips playing beside what was said."""

import hashlib
import html
import math
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm.eval import presenting, tables
from tdmm_lm.eval.running import Run, Sample
from tdmm_lm.files import replacing

CLIPS = 4  # at either end
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1b1e; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .6rem; text-align: left; }
thead th { border-bottom: 2px solid #333; } tbody tr { border-bottom: 1px solid #ddd; }
.banner { background: #fff3cd; border-left: 4px solid #d39e00; padding: .6rem 1rem; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }
.clip { border: 1px solid #ddd; border-radius: 6px; padding: .6rem; } .clip video { width: 100%; border-radius: 4px; }
.clip p { margin: .4rem 0; } .small { color: #555; font-size: 13px; } img { max-width: 100%; }
@media (prefers-color-scheme: dark) { body { background: #17181c; color: #e6e6ea; } .banner { background: #3a3214; }
  .small { color: #aaa; } tbody tr, .clip { border-color: #444; } img { background: #fff; } }
"""


def write(run: Run, results: dict[str, Any], pictures: list[str], out: Path) -> None:
    """``report.html`` and the clips it plays, under ``media``; pictures are those in ``figs``."""
    ends = _ends(run)
    for _, chosen in ends:
        for sample, _ in chosen:
            clip = sample.answer.clip or sample.item.clip
            path = out / "media" / f"{_file(sample)}.mp4"
            if clip is not None and not path.is_file():
                with replacing(path) as beside:
                    presenting.film(clip, beside)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{_safe(results['suite'])}: {_safe(results['model'])}</title><style>{STYLE}</style>",
        f"<h1>{_safe(results['suite'])}: {_safe(results['model'])}</h1>",
        f"<p>{results['n']} samples in {results['clusters']} clusters, seed {results['seed']}; 95 % intervals from "
        f"{results['settings']['resamples']} draws of whole clusters; version {_safe(results['version'])}.</p>",
    ]
    parts += [
        f"<p class=banner><b>{_safe(name)}: {_safe(judge['banner'])}</b></p>"
        for name, judge in results["judges"].items() if judge["banner"]
    ]
    parts += [_figures(results), *(f"<p>{_safe(line)}</p>" for line in tables.counts(results) if line)]
    if results["published"]:
        parts.append(_published(results))
    parts += [f"<h2>{_safe(name.capitalize())}</h2><img src='figs/{name}.png' alt='{name}'>" for name in pictures]
    for title, chosen in ends:
        cards = "".join(_card(sample, value, out) for sample, value in chosen)
        parts.append(f"<h2>{title}</h2><div class=clips>{cards}</div>")
    with replacing(out / "report.html") as path:
        path.write_text("\n".join(parts) + "\n")


def worth(sample: Sample, run: Run) -> float:
    """How good a sample is: the mean of its grades and of the shares of which more is better, 0..1; in a suite without
    either, its first column, negative where less is better."""
    columns = run.suite.COLUMNS
    shares = [name for name, column in columns.items() if column.unit == "share" and column.better == "higher"]
    first = next(iter(columns))
    if not shares and not run.judges:
        value = sample.columns[first]
        return -math.inf if value is None else -value if columns[first].better == "lower" else value
    found = [value for name in shares if (value := sample.columns[name]) is not None]
    found += [(score - 1) / 4 for grade in sample.grades.values() for score in grade.scores.values()]
    return float(np.mean(found)) if found else 0.0


def _ends(run: Run) -> list[tuple[str, list[tuple[Sample, float]]]]:
    ranked = sorted(((one, worth(one, run)) for one in run.samples), key=lambda pair: (-pair[1], pair[0].item.id))
    best = ranked[:CLIPS]
    return [("Best", best), ("Worst", [pair for pair in ranked[::-1] if pair not in best][:CLIPS])]


def _file(sample: Sample) -> str:
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in sample.item.id)
    return f"{plain[:60]}-{hashlib.sha256(sample.item.id.encode()).hexdigest()[:8]}"  # ids may differ in other letters


def _card(sample: Sample, value: float, out: Path) -> str:
    film = out / "media" / f"{_file(sample)}.mp4"
    source = f"<video src='media/{film.name}' controls loop muted autoplay playsinline></video>"
    video = source if film.is_file() else ""
    came = "a motion" if sample.answer.clip is not None else sample.answer.fault or "nothing"
    said = sample.answer.text or sample.candidate or f"({came})"
    right = ", ".join(f"{name} {value:g}" for name, value in sample.columns.items() if value is not None)
    grades = "".join(
        f"<p class=small>{_safe(judge)}: " + (
            ", ".join(f"{axis} {score}" for axis, score in grade.scores.items()) or f"none ({_safe(grade.fault)})"
        ) + "</p>"
        for judge, grade in sample.grades.items()
    )
    return (
        f"<div class=clip>{video}<p><b>{abs(value):.2f}</b> {_safe(sample.item.id)}</p>"
        f"<p><b>asked or true:</b> {_safe(sample.item.reference)}</p><p><b>came:</b> {_safe(said)}</p>"
        f"{grades}<p class=small>{_safe(right)}</p></div>"
    )


def _figures(results: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{_safe(name)} {tables.ARROWS[one['better']]}</td>"
        f"<td>{tables.shown(one['value'], one['interval'])}{_safe(' ' + one['reason'] if one['reason'] else '')}</td>"
        f"<td>{one['n']}</td><td>{_safe(one['unit'])}</td><td>{_safe(one['what'])}</td></tr>"
        for name, one in tables.figures(results).items()
    )
    return (
        "<table><thead><tr><th>figure</th><th>value (95 %)</th><th>n</th><th>unit</th><th>what</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _published(results: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for row in results["published"].values() for name in row))
    head = "".join(f"<th>{_safe(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{_safe(row)}</td>" + "".join(f"<td>{tables.shown(given.get(name))}</td>" for name in names) + "</tr>"
        for row, given in results["published"].items()
    )
    return (
        f"<h2>Published figures</h2><p class=banner>{_safe(results['published_note'])}</p>"
        f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _safe(text: object) -> str:
    return html.escape(str(text), quote=True)
