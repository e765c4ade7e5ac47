"""Answers that were paid for, kept in one SQLite file by the hash of what was asked, with the sum of what they cost."""

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any


class Answers:
    """Safe for threads, and for a second process that reads. A killed process loses nothing that was kept."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ValueError: the file is no such store.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(path, check_same_thread=False, timeout=60)
        try:
            self._file.execute("PRAGMA journal_mode=WAL")
            with self._file:
                self._file.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
                self._file.execute("CREATE TABLE IF NOT EXISTS spent (what TEXT PRIMARY KEY, amount REAL NOT NULL)")
        except sqlite3.DatabaseError as error:
            self._file.close()
            raise ValueError(f"{path}: expected a file of kept answers, got something else ({error}).") from None

    def get(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            row = self._file.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, answer: dict[str, Any]) -> None:
        with self._lock, self._file:
            self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(answer)))

    def add(self, change: dict[str, float]) -> None:
        """Add to the sums of what was spent."""
        with self._lock, self._file:
            self._file.executemany(
                "INSERT INTO spent VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET amount = amount + excluded.amount",
                list(change.items()),
            )

    def spent(self) -> dict[str, float]:
        with self._lock:
            return dict(self._file.execute("SELECT what, amount FROM spent").fetchall())

    def close(self) -> None:
        with self._lock:
            self._file.close()
