"""Functions in child processes with limits: what a stranger's file does to its reader, the server survives.

The server starts one template process at the first call, which imports what readers need and then forks a child for
every call: tens of milliseconds instead of seconds. A child is single-threaded at first, has limits (memory, processor
time, size of files, no core), a temporary folder and a process group of its own; its template kills the group when the
call is over, in whatever way, and all children when the server is gone. Values go both ways as JSON and plain arrays:
a child that a file has taken over has no pickle to send.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from tdmm_lm.serve import children
from tdmm_lm.serve.settings import Limits

START_SECONDS = 180.0  # for the template's imports on a busy machine
MOST_RESULT = 512 << 20  # bytes of an answer
PASSED = (  # environment that children see; keys and passwords are not in it
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "DISPLAY",
    "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TDMM_DATA", "TDMM_SMPL", "TDMM_FLAME",
    "TDMM_CACHE", "NUMBA_CACHE_DIR",
    "OPENBLAS_CORETYPE", "MKL_CBWR",  # else a child's products would round otherwise than the server's
)
log = logging.getLogger(__name__)


class Workers:
    """Calls functions in children, at most ``limits.readers`` at once; the others wait in order."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._turns = asyncio.Semaphore(limits.readers)
        self._template: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._folder: str | None = None  # of the children's folders; the template takes it away

    async def call(
        self, function: Callable[..., Any], *arguments: Any, seconds: float | None = None,
        memory_mb: int | None = None, progress: Callable[[float], None] | None = None,
    ) -> Any:
        """What ``function(*arguments)`` returns, computed in a child.

        ``function`` stands in a module. Arguments and result are made of None, numbers, text, bytes, paths, lists,
        tuples, mappings with text keys, numeric arrays and motion clips. With ``progress`` the function gets a last
        argument ``report`` to call with fractions 0..1. Limits are those of the settings unless given here; the clock
        starts with the function. ``memory_mb`` counts on top of what an idle child has mapped.

        Raises:
            ValueError: the function's own ValueError or FileNotFoundError, in one line.
            TimeoutError: not done in time; the child is dead.
            MemoryError: out of memory, or killed.
            ChildProcessError: no child could be started.
            RuntimeError: anything else that the function raised; its traceback is in the log.
        """
        name = f"{function.__module__}:{function.__qualname__}"
        limits = {
            "seconds": seconds if seconds is not None else self.limits.read_seconds,
            "memory_mb": memory_mb if memory_mb is not None else self.limits.read_memory_mb,
            "file_mb": self.limits.file_mb,
        }
        async with self._turns:
            self.start()
            folder = tempfile.mkdtemp(dir=self._folder)
            try:
                job = children.packed([name, list(arguments), {**limits, "folder": folder}, progress is not None])
                return await self._called(function, job, limits, progress)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    async def close(self) -> None:
        """End the template and every child of it."""
        control, template = self._control, self._template
        self._control = self._template = None
        if control is not None:
            control.close()
        if template is not None:
            await asyncio.to_thread(_ended, template)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def start(self) -> None:
        """Start the template now, so that the first call does not wait for its imports."""
        if self._template is not None and self._template.poll() is None:
            return
        if self._control is not None:
            self._control.close()
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="tdmm-workers-")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), "MALLOC_ARENA_MAX": "2",
            # one thread each: forking keeps none of them, and many children share the machine
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
            "PYTHONWARNINGS": "ignore",
        }
        main = f"from tdmm_lm.serve import children; children.template({theirs.fileno()}, {self._folder!r})"
        self._template = subprocess.Popen(
            [sys.executable, "-c", main], env=environment, pass_fds=[theirs.fileno()], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self._control = ours

    def _fork(self, module: str) -> tuple[socket.socket, socket.socket]:
        """A child's socket and its leash, whose closing kills it; the template starts anew where it has died."""
        for attempt in (1, 2):
            self.start()
            assert self._control is not None
            pairs = socket.socketpair(), socket.socketpair()
            try:
                socket.send_fds(self._control, [module.encode()], [pair[1].fileno() for pair in pairs])
                break
            except OSError:
                for pair in pairs:
                    pair[0].close()
                if attempt == 2:
                    raise ChildProcessError(f"{module}: expected a process for it, could not start one.") from None
                assert self._template is not None
                self._template.kill()
                self._template.wait()
            finally:
                for pair in pairs:
                    pair[1].close()
        for pair in pairs:
            pair[0].setblocking(False)
        return pairs[0][0], pairs[1][0]

    async def _called(
        self, function: Callable[..., Any], job: list[bytes], limits: Mapping[str, Any],
        progress: Callable[[float], None] | None,
    ) -> Any:
        where = function.__qualname__
        answer = None
        begun = False
        child, leash = self._fork(function.__module__)
        try:
            try:
                async with asyncio.timeout(START_SECONDS) as clock:
                    with contextlib.suppress(ConnectionError):
                        loop = asyncio.get_running_loop()
                        for piece in (children.FRAME.pack(b"j", sum(map(len, job))), *job):
                            await loop.sock_sendall(child, piece)
                        while answer is None:
                            kind, size = children.FRAME.unpack(await _received(child, children.FRAME.size))
                            if size > MOST_RESULT:
                                raise ValueError(f"{where}: expected at most {MOST_RESULT >> 20} MB as a result.")
                            data = await _received(child, size)
                            if kind == children.BEGUN and not begun:
                                begun = True
                                clock.reschedule(loop.time() + limits["seconds"])
                            elif kind == children.PROGRESS and size == 8 and progress is not None:
                                progress(min(1.0, max(0.0, struct.unpack("<d", data)[0])))
                            else:
                                answer = kind, data
            except TimeoutError:
                if not clock.expired():
                    raise
                limit = limits["seconds"] if begun else START_SECONDS
                raise TimeoutError(f"{where}: expected to be done within {limit:g} s, took longer.") from None
            if answer is None:
                status = await _received(leash, 4, short=True)
                how = f" (signal {status[0]})" if len(status) == 4 and status[0] else ""
                raise MemoryError(f"{where}: expected to stay within {limits['memory_mb']} MB, was killed{how}.")
        finally:
            child.close()
            await _gone(leash)
        return _answered(where, *answer, limits["memory_mb"])


def _answered(where: str, kind: bytes, data: bytearray, memory_mb: int) -> Any:
    """A child's answer, of which nothing is believed."""
    try:
        value = children.unpacked(data)
        if kind == children.RESULT:
            return value
        what, line, trace = (str(part) for part in value)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, struct.error):
        raise RuntimeError(f"{where}: expected an answer of its worker, got something else.") from None
    line = _printable(" ".join(line.split()))[: children.MOST_LINE]
    if what == "ValueError":
        raise ValueError(line)
    if what == "MemoryError":
        raise MemoryError(f"{where}: expected to stay within {memory_mb} MB, needed more.")
    log.error("%s failed in its worker: %s", where, _printable(trace[-4000:].replace("\n", " | ")))
    raise RuntimeError(f"{where}: {line}")


def _printable(text: str) -> str:
    """A file's own words may be in it: no control characters for terminals and logs."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


async def _received(sock: socket.socket, size: int, *, short: bool = False) -> bytearray:
    """So many bytes; fewer only where ``short``, else ConnectionResetError."""
    data, loop = bytearray(size), asyncio.get_running_loop()
    view, at = memoryview(data), 0
    while at < size:
        got = await loop.sock_recv_into(sock, view[at:])
        if not got:
            if not short:
                raise ConnectionResetError("the worker is gone")
            return bytearray(view[:at])
        at += got
    return data


async def _gone(leash: socket.socket) -> None:
    """Have the child killed if it lives, and wait until it is no more, so that it writes nothing any longer."""
    async def waited() -> None:
        with leash, contextlib.suppress(OSError, TimeoutError):
            leash.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(10):
                while await _received(leash, 4, short=True):
                    pass

    await asyncio.shield(asyncio.ensure_future(waited()))


def _ended(template: subprocess.Popen[bytes]) -> None:
    try:
        template.wait(10)
    except subprocess.TimeoutExpired:
        template.kill()
        template.wait()
