"""What a server keeps: uploaded files, motions, video jobs and one secret, in a folder and a database beside it.

Nothing is visible before it is whole: bytes are written aside, synced and renamed, then their row is inserted; a row is
deleted before its bytes. Everything belongs to an owner, ends at a time of its own, and counts against a quota.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Table, delete, insert, select

from tdmm_lm.serve.disk import remove
from tdmm_lm.serve.settings import Settings
from tdmm_lm.serve.stored_files import Files, StoredFile
from tdmm_lm.serve.stored_motions import Export, Motion, Motions
from tdmm_lm.serve.stored_videos import Video, Videos
from tdmm_lm.serve.tables import FILES, MOTIONS, SECRETS, VIDEOS
from tdmm_lm.serve.vault import Vault

__all__ = ["Export", "Motion", "Store", "StoredFile", "Video"]
SECRET_BYTES = 32
BATCH = 200
KINDS: dict[str, Table] = {"files": FILES, "motions": MOTIONS, "videos": VIDEOS}


class Store:
    """An open store; several processes may have one open. Its calls block, so routes make them in threads."""

    def __init__(self, url: str | None, folder: Path, settings: Settings) -> None:
        self.vault = Vault(url, folder, settings)
        self.disk = self.vault.disk
        self.files = Files(self.vault)
        self.motions = Motions(self.vault)
        self.videos = Videos(self.vault)
        self.recover()

    def secret(self) -> bytes:
        """Random bytes, made once, that all servers of this store share."""
        chosen = SECRETS.c.name == "links"
        with self.vault.database.reading() as connection:
            found = connection.scalar(select(SECRETS.c.value).where(chosen))
        if found is None:
            with self.vault.database.writing(alone=True) as connection:
                found = connection.scalar(select(SECRETS.c.value).where(chosen))
                if found is None:
                    found = secrets.token_bytes(SECRET_BYTES)
                    connection.execute(insert(SECRETS).values(name="links", value=found))
        return bytes(found)

    def ready(self) -> None:
        """Raises ApiError 503 where the database does not answer."""
        with self.vault.database.reading() as connection:
            connection.execute(select(SECRETS.c.name).limit(1)).first()

    def recover(self) -> None:
        """Take up what servers that died have left: their half files go, their jobs are queued again. Cheap."""
        self.videos.recover(self.disk.bury())

    def tidy(self) -> int:
        """Remove what has expired, and bytes that never got their row; how many things went."""
        gone = 0
        for kind, table in KINDS.items():
            while expired := self._expired(table):
                for name in expired:  # bytes first: nobody sees them any more, and a full disk may keep rows from going
                    remove(self._place(kind, name))
                with self.vault.database.writing() as connection:
                    gone += connection.execute(delete(table).where(table.c.id.in_(expired))).rowcount
            gone += self._orphans(kind, table)
        return gone

    def _expired(self, table: Table) -> list[str]:
        with self.vault.database.reading() as connection:
            query = select(table.c.id).where(table.c.expires <= time.time()).limit(BATCH)
            return list(connection.scalars(query))

    def _orphans(self, kind: str, table: Table) -> int:
        gone, paths = 0, {path.name.partition(".")[0]: path for path in self.disk.old(kind)}
        names = sorted(paths)
        for start in range(0, len(names), BATCH):
            some = names[start : start + BATCH]
            with self.vault.database.reading() as connection:
                known = set(connection.scalars(select(table.c.id).where(table.c.id.in_(some))))
            for name in some:
                if name not in known:
                    remove(paths[name])
                    gone += 1
        return gone

    def _place(self, kind: str, name: str) -> Path:
        places: dict[str, Callable[[], Path]] = {
            "files": lambda: self.disk.folder / "files" / name,
            "motions": lambda: self.disk.folder / "motions" / name,
            "videos": lambda: self.videos.path(name),
        }
        return places[kind]()

    def close(self) -> None:
        self.vault.close()
