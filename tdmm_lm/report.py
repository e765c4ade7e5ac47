"""Figures in one shape: what ``tdmm bench`` prints and every trained artifact carries as ``report.json``."""

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

from tdmm_lm import __version__
from tdmm_lm.files import replacing

KEYS = ("value", "unit", "n", "interval", "peer", "peer_value", "ratio")


def figure(
    value: float | int | None,
    unit: str,
    *,
    n: int | None = None,
    interval: tuple[float, float] | None = None,
    peer: str | None = None,
    peer_value: float | None = None,
    ratio: float | None = None,
) -> dict[str, Any]:
    """One measured figure; ``interval`` is a 95 % interval, ``ratio`` says how often better than the peer."""
    return dict(zip(KEYS, (value, unit, n, list(interval) if interval else None, peer, peer_value, ratio), strict=True))


def machine() -> str:
    """The machine in words: processor family, cores, Python; no names of hosts."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def report(name: str, *, settings: dict[str, Any], figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The one object.

    Raises:
        ValueError: a figure does not have exactly the seven keys of `KEYS`.
    """
    for key, value in figures.items():
        if set(value) != set(KEYS):
            raise ValueError(f"figures.{key}: expected the keys {', '.join(KEYS)}, got {', '.join(value)}.")
    when = datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat()
    return {
        "name": name,
        "version": __version__,
        "when": when,
        "machine": machine(),
        "settings": settings,
        "figures": figures,
    }


def markdown(made: dict[str, Any], tables: str = "") -> str:
    """The report for people: ``tables`` of the step's own, if any, then all figures."""
    lines = [
        f"# {made['name']}",
        "",
        f"{made['when']}, version {made['version']}; {made['machine']}.",
        "",
        *([tables] if tables else []),
        "| figure | value | unit | n | 95 % interval | peer | peer's value | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def show(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, list):
            return " to ".join(show(v) for v in value)
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    for key, figure_ in made["figures"].items():
        lines.append("| " + " | ".join([key, *(show(figure_[k]) for k in KEYS)]) + " |")
    lines += ["", "## Settings", "", "```json", json.dumps(made["settings"], indent=2), "```", ""]
    return "\n".join(lines)


def write(made: dict[str, Any], folder: Path, *, tables: str = "") -> None:
    """``report.json`` and the ``report.md`` made from it, in ``folder``."""
    with replacing(folder / "report.json") as path:
        path.write_text(json.dumps(made, indent=2) + "\n")
    with replacing(folder / "report.md") as path:
        path.write_text(markdown(made, tables))
