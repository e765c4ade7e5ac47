"""The store's tables and the database that holds them: SQLite in WAL mode, or PostgreSQL, as its URL says.

Times named ``created`` are microseconds since 1970 (lists are ordered by them), all others are seconds.
"""

import logging
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, LargeBinary, String, Text, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tdmm_lm.serve.errors import ApiError, busy

VERSION = 1  # of the tables
BUSY_SECONDS = 15  # that SQLite waits for another writer
LOCK = 0x7464_6D6D  # PostgreSQL's name for "the one writer"
DISK_FULL = "53100"  # PostgreSQL's code
Order = Literal["asc", "desc"]
ID = re.compile("(file-|motion-|video_)[0-9a-f]{32}")
METADATA = sa.MetaData()
log = logging.getLogger(__name__)


def _owned(name: str, *columns: Column[Any] | Index) -> sa.Table:
    """A table of things that have an id, an owner, an end and a size on disk."""
    return sa.Table(
        name, METADATA,
        Column("id", String(48), primary_key=True),
        Column("owner", String(128), nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("expires", BigInteger, nullable=False, index=True),
        Column("bytes", BigInteger, nullable=False),
        *columns,
        Index(f"{name}_by_owner", "owner", "created", "id"),
    )


FILES = _owned("files", Column("name", Text, nullable=False), Column("purpose", String(32), nullable=False))
MOTIONS = _owned(
    "motions",
    Column("codec", String(16), nullable=False),  # face or body
    Column("weights", String(64)),  # SHA-256 of the codec that made the codes, where it is known
    Column("rig", Text, nullable=False),
    Column("fps", Double, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("books", Integer, nullable=False),  # a code frame; 0 without codes
    Column("codes", LargeBinary),  # int32, little-endian, (frames, books)
    Column("truncated", Boolean, nullable=False),
    Column("clip", Boolean, nullable=False),  # its npz is the source, else the codes are
)
EXPORTS = sa.Table(
    "exports", METADATA,
    Column("motion", String(48), sa.ForeignKey("motions.id", ondelete="CASCADE"), primary_key=True),
    Column("format", String(8), primary_key=True),
    Column("owner", String(128), nullable=False, index=True),
    Column("created", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("kept", Boolean, nullable=False),  # cannot be made again
)
VIDEOS = _owned(
    "videos",
    Column("status", String(16), nullable=False),
    Column("model", Text, nullable=False),
    Column("prompt", Text),
    Column("motion", String(48)),
    Column("rig", Text),
    Column("seed", BigInteger),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("progress", Integer, nullable=False),  # per cent
    Column("completed", BigInteger),
    Column("holder", String(64)),  # who renders it
    Column("lease", Double),  # until when that one need not be heard of
    Column("attempts", Integer, nullable=False),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Index("videos_by_status", "status", "created"),
)
SECRETS = sa.Table(
    "secrets", METADATA, Column("name", String(32), primary_key=True), Column("value", LargeBinary, nullable=False)
)


def checked(name: str) -> str:
    """An id, which may have come from outside; KeyError for what none of ours looks like."""
    if not ID.fullmatch(name):
        raise KeyError(name)
    return name


def now_microseconds() -> int:
    return time.time_ns() // 1000


class Database:
    """An open database. Errors of it that pass are refusals to come again, not faults.

    Raises:
        ValueError: a URL of another database, a driver that is not installed, tables of another version.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ValueError("database: expected a URL, sqlite:/// or postgresql://, got something else.") from None
        kind = parsed.drivername.partition("+")[0]
        if kind in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        elif kind != "sqlite":
            raise ValueError(f"database: expected sqlite:///... or postgresql://..., got {kind}://...")
        self.sqlite = kind == "sqlite"
        self._turn = threading.Lock()  # SQLite's own waiting looks again ever more rarely, up to 100 ms late
        pool: dict[str, Any] = {"pool_size": 8, "max_overflow": 40, "pool_timeout": BUSY_SECONDS}
        try:
            self.engine = sa.create_engine(parsed, pool_pre_ping=not self.sqlite, **pool)
        except ModuleNotFoundError as error:
            raise ValueError(f"database: {error}; install tdmm-lm[postgres].") from None
        if self.sqlite:
            event.listen(self.engine, "connect", _opened)
            event.listen(self.engine, "begin", _begun)
        with self.writing(alone=True) as connection:
            METADATA.create_all(connection)
            found = connection.scalar(sa.select(SECRETS.c.value).where(SECRETS.c.name == "tables"))
            if found is None:
                connection.execute(sa.insert(SECRETS).values(name="tables", value=str(VERSION).encode()))
            elif bytes(found) != str(VERSION).encode():
                raise ValueError(
                    f"database: expected tables of version {VERSION}, got {bytes(found).decode()}; name another "
                    "database or a new store."
                )

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        with _refusing(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """A transaction that ends well or not at all; with ``alone`` no two of these run at once."""
        with (
            _refusing(), self._in_line() if self.sqlite else nullcontext(),
            self.engine.connect().execution_options(tdmm_write=True) as connection, connection.begin(),
        ):
            if alone and not self.sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:name)"), {"name": LOCK})
            yield connection

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise _waited()
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        self.engine.dispose()


def _opened(raw: sqlite3.Connection, _: Any) -> None:
    raw.isolation_level = None  # the driver must not begin transactions behind our back
    for pragma in (f"busy_timeout={1000 * BUSY_SECONDS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        raw.execute(f"PRAGMA {pragma}")


def _begun(connection: sa.Connection) -> None:
    # a transaction that reads first and writes later would fail where two of them meet; so writers say so at once
    writes = connection.get_execution_options().get("tdmm_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except PoolTimeout:
        raise _waited() from None
    except OperationalError as error:
        driver: Any = error.orig
        said, code = str(driver), driver.sqlite_errorname if isinstance(driver, sqlite3.Error) else driver.sqlstate
        if code in ("SQLITE_FULL", DISK_FULL) or "No space left" in said:
            raise full() from None
        log.error("the store's database: %s", " ".join(said.split()))
        raise busy("The store is busy or not reachable; try again.", 2, code="store_unavailable") from None


def _waited() -> ApiError:
    return busy("The store is busy; try again.", 2, code="store_unavailable")


def full() -> ApiError:
    """The disk has no room left: it is nobody's fault who asks, and it may pass."""
    return ApiError(503, "The server's disk is full; nothing was stored.", code="disk_full", retry_after=60)


def visible(table: sa.Table, owner: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """What must hold of a row that an owner may see: it is theirs, and its time has not come."""
    return table.c.owner == owner, table.c.expires > int(time.time())


def row_of(database: Database, table: sa.Table, owner: str, name: str) -> sa.Row[Any]:
    """An owner's row; KeyError for what does not exist, has expired or is another's."""
    with database.reading() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == checked(name), *visible(table, owner))).first()
    if row is None:
        raise KeyError(name)
    return row


def drop(database: Database, table: sa.Table, owner: str, name: str) -> None:
    """Delete an owner's row; KeyError as of `row_of`."""
    with database.writing() as connection:
        chosen = sa.delete(table).where(table.c.id == checked(name), *visible(table, owner))
        if not connection.execute(chosen).rowcount:
            raise KeyError(name)


def page(
    connection: sa.Connection, table: sa.Table, where: Sequence[Any], *, after: str | None, limit: int, order: Order
) -> tuple[list[sa.Row[Any]], bool]:
    """At most ``limit`` rows that fit ``where``, those behind the row ``after``; and whether there are more.

    Raises:
        KeyError: no such row ``after``.
    """
    query = sa.select(table).where(*where)
    if after is not None:
        last = connection.execute(query.where(table.c.id == checked(after))).first()
        if last is None:
            raise KeyError(after)
        made, own = (table.c.created, table.c.id)
        if order == "desc":
            query = query.where(sa.or_(made < last.created, sa.and_(made == last.created, own < last.id)))
        else:
            query = query.where(sa.or_(made > last.created, sa.and_(made == last.created, own > last.id)))
    keys = [table.c.created, table.c.id]
    query = query.order_by(*(key.desc() if order == "desc" else key.asc() for key in keys)).limit(limit + 1)
    rows = list(connection.execute(query))
    return rows[:limit], len(rows) > limit
