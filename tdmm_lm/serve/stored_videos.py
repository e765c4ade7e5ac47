"""Video jobs as the store keeps them: a queue that outlives the server, of which several servers take.

A job is claimed by one UPDATE that only one can win. Whoever has claimed it holds a lease and says again and again that
it lives (`beat`); a job whose holder is dead goes back into the queue once, and fails the second time.
"""

import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import case, func, insert, or_, select, update

from tdmm_lm.serve.disk import remove
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.tables import VIDEOS, Order, drop, now_microseconds, page, row_of, visible
from tdmm_lm.serve.vault import Vault, forget

KIND = "videos"
LEASE_SECONDS = 30.0
ATTEMPTS = 2
STOPPED = "the server was stopped while it rendered"


@dataclass(frozen=True)
class Video:
    """A job of an owner's. ``status`` is queued, in_progress, completed or failed, ``progress`` per cent; times are
    seconds since 1970. ``motion`` is None until a prompt has been performed."""

    id: str
    owner: str
    status: str
    model: str
    prompt: str | None
    motion: str | None
    rig: str | None
    seed: int | None
    size: tuple[int, int]
    seconds: float
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int
    holder: str | None
    attempts: int
    error: tuple[str, str] | None  # code, message


class Videos:
    """The queue. What an owner asks for raises KeyError where it does not exist, has expired or is another's."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def add(
        self, owner: str, *, model: str, prompt: str | None, motion: str | None, rig: str | None, seed: int | None,
        size: tuple[int, int], seconds: float,
    ) -> Video:
        """Queue a job.

        Raises:
            ApiError: 429 with as many of the owner's in work as there may be, 413 or 503 without room.
        """
        created, most = now_microseconds(), self._vault.settings.limits.queued_videos
        name = f"video_{secrets.token_hex(16)}"
        with self._vault.database.writing(alone=True) as connection:
            waiting = connection.scalar(select(func.count()).select_from(VIDEOS).where(
                *visible(VIDEOS, owner), VIDEOS.c.status.in_(("queued", "in_progress"))
            )) or 0
            if waiting >= most:
                raise ApiError(
                    429, f"Expected at most {most} videos queued with this key; wait for one or delete one.",
                    code="too_many_videos", retry_after=10,
                )
            gone = self._vault.admit(connection, owner, 0)
            connection.execute(insert(VIDEOS).values(
                id=name, owner=owner, created=created, expires=created // 10**6 + self._vault.keep_seconds, bytes=0,
                status="queued", model=model, prompt=prompt, motion=motion, rig=rig, seed=seed, width=size[0],
                height=size[1], seconds=seconds, progress=0, attempts=0,
            ))
        forget(gone)
        return self.get(owner, name)

    def get(self, owner: str, name: str) -> Video:
        return _read(row_of(self._vault.database, VIDEOS, owner, name))

    def path(self, name: str) -> Path:
        """Where a completed one lies."""
        return self._vault.disk.folder / KIND / f"{name}.mp4"

    def page(
        self, owner: str, *, after: str | None = None, limit: int, order: Order = "desc"
    ) -> tuple[list[Video], bool]:
        """Jobs in order of their making, and whether there are more."""
        with self._vault.database.reading() as connection:
            rows, more = page(connection, VIDEOS, visible(VIDEOS, owner), after=after, limit=limit, order=order)
        return [_read(row) for row in rows], more

    def delete(self, owner: str, name: str) -> None:
        """Remove a job and what it made; whoever renders it learns so at its next `beat`."""
        drop(self._vault.database, VIDEOS, owner, name)
        remove(self.path(name))

    # for those who render

    def claim(self) -> Video | None:
        """The oldest queued job, now ours; None where nothing waits."""
        waiting = select(VIDEOS.c.id).where(VIDEOS.c.status == "queued", VIDEOS.c.expires > int(time.time()))
        while True:
            with self._vault.database.reading() as connection:
                name = connection.scalar(waiting.order_by(VIDEOS.c.created, VIDEOS.c.id).limit(1))
            if name is None:
                return None
            holder = f"{self._vault.disk.token}/{secrets.token_hex(8)}"
            with self._vault.database.writing() as connection:
                won = connection.execute(
                    update(VIDEOS).where(VIDEOS.c.id == name, VIDEOS.c.status == "queued").values(
                        status="in_progress", holder=holder, lease=time.time() + LEASE_SECONDS, progress=0,
                        attempts=VIDEOS.c.attempts + 1,
                    )
                ).rowcount
                if won:
                    return _read(connection.execute(select(VIDEOS).where(VIDEOS.c.id == name)).one())

    def held(self, video: Video) -> bool:
        """Whether the job is still there and still ours."""
        with self._vault.database.reading() as connection:
            return connection.scalar(select(VIDEOS.c.id).where(*_ours(video))) is not None

    def beat(self, video: Video, *, progress: int, motion: str | None = None) -> bool:
        """Renew the lease and say how far it is; False where the job is gone or no longer ours."""
        values: dict[str, Any] = {"lease": time.time() + LEASE_SECONDS, "progress": min(progress, 99)}
        if motion is not None:
            values["motion"] = motion
        return self._change(video, **values)

    def finish(self, video: Video, source: Path, seconds: float) -> bool:
        """Take over a finished mp4 of ``incoming``; False where the job is gone or no longer ours.

        Raises:
            ApiError: 413 or 503 where there is no room for it.
        """
        size, target = source.stat().st_size, self.path(video.id)
        self._vault.disk.publish(source, target)
        gone: list[Path] = []
        try:
            with self._vault.database.writing(alone=True) as connection:
                status = connection.scalar(select(VIDEOS.c.status).where(VIDEOS.c.id == video.id))
                ours = connection.scalar(select(VIDEOS.c.id).where(*_ours(video))) is not None
                if ours:
                    gone = self._vault.admit(connection, video.owner, size)
                    connection.execute(update(VIDEOS).where(*_ours(video)).values(
                        status="completed", progress=100, completed=math.ceil(time.time()), bytes=size,
                        seconds=seconds, holder=None, lease=None,
                    ))
        except BaseException:
            remove(target)
            raise
        forget(gone)
        if status is None:  # deleted meanwhile; a job that somebody else holds now gets its own bytes there
            remove(target)
        return ours

    def fail(self, video: Video, code: str, message: str) -> bool:
        return self._change(
            video, status="failed", completed=math.ceil(time.time()), error_code=code, error_message=message,
            holder=None, lease=None,
        )

    def give_back(self, video: Video, *, counted: bool) -> bool:
        """Into the queue again; ``counted`` where this attempt shall count."""
        attempts = video.attempts if counted else video.attempts - 1
        return self._change(video, status="queued", progress=0, attempts=attempts, holder=None, lease=None)

    def give_all_back(self) -> None:
        """Whatever this process still holds, not counted: it ends in good order."""
        with self._vault.database.writing() as connection:
            connection.execute(
                update(VIDEOS).where(
                    VIDEOS.c.status == "in_progress", VIDEOS.c.holder.like(f"{self._vault.disk.token}/%")
                ).values(status="queued", progress=0, attempts=VIDEOS.c.attempts - 1, holder=None, lease=None)
            )

    def recover(self, dead: Sequence[str] = ()) -> int:
        """Jobs whose lease has run out, or whose holder is among the ``dead`` tokens: into the queue again, or failed
        where that happens a second time. How many."""
        lost = [VIDEOS.c.lease < time.time(), *(VIDEOS.c.holder.like(f"{token}/%") for token in dead)]
        again = VIDEOS.c.attempts < ATTEMPTS
        with self._vault.database.writing() as connection:
            return connection.execute(
                update(VIDEOS).where(VIDEOS.c.status == "in_progress", or_(*lost)).values(
                    status=case((again, "queued"), else_="failed"), progress=0, holder=None, lease=None,
                    completed=case((again, None), else_=math.ceil(time.time())),
                    error_code=case((again, None), else_="server_stopped"),
                    error_message=case((again, None), else_=f"{STOPPED}; ask for it again"),
                )
            ).rowcount

    def _change(self, video: Video, **values: Any) -> bool:
        with self._vault.database.writing() as connection:
            return bool(connection.execute(update(VIDEOS).where(*_ours(video)).values(**values)).rowcount)


def _ours(video: Video):  # type: ignore[no-untyped-def]
    return VIDEOS.c.id == video.id, VIDEOS.c.status == "in_progress", VIDEOS.c.holder == video.holder


def _read(row) -> Video:  # type: ignore[no-untyped-def]
    return Video(
        row.id, row.owner, row.status, row.model, row.prompt, row.motion, row.rig, row.seed, (row.width, row.height),
        row.seconds, row.progress, row.created // 10**6, row.completed, row.expires, row.holder, row.attempts,
        None if row.error_code is None else (row.error_code, row.error_message or row.error_code),
    )
