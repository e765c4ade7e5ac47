"""``/v1/videos``: mp4s as jobs, in OpenAI's shapes, from a prompt or from a stored motion (`jobs` renders them)."""

import json
import math
import re
import unicodedata
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from tdmm_lm.motion import face
from tdmm_lm.serve import motions
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.motions import attached, listed, rig_source
from tdmm_lm.serve.stored_motions import Motion
from tdmm_lm.serve.stored_videos import Video
from tdmm_lm.serve.tables import Order
from tdmm_lm.serve.uploads import Form, boundary_of, invalid, pieces

if TYPE_CHECKING:
    from tdmm_lm.serve.server import Server

SIZES = range(64, 1793)  # pixels a side
SIZE = "720x1280"  # OpenAI's own default
SECONDS, DEFAULT_SECONDS = (0.2, 10.0), 4.0  # that a prompt may be performed for
PROMPT_CHARACTERS = 2000
BODY_BYTES = 65536
SEEDS = 2**31
POLL_MILLISECONDS = "500"


def missing(name: str, param: str = "id") -> ApiError:
    return ApiError(404, f"No video {name[:80]!r}.", param=param, code="video_not_found")


def described(video: Video) -> dict[str, Any]:
    """OpenAI's video object, and the motion that it shows."""
    error = None if video.error is None else {"code": video.error[0], "message": video.error[1]}
    return {
        "id": video.id, "object": "video", "model": video.model, "status": video.status, "progress": video.progress,
        "created_at": video.created_at, "completed_at": video.completed_at, "expires_at": video.expires_at,
        "seconds": f"{round(video.seconds, 3):g}", "size": f"{video.size[0]}x{video.size[1]}",
        "prompt": video.prompt, "motion": video.motion, "remixed_from_video_id": None, "error": error,
    }


async def body_of(request: Request) -> dict[str, Any]:
    """The request's fields, sent as a form (as OpenAI's SDK does) or as JSON; what is null is left out.

    Raises:
        ApiError: 400, 413 or 415.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        data = bytearray()
        async for piece in pieces(request):
            data += piece
            if len(data) > BODY_BYTES:
                raise ApiError(413, f"body: expected at most {BODY_BYTES} bytes.", code="body_too_large")
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            raise invalid("body: expected JSON, got something else.") from None
        if not isinstance(fields, dict):
            raise invalid("body: expected a JSON object.")
        return {name: value for name, value in fields.items() if value is not None}
    with Form(boundary_of(request), None, 0, None) as form:
        await form.take(request)
    return dict(form.fields)


def text_of(body: dict[str, Any], name: str, most: int) -> str | None:
    """A text field without outer blanks; None where it is not there or blank."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > most:
        raise invalid(f"{name}: expected at most {most} characters of text.", name)
    if any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\r\t" for letter in value):
        raise invalid(f"{name}: expected text without control characters.", name)
    return value.strip() or None


def number_of(body: dict[str, Any], name: str) -> float | None:
    """A number, which forms (and OpenAI's ``seconds``) send as text."""
    value = body.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not math.isfinite(number := float(value)):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise invalid(f"{name}: expected a number, got {str(value)[:40]!r}.", name) from None
    return number


def size_of(body: dict[str, Any]) -> tuple[int, int]:
    said = text_of(body, "size", 20) or SIZE
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", said, re.ASCII)
    width, height = (int(side) for side in found.groups()) if found else (0, 0)
    if any(side % 2 or side not in SIZES for side in (width, height)):
        raise invalid(
            f"size: expected WIDTHxHEIGHT, both even and from {SIZES[0]} to {SIZES[-1]}, got {said!r}.", "size"
        )
    return width, height


def router(server: "Server") -> APIRouter:
    """The routes; every video is its owner's only."""
    api = APIRouter()
    store = server.store.videos

    async def found(request: Request, name: str) -> Video:
        try:
            return await anyio.to_thread.run_sync(store.get, request.state.owner, name)
        except KeyError:
            raise missing(name) from None

    async def motion_of(request: Request, name: str) -> Motion:
        try:
            return await anyio.to_thread.run_sync(server.store.motions.get, request.state.owner, name)
        except KeyError:
            raise motions.missing(name, "motion") from None

    @api.post("/v1/videos")
    async def create(request: Request) -> Response:
        body = await body_of(request)
        if "input_reference" in body:
            raise invalid("input_reference: not supported here; name a stored `motion`.", "input_reference")
        model = text_of(body, "model", 200) or server.settings.model_name
        if model != server.settings.model_name:
            raise ApiError(
                404, f"The model {model!r} does not exist; known: {server.settings.model_name}.", param="model",
                code="model_not_found",
            )
        prompt, name = text_of(body, "prompt", PROMPT_CHARACTERS), text_of(body, "motion", 80)
        if prompt is None and name is None:
            raise invalid("prompt: expected a sentence, or the id of a `motion`; got neither.", "prompt")
        size, seconds, rig = size_of(body), number_of(body, "seconds"), text_of(body, "rig", 200)
        seed = number_of(body, "seed")
        if seed is not None and (seed != int(seed) or not 0 <= seed < SEEDS):
            raise invalid(f"seed: expected a whole number from 0 to {SEEDS - 1}, got {seed:g}.", "seed")
        if rig is not None:
            rig_source(server, rig)
        if name is not None:
            if seconds is not None:
                raise invalid("seconds: expected none with a motion, whose own length counts.", "seconds")
            motion = await motion_of(request, name)
            motions.check_length(server, motion)
            if motion.codec == "body" and rig is not None:
                raise invalid("rig: expected none for a body, which moves its own skeleton.", "rig")
            seconds = motion.seconds
        else:
            seconds = DEFAULT_SECONDS if seconds is None else seconds
            if not SECONDS[0] <= seconds <= SECONDS[1]:
                raise invalid(f"seconds: expected {SECONDS[0]} to {SECONDS[1]:g}, got {seconds:g}.", "seconds")
            seconds = round(seconds * face.CODE_FPS) / face.CODE_FPS
        add = partial(
            store.add, request.state.owner, model=model, prompt=prompt, motion=name, rig=rig,
            seed=None if seed is None else int(seed), size=size, seconds=seconds,
        )
        return JSONResponse(described(await anyio.to_thread.run_sync(add)))

    @api.get("/v1/videos")
    async def videos(
        request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 20, after: str | None = None,
        order: Order = "desc",
    ) -> dict[str, Any]:
        call = partial(store.page, request.state.owner, after=after, limit=limit, order=order)
        try:
            page, more = await anyio.to_thread.run_sync(call)
        except KeyError:
            raise missing(after or "", "after") from None
        return listed([described(video) for video in page], more)

    @api.get("/v1/videos/{name}")
    async def video(name: str, request: Request) -> Response:
        job = await found(request, name)
        waits = job.status in ("queued", "in_progress")
        return JSONResponse(described(job), headers={"openai-poll-after-ms": POLL_MILLISECONDS} if waits else None)

    @api.get("/v1/videos/{name}/content")
    async def content(name: str, request: Request, variant: str = "video") -> Response:
        job = await found(request, name)
        if variant != "video":
            raise ApiError(
                404, f"variant: expected video, got {variant[:40]!r}.", param="variant", code="variant_not_found"
            )
        if job.status == "failed":
            assert job.error is not None
            raise ApiError(404, f"The video failed: {job.error[1]}.", param="id", code="video_failed")
        if job.status != "completed":
            raise ApiError(
                404, f"Video is not ready yet, use GET /v1/videos/{job.id} to check status.", param="id",
                code="video_not_ready",
            )
        return attached(store.path(job.id), f"{job.id}.mp4", "video/mp4")

    @api.delete("/v1/videos/{name}")
    async def delete(name: str, request: Request) -> dict[str, Any]:
        try:
            await anyio.to_thread.run_sync(store.delete, request.state.owner, name)
        except KeyError:
            raise missing(name) from None
        return {"id": name, "object": "video.deleted", "deleted": True}

    return api
