"""Motion inside a request: files, data URLs, fetched URLs, links and ids of earlier turns -> codes for the engine."""

import asyncio
import base64
import binascii
import hashlib
import json
import re
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
from jaxtyping import Int

from tdmm_lm.lm import vocab
from tdmm_lm.motion import MotionClip
from tdmm_lm.serve import fetching, reading
from tdmm_lm.serve.disk import refusing
from tdmm_lm.serve.errors import ApiError

if TYPE_CHECKING:
    from tdmm_lm.serve.server import Server

MOTION_PARTS = ("file", "motion_url", "video_url")
TEXT_PARTS = ("text", "input_text", "output_text")
KNOWN = ", ".join(("text", *MOTION_PARTS))
MOST_PARTS = 16  # motions in one request
LINK = re.compile(r"(?:/v1/motions/|motion://)((?:motion|file)-[0-9a-f]{32})[^\s)]*\)?")  # what stands before: _begin
CACHED = 512  # codes of files seen last
BYTES = 2**20
UNSUPPORTED = "unsupported_modality"


class Parts:
    """Reads the parts of requests; what was read last is remembered by its content."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self._seen: OrderedDict[str, np.ndarray] = OrderedDict()

    async def codes(self, part: dict[str, Any], place: str, owner: str) -> Int[np.ndarray, "frames books"]:
        """The codes of a content part's motion.

        Raises:
            ApiError: what cannot be found, fetched or read, with the part's place.
        """
        kind = part["type"]
        body = part.get(kind)
        if isinstance(body, str) and kind != "file":
            body = {"url": body}
        if not isinstance(body, dict):
            got = type(body).__name__
            raise ApiError(400, f"{place}.{kind}: expected an object, got {got}.", param=f"{place}.{kind}")
        try:
            if kind == "file" and body.get("file_id") is not None:
                return await self._stored(body["file_id"], f"{place}.file.file_id", owner)
            key = "file_data" if kind == "file" else "url"
            param = f"{place}.{kind}.{key}"
            given = body.get(key)
            if not isinstance(given, str):
                raise ApiError(400, f"{param}: expected a string, got {type(given).__name__}.", param=param)
            if kind != "file" and len(given) <= fetching.LONGEST and (link := LINK.search(given)):
                return await self._stored(link[1], param, owner)
            name = str(body.get("filename") or ("video.mp4" if kind == "video_url" else "motion"))[:200]
            return await self._given(given, name, param, may_fetch=kind != "file")
        except ApiError as error:
            raise ApiError(
                error.status, str(error), param=error.param or f"{place}.{kind}", code=error.code,
                retry_after=error.retry_after,
            ) from None

    async def linked(self, text: str, place: str, owner: str) -> str:
        """Text in which the first link to each stored motion became its tokens and its other links went.

        What a client writes as if it were one of the model's own tokens is taken apart, but for whole motions.

        Raises:
            ApiError: 400 for a motion with codes that the model does not have, 404 for a link to none.
        """
        pieces = []
        seen: set[str] = set()
        position = 0
        for match in LINK.finditer(text):
            pieces.append(self._words(text[position : _begin(text, position, match.start())], place))
            position = match.end()
            if match[1] not in seen:
                seen.add(match[1])
                pieces.append(vocab.text(await self._stored(match[1], place, owner)))
        pieces.append(self._words(text[position:], place))
        return " ".join(" ".join(pieces).split()) if seen else pieces[0]

    def _words(self, text: str, place: str) -> str:
        try:
            return plain(text, self.server.engine.vocab)
        except ValueError as error:
            raise ApiError(400, f"{place}: {error}", param=place, code="unknown_codes") from None

    async def _stored(self, name: Any, param: str, owner: str) -> Int[np.ndarray, "frames books"]:
        store = self.server.store
        missing = ApiError(404, f"{param}: no such file or motion.", param=param, code="file_not_found")
        if not isinstance(name, str):
            raise ApiError(400, f"{param}: expected an id, got {type(name).__name__}.", param=param)
        if name.startswith("motion-"):
            try:
                motion = await anyio.to_thread.run_sync(store.motions.get, owner, name)
            except KeyError:
                raise ApiError(404, f"{param}: no such motion.", param=param, code="motion_not_found") from None
            if motion.codes is None:
                raise ApiError(400, f"{param}: expected a face's motion, got a body's.", param=param, code=UNSUPPORTED)
            return motion.codes
        try:
            path, filename = await anyio.to_thread.run_sync(store.files.path, owner, name)
        except KeyError:
            raise missing from None
        return await self._remembered(f"{owner}/{name}", path, filename)

    async def _given(self, given: str, name: str, param: str, *, may_fetch: bool) -> Int[np.ndarray, "frames books"]:
        limits = self.server.settings.limits
        url = given.split(":", 1)[0].lower() if ":" in given[:32] else ""
        with refusing(), tempfile.TemporaryDirectory(prefix="part-", dir=self.server.scratch) as folder:
            suffix = Path(name).suffix[:8]
            path = Path(folder) / f"given{suffix if suffix[1:].isalnum() else ''}"
            if url in ("http", "https") and may_fetch:
                await fetching.fetch(given, path, self.server.settings)
                digest = await anyio.to_thread.run_sync(lambda: hashlib.sha256(path.read_bytes()).hexdigest())
            elif url not in ("", "data"):
                raise ApiError(
                    400, f"{param}: expected a data URL (data:...;base64,...) or an allowed http(s) URL, got {url!r}.",
                    param=param, code="url_not_allowed",
                )
            else:
                data = await anyio.to_thread.run_sync(_decoded, given, param, limits.body_mb * BYTES)
                digest = hashlib.sha256(data).hexdigest()
                await anyio.to_thread.run_sync(path.write_bytes, data)
            return await self._remembered(f"{digest}/{suffix}", path, name)

    async def _remembered(self, key: str, path: Path, name: str) -> Int[np.ndarray, "frames books"]:
        if key not in self._seen:
            clip = await reading.clip(path, name, self.server.workers, self.server.settings)
            self._seen[key] = await self.server.tokenize(clip)
        self._seen.move_to_end(key)
        while len(self._seen) > CACHED:
            self._seen.popitem(last=False)
        return self._seen[key]


def _begin(text: str, start: int, end: int) -> int:
    """Where the word begins that ends at ``end``: a link's scheme, host and Markdown, but nothing before ``start``."""
    while end > start and not text[end - 1].isspace():
        end -= 1
    return end


def plain(text: str, grown: vocab.MotionVocab) -> str:
    """A client's words: tokens of the model's own are taken apart, whole motions ``<|face|>...<|/face|>`` stay.

    Raises:
        ValueError: a motion of a kind, or with codes, that the model does not have.
    """
    if "<|" not in text:
        return text
    try:
        pieces = vocab.split(text)
    except ValueError:
        return text.replace("<|", "< |")
    said = []
    for piece in pieces:
        if isinstance(piece, str):
            said.append(piece.replace("<|", "< |"))
        else:
            vocab.ids(piece[1], grown, piece[0])  # a spelled token that the model lacks would reach it as letters
            said.append(vocab.text(piece[1], piece[0]))
    return "".join(said)


def harmless(value: Any, place: str) -> Any:
    """Plain data of a client's in whose texts no token of the model's own is left.

    Raises:
        ApiError: 400 for what is nested too deeply.
    """
    try:
        return json.loads(json.dumps(value, ensure_ascii=False).replace("<|", "< |"))
    except RecursionError:
        raise ApiError(400, f"{place}: expected less nesting.", param=place, code="invalid_request") from None


def _decoded(given: str, param: str, most: int) -> bytes:
    """The payload of a data URL or of bare base64."""
    head, comma, text = given.partition(",") if given[:5].lower() == "data:" else ("", ",", given)
    if not comma or (head and not head.lower().endswith(";base64")):
        raise ApiError(
            400, f"{param}: expected data:...;base64,..., got another data URL.", param=param, code="invalid_base64"
        )
    if len(text) > most * 4 // 3 + 4:
        raise ApiError(413, f"{param}: expected at most {most} bytes.", param=param, code="file_too_large")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(
            400, f"{param}: expected base64, got something else.", param=param, code="invalid_base64"
        ) from None
    if not data:
        raise ApiError(400, f"{param}: expected a file, got no bytes.", param=param, code="empty_file")
    return data


async def unless_gone(receive: Any, work: Any) -> Any:
    """``work``'s result, or None where the client went first; then the work is given up."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


def check_face(clip: MotionClip) -> MotionClip:
    """Raises ApiError 400 unless the clip is a face's, which is all that the bundled model speaks of."""
    if clip.modality != "face":
        raise ApiError(
            400, f"motion: expected a face's, got a {clip.modality}'s; this model speaks of faces.",
            code=UNSUPPORTED,
        )
    return clip
