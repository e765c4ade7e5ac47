"""Codes to frames while they are written: one thread decodes for all streams, those that wait together in one batch.

A stream's first chunk is small, so that motion shows early, and later ones grow (`RAMP`). What a stream gives is what
the whole motion decodes to, up to rounding (`tdmm_lm.streaming`).
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from tdmm_lm import streaming
from tdmm_lm.codec import Codec
from tdmm_lm.motion import MotionClip
from tdmm_lm.rigs import Rig

RAMP = (5, 10, 20)  # code frames of the first chunks
CHUNK = 25  # of all later ones
AHEAD = 10  # times as large at most where codes come faster than motion plays: nobody waits, and fewer calls do it
NICE = 10  # of the thread: motion that is decoded a moment later plays no later
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """Frames that have become final. ``values`` are the rig's channels (see `tdmm_lm.motion.face`)."""

    start: int  # the first one's place in the motion, in frames
    codes: Int[np.ndarray, "n books"]
    values: Float[np.ndarray, "frames channels"]
    needed: float | None = None  # of the first chunk: when the last code that it needs had come (`perf_counter`)


class Stream:
    """One motion while it is written: `push` its codes, `end` it, and iterate over its chunks."""

    def __init__(self, decoder: "Decoder", performing: streaming.Performing) -> None:
        self._decoder, self._performing = decoder, performing
        self._loop = asyncio.get_running_loop()
        self._made: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()
        self._opened = time.perf_counter()
        self._ahead = decoder.codec.look_ahead[1]
        self._came = self._asked = self._calls = 0  # code frames that came, that were given to decode; how often
        self._needed: float | None = None  # when the last code that the first chunk needs had come
        self._pushed: list[np.ndarray] = []  # guarded by the decoder's lock
        self._ended = self._closed = False
        self._codes: list[np.ndarray] = []  # in the decoder's thread: taken, not yet given out
        self._frames = 0

    def push(self, codes: Int[np.ndarray, "n books"]) -> None:
        with self._decoder._changed:
            self._pushed.append(codes)
        self._came += len(codes)
        if self._came - self._ahead - self._asked >= self._wanted():
            self._ask(self._came - self._ahead)

    def end(self) -> None:
        """No more codes will come: what waits for later ones is decoded too."""
        self._ended = True
        self._ask(self._came)

    def close(self) -> None:
        """Forget the stream: nothing more is decoded for it."""
        self._closed = True

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        while (made := await self._made.get()) is not None:
            if isinstance(made, BaseException):
                raise made
            yield made

    def _wanted(self) -> int:
        """Code frames of the next chunk."""
        if not self._calls:
            return RAMP[0]
        # half of what the codes are ahead of playing, so that a player never runs dry
        faster = self._came / max(time.perf_counter() - self._opened, 1e-3) / self._decoder.codec.code_fps / 2
        return (RAMP[self._calls] if self._calls < len(RAMP) else CHUNK) * max(1, min(AHEAD, int(faster)))

    def _ask(self, until: int) -> None:
        self._asked, self._calls = until, self._calls + 1
        if self._needed is None:
            self._needed = time.perf_counter()
        self._decoder._wake(self)

    def _chunk(self, clip: MotionClip) -> Chunk:
        codes = np.concatenate(self._codes)
        count = clip.frames // self._performing.decoding.codec.frames_per_code
        self._codes = [codes[count:]]
        start, self._frames = self._frames, self._frames + clip.frames
        return Chunk(start, codes[:count], clip.values, self._needed if start == 0 else None)


class Decoder:
    """The thread, the codec and the rigs. ``rigs`` are those that a stream may name."""

    def __init__(self, codec: Codec, rigs: Mapping[str, Rig]) -> None:
        self.codec, self.rigs = codec, rigs
        self._solvers = {name: streaming.Performing(codec, rig) for name, rig in rigs.items()}
        self._changed = threading.Condition()
        self._waiting: dict[Stream, None] = {}  # an ordered set
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="decoder", daemon=True)
        self._thread.start()

    def open(self, rig: str) -> Stream:
        """A new stream onto a rig, in the running event loop."""
        return Stream(self, self._solvers[rig].again())

    def close(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(10)

    def _wake(self, stream: Stream) -> None:
        with self._changed:
            self._waiting[stream] = None
            self._changed.notify()

    def _work(self) -> None:
        torch.set_num_threads(1)  # of this thread: the cores belong to the language model
        if sys.platform == "linux":  # where threads have their own; it must not push the engine off its core
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                taken = [(s, s._pushed, s._ended) for s in self._waiting if not s._closed]
                for stream, _, _ in taken:
                    stream._pushed = []
                self._waiting.clear()
            self._pass(taken)

    def _pass(self, taken: list[tuple[Stream, list[np.ndarray], bool]]) -> None:
        due: list[Stream] = []
        for stream, pushed, ended in taken:
            decoding = stream._performing.decoding
            try:
                for codes in pushed:
                    decoding.add(codes)
                    stream._codes.append(codes)
                if ended:
                    decoding.end()
                due.append(stream)
            except ValueError as error:  # codes that the codec does not have
                self._give([(stream, error)])
        clips = streaming.perform([stream._performing for stream in due])
        given: list[tuple[Stream, Chunk | BaseException | None]] = []
        given += [(stream, stream._chunk(clip)) for stream, clip in zip(due, clips) if clip is not None]
        given += [(stream, None) for stream, _, ended in taken if ended]
        self._give(given)

    @staticmethod
    def _give(given: list[tuple[Stream, Chunk | BaseException | None]]) -> None:
        def put() -> None:
            for stream, made in given:
                stream._made.put_nowait(made)

        if given:
            try:
                given[0][0]._loop.call_soon_threadsafe(put)
            except RuntimeError:  # the loop has ended, and with it everybody who listened
                log.debug("chunks of motion came after the server's loop had ended")
