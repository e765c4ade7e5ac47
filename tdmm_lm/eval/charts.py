"""A run's pictures, as PDF for papers and PNG for pages: figures with intervals, confusions, grades against length."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm.eval import results as figures
from tdmm_lm.eval.running import Run
from tdmm_lm.files import replacing

BLUE, GREY = "#2f6690", "#8d99ae"
PAPERS = "published, on other data"


def write(run: Run, results: dict[str, Any], out: Path) -> list[str]:
    """All pictures that this run has something for, in ``out``; their names without endings."""
    drawn: dict[str, Callable[[Any], bool]] = {
        "figures": lambda axes: _bars(axes, results),
        "judges": lambda axes: _judges(axes, results),
        "confusion": lambda axes: _confusion(axes, run),
        "clusters": lambda axes: _clusters(axes, run),
        "length": lambda axes: _length(axes, run),
        "agreement": lambda axes: _agreement(axes, run),
    }
    return [name for name, draw in drawn.items() if _saved(name, draw, out)]


def _saved(name: str, draw: Callable[[Any], bool], out: Path) -> bool:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}):
        figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
        try:
            if not draw(axes):
                return False
            for suffix, more in ((".pdf", {"metadata": {"CreationDate": None}}), (".png", {"dpi": 150})):
                with replacing(out / f"{name}{suffix}") as path:
                    figure.savefig(path, **more)
        finally:
            pyplot.close(figure)
    return True


def _bars(axes: Any, results: dict[str, Any]) -> bool:
    """Columns that are shares, with their intervals."""
    columns = results["columns"].items()
    shares = {name: one for name, one in columns if one["unit"] == "share" and one["value"] is not None}
    if not shares:
        return False
    places = np.arange(len(shares))[::-1]
    values = np.array([one["value"] for one in shares.values()])
    ends = np.array([one["interval"] or [one["value"]] * 2 for one in shares.values()])
    axes.barh(places, values, color=BLUE, height=0.6)
    axes.errorbar(values, places, xerr=np.abs(ends.T - values), fmt="none", ecolor="black", capsize=2, lw=1)
    for place, value in zip(places, values):
        axes.text(1.03, place, f"{value:.3f}", va="center")
    axes.set(yticks=places, yticklabels=list(shares), xlim=(0, 1.12), xlabel="share, with 95 % interval")
    return True


def _judges(axes: Any, results: dict[str, Any]) -> bool:
    """Grades by judge and axis, and what papers published under the same axes."""
    judges, papers = results["judges"], results["published"]
    names = list(dict.fromkeys(axis for judge in judges.values() for axis in judge["axes"]))
    rows: list[tuple[str, list[float | None], list[Any], str]] = []
    for judge in judges.values():
        found = [judge["axes"].get(axis) for axis in names]
        rows.append((
            f"{results['model']} by {judge['model']}", [one["value"] if one else None for one in found],
            [one["interval"] if one else None for one in found], BLUE,
        ))
    rows += [
        (f"{row} ({PAPERS})", [given.get(axis) for axis in names], [None] * len(names), GREY)
        for row, given in papers.items() if any(axis in given for axis in names)
    ]
    if not judges or not any(value is not None for _, values, _, _ in rows for value in values):
        return False
    width = 0.8 / len(rows)
    for number, (label, values, intervals, colour) in enumerate(rows):
        known = [place for place, value in enumerate(values) if value is not None]
        places = np.array(known) + (number - (len(rows) - 1) / 2) * width
        heights = np.array([values[place] for place in known], float)
        shade = 1.0 if colour == BLUE else 0.35 + 0.5 * number / len(rows)
        axes.bar(places, heights, width * 0.9, label=label, color=colour, alpha=shade)
        sure = [place for place in known if intervals[place]]
        if sure:
            ends = np.array([intervals[place] for place in sure], float)
            tops = np.array([values[place] for place in sure], float)
            where = np.array(sure) + (number - (len(rows) - 1) / 2) * width
            axes.errorbar(where, tops, yerr=np.abs(ends.T - tops), fmt="none", ecolor="black", capsize=2, lw=1)
    axes.set(xticks=range(len(names)), xticklabels=names, ylim=(1, 5.2), ylabel="grade, 1 to 5")
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    return True


def _confusion(axes: Any, run: Run) -> bool:
    """Which expression was taken for which, in shares of the rows."""
    told = [run.suite.told(one.item, one.answer) for one in run.samples]
    told = [pair for pair in told if pair is not None]
    if len(told) < 2:
        return False
    true, said = (sorted({pair[place] for pair in told}) for place in (0, 1))
    columns = [*[name for name in true if name in said], *[name for name in said if name not in true]]
    counts = np.zeros((len(true), len(columns)))
    for one, other in told:
        counts[true.index(one), columns.index(other)] += 1
    axes.imshow(counts / counts.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xticks=range(len(columns)), yticks=range(len(true)), xlabel="found", ylabel="true")
    axes.set_xticklabels(columns, rotation=90, fontsize=6)
    axes.set_yticklabels([f"{name} ({int(count)})" for name, count in zip(true, counts.sum(1))], fontsize=6)
    return True


def _clusters(axes: Any, run: Run) -> bool:
    """A map of the motions (t-SNE, cosine), coloured by family (T22)."""
    found = run.suite.vectors([one.item for one in run.samples], [one.answer for one in run.samples], run.data)
    if found is None:
        return False
    from matplotlib import colormaps
    from sklearn.manifold import TSNE

    made, names = found
    near = min(30, (len(made) - 1) / 3)
    places = TSNE(2, metric="cosine", init="random", perplexity=near, random_state=0).fit_transform(made)
    families = sorted(set(names))
    for number, family in enumerate(families):
        chosen = np.array([name == family for name in names])
        colour = colormaps["nipy_spectral"](0.05 + 0.9 * number / max(1, len(families) - 1))
        marker = "os^Dv"[number % 5]
        axes.scatter(*places[chosen].T, s=9, color=colour, marker=marker, label=family, linewidths=0)
    axes.set(xticks=[], yticks=[])
    axes.legend(fontsize=6, ncols=2, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)
    return True


def _length(axes: Any, run: Run) -> bool:
    """Grades against the length of what was graded: a judge that likes long texts shows."""
    drawn = False
    rng = np.random.default_rng(0)
    words = np.array([len(one.candidate.split()) for one in run.samples], float)
    for number, (name, prompt) in enumerate(run.judges.items()):
        if not prompt.axes:
            continue
        given = np.stack([figures.scores(run.samples, name, axis) for axis in prompt.axes], 1)
        mean = np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in given])
        if np.isfinite(mean).any():
            shaken = mean + rng.uniform(-0.05, 0.05, len(mean))
            axes.scatter(words, shaken, s=8, alpha=0.5, label=name, color=f"C{number}")
            drawn = True
    if drawn:
        axes.set(xlabel="words of what was graded", ylabel="mean grade", ylim=(0.8, 5.2))
        axes.legend(frameon=False)
    return drawn


def _agreement(axes: Any, run: Run) -> bool:
    """The first two judges against each other."""
    names = [name for name, prompt in run.judges.items() if prompt.axes]
    if len(names) < 2:
        return False
    shared = [axis for axis in run.judges[names[0]].axes if axis in run.judges[names[1]].axes]
    counts = np.zeros((5, 5))
    for axis in shared:
        one, other = (figures.scores(run.samples, name, axis) for name in names[:2])
        for a, b in zip(one, other):
            if np.isfinite(a) and np.isfinite(b):
                counts[int(b) - 1, int(a) - 1] += 1
    if not counts.any():
        return False
    axes.imshow(counts, cmap="Blues", origin="lower")
    for row, column in np.ndindex(5, 5):
        axes.text(column, row, f"{int(counts[row, column])}", ha="center", va="center", fontsize=8)
    axes.set(
        xticks=range(5), yticks=range(5), xticklabels=range(1, 6), yticklabels=range(1, 6),
        xlabel=f"{names[0]}, all axes", ylabel=names[1],
    )
    return True
