"""Motion that comes inside a request: base64 in ``file``, ``motion_url`` and ``video_url`` parts -> a clip."""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Any

from tdmm_lm import formats
from tdmm_lm.motion import MotionClip
from tdmm_lm.serve.errors import ApiError


def _bytes(url: str, param: str, most: int) -> bytes:
    """The payload of a data URL or of bare base64."""
    if url.startswith(("http://", "https://", "file:", "ftp:")):
        raise ApiError(
            400,
            f"{param}: expected a data URL (data:...;base64,...), got a {url.split(':')[0]} URL; "
            "this server fetches nothing.",
            param=param,
            code="url_not_allowed",
        )
    text = url.partition(",")[2] if url.startswith("data:") else url
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


def clip(part: dict[str, Any], where: str, *, most: int = 32 << 20) -> MotionClip:
    """The motion clip in a content part; the format is told from the content, then from ``filename``.

    Raises:
        ApiError: 400 for what cannot be read (the reader's own line inside), 413 for what is too large.
    """
    kind = part["type"]
    body = part.get(kind)
    if not isinstance(body, dict):
        raise ApiError(400, f"{where}.{kind}: expected an object, got {type(body).__name__}.", param=f"{where}.{kind}")
    key = "file_data" if kind == "file" else "url"
    param = f"{where}.{kind}.{key}"
    if kind == "file" and body.get("file_id"):
        raise ApiError(
            404, f"{where}.file.file_id: no such file.", param=f"{where}.file.file_id", code="file_not_found"
        )
    if not isinstance(body.get(key), str):
        raise ApiError(400, f"{param}: expected a string, got {type(body.get(key)).__name__}.", param=param)
    data = _bytes(body[key], param, most)
    name = str(body.get("filename") or ("video.mp4" if kind == "video_url" else "motion"))
    suffix = Path(name).suffix[:8] if Path(name).suffix[1:].isalnum() else ""
    with tempfile.TemporaryDirectory(prefix="tdmm-") as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(data)
        try:
            return formats.read(path)
        except (ValueError, FileNotFoundError) as error:
            line = " ".join(str(error).replace(str(path), name).split())
            raise ApiError(400, f"{param}: {line}", param=param, code="unreadable_motion") from None
