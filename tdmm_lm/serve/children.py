"""Inside `tdmm_lm.serve.workers`: the process that forks a child for every call, and what a child may use.

Values go over as JSON and plain arrays: a child that a file has taken over has no pickle to send.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import math
import os
import resource
import selectors
import shutil
import signal
import socket
import struct
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tdmm_lm.motion import MotionClip

MOST_HEADER = 4 << 20  # bytes of an answer's JSON, which unfolds to some twenty times as much
MOST_LINE = 600  # characters of an error
PRELOADED = (  # what is not there is left out: a package of an extra, say
    "torch", "scipy.spatial.transform", "scipy.sparse", "av", "pymotion.io.bvh", "mediapipe.tasks.python.vision",
    "tdmm_lm.codec.vq", "tdmm_lm.geometry.solve", "tdmm_lm.render.mesh", "tdmm_lm.render.skeleton",
    "tdmm_lm.serve.reading", "tdmm_lm.serve.exports:warm",
)
NO_MEMORY = ("can't allocate memory", "bad_alloc", "start new thread")  # how libraries say that memory is out
BEGUN, PROGRESS, RESULT, ERROR = b"b", b"p", b"r", b"e"
FRAME = struct.Struct("<cQ")  # kind, bytes that follow


def packed(value: Any) -> list[bytes]:
    """Pieces of: length of the JSON (8 bytes), the JSON, the arrays' bytes one after another."""
    blobs: list[bytes] = []

    def plain(item: Any) -> Any:
        if item is None or isinstance(item, bool | int | float | str):
            return item
        if isinstance(item, np.generic):
            return item.item()
        if isinstance(item, list):
            return [plain(one) for one in item]
        if isinstance(item, tuple):
            return {"tuple": [plain(one) for one in item]}
        if isinstance(item, dict) and all(isinstance(key, str) for key in item):
            return {"dict": {key: plain(one) for key, one in item.items()}}
        if isinstance(item, Path):
            return {"path": str(item)}
        if isinstance(item, MotionClip):
            return {"clip": [plain(x) for x in (item.values, item.fps, item.modality, item.rig, item.shape)]}
        if isinstance(item, bytes):
            blobs.append(item)
            return {"bytes": len(item)}
        if isinstance(item, np.ndarray) and item.dtype.kind in "fiub":
            blobs.append(item.tobytes())
            return {"array": [item.dtype.str, list(item.shape)]}
        raise TypeError(f"worker: expected plain values, arrays and clips to go over, got {type(item).__name__}.")

    header = json.dumps(plain(value)).encode()
    return [struct.pack("<Q", len(header)), header, *blobs]


def unpacked(data: bytearray | bytes, most: int = MOST_HEADER) -> Any:
    """The value of `packed`'s pieces; whatever is wrong with them is a ValueError or one of its kin."""
    (length,) = struct.unpack_from("<Q", data)
    if length > most or 8 + length > len(data):
        raise ValueError("worker: expected a shorter header.")
    view, at = memoryview(data), 8 + length

    def blob(size: int) -> memoryview:
        nonlocal at
        if size < 0 or at + size > len(view):
            raise ValueError("worker: expected arrays inside the answer.")
        at += size
        return view[at - size : at]

    def whole(item: Any) -> Any:
        if isinstance(item, list):
            return [whole(one) for one in item]
        if not isinstance(item, dict):
            return item
        ((kind, held),) = item.items()
        if kind == "tuple":
            return tuple(whole(one) for one in held)
        if kind == "dict":
            return {key: whole(one) for key, one in held.items()}
        if kind == "path":
            return Path(held)
        if kind == "clip":
            values, fps, modality, rig, shape = (whole(one) for one in held)
            return MotionClip(np.asarray(values), float(fps), str(modality), str(rig), np.asarray(shape))
        if kind == "bytes":
            return bytes(blob(int(held)))
        dtype, shape = np.dtype(held[0]), tuple(int(side) for side in held[1])
        if kind != "array" or dtype.kind not in "fiub" or min(shape, default=0) < 0:
            raise ValueError(f"worker: expected no {kind!r}.")
        return np.frombuffer(blob(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)

    return whole(json.loads(bytes(view[8:at])))


def template(control_number: int, folder: str) -> None:
    """Fork a child for each pair of sockets that comes, kill it when its leash is let go, until the server is gone.

    Then the children go, and ``folder`` with all that they had.
    """
    warnings.simplefilter("ignore")
    for name in PRELOADED:
        _imported(name)
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=control_number)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    leashes: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ, "control")
        ready.register(woken, selectors.EVENT_READ, "woken")
        while True:
            for key, _ in ready.select():
                if key.data == "control":
                    module, numbers, *_ = socket.recv_fds(control, 1024, 2)
                    if not module:
                        for pid in leashes:
                            _kill(pid)
                            os.waitpid(pid, 0)
                        shutil.rmtree(folder, ignore_errors=True)
                        return
                    _imported(module.decode())
                    child, leash = (socket.socket(fileno=number) for number in numbers)
                    pid = os.fork()
                    if not pid:
                        ready.close()
                        for other in (control, leash, *leashes.values()):
                            other.close()
                        signal.set_wakeup_fd(-1)
                        for number in (woken, waker):
                            os.close(number)
                        _run(child)
                    with contextlib.suppress(OSError):  # whoever of the two comes first
                        os.setpgid(pid, pid)
                    child.close()
                    leashes[pid] = leash
                    ready.register(leash, selectors.EVENT_READ, pid)
                elif key.data == "woken":
                    os.read(woken, 4096)
                elif key.data in leashes:
                    _kill(key.data)
                    ready.unregister(leashes[key.data])  # its end is heard of by SIGCHLD
            _reap(leashes, ready)


def _imported(name: str) -> None:
    """A module, or ``module:function``, which is called."""
    with contextlib.suppress(Exception):  # where a call needs it, the child says what is wrong
        module, _, function = name.partition(":")
        found = importlib.import_module(module)
        if function:
            getattr(found, function)()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _reap(leashes: dict[int, socket.socket], ready: selectors.BaseSelector) -> None:
    """For every child that has ended: its group goes while its number is still taken, then the server is told."""
    while leashes:
        with contextlib.suppress(ChildProcessError):
            if (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                _kill(ended.si_pid)
                _, status = os.waitpid(ended.si_pid, 0)
                leash = leashes.pop(ended.si_pid)
                with contextlib.suppress(KeyError):
                    ready.unregister(leash)
                with leash, contextlib.suppress(OSError):
                    leash.send(struct.pack("<i", os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0))
                continue
        return


def _run(child: socket.socket) -> NoReturn:
    """The child's life: one job."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_WRONLY)  # what libraries print about a stranger's file is nobody's log
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        stream = child.makefile("rb")
        _, size = FRAME.unpack(stream.read(FRAME.size))
        name, arguments, limits, reports = unpacked(stream.read(size), most=sys.maxsize)
        _limit(**limits)
        if reports:
            arguments.append(lambda fraction: child.sendall(FRAME.pack(PROGRESS, 8) + struct.pack("<d", fraction)))
        child.sendall(FRAME.pack(BEGUN, 0))
        kind, pieces = _done(name, arguments)
        for piece in (FRAME.pack(kind, sum(map(len, pieces))), *pieces):
            child.sendall(piece)
        os._exit(0)
    finally:
        os._exit(1)


def _limit(seconds: float, memory_mb: int, file_mb: int, folder: str) -> None:
    """This process from here on."""
    libc = ctypes.CDLL(None)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: go when the template goes
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    processor = math.ceil(seconds * (os.cpu_count() or 1)) + 5  # only where the server fails to watch the clock
    for what, most in (
        (resource.RLIMIT_AS, mapped + (memory_mb << 20)), (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_FSIZE, file_mb << 20), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(what, (most, most))
    with contextlib.suppress(OSError):  # if the machine runs out, this one goes first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _done(name: str, arguments: list[Any]) -> tuple[bytes, list[bytes]]:
    """The function's result or its error, ready to send."""
    try:
        module, _, path = name.partition(":")
        function: Any = importlib.import_module(module)
        for part in path.split("."):
            function = getattr(function, part)
        return RESULT, packed(function(*arguments))
    except Exception as error:
        what = type(error).__name__
        line = str(error) or what
        if isinstance(error, MemoryError) or any(word in line for word in NO_MEMORY):
            what = "MemoryError"
        elif isinstance(error, ValueError | FileNotFoundError):
            what = "ValueError"
        else:
            line = f"{what}: {line}"
        return ERROR, packed([what, line[:MOST_LINE], traceback.format_exc()[-4000:]])
