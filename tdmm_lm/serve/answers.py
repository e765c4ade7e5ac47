"""What the routes answer, and the forms that they take, for /openapi.json: written once beside the routes, which build
plain dictionaries; tests/e2e/serving holds the two together."""

from typing import Any, Generic, Literal, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

Item = TypeVar("Item")
REFERENCE = "#/components/schemas/{model}"
JSON, BINARY = "application/json", {"type": "string", "format": "binary"}


class Shape(BaseModel):
    """Nothing but what is written here."""

    model_config = ConfigDict(extra="forbid")


class Status(Shape):
    status: str


class Version(Shape):
    version: str


class ModelAnswer(Shape):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(Shape):
    object: Literal["list"]
    data: list[ModelAnswer]


class Page(Shape, Generic[Item]):
    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Shape):
    id: str
    object: Literal["file", "motion.deleted", "video.deleted"]
    deleted: Literal[True]


class FileAnswer(Shape):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: str | None
    expires_at: int


class MotionFile(Shape):
    format: str
    url: str
    bytes: int | None
    sha256: str | None


class MotionAnswer(Shape):
    id: str
    object: Literal["motion"]
    codec: Literal["face", "body"]
    rig: str
    fps: float
    frames: int
    seconds: float
    codes: list[list[int]] | None
    truncated: bool
    created_at: int
    expires_at: int
    files: list[MotionFile]


class Frames(Shape):
    id: str
    rig: str
    fps: float
    frames: int
    channels: list[str]
    data: str = Field(description="Base64 of float32, little-endian, (frames, channels).")


class Failure(Shape):
    code: str
    message: str


class VideoAnswer(Shape):
    id: str
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    seconds: str
    size: str
    prompt: str | None
    motion: str | None
    remixed_from_video_id: str | None
    error: Failure | None


class Answered(BaseModel):
    """The assistant's message; with motion its object and links to its files in ``content``."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    motion: MotionAnswer | None = None


class Choice(Shape):
    index: int
    message: Answered
    logprobs: dict[str, Any] | None
    finish_reason: str


class MotionTokens(Shape):
    motion_tokens: int


class Usage(Shape):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: MotionTokens


class Completion(Shape):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class FileForm(BaseModel):
    """An upload."""

    file: bytes = Field(json_schema_extra={"format": "binary"})
    purpose: Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
    anchor: Literal["created_at"] = Field("created_at", alias="expires_after[anchor]")
    seconds: int = Field(3600, alias="expires_after[seconds]", ge=3600, le=2592000)


class VideoForm(BaseModel):
    """A prompt that is performed, or the id of a ``motion``."""

    model: str | None = None
    prompt: str | None = None
    seconds: str | float | None = None
    size: str | None = None
    motion: str | None = None
    rig: str | None = None
    seed: int | None = None


Kind = type[BaseModel]
ANSWERS: dict[tuple[str, str], dict[str, Kind | None]] = {  # media types of success; None are bytes
    ("get", "/health"): {JSON: Status},
    ("get", "/ready"): {JSON: Status},
    ("get", "/version"): {JSON: Version},
    ("get", "/v1/models"): {JSON: Models},
    ("get", "/v1/models/{name}"): {JSON: ModelAnswer},
    ("post", "/v1/chat/completions"): {JSON: Completion, "text/event-stream": None},
    ("post", "/v1/files"): {JSON: FileAnswer},
    ("get", "/v1/files"): {JSON: Page[FileAnswer]},
    ("get", "/v1/files/{name}"): {JSON: FileAnswer},
    ("delete", "/v1/files/{name}"): {JSON: Deleted},
    ("get", "/v1/files/{name}/content"): {"application/octet-stream": None},
    ("get", "/v1/motions"): {JSON: Page[MotionAnswer]},
    ("post", "/v1/motions"): {JSON: MotionAnswer},
    ("get", "/v1/motions/{name}/frames"): {JSON: Frames},
    ("get", "/v1/motions/{name}"): {
        JSON: MotionAnswer, **dict.fromkeys(
            ("application/octet-stream", "model/gltf-binary", "text/csv", "text/plain", "video/mp4")
        ),
    },
    ("delete", "/v1/motions/{name}"): {JSON: Deleted},
    ("get", "/v1/rigs/{name}.glb"): {"model/gltf-binary": None},
    ("post", "/v1/videos"): {JSON: VideoAnswer},
    ("get", "/v1/videos"): {JSON: Page[VideoAnswer]},
    ("get", "/v1/videos/{name}"): {JSON: VideoAnswer},
    ("delete", "/v1/videos/{name}"): {JSON: Deleted},
    ("get", "/v1/videos/{name}/content"): {"video/mp4": None},
}
FORMS: dict[tuple[str, str], dict[str, Kind]] = {
    ("post", "/v1/files"): {"multipart/form-data": FileForm},
    ("post", "/v1/videos"): {JSON: VideoForm, "multipart/form-data": VideoForm},
}
UNREADY = {"description": "Not now; `Retry-After` says when."}


def documented(app: FastAPI) -> None:
    """Tell the application's OpenAPI page of `ANSWERS` and `FORMS`."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        page = plain()
        if fresh:
            _add(page)
        return page

    app.openapi = described  # type: ignore[method-assign]


def _add(page: dict[str, Any]) -> None:
    answers: list[Kind] = [kind for kinds in ANSWERS.values() for kind in kinds.values() if kind is not None]
    forms = [kind for kinds in FORMS.values() for kind in kinds.values()]
    known = dict.fromkeys((*answers, *forms))
    names, shared = models_json_schema(
        [(kind, "serialization" if kind in answers else "validation") for kind in known], ref_template=REFERENCE
    )
    page["components"]["schemas"] |= shared["$defs"]
    schemas = {kind: schema for (kind, _), schema in names.items()}

    def content(kinds: dict[str, Any]) -> dict[str, Any]:
        return {media: {"schema": BINARY if kind is None else schemas[kind]} for media, kind in kinds.items()}

    for (method, path), kinds in ANSWERS.items():
        if operation := page["paths"].get(path, {}).get(method):
            operation["responses"]["200"]["content"] = content(kinds)
            if path == "/ready":
                operation["responses"]["503"] = {**UNREADY, "content": content(kinds)}
    for (method, path), taken in FORMS.items():
        if operation := page["paths"].get(path, {}).get(method):
            operation["requestBody"] = {"required": True, "content": content(taken)}
