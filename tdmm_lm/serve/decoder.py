"""Codes to frames while they are written: one thread decodes for all streams, those that wait together in one batch.

A stream's first chunk is small, so that motion shows early, and later ones grow (`RAMP`). What a stream gives is what
the whole motion decodes to, up to rounding (`tdmm_lm.streaming`).
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from tdmm_lm import streaming
from tdmm_lm.codec import Codec
from tdmm_lm.rigs import Rig

RAMP = (5, 10, 20)  # code frames of the first chunks
CHUNK = 25  # of all later ones
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """Frames that have become final. ``values`` are the rig's channels (see `tdmm_lm.motion.face`)."""

    start: int  # the first one's place in the motion, in frames
    codes: Int[np.ndarray, "n books"]
    values: Float[np.ndarray, "frames channels"]


class Stream:
    """One motion while it is written: `push` its codes, `end` it, and iterate over its chunks."""

    def __init__(self, decoder: "Decoder", performing: streaming.Performing) -> None:
        self._decoder, self._performing = decoder, performing
        self._loop = asyncio.get_running_loop()
        self._made: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()
        self._pushed: list[np.ndarray] = []  # guarded by the decoder's lock
        self._ended = self._closed = False
        self._codes: list[np.ndarray] = []  # taken, not yet given out
        self._frames = self._chunks = 0

    def push(self, codes: Int[np.ndarray, "n books"]) -> None:
        self._decoder._wake(self, codes)

    def end(self) -> None:
        """No more codes will come: what waits for later ones is decoded too."""
        self._decoder._wake(self, None)

    def close(self) -> None:
        """Forget the stream: nothing more is decoded for it."""
        self._closed = True

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        while (made := await self._made.get()) is not None:
            if isinstance(made, BaseException):
                raise made
            yield made

    def _due(self) -> bool:
        """Whether enough is final for the next chunk (in the decoder's thread)."""
        ready = self._performing.decoding.ready
        wanted = RAMP[self._chunks] if self._chunks < len(RAMP) else CHUNK
        return ready > 0 and (self._ended or ready >= wanted)

    def _chunk(self, rows: Float[np.ndarray, "frames features"]) -> Chunk | None:
        clip = self._performing.solved(rows)
        if clip is None:
            return None
        codes = np.concatenate(self._codes)
        count = clip.frames // self._performing.decoding.codec.frames_per_code
        self._codes = [codes[count:]]
        start, self._frames, self._chunks = self._frames, self._frames + clip.frames, self._chunks + 1
        return Chunk(start, codes[:count], clip.values)


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

    def _wake(self, stream: Stream, codes: np.ndarray | None) -> None:
        with self._changed:
            if codes is None:
                stream._ended = True
            else:
                stream._pushed.append(codes)
            self._waiting[stream] = None
            self._changed.notify()

    def _work(self) -> None:
        torch.set_num_threads(1)  # of this thread: the cores belong to the language model
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
            except ValueError as error:  # codes that the codec does not have
                self._give([(stream, error)])
                continue
            if stream._due():
                due.append(stream)
        rows = streaming.decode([stream._performing.decoding for stream in due])
        given: list[tuple[Stream, Chunk | BaseException | None]] = []
        for stream, row in zip(due, rows):
            given.append((stream, stream._chunk(row)))
            if not stream._chunks or len(given) >= 4:  # what is done need not wait for all of the pass
                self._give(given)
                given = []
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
