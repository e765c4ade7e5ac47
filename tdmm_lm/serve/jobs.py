"""The server's standing work: it takes video jobs from the store's queue and renders them, takes up what servers that
died have left, and removes what has expired."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from tdmm_lm.motion import face
from tdmm_lm.serve import exports, motions
from tdmm_lm.serve.disk import remove
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.stored_motions import Motion
from tdmm_lm.serve.stored_videos import ATTEMPTS, LEASE_SECONDS, Video

if TYPE_CHECKING:
    from tdmm_lm.serve.server import Server

POLL_SECONDS = 0.4  # between looks at the queue, and at a job that may have been deleted (then its child dies)
RECOVER_SECONDS = 5.0
TIDY_SECONDS = 300.0
FRAME_SECONDS = 1.0  # that drawing one of 512 x 512 may take at most, on a busy machine
log = logging.getLogger(__name__)


class Gone(Exception):
    """The job was deleted, or somebody else has it now."""


class Jobs:
    """Runs beside the routes, in their event loop: `start` it and `close` it."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, in the running loop."""
        work = [self._work for _ in range(self.server.settings.limits.videos)]
        for number, run in enumerate((*work, self._recover, self._tidy)):
            self._tasks.append(asyncio.create_task(run(), name=f"jobs-{number}"))

    async def close(self) -> None:
        """End; jobs in work go back into the queue, as if they had not been begun."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._tried(self.server.store.videos.give_all_back)  # also what was claimed at the very last

    async def _work(self) -> None:
        while True:
            video = await self._tried(self.server.store.videos.claim)
            if video is None:
                await asyncio.sleep(POLL_SECONDS)
                continue
            try:
                await self._run(video)
            except Exception:
                log.exception("%s", video.id)  # its lease runs out, and it is queued again

    async def _recover(self) -> None:
        while True:
            await asyncio.sleep(RECOVER_SECONDS)
            await self._tried(self.server.store.recover)

    async def _tidy(self) -> None:
        while True:
            await self._tried(self.server.store.tidy)
            await asyncio.sleep(TIDY_SECONDS)

    async def _tried(self, function: Callable[[], Any]) -> Any:
        """Its value, or None where it fails: standing work goes on."""
        try:
            return await anyio.to_thread.run_sync(function)
        except ApiError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("the store's standing work failed")
        return None

    async def _run(self, video: Video) -> None:
        """One job, to whichever end."""
        store, said = self.server.store.videos, {"progress": 0.0}
        making = asyncio.create_task(self._make(video, said))
        try:
            await self._watch(video, making, said)
            failure = _failure(making)
        except asyncio.CancelledError:  # the server stops
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            with anyio.CancelScope(shield=True):
                await self._tried(partial(store.give_back, video, counted=False))
            raise
        finally:
            making.cancel()
        if failure is None:
            return
        code, message = failure
        if code == "killed" and video.attempts < ATTEMPTS:
            await self._tried(partial(store.give_back, video, counted=True))
        else:
            log.warning("%s failed: %s: %s", video.id, code, message)
            await self._tried(partial(store.fail, video, code, message))

    async def _watch(self, video: Video, making: "asyncio.Task[None]", said: dict[str, Any]) -> None:
        """Until it is made: tell the queue that we live and how far it is; end it where the job is no longer ours."""
        store, told, renewed = self.server.store.videos, -1, time.monotonic()
        while not making.done():
            await asyncio.wait({making}, timeout=POLL_SECONDS)
            if making.done():
                return
            progress = int(100 * said["progress"])
            try:
                if progress != told or time.monotonic() - renewed > LEASE_SECONDS / 4:
                    ours = await anyio.to_thread.run_sync(partial(store.beat, video, progress=progress))
                    told, renewed = progress, time.monotonic()
                else:
                    ours = await anyio.to_thread.run_sync(store.held, video)
            except ApiError as error:  # the database is away: the lease tells how long that may last
                log.warning("%s: %s", video.id, error)
                continue
            if not ours:
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)

    async def _make(self, video: Video, said: dict[str, Any]) -> None:
        server = self.server
        motion = await self._motion(video)
        beside = server.store.disk.fresh(".mp4")
        own = None if motion.codec == "body" else motions.rig_source(server, motion.rig)
        wanted = None if video.rig is None else motions.rig_source(server, video.rig)
        source = await anyio.to_thread.run_sync(motions.source_of, server, motion)
        area = max(1.0, video.size[0] * video.size[1] / 512**2)
        seconds = server.settings.limits.read_seconds + FRAME_SECONDS * area * motion.frames
        try:
            made = await server.workers.call(
                exports.pictures, source, own, wanted, beside, video.size, seconds=seconds,
                progress=lambda fraction: said.update(progress=fraction),
            )
            if made.get("full"):
                raise motions.full()
            if not await anyio.to_thread.run_sync(
                server.store.videos.finish, video, beside, float(made["seconds"])
            ):
                raise Gone
        finally:
            remove(beside)

    async def _motion(self, video: Video) -> Motion:
        """What is to be shown: the stored one, or the prompt performed, once."""
        server = self.server
        if video.motion is not None:
            try:
                return await anyio.to_thread.run_sync(server.store.motions.get, video.owner, video.motion)
            except KeyError:
                raise ApiError(
                    404, f"its motion {video.motion} was deleted before it was drawn", code="motion_not_found"
                ) from None
        assert video.prompt is not None
        frames = round(video.seconds * face.CODE_FPS)
        motion = await server.perform(video.owner, video.prompt, frames, video.seed)
        if not await anyio.to_thread.run_sync(
            partial(server.store.videos.beat, video, progress=0, motion=motion.id)
        ):
            raise Gone
        return motion


def _failure(made: "asyncio.Task[None]") -> tuple[str, str] | None:
    """Why it was not made, for its owner to read: a code and a line; None where it was, or where nobody asks."""
    if made.cancelled():
        return None
    error = made.exception()
    if error is None or isinstance(error, Gone):
        return None
    line = str(error).rstrip(".")
    if isinstance(error, ApiError):
        return error.code or "server_error", line
    for kind, code in ((ValueError, "render_failed"), (TimeoutError, "render_timeout"), (MemoryError, "killed")):
        if isinstance(error, kind):
            return code, line
    log.error("a video failed", exc_info=error)
    return "internal_error", "the server had an error; it was logged"
