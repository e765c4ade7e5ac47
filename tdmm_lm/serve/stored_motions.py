"""Motions as the store keeps them: codes in the row, or a clip on disk; beside it what has been made from either."""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from tdmm_lm.formats import npz
from tdmm_lm.motion import MotionClip
from tdmm_lm.serve.disk import refusing, remove, sha256
from tdmm_lm.serve.tables import EXPORTS, MOTIONS, Order, drop, now_microseconds, page, row_of, visible
from tdmm_lm.serve.vault import Vault, forget

KIND = "motions"
ID = re.compile("motion-[0-9a-f]{32}")


def fresh() -> str:
    """An id that nobody has and nobody guesses."""
    return f"motion-{secrets.token_hex(16)}"


@dataclass(frozen=True)
class Motion:
    """A motion of an owner's: ``codes`` (frames, books) where it has any, and whether a ``clip`` is its source.

    ``codec`` is face or body, ``weights`` the SHA-256 of the codec that made the codes, where that is known; ``frames``
    are a clip's, at ``fps``. Times are seconds since 1970.
    """

    id: str
    owner: str
    codec: str
    rig: str
    fps: float
    frames: int
    codes: Int[np.ndarray, "n books"] | None
    clip: bool
    truncated: bool
    weights: str | None
    created_at: int
    expires_at: int

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True)
class Export:
    """A motion in one format."""

    format: str
    path: Path
    bytes: int
    sha256: str


class Motions:
    """The rows and the bytes. Everything raises KeyError for what does not exist, has expired or is another's."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def add(
        self, owner: str, *, codes: Int[np.ndarray, "n books"] | None, clip: MotionClip | None, codec: str, rig: str,
        fps: float, frames: int, truncated: bool, weights: str | None = None, name: str | None = None,
    ) -> Motion:
        """Store codes, a clip, or both; under the id ``name`` where one has been given out already (`fresh`).

        Raises:
            ValueError: neither, codes that are no whole numbers (frames, books), or an id that is none.
            ApiError: 413 or 503 where there is no room for it.
        """
        if codes is None and clip is None:
            raise ValueError("motion: expected codes or a clip, got neither.")
        if codes is not None and (codes.ndim != 2 or codes.dtype.kind not in "iu" or not codes.size):
            raise ValueError(f"motion.codes: expected whole numbers (frames, books), got {codes.dtype} {codes.shape}.")
        if name is not None and not ID.fullmatch(name):
            raise ValueError(f"motion.id: expected motion- and 32 hexadecimal digits, got {name!r}.")
        created = now_microseconds()
        added = Motion(
            name or fresh(), owner, codec, rig, float(fps), int(frames), codes, clip is not None,
            truncated, weights, created // 10**6, created // 10**6 + self._vault.keep_seconds,
        )
        packed = None if codes is None else np.ascontiguousarray(codes, "<i4").tobytes()
        size = len(packed or b"")
        export = None if clip is None else self._written(added.id, clip)
        try:
            with self._vault.database.writing(alone=True) as connection:
                gone = self._vault.admit(connection, owner, size + (export.bytes if export else 0))
                connection.execute(insert(MOTIONS).values(
                    id=added.id, owner=owner, created=created, expires=added.expires_at, bytes=size, codec=codec,
                    weights=weights, rig=rig, fps=added.fps, frames=added.frames,
                    books=0 if codes is None else codes.shape[1], codes=packed, truncated=truncated,
                    clip=clip is not None,
                ))
                if export:
                    connection.execute(insert(EXPORTS).values(
                        motion=added.id, format=export.format, owner=owner, created=created, bytes=export.bytes,
                        sha256=export.sha256, kept=True,
                    ))
        except BaseException:
            remove(self._folder(added.id))
            raise
        forget(gone)
        return added

    def _written(self, name: str, clip: MotionClip) -> Export:
        beside, target = self._vault.disk.fresh(".npz"), self._vault.export_path(name, "npz")
        try:
            with refusing():
                npz.write(clip, beside)
            export = Export("npz", target, beside.stat().st_size, sha256(beside))
            self._vault.disk.publish(beside, target)
        except BaseException:
            remove(beside)
            raise
        return export

    def get(self, owner: str, name: str) -> Motion:
        return _read(row_of(self._vault.database, MOTIONS, owner, name))

    def page(
        self, owner: str, *, after: str | None = None, limit: int, order: Order = "desc"
    ) -> tuple[list[Motion], bool]:
        """Motions in order of their making, and whether there are more."""
        with self._vault.database.reading() as connection:
            rows, more = page(connection, MOTIONS, visible(MOTIONS, owner), after=after, limit=limit, order=order)
        return [_read(row) for row in rows], more

    def delete(self, owner: str, name: str) -> None:
        drop(self._vault.database, MOTIONS, owner, name)
        remove(self._folder(name))

    def exports(self, names: list[str]) -> dict[str, list[Export]]:
        """What exists on disk of each of some motions."""
        found: dict[str, list[Export]] = {name: [] for name in names}
        with self._vault.database.reading() as connection:
            for row in connection.execute(select(EXPORTS).where(EXPORTS.c.motion.in_(names))):
                path = self._vault.export_path(row.motion, row.format)
                found[row.motion].append(Export(row.format, path, row.bytes, row.sha256))
        return found

    def export(self, motion: Motion, suffix: str) -> Export | None:
        """The motion in a format, if it has been made and still is there."""
        made = [one for one in self.exports([motion.id])[motion.id] if one.format == suffix]
        return made[0] if made and made[0].path.is_file() else None

    def keep(self, motion: Motion, suffix: str, source: Path, digest: str) -> Export:
        """Take over a finished export of ``incoming``.

        Raises:
            KeyError: the motion has gone meanwhile.
            ApiError: 413 or 503 where there is no room for it.
        """
        export = Export(suffix, self._vault.export_path(motion.id, suffix), source.stat().st_size, digest)
        self._vault.disk.publish(source, export.path)
        try:
            with self._vault.database.writing(alone=True) as connection:
                connection.execute(delete(EXPORTS).where(EXPORTS.c.motion == motion.id, EXPORTS.c.format == suffix))
                gone = self._vault.admit(connection, motion.owner, export.bytes)
                connection.execute(insert(EXPORTS).values(
                    motion=motion.id, format=suffix, owner=motion.owner, created=now_microseconds(),
                    bytes=export.bytes, sha256=digest, kept=False,
                ))
        except IntegrityError:  # its row is gone, and so is what its exports belong to
            remove(self._folder(motion.id))
            raise KeyError(motion.id) from None
        except BaseException:
            remove(export.path)
            raise
        forget(gone)
        return export

    def lock_path(self, motion: Motion, suffix: str) -> Path:
        """What is locked while an export is made, so that servers which share a store make it once."""
        return self._folder(motion.id) / f"{suffix}.lock"

    def _folder(self, name: str) -> Path:
        return self._vault.disk.folder / KIND / name


def _read(row) -> Motion:  # type: ignore[no-untyped-def]
    codes = None if row.codes is None else np.frombuffer(row.codes, "<i4").reshape(-1, row.books).astype(np.int64)
    return Motion(
        row.id, row.owner, row.codec, row.rig, row.fps, row.frames, codes, row.clip, row.truncated, row.weights,
        row.created // 10**6, row.expires,
    )
