"""Errors in OpenAI's shape."""

from typing import Any

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A refusal with its HTTP status; ``param`` names the request's field, ``code`` is a short stable word, and
    ``retry_after`` says in seconds when to come again (429 and 503)."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    def body(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": " ".join(str(self).split()), "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": str(max(1, self.retry_after))}


def broken() -> ApiError:
    """What a client is told of a fault of ours."""
    return ApiError(500, "The server had an error; it was logged.", code="internal_error")


def busy(message: str, seconds: int = 2, *, code: str = "overloaded") -> ApiError:
    """Not now: 503 with a time to come again."""
    return ApiError(503, message, code=code, retry_after=seconds)
