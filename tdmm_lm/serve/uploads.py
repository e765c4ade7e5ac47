"""A multipart upload as it comes in: its fields in memory, its file on disk, both with limits that hold while it
streams; what a client says about lengths is not believed."""

import re
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from tdmm_lm.serve.disk import refusing, remove
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.vault import MIB, Growth

FIELD_BYTES = 65536  # of all fields together
MOST_PARTS = 32
BLOCK = MIB  # bytes that are gathered before they are written
STALL_SECONDS = 60.0  # without a byte
NAME_CHARACTERS = 255


def cleaned(name: str) -> str:
    """A file's name as text to show: no folders, no control characters, not endless."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C").strip()
    return name[-NAME_CHARACTERS:] or "upload"


def invalid(message: str, param: str | None = None, code: str = "invalid_request") -> ApiError:
    return ApiError(400, message, param=param, code=code)


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        ApiError: 408 where it stalls, 400 where the client has gone.
    """
    stream = aiter(request.stream())
    while True:
        try:
            with anyio.fail_after(STALL_SECONDS):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ApiError(408, f"body: nothing came for {STALL_SECONDS:g} s.", code="upload_stalled") from None
        except ClientDisconnect:
            raise invalid("body: the connection ended before it was whole.", code="upload_incomplete") from None
        yield piece


@dataclass
class Form:
    """Takes a body's bytes. ``fields`` are the text parts; the part ``file`` goes to ``path``, if a path is given.

    Raises:
        ApiError: 400 for what is no form, 413 where the file, the fields or the owner's quota are over their limits,
            503 for a full disk.
    """

    boundary: bytes
    path: Path | None
    most: int  # bytes of the file
    growth: Growth | None
    fields: dict[str, str] = field(default_factory=dict)
    name: str | None = None  # the file's, cleaned
    size: int = 0  # of the file, bytes

    def __post_init__(self) -> None:
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._value = bytearray()
        self._block = bytearray()
        self._parts = self._field_bytes = 0
        self._in_file = self._ended = False
        self._file: BinaryIO | None = None
        try:
            self._parser = MultipartParser(self.boundary, {
                "on_part_begin": self._begin, "on_header_field": self._header_name,
                "on_header_value": self._header_text, "on_header_end": self._header_end,
                "on_headers_finished": self._part, "on_part_data": self._data, "on_part_end": self._end,
                "on_end": self._done,
            })
        except FormParserError as error:
            raise invalid(f"body: {error}") from None

    def __enter__(self) -> "Form":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
        if kind is not None and self.path is not None:
            remove(self.path)

    async def take(self, request: Request) -> None:
        """All of the body, in constant memory."""
        async for piece in pieces(request):
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise invalid(f"body: expected multipart/form-data, got something else ({error}).") from None
            if len(self._block) >= BLOCK:
                await anyio.to_thread.run_sync(self._flush)
        if not self._ended:
            raise invalid("body: expected multipart/form-data with its last boundary, it ends before that.")
        await anyio.to_thread.run_sync(self._flush)

    def _flush(self) -> None:
        if self.path is None or self.name is None:
            return
        with refusing():
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(self._block)
            self._file.flush()
        self._block.clear()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise invalid(f"body: expected at most {MOST_PARTS} parts.")
        self._headers, self._header, self._field, self._value = {}, [b"", b""], None, bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _part(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not self._field:
            raise invalid("body: expected parts of form-data with a name.")
        self._in_file = self._field == "file" and b"filename" in options
        if not self._in_file:
            return
        if self.path is None or self.name is not None:
            raise invalid(f"{self._field}: expected no more files than one.", self._field)
        self.name = cleaned(options[b"filename"].decode("utf-8", "replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        count = end - start
        if self._in_file:
            self.size += count
            if self.size > self.most:
                raise ApiError(
                    413, f"file: expected at most {self.most // MIB} MiB.", param="file", code="file_too_large"
                )
            if self.growth is not None:
                self.growth.by(count)
            self._block += memoryview(data)[start:end]
        else:
            self._field_bytes += count
            if self._field_bytes > FIELD_BYTES:
                raise ApiError(413, f"body: expected at most {FIELD_BYTES} bytes of fields.", code="body_too_large")
            self._value += data[start:end]

    def _end(self) -> None:
        if not self._in_file and self._field is not None:
            self.fields[self._field] = self._value.decode("utf-8", "replace")
        self._in_file = False

    def _done(self) -> None:
        self._ended = True


def boundary_of(request: Request) -> bytes:
    """Raises ApiError 415 where the body is no form."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError(415, "body: expected multipart/form-data with a boundary.", code="unsupported_media_type")
    return options[b"boundary"]
