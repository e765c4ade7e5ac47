"""Progress bars: on stderr, since stdout is for results, and only where it is a terminal, since files need none."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

Item = TypeVar("Item")


def bar() -> Progress:
    """A context to `add_task` to; gone when it is left."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def track(items: Iterable[Item], doing: str, total: float | None = None) -> Iterator[Item]:
    """The items one by one, counted under the word for what is done with them; ``total`` where they have no length."""
    with bar() as shown:
        yield from shown.track(items, total, description=doing)
