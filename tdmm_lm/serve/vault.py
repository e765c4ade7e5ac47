"""Room on the disk: what a key and all of them may store, counted where rows are written.

Large things are counted exactly, so that no two servers that share a store give the same room away twice; what is
small is let in by a count a few seconds old, with `ROOM` to spare.
"""

import math
import threading
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import Connection, Table, delete, func, select

from tdmm_lm.serve.disk import Disk, remove
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.settings import Settings
from tdmm_lm.serve.tables import EXPORTS, FILES, MOTIONS, VIDEOS, Database

BLOCK = 4096  # bytes that anything stored takes at least
MIB = 1 << 20
SMALL = 64 << 10  # bytes that are let in by a count that is
COUNTED_SECONDS = 10.0  # old at most, where
ROOM = 16 << 20  # would be left


class Growth:
    """What one request has written so far, while the block runs; `by` refuses what would be too much."""

    def __init__(self, vault: "Vault", owner: str, own: int, total: int) -> None:
        self._vault, self._owner, self._own, self._total = vault, owner, own, total
        self._bytes = 0

    def by(self, count: int) -> None:
        """Count bytes that are about to be written.

        Raises:
            ApiError: 413 over the key's quota, 503 where the whole disk's is reached.
        """
        growing = self._vault.growing
        with self._vault.lock:
            self._bytes += count
            growing[self._owner] += count
            own, total = growing[self._owner], growing.total()
        if own > self._own:
            raise self._vault.over_quota()
        if total > self._total:
            raise no_room()

    def let_go(self) -> None:
        """Count no longer: what was written has a row, or is gone."""
        with self._vault.lock:
            self._vault.growing[self._owner] -= self._bytes
            self._bytes = 0
            if not self._vault.growing[self._owner]:
                del self._vault.growing[self._owner]

    def __enter__(self) -> "Growth":
        try:
            self.by(BLOCK)
        except ApiError:
            self.let_go()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()


class Vault:
    """The database, the folder and the limits of a store."""

    def __init__(self, url: str | None, folder: Path, settings: Settings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.disk = Disk(folder)
        self.database = Database(url or f"sqlite:///{self.disk.folder / 'store.sqlite'}")
        self.lock = threading.Lock()
        self.growing: Counter[str] = Counter()  # bytes of uploads in work, by owner
        self._counted: dict[str | None, tuple[float, int]] = {}  # when, and bytes that an owner (None: all) had then

    @property
    def keep_seconds(self) -> int:
        return round(self.settings.keep_hours * 3600)

    def growth(self, owner: str) -> Growth:
        """Room for a request that does not know yet how much it will write."""
        limits = self.settings.limits
        with self.database.reading() as connection:
            own = limits.disk_mb * MIB - _used(connection, owner) + _spare(connection, owner)
            total = limits.disk_total_mb * MIB - _used(connection, None) + _spare(connection, None)
        return Growth(self, owner, own, total)

    def admit(self, connection: Connection, owner: str, count: int) -> list[Path]:
        """Make sure that ``count`` bytes more fit, inside a transaction that runs alone.

        Exports, which can be made again, give way, the oldest first: their rows go with this transaction, and their
        files, which are returned, are to be removed after it.

        Raises:
            ApiError: 413 over the key's quota, 503 where the whole disk's is reached.
        """
        limits, gone = self.settings.limits, []
        for whose, most in ((owner, limits.disk_mb), (None, limits.disk_total_mb)):
            if self._surely_fits(whose, count + BLOCK, most * MIB):
                continue
            used = _used(connection, whose)
            self._counted[whose] = (time.monotonic(), used + count + BLOCK)
            over = used + count + BLOCK - most * MIB
            if over > 0:
                freed, paths = self._give_way(connection, whose, over)
                if freed < over:
                    raise no_room() if whose is None else self.over_quota()
                gone += paths
        return gone

    def _surely_fits(self, whose: str | None, count: int, most: int) -> bool:
        """Whether what was counted a moment ago leaves so much room that it need not be counted again.

        Counting looks at every row; codes are small and come by the thousand.
        """
        when, used = self._counted.get(whose, (-math.inf, 0))
        if count > SMALL or time.monotonic() - when > COUNTED_SECONDS or used + count > most - ROOM:
            return False
        self._counted[whose] = (when, used + count)
        return True

    def _give_way(self, connection: Connection, owner: str | None, over: int) -> tuple[int, list[Path]]:
        query = select(EXPORTS.c.motion, EXPORTS.c.format, EXPORTS.c.bytes).where(~EXPORTS.c.kept)
        if owner is not None:
            query = query.where(EXPORTS.c.owner == owner)
        freed, paths = 0, []
        for row in connection.execute(query.order_by(EXPORTS.c.created)).all():
            if freed >= over:
                break
            chosen = (EXPORTS.c.motion == row.motion, EXPORTS.c.format == row.format)
            connection.execute(delete(EXPORTS).where(*chosen))
            freed += row.bytes + BLOCK
            paths.append(self.export_path(row.motion, row.format))
        return freed, paths

    def export_path(self, motion: str, suffix: str) -> Path:
        return self.disk.folder / "motions" / motion / f"motion.{suffix}"

    def over_quota(self) -> ApiError:
        most = self.settings.limits.disk_mb
        return ApiError(
            413, f"Expected at most {most} MiB stored with this key; delete files, motions or videos first.",
            code="quota_exceeded",
        )

    def close(self) -> None:
        self.database.close()
        self.disk.close()


def no_room() -> ApiError:
    """All that the server may store is stored; what expires makes room."""
    return ApiError(503, "The server's store is full; try again later.", code="store_full", retry_after=300)


def forget(paths: list[Path]) -> None:
    for path in paths:
        remove(path)


def _used(connection: Connection, owner: str | None) -> int:
    return sum(_sum(connection, table, owner) for table in (FILES, MOTIONS, EXPORTS, VIDEOS))


def _spare(connection: Connection, owner: str | None) -> int:
    """Of what is used, what can be made again."""
    return _sum(connection, EXPORTS, owner, ~EXPORTS.c.kept)


def _sum(connection: Connection, table: Table, owner: str | None, *where: object) -> int:
    query = select(func.coalesce(func.sum(table.c.bytes), 0) + BLOCK * func.count()).select_from(table)
    if owner is not None:
        query = query.where(table.c.owner == owner)
    return int(connection.scalar(query.where(*where)) or 0)  # type: ignore[arg-type]
