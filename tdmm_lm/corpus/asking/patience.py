"""One request to a server that may be slow, busy or out of its mind: time-outs, and tries with growing pauses.

What a pause is: twice as long after every failure, up to the longest, and a random part of that, so that many workers
do not come back at the same moment. A server's own ``Retry-After`` is kept where it is longer.
"""

import json
import os
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from tdmm_lm import config

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

LARGEST = 32 << 20  # bytes of an answer that is read into memory
BUSY = (408, 409, 425, 429)  # worth another try, as is everything from 500 on
HOPELESS = (401, 402, 403, 404)  # the same for every request: a key, an account, an address


class Patience(config.Settings):
    """How long to wait for a server and how often to come back."""

    tries: int = Field(default=6, ge=1)
    seconds: float = Field(default=120, gt=0)  # for a whole answer
    first_pause_seconds: float = Field(default=1, ge=0)
    longest_pause_seconds: float = Field(default=60, ge=0)
    longest_retry_after_seconds: float = Field(default=600, ge=0)  # a server that asks for more is taken for down


class Failed(Exception):
    """A request that came to nothing. ``reason`` is a word for counting, ``again`` says whether a try is worth it."""

    def __init__(self, reason: str, detail: str, *, again: bool = False, after_seconds: float | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.again, self.after_seconds = reason, detail, again, after_seconds


class Hopeless(ValueError):
    """Nothing that is sent to this server will work; one line says why and what to do."""


@dataclass(frozen=True)
class Reply:
    """What came back with a status below 400."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> dict[str, Any]:
        """
        Raises:
            Failed: nonsense.
        """
        try:
            data = json.loads(self.body)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise Failed("nonsense", f"expected a JSON object, got {self.body[:60]!r}", again=True)
        return data


def client(url: str, key_variable: str | None, seconds: float) -> "httpx.Client":
    """A connection to a server, with the key that an environment variable holds, if it holds one.

    Raises:
        ModuleNotFoundError: no httpx.
        ValueError: no http address.
    """
    try:
        import httpx
    except ModuleNotFoundError:
        line = "endpoint: expected the package httpx, found none; pip install 'tdmm-lm[corpus]'."
        raise ModuleNotFoundError(line, name="httpx") from None
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url: expected http://... or https://..., got {url!r}.")
    key = os.environ.get(key_variable, "") if key_variable else ""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    try:
        return httpx.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=seconds, limits=limits)
    except httpx.InvalidURL as error:
        raise ValueError(f"url: expected an address such as http://127.0.0.1:8000/v1, got {url!r} ({error}).") from None


def once(
    client: "httpx.Client", method: str, path: str, *, seconds: float, body: Any = None,
    files: dict[str, tuple[str, bytes, str]] | None = None, headers: dict[str, str] | None = None,
    into: Path | None = None, hopeless: tuple[int, ...] = HOPELESS,
) -> Reply:
    """One request, within ``seconds`` from first to last byte; ``into`` a file instead of memory.

    ``body`` goes as JSON; beside ``files`` (field: name, bytes, type) its fields are those of the same form.

    Raises:
        Failed: unreachable (nothing was sent), timed_out, cut_off, too_large, or http_STATUS with what the server said.
        Hopeless: one of the statuses ``hopeless``, or an account without money.
    """
    import httpx

    end = time.monotonic() + seconds
    sent: dict[str, Any] = {"data": body, "files": files} if files else {"json": body}
    try:
        with client.stream(method, path, **sent, headers=headers, timeout=seconds) as answer:
            known = {name.lower(): value for name, value in answer.headers.items()}
            saved = into is not None and answer.status_code < 400
            data, size = bytearray(), 0
            with into.open("wb") if saved and into is not None else nullcontext() as file:
                for block in answer.iter_bytes():
                    size += len(block)
                    if file is not None:
                        file.write(block)
                    else:
                        data += block
                        if size > LARGEST:
                            raise Failed("too_large", f"{answer.url.host} sent more than {LARGEST >> 20} MB")
                    if time.monotonic() > end:
                        late = f"{answer.url.host} sent no whole answer in {seconds:g} s"
                        raise Failed("timed_out", late, again=True)
            if answer.status_code >= 400:
                raise _refused(answer.status_code, known, bytes(data), answer.url.host, hopeless)
            return Reply(answer.status_code, known, bytes(data))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:  # nothing was sent
        what = f"{client.base_url.host} could not be reached ({type(error).__name__})"
        raise Failed("unreachable", what, again=True) from None
    except httpx.TimeoutException:
        raise Failed("timed_out", f"{client.base_url.host} said nothing for {seconds:g} s", again=True) from None
    except httpx.HTTPError as error:
        raise Failed("cut_off", f"{client.base_url.host} broke off ({type(error).__name__})", again=True) from None


def _refused(
    status: int, headers: dict[str, str], body: bytes, host: str, hopeless: tuple[int, ...]
) -> Failed | Hopeless:
    said, code = said_of(body)
    if status in hopeless or code == "insufficient_quota":
        return Hopeless(f"{host}: expected an answer, got status {status}: {said} Check the address, model and key.")
    again = status in BUSY or status >= 500
    reason = "busy" if status == 429 else f"http_{status}"
    return Failed(reason, said, again=again, after_seconds=retry_after(headers.get("retry-after")))


def said_of(body: bytes) -> tuple[str, str]:
    """(message, code) of an error in OpenAI's shape; of anything else its beginning."""
    try:
        error = json.loads(body)["error"]
        said, code = (error["message"], error.get("code")) if isinstance(error, dict) else (error, None)
    except (ValueError, KeyError, TypeError, RecursionError):
        said, code = body[:200].decode("utf-8", "replace"), None
    line = " ".join(str(said).split())[:200]
    return (line if line.endswith((".", "!", "?")) else f"{line or 'nothing said'}."), str(code or "")


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait: a number or a date; None where it is neither."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now))
    except (ValueError, TypeError):
        return None


def pause(patience: Patience, failures: int, after_seconds: float | None, chance: Callable[[], float]) -> float:
    """Seconds to wait after so many ``failures`` (1, 2, ...); ``chance`` gives 0..1."""
    longest = min(patience.longest_pause_seconds, patience.first_pause_seconds * 2 ** min(failures - 1, 30))
    return max(longest * (0.5 + 0.5 * chance()), after_seconds or 0.0)


def tried(
    call: Callable[[], T], patience: Patience, *, wait: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> T:
    """What ``call`` returns, called until it does not fail, as often as there is patience.

    Raises:
        Failed: the last failure, or the first that is not worth another try.
    """
    for failures in range(1, patience.tries + 1):
        try:
            return call()
        except Failed as failure:
            asked = failure.after_seconds or 0.0
            if not failure.again or failures == patience.tries or asked > patience.longest_retry_after_seconds:
                raise
            wait(pause(patience, failures, failure.after_seconds, chance))
    raise AssertionError("patience.tries is at least one")
