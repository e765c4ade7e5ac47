"""What is known of every video that is being made, in a file that is only added to: a killed run goes on from there.

A line is `{"id", "at", ...}`; what a later line of an id says replaces what earlier ones said, field by field, and the
amounts in ``spend`` add up. Every line is on the disk before the step that it tells of is taken.
"""

import fcntl
import heapq
import json
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Ledger:
    """An open ledger, for this process alone; safe for threads.

    What ``others``, ledgers of runs that shared the work out otherwise, say of an id is known too; ``spent_before`` is
    what those runs spent.
    """

    def __init__(self, path: Path, others: Iterable[Path] = ()) -> None:
        """
        Raises:
            ValueError: another run has it open, or a line in one of them is broken.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = path, threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self._claimed: dict[str, str] = {}
        self.spent: dict[str, float] = {}
        self.spent_before: dict[str, float] = {}
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ValueError(f"{path}: expected to be the only run here, another has it open; wait for it.") from None
        try:
            self._file.seek(0)
            own = self._file.read()
            rows, whole = _entries(own, path)
            if whole < len(own):  # the machine stopped in the middle of a line
                self._file.truncate(whole)
            told = [[(row, self.spent) for row in rows]]
            told += [[(row, self.spent_before) for row in _entries(one.read_bytes(), one)[0]] for one in others]
            for row, spent in heapq.merge(*told, key=lambda one: float(one[0]["at"])):
                self._take(row, spent)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _take(self, row: dict[str, Any], spent: dict[str, float]) -> None:
        known = self._known.setdefault(row["id"], {})
        if known.get("job") and "job" in row and row["job"] != known["job"]:
            self._claimed.pop(known["job"], None)
        known.update({name: value for name, value in row.items() if name not in ("id", "spend")})
        if row.get("job"):
            self._claimed[row["job"]] = row["id"]
        for what, amount in row.get("spend", {}).items():
            spent[what] = spent.get(what, 0.0) + amount

    def of(self, name: str) -> dict[str, Any]:
        """All that is known of an id; empty where nothing is."""
        with self._lock:
            return dict(self._known.get(name, {}))

    def note(self, name: str, **fields: Any) -> None:
        """Add a line, flushed to the disk."""
        row = {"id": name, "at": round(time.time(), 3), **fields}
        with self._lock:
            self._write(row)

    def claim(self, name: str, job: str) -> bool:
        """Note a server's job as an id's own, unless it is another's."""
        with self._lock:
            if self._claimed.get(job, name) != name:
                return False
            self._write({"id": name, "at": round(time.time(), 3), "state": "running", "job": job})
            return True

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._take(row, self.spent)


def _entries(data: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """A ledger's entries, and how many bytes are whole lines."""
    whole, rows = data.rfind(b"\n") + 1, []
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            row = json.loads(line)
            row["id"], float(row["at"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}: line {number}: expected an entry, got {line[:60]!r}.") from None
        rows.append(row)
    return rows, whole
