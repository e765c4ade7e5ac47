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
READ: dict[int, Any] = {number: kind for kind, number in COMPONENTS.items()}
READ |= {5120: np.dtype("int8"), 5122: np.dtype("int16")}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
ATTRIBUTES, INDICES = 34962, 34963  # ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
MOST_BYTES = 512 * 2**20
MOST_NUMBERS = 2**24  # of an accessor that says nothing but its length
UNREAD = {  # extensions that hide vertices, and what to do about them
    "KHR_draco_mesh_compression": "Draco", "EXT_meshopt_compression": "meshopt", "KHR_meshopt_compression": "meshopt",
}


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
        return packed(full, bytes(self._bytes))

    def into(self, document: dict[str, Any], binary: bytes) -> tuple[dict[str, Any], bytes]:
        """The arrays behind those of a file that there is: (its document, its buffer), longer by them.

        Numbers that this object's methods returned are then to be taken plus ``len(document["accessors"])``.
        """
        start, before = len(binary) + -len(binary) % 4, len(document.get("bufferViews", []))
        views = [{**view, "byteOffset": start + view["byteOffset"]} for view in self._views]
        accessors = []
        for accessor in self._accessors:
            assert "sparse" not in accessor  # nobody needs them here
            accessors.append({**accessor, "bufferView": before + accessor["bufferView"]})
        longer = binary + bytes(start - len(binary)) + bytes(self._bytes)
        buffers = [{**document["buffers"][0], "byteLength": len(longer)}] if document.get("buffers") else []
        return {
            **document, "accessors": document.get("accessors", []) + accessors,
            "bufferViews": document.get("bufferViews", []) + views,
            "buffers": buffers or [{"byteLength": len(longer)}],
        }, longer

    def _keep(self, accessor: dict[str, Any]) -> int:
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def _view(self, values: np.ndarray, target: int | None) -> int:
        data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        view = {"buffer": 0, "byteOffset": len(self._bytes), "byteLength": len(data)}
        self._views.append(view if target is None else {**view, "target": target})
        self._bytes += data + bytes(-len(data) % 4)
        return len(self._views) - 1


def packed(document: dict[str, Any], binary: bytes) -> bytes:
    """A GLB file of a document and the buffer that it speaks of; inverse of `chunks`."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join((
        struct.pack("<4sII", b"glTF", 2, length), struct.pack("<II", len(text), JSON_CHUNK), text,
        struct.pack("<II", len(binary), BINARY_CHUNK), binary,
    ))


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


def rows(document: dict[str, Any], binary: bytes, accessor: int) -> np.ndarray:
    """Any accessor's rows (count, width): strided, sparse, of integers (normalized ones as floats) or all zeros.

    Raises:
        ValueError: it lies in another file, is compressed, or runs over the buffer.
        KeyError, IndexError, TypeError: the document does not describe it.
    """
    about = document["accessors"][accessor]
    kind, width, count = READ[about["componentType"]], WIDTHS[about["type"]], int(about["count"])
    if "bufferView" in about:
        values = _view(document, binary, about["bufferView"], int(about.get("byteOffset", 0)), kind, width, count)
    elif 0 <= count * width <= MOST_NUMBERS:
        values = np.zeros((count, width), kind)
    else:
        raise ValueError(f"expected an accessor of at most {MOST_NUMBERS // width} rows, got {count}.")
    if "sparse" in about:
        sparse = about["sparse"]
        where, what, some = sparse["indices"], sparse["values"], int(sparse["count"])
        numbers = READ[where["componentType"]]
        index = _view(document, binary, where["bufferView"], int(where.get("byteOffset", 0)), numbers, 1, some)[:, 0]
        if len(index) and int(index.max()) >= count:
            raise ValueError(f"expected a sparse accessor's rows below {count}, got {int(index.max())}.")
        values = values.copy()
        values[index] = _view(
            document, binary, what["bufferView"], int(what.get("byteOffset", 0)), kind, width, some
        )
    if about.get("normalized") and kind.kind in "iu":  # specification 3.6.2.2
        return np.maximum(values.astype(np.float32) / np.iinfo(kind).max, -1)
    return values.astype(np.float32) if kind.kind == "f" else values


def _view(
    document: dict[str, Any], binary: bytes, view: int, offset: int, kind: np.dtype, width: int, count: int
) -> np.ndarray:
    about = document["bufferViews"][view]
    compressed = [UNREAD[name] for name in about.get("extensions", {}) if name in UNREAD]
    if compressed:
        raise ValueError(f"expected plain vertices, got {compressed[0]}-compressed ones; export without compression.")
    if int(about["buffer"]) != 0 or "uri" in document["buffers"][0]:
        raise ValueError("expected all arrays inside the GLB, got a buffer in another file; export as one .glb.")
    kind = kind.newbyteorder("<")
    row = kind.itemsize * width
    stride = int(about.get("byteStride", 0)) or row
    start = int(about.get("byteOffset", 0)) + offset
    if count < 0 or start < 0 or stride < row or (count and start + stride * (count - 1) + row > len(binary)):
        raise ValueError("expected an accessor inside the buffer, got one that runs over it: the file is cut off.")
    if not count:
        return np.zeros((0, width), kind)
    return np.ndarray((count, width), kind, binary, start, (stride, kind.itemsize))


def parents(document: dict[str, Any]) -> list[int]:
    """The node above each node, -1 where there is none.

    Raises:
        ValueError: a node below two others, or below itself.
    """
    nodes = document.get("nodes", [])
    above = [-1] * len(nodes)
    for number, node in enumerate(nodes):
        for child in node.get("children", []):
            if above[child] != -1:
                raise ValueError(f"expected a tree of nodes, got node {child} below two others.")
            above[child] = number
    seen = [-1] * len(nodes)  # on whose way up each was first passed: every node is passed once
    for number in range(len(nodes)):
        node = number
        while node != -1 and seen[node] == -1:
            seen[node] = number
            node = above[node]
        if node != -1 and seen[node] == number:
            raise ValueError(f"expected a tree of nodes, got node {node} below itself.")
    return above


def local(node: dict[str, Any]) -> Float[np.ndarray, "4 4"]:
    """A node's own transform, rest pose."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    turn = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])
    result = np.eye(4)
    result[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64)
    result[:3, 3] = node.get("translation", (0, 0, 0))
    return result


def world(document: dict[str, Any]) -> Float[np.ndarray, "nodes 4 4"]:
    """Every node's transform to the scene, rest pose. Raises what `parents` raises."""
    above = parents(document)
    result = np.zeros((len(above), 4, 4))
    done = np.zeros(len(above), bool)
    for number in range(len(above)):
        path = [number]
        while above[path[-1]] != -1 and not done[path[-1]]:
            path.append(above[path[-1]])
        for node in reversed(path):
            if not done[node]:
                own = local(document["nodes"][node])
                result[node] = own if above[node] == -1 else result[above[node]] @ own
                done[node] = True
    return result
