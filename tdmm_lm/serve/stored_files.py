"""Uploaded files as the store keeps them: bytes on disk under an id of ours, everything else in a row."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert

from tdmm_lm.serve.disk import remove
from tdmm_lm.serve.tables import FILES, Order, drop, now_microseconds, page, row_of, visible
from tdmm_lm.serve.vault import Vault, forget

KIND = "files"


@dataclass(frozen=True)
class StoredFile:
    """A file of an owner's. Times are seconds since 1970; ``name`` is what the owner called it and no path of ours."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    name: str
    purpose: str


class Files:
    """The rows and the bytes. Everything raises KeyError for what does not exist, has expired or is another's."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def add(self, owner: str, source: Path, *, name: str, purpose: str, seconds: int | None = None) -> StoredFile:
        """Take over a finished file of ``incoming``; ``seconds`` is how long to keep it, at most as long as all.

        Raises:
            ApiError: 413 or 503 where there is no room for it.
        """
        created, keep = now_microseconds(), self._vault.keep_seconds
        added = StoredFile(
            f"file-{secrets.token_hex(16)}", source.stat().st_size, created // 10**6,
            created // 10**6 + (keep if seconds is None else min(seconds, keep)), name, purpose,
        )
        target = self._place(added.id)
        self._vault.disk.publish(source, target)
        try:
            with self._vault.database.writing(alone=True) as connection:
                gone = self._vault.admit(connection, owner, added.bytes)
                connection.execute(insert(FILES).values(
                    id=added.id, owner=owner, created=created, expires=added.expires_at, bytes=added.bytes, name=name,
                    purpose=purpose,
                ))
        except BaseException:
            remove(target)
            raise
        forget(gone)
        return added

    def get(self, owner: str, name: str) -> StoredFile:
        return _read(row_of(self._vault.database, FILES, owner, name))

    def path(self, owner: str, name: str) -> tuple[Path, str]:
        """Where it lies, and what its owner called it."""
        return self._place(name), self.get(owner, name).name

    def page(
        self, owner: str, *, after: str | None = None, limit: int, order: Order = "desc", purpose: str | None = None
    ) -> tuple[list[StoredFile], bool]:
        """Files in order of their making, and whether there are more."""
        where = visible(FILES, owner) if purpose is None else (*visible(FILES, owner), FILES.c.purpose == purpose)
        with self._vault.database.reading() as connection:
            rows, more = page(connection, FILES, where, after=after, limit=limit, order=order)
        return [_read(row) for row in rows], more

    def delete(self, owner: str, name: str) -> None:
        drop(self._vault.database, FILES, owner, name)
        remove(self._place(name))

    def _place(self, name: str) -> Path:
        return self._vault.disk.folder / KIND / name


def _read(row) -> StoredFile:  # type: ignore[no-untyped-def]
    return StoredFile(row.id, row.bytes, row.created // 10**6, row.expires, row.name, row.purpose)
