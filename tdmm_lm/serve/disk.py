"""The store's folder: what is written lies in ``incoming`` until it is whole, then it is renamed to its place.

Several servers may share a folder. Each has its own folder in ``incoming`` and holds a lock in it while it lives, which
the kernel lets go however it ends; what the dead left is removed by the living.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tdmm_lm.serve.tables import full

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OLD_SECONDS = 3600.0  # what no row names may be about to get its row, but not after so long


class Disk:
    """One process's hold on the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.token, self._lock = _registered(self.folder / "incoming")
        self.incoming = self.folder / "incoming" / self.token

    def fresh(self, suffix: str = "") -> Path:
        """A path to write to, of no file yet."""
        return self.incoming / f"{secrets.token_hex(8)}{suffix}"

    def publish(self, source: Path, target: Path) -> None:
        """A finished file of ``incoming`` to its place, in a way that outlives a power cut."""
        with refusing():
            with source.open("rb") as file:
                os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
            place = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(place)
            finally:
                os.close(place)

    def bury(self) -> list[str]:
        """Remove what dead writers left in ``incoming``; their tokens."""
        dead = []
        for path in (self.folder / "incoming").iterdir():
            if path.name == self.token:
                continue
            try:
                lock = _locked(path / "lock")
            except FileNotFoundError:  # its folder was made a moment ago, or is going
                if _age(path) > OLD_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
                dead.append(path.name)
        return dead

    def old(self, kind: str) -> Iterator[Path]:
        """Everything in a folder that has lain there long enough to have a row."""
        with suppress(FileNotFoundError):
            for path in (self.folder / kind).iterdir():
                if _age(path) > OLD_SECONDS:
                    yield path

    def close(self) -> None:
        """Let go of what was being written; a second time does nothing."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            shutil.rmtree(self.incoming, ignore_errors=True)
            os.close(lock)


def remove(path: Path) -> None:
    """A file or a folder, if it is still there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def refusing() -> Iterator[None]:
    """A full disk inside the block is a refusal."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise full() from None
        raise


def _registered(incoming: Path) -> tuple[str, int]:
    while True:
        token = secrets.token_hex(8)
        (incoming / token).mkdir(parents=True)
        lock = os.open(incoming / token / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        # another server may have taken the new lock for a dead one's and removed the folder: then once more
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (incoming / token / "lock").stat().st_ino == os.fstat(lock).st_ino:
                return token, lock
        os.close(lock)


def _locked(path: Path) -> int | None:
    """An open descriptor that holds the lock, or None where somebody else does."""
    lock = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _age(path: Path) -> float:
    """Seconds since it was written or renamed."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0.0
    return time.time() - max(status.st_mtime, status.st_ctime)
