"""The pictures of a data set's card: its statistics drawn as PNG, the same bytes for the same numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdmm_lm.corpus import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR, GREY, SIDE = "#3a6ea5", "#666666", "#c0562f"


def draw(stats: dict[str, Any], folder: Path) -> dict[str, str]:
    """Write every picture that there is something to show of; returns file name -> what it shows."""
    made = {}
    bins = stats["histograms"]
    for name, key, shows, unit in (
        ("duration", "duration_seconds", "How long clips are", "seconds"),
        ("intensity", "intensity", "How strong the strongest expression is (without neutral faces)", "0 to 1"),
        ("face_size", "box_share", "How much of the picture the face takes", "share of the picture"),
        ("sharpness", "sharpness", "How sharp the face is", "Laplacian's variance over the grey levels', 128 pixels"),
        ("sound", "overall", "How clean the speech is", "DNSMOS P.835 overall, 1 to 5"),
        ("text_length", "text_words", "How long descriptions are", "words"),
    ):
        if sum(bins[key]["counts"]):
            made[f"{name}.png"] = shows
            figure = _figure(3.0)
            _bars(figure.subplots(), bins[key], unit, "texts" if key == "text_words" else "clips")
            _save(figure, shows, folder / f"{name}.png")
    if stats["family"]:
        made["labels.png"] = "Families of expressions"
        _save(_families(stats["family"]), made["labels.png"], folder / "labels.png")
    if sum(bins["yaw_degrees"]["counts"]):
        made["head_pose.png"] = "How heads are turned (share of frames)"
        _save(_poses(bins), made["head_pose.png"], folder / "head_pose.png")
    return made


def ready() -> None:
    """Nothing, where pictures can be drawn; asked before hours of work.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "card: expected matplotlib for the card's pictures, found none; pip install 'tdmm-lm[corpus]'.",
            name="matplotlib",
        ) from None


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, height), dpi=110, layout="constrained")


def _bars(axis: "Axes", bins: dict[str, Any], unit: str, what: str) -> None:
    counts = np.array(bins["counts"])
    shown = np.flatnonzero(counts)
    start, stop = shown[0], shown[-1] + 1
    edges = bins["first"] + bins["step"] * np.arange(start, stop + 1)
    axis.bar(edges[:-1], counts[start:stop], bins["step"] * 0.92, align="edge", color=COLOUR)
    axis.set(xlabel=unit, ylabel=what, ylim=(0, None))
    top = int(counts.argmax())
    middle = bins["first"] + bins["step"] * (top + 0.5)
    axis.annotate(f"{counts[top]:,}", (middle, counts[top]), ha="center", va="bottom", fontsize=8, color=GREY)
    axis.margins(y=0.12)
    _clean(axis)


def _families(counts: dict[str, int]) -> "Figure":
    total = sum(counts.values())
    figure = _figure(1.0 + 0.19 * len(counts))
    axis = figure.subplots()
    names = list(counts)[::-1]
    values = [counts[name] for name in names]
    axis.barh([name.replace("_", " ") for name in names], values, color=COLOUR, height=0.75)
    for place, value in enumerate(values):
        axis.annotate(f" {value:,}  ({value / total:.1%})", (value, place), va="center", fontsize=8, color=GREY)
    axis.set_xlim(0, max(values) * 1.25)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.tick_params(axis="y", length=0, labelsize=8)
    axis.set_xticks([])
    _clean(axis)
    axis.spines["bottom"].set_visible(False)
    return figure


def _poses(bins: dict[str, Any]) -> "Figure":
    figure = _figure(3.2)
    axis = figure.subplots()
    furthest = 0.0
    for name, colour, means, height in (
        ("yaw", COLOUR, "left +", 0.92), ("pitch", SIDE, "down +", 0.80), ("roll", GREY, "right shoulder +", 0.68)
    ):
        found = bins[f"{name}_degrees"]
        counts = np.array(found["counts"])
        middles = found["first"] + found["step"] * (np.arange(len(counts)) + 0.5)
        shares = np.where(counts, counts, np.nan) / counts.sum()
        axis.plot(middles, shares, color=colour, linewidth=1.6)
        furthest = max(furthest, np.abs(middles[counts > 0.0005 * counts.sum()]).max())
        place = (0.99, height)
        axis.annotate(f"{name} ({means})", place, xycoords="axes fraction", ha="right", color=colour, fontsize=9)
    axis.set(xlabel="degrees", ylabel="share of frames", xlim=(-furthest - 2, furthest + 2), yscale="log")
    _clean(axis)
    return figure


def _clean(axis: "Axes") -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(colors=GREY, labelsize=8)
    axis.xaxis.label.set_color(GREY)
    axis.yaxis.label.set_color(GREY)


def _save(figure: "Figure", title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    with table.writing(path) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None})
