"""Without what MediaPipe's C++ prints: it logs before its logging is set up, where no setting of its own counts."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0  # contexts that are open, in all threads
_kept = -1  # the process's own stderr meanwhile


@contextmanager
def stderr() -> Iterator[None]:
    """The process's file descriptor 2 leads nowhere while any thread is inside: keep it short."""
    global _inside, _kept
    with _lock:
        if not _inside:
            _kept = os.dup(2)
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 2)
            os.close(nothing)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                os.dup2(_kept, 2)
                os.close(_kept)
