"""Train variations of one recipe alike and compare them: ``tdmm train tokenizers/face_compare.yaml -o runs/compare``.

Each variation is a run of `tdmm_lm.train.codec` in its own folder, so that a cut comparison goes on where it was. What
comes out: a table of figures, a picture of error against rate, and for each pair under ``paired`` how much larger the
other's error is on the same clips, with a bootstrap interval.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from tdmm_lm import bundle, codec, config, report
from tdmm_lm.files import replacing
from tdmm_lm.train import codec as training

RESAMPLED = 2000  # times the clips are drawn again for an interval


class Settings(config.Settings):
    """A comparison; ``changes`` are ``key.sub=value`` as on the command line."""

    base: str  # a recipe, as bundled or a path
    changes: list[str] = Field(default=[])  # for all runs
    runs: dict[str, list[str]] = Field(min_length=1)
    paired: dict[str, tuple[str, str]] = Field(default={})  # a figure's name: one run, another
    sources: list[str] = Field(min_length=1)  # whose main error is drawn and compared
    named: dict[str, str] = Field(default={})  # a figure's name in a released codec's report: its name here
    into: str | None = None  # that codec's folder, as bundled or a path; it also gets the table and the picture


def main(settings: Settings, output: Path) -> None:
    """Train what is not yet trained, then write ``report.json``, ``report.md`` and ``rate.png`` into ``output``.

    Raises:
        ValueError: a pair of runs that there is not, or a variation that cannot be trained.
    """
    strange = [name for pair in settings.paired.values() for name in pair if name not in settings.runs]
    if strange:
        raise ValueError(f"paired: expected names among {', '.join(settings.runs)}, got {', '.join(strange)}.")
    path = Path(settings.base) if Path(settings.base).is_file() else bundle.path(settings.base)
    base = config.override(config.read(path), settings.changes)
    base.pop("step", None)
    recipes = {
        name: config.check(training.Settings, config.override(base, changes), f"runs.{name}")
        for name, changes in settings.runs.items()
    }
    for name, recipe in recipes.items():
        if not (output / name / "codec" / "report.json").is_file():
            print(f"== {name}")
            training.main(recipe, output / name)
    points = {name: _points(output / name / "codec", recipe, settings.sources) for name, recipe in recipes.items()}
    figures = {f"{name}_{at}": value for name, found in points.items() for at, value in found.items()}
    for name, (one, other) in settings.paired.items():
        for source in settings.sources:
            figures[f"{name}_{source}"] = _paired(output, recipes, one, other, source)
    with replacing(output / "rate.png") as beside:
        _draw(points, {name: _bits(output / name / "codec") for name in recipes}, settings.sources, beside)
    made = report.report(f"{path.stem} codecs compared", settings=settings.model_dump(mode="json"), figures=figures)
    name, recipe = next(iter(recipes.items()))
    table = _table(points, _means(output / name / "codec", recipe, settings.sources))
    report.write(made, output, tables=table)
    if settings.into is not None:
        folder = Path(settings.into) if Path(settings.into).is_dir() else bundle.path(settings.into)
        _add(folder, {name: figures[here] for name, here in settings.named.items()}, table)
        with replacing(folder / "rate.png") as beside:
            shutil.copyfile(output / "rate.png", beside)


def _add(folder: Path, figures: dict[str, dict[str, Any]], table: str) -> None:
    """Figures, the table and the picture into the report of a codec that was released before."""
    made = json.loads((folder / "report.json").read_text())
    made["figures"] |= figures
    title = "## Rates, all trained alike and shortly"
    before = (folder / "report.md").read_text().split("| figure |")[0].split("\n", 4)[4].split(title)[0].strip()
    tables = "\n\n".join(filter(None, [before, title, f"{table}\n![error against rate](rate.png)\n"]))
    report.write(made, folder, tables=tables)


def _points(folder: Path, recipe: training.Settings, sources: list[str]) -> dict[str, dict[str, Any]]:
    """Main errors by bits a second: one point, or one for each number of books."""
    learnt, model = config.find("material", recipe.material), codec.load(folder)
    figures = json.loads((folder / "report.json").read_text())["figures"]
    found = {}
    for books in range(1, model.books + 1):
        bits = books * math.log2(model.codebook_size) * model.code_fps
        for source in sources:
            key = learnt.key(source, learnt.MAIN)
            figure = figures[key if books == model.books else f"books{books}_{key}"]
            found[f"{bits:.0f}_bits_{key}"] = figure
    return found


def _bits(folder: Path) -> float:
    """Bits a second of a k-means of the codec's size: a code a frame, however many frames the codec's hold."""
    model = codec.load(folder)
    return math.log2(model.codebook_size) * model.fps


def _means(folder: Path, recipe: training.Settings, sources: list[str]) -> dict[str, float]:
    """The mean frame's main errors, by their names."""
    learnt = config.find("material", recipe.material)
    figures = json.loads((folder / "report.json").read_text())["figures"]
    keys = [learnt.key(source, learnt.MAIN) for source in sources]
    return {key: figures[f"mean_frame_{key}"]["value"] for key in keys}


@torch.no_grad()
def _paired(output: Path, recipes: dict[str, training.Settings], one: str, other: str, source: str) -> dict[str, Any]:
    """Mean main error of ``other`` over that of ``one`` on the same clips; the interval is over clips drawn again."""
    away = []
    for name in (one, other):
        recipe, model = recipes[name], codec.load(output / name / "codec")
        learnt = config.find("material", recipe.material)
        rows = list(learnt.examples(config.check(learnt.Data, recipe.data, "data"), "test", recipe.seed)[source])
        again = (model.decode(model.encode(row[None]))[0][: len(row)] for row in rows)
        away.append([float(learnt.errors(row, made)[learnt.MAIN].mean()) for row, made in zip(rows, again)])
    errors = np.array(away)
    drawn = np.random.default_rng(0).integers(errors.shape[1], size=(RESAMPLED, errors.shape[1]))
    ratios = errors[1][drawn].mean(1) / errors[0][drawn].mean(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return report.figure(
        float(errors[1].mean() / errors[0].mean()), f"times the error of {one}", n=errors.shape[1],
        interval=(float(low), float(high)), peer=other, peer_value=float(errors[1].mean()),
    )


def _table(points: dict[str, dict[str, dict[str, Any]]], means: dict[str, float]) -> str:
    """All points, k-means of the same size and the mean frame among them."""
    lines = ["| codec | at | error | k-means, frame by frame |", "|---|---|---|---|"]
    for name, found in points.items():
        for at, figure in found.items():
            peer = "" if figure["peer_value"] is None else f"{figure['peer_value']:.3g}"
            lines.append(f"| {name} | {at.replace('_', ' ')} | {figure['value']:.3g} | {peer} |")
    lines += [f"| mean frame | {key.replace('_', ' ')} | {value:.3g} | |" for key, value in means.items()]
    return "\n".join([*lines, ""])


def _draw(
    points: dict[str, dict[str, dict[str, Any]]], bits_of_peers: dict[str, float], sources: list[str], path: Path
) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(4.2 * len(sources) + 2.2, 3.6), dpi=110, layout="constrained")
    for axis, source in zip(np.atleast_1d(drawing.subplots(1, len(sources))), sources):
        for name, found in points.items():
            place = [(int(at.split("_")[0]), figure) for number, (at, figure) in enumerate(found.items())
                     if number % len(sources) == sources.index(source)]
            axis.plot([bits for bits, _ in place], [figure["value"] for _, figure in place], "o-", label=name)
            peers = [figure["peer_value"] for _, figure in place if figure["peer_value"] is not None]
            axis.plot([bits_of_peers[name]] * len(peers), peers, "x", color=axis.lines[-1].get_color())
        axis.set(xlabel="bits a second", ylabel=place[0][1]["unit"], title=source)
        axis.set_ylim(bottom=0)
    handles, title = axis.get_legend_handles_labels(), "crosses: k-means,\na code a frame"
    drawing.legend(*handles, loc="outside right upper", fontsize=8, title=title, title_fontsize=8)
    drawing.savefig(path, format="png")
