"""Arrays out of a pickle without trusting it: numpy, scipy and chumpy objects become plain arrays, all else is refused.

No class or function that a file names is ever imported or called. Each known name stands for one of the inert classes
below, which only remember what the file hands them; an unknown name stops the reading at once. FLAME's and SMPL's
released files are such pickles (chumpy arrays are plain arrays with a wrapper around them).
"""

import io
import math
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

LIMIT = 1 << 31  # bytes that a file may unfold to


class _Inert:
    """Remembers its arguments and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments: tuple[Any, ...] = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert):
    """numpy.ndarray: the state is (version, shape, dtype, Fortran order, bytes or list)."""


class _Dtype(_Inert):
    """numpy.dtype: the first argument is its code, the second item of the state the byte order."""


class _Scalar(_Inert):
    """A numpy number: (dtype, bytes)."""


class _Buffer(_Inert):
    """numpy.ndarray in protocol 5: (bytes, dtype, shape, order)."""


class _Sparse(_Inert):
    """scipy.sparse in compressed columns or rows: the state is its attributes."""


class _SparseRows(_Sparse):
    """The same by rows."""


class _Chumpy(_Inert):
    """A chumpy array: ``x`` in its attributes, or a selection of another one."""


class _Bytes(_Inert):
    """How protocol 2 writes bytes: _codecs.encode(text, "latin1"), or bytes() where there are none."""


class _Type(_Inert):
    """`object`, which protocol 0 names as a base class; never made."""


class _Reconstructor(_Inert):
    """copyreg._reconstructor(class, base, state) of protocol 0; becomes the class's stand-in."""

    def __new__(cls, kind: Any = None, *_: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _Inert)):
            raise pickle.UnpicklingError("copyreg._reconstructor on something that is no class")
        return kind()


_KNOWN: dict[str, type[_Inert]] = {
    "numpy.ndarray": _Type,
    "numpy.dtype": _Dtype,
    "__builtin__.object": _Type,
    "builtins.object": _Type,
    "_codecs.encode": _Bytes,
    "__builtin__.bytes": _Bytes,
    "copy_reg._reconstructor": _Reconstructor,
    "copyreg._reconstructor": _Reconstructor,
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray._reconstruct"] = _Array
    _KNOWN[f"{_core}.multiarray.scalar"] = _Scalar
    _KNOWN[f"{_core}.numeric._frombuffer"] = _Buffer
for _order, _stand_in in (("csc", _Sparse), ("csr", _SparseRows)):
    for _module in (f"scipy.sparse.{_order}", f"scipy.sparse._{_order}"):
        _KNOWN[f"{_module}.{_order}_matrix"] = _KNOWN[f"{_module}.{_order}_array"] = _stand_in
for _name in ("ch.Ch", "reordering.Select"):
    _KNOWN[f"chumpy.{_name}"] = _Chumpy


class _Reader(pickle.Unpickler):
    """Finds stand-ins only."""

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get(f"{module}.{name}")
        if known is None:
            raise _Refused(f"{module}.{name}")
        return known


class _Refused(pickle.UnpicklingError):
    """The file names something that no file of arrays needs."""


_DAMAGE = (  # what the pickle machine and numpy raise on bytes that make no sense
    pickle.UnpicklingError, zipfile.BadZipFile, EOFError, TypeError, ValueError, LookupError, AttributeError,
    struct.error, ArithmeticError, MemoryError, RecursionError, ImportError,
)


def read(path: str | Path) -> dict[str, Any]:
    """The arrays, texts and numbers of a pickled or zipped (``.npz``) mapping.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file names anything but arrays, is damaged, too large, or holds no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a model file, found none.")
    if path.stat().st_size > LIMIT:
        raise ValueError(f"{path}: expected at most {LIMIT >> 20} MB, got {path.stat().st_size >> 20} MB.")
    try:
        if zipfile.is_zipfile(path):
            return _unzipped(path)
        with path.open("rb") as file:
            content = _plain(_Reader(file, encoding="latin1").load())
    except _Refused as refused:
        why = f"it names {refused}, which no file of arrays needs; nothing was run"
        raise ValueError(f"{path}: refused: {why}.") from None
    except _DAMAGE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: expected arrays in a pickle or npz, got a damaged or foreign file: {said}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of names to arrays, got {type(content).__name__}.")
    return content


def _unzipped(path: Path) -> dict[str, Any]:
    """An npz; members of dtype object are pickles and are read as such."""
    result = {}
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > LIMIT:
            raise ValueError(f"it unfolds to over {LIMIT >> 20} MB")
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                raise ValueError(f"member {member.filename!r} is no array")
            with archive.open(member) as file:
                result[member.filename.removesuffix(".npy")] = _member(io.BytesIO(file.read()))
    return result


def _member(file: BinaryIO) -> Any:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        held = _plain(_Reader(file, encoding="latin1").load())
        return held[0] if isinstance(held, list) and len(held) == 1 else held
    if dtype.kind not in "fiubSU":
        raise ValueError(f"numbers of type {dtype}")
    return _shaped(file.read(), dtype, shape, fortran)


def _plain(value: Any, done: dict[int, Any] | None = None) -> Any:
    """Stand-ins to arrays, through mappings and sequences; what is shared is made once, or it could multiply."""
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict):
        result: Any = {str(key): _plain(item, done) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        result = [_plain(item, done) for item in value]
    elif isinstance(value, _Array) and isinstance(value.state[4], list):  # dtype object
        result = [_plain(item, done) for item in value.state[4]]
    else:
        return _array(value)
    done[id(value)] = result
    return result


def _array(value: Any) -> Any:
    if isinstance(value, _Array):
        _, shape, dtype, fortran, data = value.state
        return _shaped(_raw(data), _dtype(dtype), shape, fortran)
    if isinstance(value, _Buffer):
        data, dtype, shape, order = value.arguments
        return _shaped(_raw(data), _dtype(dtype), shape, order == "F")
    if isinstance(value, _Scalar):
        dtype, data = value.arguments
        return _shaped(_raw(data), _dtype(dtype), (), False)[()]
    if isinstance(value, _Sparse):
        return _dense(value)
    if isinstance(value, _Chumpy):
        return _computed(value)
    if isinstance(value, _Bytes):
        return _raw(value)
    if isinstance(value, _Inert | type):
        raise ValueError(f"a bare {type(value).__name__.strip('_').lower()} where an array was expected")
    return value


def _dtype(value: _Dtype) -> np.dtype:
    code, order = str(value.arguments[0]), value.state[1]
    if code[:1] not in "fiub" or len(code) > 3 or order not in "<>=|":
        raise ValueError(f"numbers of type {code!r}")
    return np.dtype(code).newbyteorder(order if order != "|" else "=")


def _raw(data: Any) -> bytes:
    if isinstance(data, _Bytes):
        text, encoding = data.arguments or ("", "latin1")
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"bytes encoded as {encoding!r}")
        return str(text).encode("latin1")
    return data.encode("latin1") if isinstance(data, str) else bytes(data)  # Python 2 wrote bytes as text


def _shaped(data: bytes, dtype: np.dtype, shape: Any, fortran: Any) -> np.ndarray:
    sides = tuple(int(side) for side in shape)
    if math.prod(sides) * dtype.itemsize != len(data) or min(sides, default=0) < 0:
        raise ValueError(f"an array of shape {sides} in {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(sides, order="F" if fortran else "C").astype(dtype.newbyteorder("="))


def _dense(value: _Sparse) -> np.ndarray:
    state = value.state
    shape = state["_shape"] if "_shape" in state else state["shape"]
    sides = tuple(int(side) for side in shape)
    data, index, pointers = (_plain(state[name]) for name in ("data", "indices", "indptr"))
    if len(sides) != 2 or min(sides) < 0 or math.prod(sides) * 8 > LIMIT:
        raise ValueError(f"a sparse matrix of shape {sides}")
    lines = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    if len(lines) and (index.min() < 0 or index.shape != lines.shape):
        raise ValueError("a sparse matrix with wrong indices")
    result = np.zeros(sides)
    if isinstance(value, _SparseRows):
        np.add.at(result, (lines, index), data)
    else:
        np.add.at(result, (index, lines), data)
    return result


def _computed(value: _Chumpy) -> np.ndarray:
    """What chumpy would compute: an array's own numbers, or those that a selection picks from another's."""
    state = value.state
    if "x" in state:
        return np.asarray(_plain(state["x"]))
    if "a" in state and "idxs" in state:
        picked = np.asarray(_plain(state["a"])).ravel()[np.asarray(_plain(state["idxs"])).ravel()]
        shape = _plain(state.get("preferred_shape", [len(picked)]))
        return picked.reshape([int(side) for side in np.atleast_1d(shape)])
    raise ValueError(f"a chumpy expression of {', '.join(map(str, state))}")
