"""The container of glTF 2.0 binary files: arrays into one buffer with accessors, and back.

Follows Khronos' glTF 2.0 specification, sections 3.6 (buffers and accessors) and 4 (GLB).
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

COMPONENTS = {np.dtype("uint8"): 5121, np.dtype("uint16"): 5123, np.dtype("uint32"): 5125, np.dtype("float32"): 5126}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
ATTRIBUTES, INDICES = 34962, 34963  # ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
MOST_BYTES = 512 * 2**20


class Accessors:
    """Collects arrays; every method returns the number of the new accessor."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def add(
        self, values: np.ndarray, kind: str, *,
        bounds: bool = False, target: int | None = None, normalized: bool = False,
    ) -> int:
        """``values`` (count, width of ``kind``), with the smallest and largest of each column where ``bounds``."""
        assert values.shape == (len(values), WIDTHS[kind]), f"{kind}: {values.shape}"
        accessor = {
            "bufferView": self._view(values, target), "componentType": COMPONENTS[values.dtype],
            "count": len(values), "type": kind,
        }
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        return self._keep(accessor)

    def vertices(self, values: np.ndarray, *, normalized: bool = False) -> int:
        """A vertex attribute."""
        kind = f"VEC{values.shape[1]}"
        return self.add(values, kind, bounds=True, target=ATTRIBUTES, normalized=normalized)

    def indices(self, faces: Int[np.ndarray, "faces 3"]) -> int:
        """Triangles, in the narrowest integers that hold them (the largest one of each width is reserved)."""
        kind = np.uint16 if faces.max() < 65535 else np.uint32
        return self.add(faces.astype(kind).reshape(-1, 1), "SCALAR", target=INDICES)

    def sparse(self, values: Float[np.ndarray, "count width"]) -> int:
        """Rows that are mostly zero: only the others are stored, unless that is larger."""
        kind = f"VEC{values.shape[1]}"
        rows = np.flatnonzero(values.any(1))
        if not len(rows):
            rows = np.zeros(1, int)  # a sparse accessor has at least one row
        numbers = rows.astype(np.uint16 if len(values) < 65535 else np.uint32)
        if len(rows) * (numbers.itemsize + values[0].nbytes) >= values.nbytes:
            return self.vertices(values)
        return self._keep({
            "componentType": COMPONENTS[values.dtype], "count": len(values), "type": kind,
            "min": values.min(0).tolist(), "max": values.max(0).tolist(),
            "sparse": {
                "count": len(rows),
                "indices": {"bufferView": self._view(numbers, None), "componentType": COMPONENTS[numbers.dtype]},
                "values": {"bufferView": self._view(values[rows], None)},
            },
        })

    def finish(self, document: dict[str, Any]) -> bytes:
        """The whole file: ``document`` with these accessors and their buffer."""
        buffers = [{"byteLength": len(self._bytes)}]
        full = {**document, "accessors": self._accessors, "bufferViews": self._views, "buffers": buffers}
        text = json.dumps(full, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self._bytes)
        return b"".join((
            struct.pack("<4sII", b"glTF", 2, length),
            struct.pack("<II", len(text), JSON_CHUNK), text,
            struct.pack("<II", len(self._bytes), BINARY_CHUNK), self._bytes,
        ))

    def _keep(self, accessor: dict[str, Any]) -> int:
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def _view(self, values: np.ndarray, target: int | None) -> int:
        data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        view = {"buffer": 0, "byteOffset": len(self._bytes), "byteLength": len(data)}
        self._views.append(view if target is None else {**view, "target": target})
        self._bytes += data + bytes(-len(data) % 4)
        return len(self._views) - 1


def chunks(path: str | Path) -> tuple[dict[str, Any], bytes]:
    """The document and the binary buffer of a GLB file.

    Raises:
        ValueError: no GLB of version 2, too large, or cut off.
    """
    path = Path(path)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: expected at most {MOST_BYTES >> 20} MB, got {path.stat().st_size >> 20} MB.")
    data = path.read_bytes()
    if len(data) < 20 or data[:4] != b"glTF":
        raise ValueError(f"{path}: expected a GLB file, got something else.")
    version, length, first, kind = struct.unpack_from("<IIII", data, 4)
    if version != 2 or kind != JSON_CHUNK:
        raise ValueError(f"{path}: expected glTF 2.0 with JSON first, got version {version}, chunk {kind:#x}.")
    if len(data) < length or len(data) < 20 + first:
        raise ValueError(f"{path}: expected {length} bytes as its header says, got {len(data)}: the file is cut off.")
    try:
        document = json.loads(data[20 : 20 + first])
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise ValueError(f"{path}: expected JSON in the first chunk, got something else.") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected a JSON object in the first chunk, got {type(document).__name__}.")
    return document, data[20 + first + 8 :]


def array(document: dict[str, Any], binary: bytes, accessor: int) -> Float[np.ndarray, "count width"]:
    """A tightly packed float accessor's rows.

    Raises:
        ValueError: it is sparse, strided, of integers, or runs over the buffer.
        KeyError, IndexError, TypeError: the document does not describe it.
    """
    about = document["accessors"][accessor]
    if about["componentType"] != COMPONENTS[np.dtype("float32")] or "sparse" in about:
        raise ValueError("expected an accessor of plain floats, got another.")
    view = document["bufferViews"][about["bufferView"]]
    if view.get("byteStride"):
        raise ValueError("expected a packed buffer view, got a strided one.")
    width, count = WIDTHS[about["type"]], int(about["count"])
    start = int(view.get("byteOffset", 0)) + int(about.get("byteOffset", 0))
    if count < 0 or start < 0 or start + 4 * width * count > len(binary):
        raise ValueError("expected an accessor inside the buffer, got one that runs over it: the file is cut off.")
    return np.frombuffer(binary, "<f4", width * count, start).reshape(count, width).astype(np.float32)
