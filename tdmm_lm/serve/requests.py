"""What clients may send to the chat endpoint, and what it answers, for the checks and for the OpenAPI page."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LONGEST_SECONDS = 10.0  # of a performed motion: what the bundled model has seen
FORMATS = ("npz", "glb", "csv", "bvh", "mp4")


TokenId = Annotated[str, Field(pattern=r"^\d{1,7}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


class Open(BaseModel):
    """Fields this server does not know are ignored, as clients expect."""

    model_config = ConfigDict(extra="ignore")


class MotionOptions(Open):
    """What a client may ask of a motion. ``formats`` says which links stand in ``content``; ``frames`` wins over
    ``seconds``; ``stream_frames`` false streams codes alone."""

    seconds: float | None = Field(None, gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)
    frames: int | None = Field(None, gt=0, le=int(LONGEST_SECONDS * 25))
    codec: str | None = Field(None, max_length=32)
    formats: list[Literal["npz", "glb", "csv", "bvh", "mp4"]] | None = Field(None, max_length=8)
    seed: int | None = Field(None, ge=0, lt=2**31)
    rig: str | None = Field(None, max_length=200)
    stream_frames: bool = True


class StreamOptions(Open):
    """OpenAI's stream_options."""

    include_usage: bool = False


class Message(Open):
    """One turn; its content's parts are checked one by one, with their place in the error."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    motion: dict[str, Any] | None = None
    tool_calls: list[dict[str, Any]] | None = Field(None, max_length=128)
    tool_call_id: str | None = None
    name: str | None = None


class ChatRequest(Open):
    """OpenAI's chat completion request."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=200)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, gt=0, le=2**20)
    max_completion_tokens: int | None = Field(None, gt=0, le=2**20)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(1, ge=1, le=8)
    user: str | None = Field(None, max_length=1000)
    modalities: list[Literal["text", "motion"]] | None = None
    motion: MotionOptions | None = None
    stop: str | list[Annotated[str, Field(max_length=200)]] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    presence_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    logit_bias: dict[TokenId, Bias] | None = None
    tools: list[dict[str, Any]] | None = Field(None, max_length=128)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None

    @field_validator("stop")
    @classmethod
    def _few(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > 4:
            raise ValueError("expected at most 4 strings")
        if isinstance(stop, str) and len(stop) > 200:
            raise ValueError("expected at most 200 characters")
        return stop

    @field_validator("response_format")
    @classmethod
    def _known_format(cls, form: dict[str, Any] | None) -> dict[str, Any] | None:
        """Clients' grammars and structural tags kill engines; JSON is what OpenAI offers."""
        if form is not None and form.get("type") not in ("text", "json_object", "json_schema"):
            raise ValueError("expected a type among text, json_object and json_schema")
        if form is None or form["type"] != "json_schema":
            return form and {"type": form["type"]}
        schema = form.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
            raise ValueError("expected json_schema: {name, schema}")
        _without_patterns(schema["schema"])
        return {"type": "json_schema", "json_schema": schema}  # whatever else was there would reach the engine

    @field_validator("tools")
    @classmethod
    def _known_tools(cls, tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        _without_patterns(tools)
        return tools


def _without_patterns(schema: Any) -> None:
    """Raises ValueError for a JSON schema that carries regular expressions: engines compile them as grammars."""
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if isinstance(found.get("pattern"), str) or "patternProperties" in found:
                raise ValueError("expected a schema without pattern and patternProperties, which this server refuses")
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


class ErrorBody(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """What every refusal looks like."""

    error: ErrorBody


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        400: "The request cannot be understood or read.", 401: "No key, or a wrong one.",
        403: "The key may not do this.", 404: "No such thing, or another key's.", 405: "Not this method.",
        408: "The body did not come in time.", 409: "It is not in a state for this.",
        413: "Too large.", 415: "Not this kind of body.", 422: "Understood, and impossible.",
        429: "Too much at once; `Retry-After` says when.", 500: "A fault of ours; it was logged.",
        503: "Not now; `Retry-After` says when.",
    }.items()
}
