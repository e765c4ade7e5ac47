"""A run while it goes on: a table of the means so far."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tdmm_lm.corpus.asking import endpoint as endpoints

if TYPE_CHECKING:
    from tdmm_lm.eval.running import Sample
    from tdmm_lm.eval.suites import Item


def shown(work: Any, items: "list[Item]", at_once: int) -> "Iterator[Sample]":
    """Samples in the items' order, with a table of the means so far on stderr where that is a terminal."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    sums: dict[str, float] = {}
    counts: Counter[str] = Counter()
    done = 0
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        for _, sample in endpoints.each(work, items, at_once):
            done += 1
            values: dict[str, float | None] = dict(sample.columns)
            for judge, grade in sample.grades.items():
                values |= {f"{judge}.{axis}": float(score) for axis, score in grade.scores.items()}
            for name, value in values.items():
                if value is not None:
                    sums[name] = sums.get(name, 0.0) + value
                    counts[name] += 1
            if console.is_terminal:
                live.update(_table(done, len(items), sums, counts))
            yield sample


def _table(done: int, total: int, sums: dict[str, float], counts: Counter[str]) -> Any:
    from rich.table import Table

    table = Table(title=f"{done} of {total} samples", title_justify="left")
    for title in ("column", "mean so far", "n"):
        table.add_column(title, justify="left" if title == "column" else "right")
    for name in counts:
        table.add_row(name, f"{sums[name] / counts[name]:.3f}", str(counts[name]))
    return table
