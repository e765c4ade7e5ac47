"""Answers that were paid for, kept in one file of JSON lines by the hash of what was asked, with what was spent.

The file is only added to: ``{"key", "answer"}`` for an answer, ``{"spend"}`` for a change of what was spent. A line is
on the disk before the step that follows it, so that a killed run pays for nothing twice.
"""

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

STARTS = (b'{"key"', b'{"spend"')  # of lines

class Answers:
    """An open file, for this process alone; safe for threads. Answers stay on the disk until they are asked for."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """``reading`` an existing file only, beside whoever writes it.

        Raises:
            FileNotFoundError: nothing there to read.
            ValueError: the file holds something else, or another run has it open.
        """
        if reading and not path.is_file():
            raise FileNotFoundError(f"{path}: expected a file of kept answers, found none.")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = path, threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}
        self._asking: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._spent: dict[str, float] = {}
        self._file = path.open("rb" if reading else "a+b")
        try:
            if not reading:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ValueError(f"{path}: expected to be the only run here, another has it open; wait for it.") from None
        try:
            self._read(reading)
        except BaseException:
            self._file.close()
            raise

    def _read(self, reading: bool) -> None:
        self._file.seek(0)
        start = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n") and any(one.startswith(line[: len(one)]) for one in STARTS):
                # the machine stopped in the middle of a line
                if not reading:
                    self._file.truncate(start)
                return
            try:
                row = json.loads(line)
                if "spend" in row:
                    self._count(row["spend"])
                else:
                    self._places[row["key"]] = (start, len(line))
                    row["answer"]["text"]
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ValueError(
                    f"{self.path}: expected a file of kept answers, got something else (line {number}: {line[:40]!r})."
                ) from None
            start += len(line)

    def _count(self, change: dict[str, float]) -> None:
        for name, amount in change.items():
            self._spent[name] = self._spent.get(name, 0.0) + amount

    def get(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            if key not in self._places:
                return None
            start, size = self._places[key]
            return json.loads(os.pread(self._file.fileno(), size, start))["answer"]

    def asking(self, key: str) -> threading.Lock:
        """Hold it while an answer is looked for: who asks the same meanwhile waits, and finds it here."""
        with self._lock:
            return self._asking.setdefault(key, threading.Lock())

    def put(self, key: str, answer: dict[str, Any]) -> None:
        with self._lock:
            self._places[key] = self._add({"key": key, "answer": answer})

    def add(self, change: dict[str, float]) -> None:
        """Add to the sums of what was spent."""
        with self._lock:
            self._add({"spend": change})
            self._count(change)

    def _add(self, row: dict[str, Any]) -> tuple[int, int]:
        line = json.dumps(row).encode() + b"\n"
        start = os.fstat(self._file.fileno()).st_size
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())
        return start, len(line)

    def spent(self) -> dict[str, float]:
        with self._lock:
            return dict(self._spent)

    def close(self) -> None:
        self._file.close()
