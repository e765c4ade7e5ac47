"""``/v1/motions``: stored motions, and files of them that are made when they are first asked for; ``/v1/rigs``.

An export is written aside by a worker and renamed when it is whole; asked for twice at once, it is made once, by all
servers of a store together.
"""

import asyncio
import base64
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from tdmm_lm import codec, rigs
from tdmm_lm.formats import npz
from tdmm_lm.serve import exports, reading
from tdmm_lm.serve.disk import refusing, remove
from tdmm_lm.serve.errors import ApiError, busy
from tdmm_lm.serve.stored_motions import ID, Export, Motion
from tdmm_lm.serve.tables import Order, full

if TYPE_CHECKING:
    from tdmm_lm.serve.server import Server

FORMATS = {"face": ("npz", "glb", "csv", "mp4"), "body": ("npz", "glb", "bvh", "mp4")}
MEDIA = {
    "npz": "application/octet-stream", "glb": "model/gltf-binary", "csv": "text/csv", "bvh": "text/plain",
    "mp4": "video/mp4",
}
FRAME_SECONDS = 1.0  # that drawing one may take at most, on a busy machine
LOCK_SECONDS = 0.05  # between two looks at a lock that another server holds


class FromFile(BaseModel):
    """A motion out of an uploaded file."""

    model_config = ConfigDict(extra="ignore")
    file_id: str


def missing(name: str, param: str = "id") -> ApiError:
    return ApiError(404, f"No motion {name[:80]!r}.", param=param, code="motion_not_found")


def listed(items: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """OpenAI's shape of a page."""
    ends = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": ends[0], "last_id": ends[1], "has_more": more}


def attached(path: Path, name: str, media: str, **more: str) -> FileResponse:
    """A download: never shown by a browser as a page of ours, whatever it holds."""
    headers = {"x-content-type-options": "nosniff", "cache-control": "private, max-age=0", **more}
    return FileResponse(path, filename=name, media_type=media, headers=headers)


def described(link: Callable[[str], str], motion: Motion, made: list[Export]) -> dict[str, Any]:
    """The motion object; ``link`` makes a full URL of a path."""
    exist = {export.format: export for export in made}
    files = [
        {
            "format": suffix, "url": link(f"/v1/motions/{motion.id}.{suffix}"),
            "bytes": exist[suffix].bytes if suffix in exist else None,
            "sha256": exist[suffix].sha256 if suffix in exist else None,
        }
        for suffix in FORMATS[motion.codec]
    ]
    return {
        "id": motion.id, "object": "motion", "codec": motion.codec, "rig": motion.rig, "fps": motion.fps,
        "frames": motion.frames, "seconds": motion.seconds,
        "codes": None if motion.codes is None else motion.codes.tolist(), "truncated": motion.truncated,
        "created_at": motion.created_at, "expires_at": motion.expires_at, "files": files,
    }


def rig_source(server: "Server", name: str, param: str = "rig") -> str:
    """What `rigs.load` may be given for the rig that a request or a file names: a bundled one or one of the settings',
    these by the name of their folder too; never a path from outside.

    Raises:
        ApiError: 400 for any other.
    """
    known = {**{Path(one).name: one for one in server.settings.rigs}, **{one: one for one in server.settings.rigs}}
    known |= {one: one for one in rigs.BUNDLED}
    if name not in known:
        shown = ", ".join(sorted({Path(one).name for one in known}))
        raise ApiError(400, f"{param}: expected one of {shown}, got {name[:80]!r}.", param=param, code="unknown_rig")
    return known[name]


def source_of(server: "Server", motion: Motion) -> dict[str, Any]:
    """The motion as `exports` takes it.

    Raises:
        ApiError: 409 where its codes are of another codec than the one that is served.
    """
    clip = server.store.vault.export_path(motion.id, "npz") if motion.clip else None
    if clip is None and motion.weights is not None and motion.weights != codec.weights_sha256(server.codec_folder):
        raise ApiError(
            409, f"{motion.id} was made by another codec than this server has now; make it again.", param="id",
            code="codec_changed",
        )
    return {"clip": clip, "codes": None if clip else motion.codes, "codec": None if clip else server.codec_folder}


class Exporter:
    """Makes files of motions, each once."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self._making: dict[tuple[str, str], asyncio.Task[Path]] = {}

    async def file(self, motion: Motion, suffix: str) -> Path:
        """The motion in one of its formats.

        Raises:
            ApiError: 404 for a format that it does not have, 400 for one that it cannot be in, 413 or 503 without room.
        """
        if suffix not in FORMATS[motion.codec]:
            there = ", ".join(FORMATS[motion.codec])
            raise ApiError(
                404, f"A {motion.codec} motion has no {suffix[:20]!r}; there are {there}.", param="format",
                code="format_not_found",
            )
        made = await anyio.to_thread.run_sync(self.server.store.motions.export, motion, suffix)
        return made.path if made else await self._once((motion.id, suffix), lambda: self._motion(motion, suffix))

    async def rig(self, name: str) -> Path:
        """A rig at rest as GLB, kept for as long as this server runs."""
        try:
            source = rig_source(self.server, name, "name")
        except ApiError as error:
            raise ApiError(404, str(error), param="name", code="rig_not_found") from None
        target = self.server.store.disk.incoming / "rigs" / f"{name}.glb"
        if target.is_file():
            return target
        return await self._once(("rig", name), lambda: self._rig(source, target))

    async def _once(self, key: tuple[str, str], make: Callable[[], Any]) -> Path:
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.ensure_future(make())
            task.add_done_callback(lambda done: (self._making.pop(key), done.cancelled() or done.exception()))
        return await asyncio.shield(task)  # who asked first may go; others wait for the same

    async def _motion(self, motion: Motion, suffix: str) -> Path:
        store, limits = self.server.store, self.server.settings.limits
        seconds = limits.read_seconds
        if suffix == "mp4":
            check_length(self.server, motion)
            seconds += FRAME_SECONDS * motion.frames
        async with held(store.motions.lock_path(motion, suffix)):
            made = await anyio.to_thread.run_sync(store.motions.export, motion, suffix)
            if made is not None:  # another server was faster
                return made.path
            rig = None if motion.codec == "body" else rig_source(self.server, motion.rig)
            beside = store.disk.fresh(f".{suffix}")
            try:
                source = await anyio.to_thread.run_sync(source_of, self.server, motion)
                said = await worked(self.server, exports.export, source, rig, beside, seconds=seconds)
                kept = await anyio.to_thread.run_sync(store.motions.keep, motion, suffix, beside, said["sha256"])
            except KeyError:
                raise missing(motion.id) from None
            finally:
                remove(beside)
        return kept.path

    async def _rig(self, source: str, target: Path) -> Path:
        beside = self.server.store.disk.fresh(".glb")
        try:
            await worked(self.server, exports.at_rest, source, beside)
            await anyio.to_thread.run_sync(self.server.store.disk.publish, beside, target)
        finally:
            remove(beside)
        return target


async def worked(server: "Server", function: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    """What a worker made; its troubles as answers."""
    try:
        made = await server.workers.call(function, *arguments, **options)
    except ValueError as error:
        raise ApiError(400, f"The motion cannot be written so: {error}", code="not_exportable") from None
    except TimeoutError as error:
        raise busy(f"Making the file took too long ({error}).", 30, code="export_timeout") from None
    except MemoryError as error:
        raise busy(f"Making the file failed ({error}).", 30, code="export_killed") from None
    if made.get("full"):
        raise full()
    return dict(made)


def check_length(server: "Server", motion: Motion) -> None:
    """Raises ApiError 400 for a motion that is too long to draw."""
    most = server.settings.limits.video_seconds
    if motion.seconds > most:
        raise ApiError(
            400, f"Expected at most {most:g} s to draw, got {motion.seconds:.1f} s.", code="motion_too_long"
        )


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[None]:
    """The lock of one export among the servers of a store; it is let go of even by a server that is killed."""
    with refusing():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await anyio.sleep(LOCK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def router(server: "Server") -> APIRouter:
    """The routes; every motion is its owner's only."""
    api = APIRouter()
    exporter = Exporter(server)
    store = server.store.motions

    async def found(request: Request, name: str) -> Motion:
        if not ID.fullmatch(name):
            raise missing(name)
        try:
            return await anyio.to_thread.run_sync(store.get, request.state.owner, name)
        except KeyError:
            raise missing(name) from None

    async def shown(request: Request, motions: list[Motion]) -> list[dict[str, Any]]:
        made = await anyio.to_thread.run_sync(store.exports, [motion.id for motion in motions])
        return [described(partial(server.link, request), motion, made[motion.id]) for motion in motions]

    @api.get("/v1/motions")
    async def motions(
        request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 20, after: str | None = None,
        order: Order = "desc",
    ) -> Response:
        call = partial(store.page, request.state.owner, after=after, limit=limit, order=order)
        try:
            page, more = await anyio.to_thread.run_sync(call)
        except KeyError:
            raise missing(after or "", "after") from None
        return JSONResponse(listed(await shown(request, page), more))

    @api.post("/v1/motions")
    async def create(body: FromFile, request: Request) -> Response:
        owner = request.state.owner
        try:
            path, name = await anyio.to_thread.run_sync(server.store.files.path, owner, body.file_id)
        except KeyError:
            raise ApiError(
                404, f"No such File object: {body.file_id[:80]}", param="file_id", code="file_not_found"
            ) from None
        clip = await reading.clip(path, name, server.workers, server.settings)
        most = server.settings.limits.clip_seconds
        if clip.seconds > most:
            raise ApiError(
                400, f"file_id: expected at most {most:g} s, got {clip.seconds:.1f} s.", param="file_id",
                code="motion_too_long",
            )
        codes = None
        if clip.modality == "face":
            rig_source(server, clip.rig, "file_id: rig")
            codes = await server.tokenize(clip)
        add = partial(
            store.add, owner, codes=codes, clip=clip, codec=clip.modality, rig=clip.rig, fps=clip.fps,
            frames=clip.frames, truncated=False,
        )
        return JSONResponse((await shown(request, [await anyio.to_thread.run_sync(add)]))[0])

    @api.get("/v1/motions/{name}/frames")
    async def frames(name: str, request: Request) -> Response:
        motion = await found(request, name)
        path = await exporter.file(motion, "npz")
        rig = None if motion.codec == "body" else rig_source(server, motion.rig)
        return JSONResponse(await anyio.to_thread.run_sync(_frames, motion, path, rig))

    @api.get("/v1/motions/{name}")
    async def motion(name: str, request: Request) -> Response:
        stem, dot, suffix = name.partition(".")
        stored = await found(request, stem)
        if not dot:
            return JSONResponse((await shown(request, [stored]))[0])
        path = await exporter.file(stored, suffix)
        return attached(path, f"{stem}.{suffix}", MEDIA[suffix])

    @api.delete("/v1/motions/{name}")
    async def delete(name: str, request: Request) -> dict[str, Any]:
        stored = await found(request, name)
        try:
            await anyio.to_thread.run_sync(store.delete, request.state.owner, stored.id)
        except KeyError:
            raise missing(name) from None
        return {"id": stored.id, "object": "motion.deleted", "deleted": True}

    @api.get("/v1/rigs/{name}.glb")
    async def rig(name: str) -> Response:
        return attached(await exporter.rig(name), f"{Path(name).name}.glb", MEDIA["glb"])

    return api


def _frames(motion: Motion, path: Path, rig: str | None) -> dict[str, Any]:
    clip = npz.read(path)
    data = base64.b64encode(np.ascontiguousarray(clip.values, "<f4").tobytes()).decode()
    return {
        "id": motion.id, "rig": motion.rig, "fps": clip.fps, "frames": clip.frames,
        "channels": _channels(motion.codec, rig), "data": data,
    }


@lru_cache
def _channels(modality: str, rig: str | None) -> list[str]:
    return exports.channels(modality, None if rig is None else rigs.load(rig))
