"""``/v1/files``: uploads, exactly in OpenAI's shapes."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.motions import attached, listed
from tdmm_lm.serve.stored_files import StoredFile
from tdmm_lm.serve.tables import Order
from tdmm_lm.serve.uploads import Form, boundary_of, invalid
from tdmm_lm.serve.vault import MIB

if TYPE_CHECKING:
    from tdmm_lm.serve.server import Server

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
KEEP_SECONDS = (3600, 2592000)  # that a client may ask for


def missing(name: str, param: str = "id") -> ApiError:
    return ApiError(404, f"No such File object: {name[:80]}", param=param, code="file_not_found")


def described(file: StoredFile) -> dict[str, Any]:
    """OpenAI's file object."""
    return {
        "id": file.id, "object": "file", "bytes": file.bytes, "created_at": file.created_at, "filename": file.name,
        "purpose": file.purpose, "status": "processed", "status_details": None, "expires_at": file.expires_at,
    }


def keep_seconds(fields: dict[str, str]) -> int | None:
    """How long the client wants a file kept, or None.

    Raises:
        ApiError: 400 for another anchor than created_at, or a time that is not allowed.
    """
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise invalid(f"expires_after[anchor]: expected created_at, got {anchor!r}.", "expires_after[anchor]")
    low, high = KEEP_SECONDS
    if seconds is None or not seconds.isdecimal() or len(seconds) > 9 or not low <= int(seconds) <= high:
        raise invalid(
            f"expires_after[seconds]: expected a whole number from {low} to {high}, got {seconds!r}.",
            "expires_after[seconds]",
        )
    return int(seconds)


def router(server: "Server") -> APIRouter:
    """The routes; every file is its owner's only."""
    api = APIRouter()
    store, vault = server.store.files, server.store.vault

    @api.post("/v1/files")
    async def create(request: Request) -> Response:
        boundary, path = boundary_of(request), server.store.disk.fresh()
        growth = await anyio.to_thread.run_sync(vault.growth, request.state.owner)
        most = server.settings.limits.file_mb * MIB
        with growth, Form(boundary, path, most, growth) as form:
            await form.take(request)
            if form.name is None:
                raise invalid("file: expected a file, found none.", "file")
            if not form.size:
                raise invalid("file: expected a file with something in it, got an empty one.", "file", "empty_file")
            purpose = form.fields.get("purpose", "")
            if purpose not in PURPOSES:
                known = ", ".join(PURPOSES)
                raise invalid(f"purpose: expected one of {known}, got {purpose[:40]!r}.", "purpose")
            call = partial(
                store.add, request.state.owner, path, name=form.name, purpose=purpose,
                seconds=keep_seconds(form.fields),
            )
            growth.let_go()  # from here on the row counts
            return JSONResponse(described(await anyio.to_thread.run_sync(call)))

    @api.get("/v1/files")
    async def files(
        request: Request, limit: Annotated[int, Query(ge=1, le=10000)] = 10000, after: str | None = None,
        order: Order = "desc", purpose: str | None = None,
    ) -> dict[str, Any]:
        if purpose is not None and purpose not in PURPOSES:
            return listed([], False)
        call = partial(store.page, request.state.owner, after=after, limit=limit, order=order, purpose=purpose)
        try:
            page, more = await anyio.to_thread.run_sync(call)
        except KeyError:
            raise missing(after or "", "after") from None
        return listed([described(file) for file in page], more)

    @api.get("/v1/files/{name}")
    async def file(name: str, request: Request) -> dict[str, Any]:
        try:
            return described(await anyio.to_thread.run_sync(store.get, request.state.owner, name))
        except KeyError:
            raise missing(name) from None

    @api.get("/v1/files/{name}/content")
    async def content(name: str, request: Request) -> Response:
        try:
            path, filename = await anyio.to_thread.run_sync(store.path, request.state.owner, name)
        except KeyError:
            raise missing(name) from None
        return attached(path, filename, "application/octet-stream")

    @api.delete("/v1/files/{name}")
    async def delete(name: str, request: Request) -> dict[str, Any]:
        try:
            await anyio.to_thread.run_sync(store.delete, request.state.owner, name)
        except KeyError:
            raise missing(name) from None
        return {"id": name, "object": "file", "deleted": True}

    return api
