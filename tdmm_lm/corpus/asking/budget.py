"""What a run may spend, and never more: amounts are set aside before they are spent and put right afterwards."""

import threading
from collections.abc import Callable, Mapping


class Spent(Exception):
    """The next step would go over the budget. ``what`` names the kind of amount."""

    def __init__(self, what: str, spent: float, needed: float, limit: float) -> None:
        super().__init__(f"budget: {what}: {spent:g} of {limit:g} are spent, the next step may take {needed:g}")
        self.what = what


class Purse:
    """Amounts by kind (requests, tokens, dollars, ...), shared by threads.

    ``note`` is called with every change, so that what is spent outlives the process: a step that was killed half way
    stays counted with the most that it may have taken.
    """

    def __init__(
        self, limits: Mapping[str, float | None], spent: Mapping[str, float],
        note: Callable[[dict[str, float]], None] = lambda change: None,
    ) -> None:
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        self.spent: dict[str, float] = dict(spent)
        self._note, self._lock = note, threading.Lock()

    def take(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Set the most aside that a step may take; give it to `settle` afterwards.

        Raises:
            Spent: it would go over a limit; nothing is set aside.
        """
        with self._lock:
            for name, amount in amounts.items():
                limit, spent = self.limits.get(name), self.spent.get(name, 0.0)
                if limit is not None and spent + amount > limit * (1 + 1e-9):
                    raise Spent(name, spent, amount, limit)
            self._add(dict(amounts))
            return dict(amounts)

    def settle(self, taken: Mapping[str, float], used: Mapping[str, float]) -> None:
        """Put what was set aside right by what was used; kinds that are not in ``used`` stay as taken."""
        with self._lock:
            self._add({name: amount - taken.get(name, 0.0) for name, amount in used.items()})

    def _add(self, change: dict[str, float]) -> None:
        for name, amount in change.items():
            self.spent[name] = self.spent.get(name, 0.0) + amount
        self._note(change)
