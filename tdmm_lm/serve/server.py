"""What the routes share: settings, store, workers, engine and decoder, and the steps that need several of them."""


import asyncio
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from jaxtyping import Int
from starlette.requests import Request

from tdmm_lm import codec, rigs
from tdmm_lm.lm import tasks
from tdmm_lm.motion import MotionClip
from tdmm_lm.rigs import Rig
from tdmm_lm.serve import links
from tdmm_lm.serve.decoder import Decoder
from tdmm_lm.serve.engine import Ended, Engine, Moved, Options
from tdmm_lm.serve.errors import ApiError, busy
from tdmm_lm.serve.guard import ANYONE, Guard, Keys
from tdmm_lm.serve.metrics import Metrics
from tdmm_lm.serve.parts import check_face, plain
from tdmm_lm.serve.settings import Settings
from tdmm_lm.serve.store import Motion, Store
from tdmm_lm.serve.workers import Workers


@dataclass
class Server:
    """One gateway. ``codec_folder`` holds the codec that the engine's model was trained with; ``scratch`` is where
    files that nobody keeps lie."""

    settings: Settings
    store: Store
    workers: Workers
    engine: Engine
    decoder: Decoder
    codec_folder: Path
    scratch: Path
    keys: Keys
    metrics: Metrics
    weights: str  # SHA-256 of the codec's
    guard: Guard | None = None
    failed: str | None = None  # why the engine could not be started
    end: Callable[[], None] = lambda: None  # ends the process that serves
    temporary: tempfile.TemporaryDirectory[str] | None = None  # the store's folder where it ends with the server
    _others: dict[str, Rig] = field(default_factory=dict)
    _tokenizing: ThreadPoolExecutor = field(  # one thread: every thread that computes keeps memory of its own for it
        default_factory=lambda: ThreadPoolExecutor(1, "tokenizer")
    )

    @property
    def codec(self) -> codec.Codec:
        return self.decoder.codec

    def rig(self, name: str | None, param: str = "motion.rig") -> str:
        """The rig that a request names, or the server's own.

        Raises:
            ApiError: 400 for one that this server does not offer.
        """
        if name is None:
            return Path(self.settings.rig).name
        if name not in self.decoder.rigs:
            known = ", ".join(self.decoder.rigs)
            raise ApiError(400, f"{param}: expected one of {known}, got {name!r}.", param=param, code="unknown_rig")
        return name

    def base(self, request: Request) -> str:
        """What links begin with."""
        return (self.settings.public_url or str(request.base_url)).rstrip("/")

    def link(self, request: Request, path: str) -> str:
        """A full URL, signed where keys are wanted, so that it opens in a browser."""
        return self.linked(self.base(request), path, request.state.owner)

    def linked(self, base: str, path: str, owner: str) -> str:
        if owner == ANYONE:
            return base + path
        return base + links.signed(self.store.secret(), path, owner, self.settings.keep_hours * 3600)

    async def tokenize(self, clip: MotionClip) -> Int[np.ndarray, "frames books"]:
        """A face clip's codes, computed beside the event loop.

        Raises:
            ApiError: 400 for a body, or a rig that is not here.
        """
        check_face(clip)

        def work() -> np.ndarray:
            try:
                return codec.tokenize(self.codec, clip, self._rig(clip.rig))
            except (ValueError, FileNotFoundError) as error:
                raise ApiError(400, f"motion: {' '.join(str(error).split())}", code="unreadable_motion") from None

        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, work)

    def _rig(self, name: str) -> Rig:
        """The rig that a file drives: a bundled one or one that this server offers; no path comes from a file."""
        if name in self.decoder.rigs:
            return self.decoder.rigs[name]
        if name not in rigs.BUNDLED:
            known = ", ".join({*rigs.BUNDLED, *self.decoder.rigs})
            raise ValueError(f"rig: expected one of {known}, the file drives {name[:80]!r}.")
        if name not in self._others:
            self._others[name] = rigs.load(name)
        return self._others[name]

    async def perform(
        self, owner: str, prompt: str, frames: int | None, seed: int | None, rig: str | None = None
    ) -> Motion:
        """A stored motion for a prompt, not streamed.

        Raises:
            ApiError: as the engine's.
        """
        seconds = None if frames is None else frames / self.codec.code_fps
        try:
            words = plain(prompt, self.engine.vocab)
        except ValueError as error:
            raise ApiError(400, f"prompt: {error}", param="prompt", code="unknown_codes") from None
        talk = [{"role": "user", "content": tasks.timed(words, seconds)}]
        options = Options(form="motion", frames=frames, seed=seed, stream=False, salt=self.salt(owner))
        codes: list[np.ndarray] = []
        cut = False
        async with aclosing(self.engine.answer(talk, options)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Moved):
                    codes.append(piece.codes)
                elif isinstance(piece, Ended):
                    cut = piece.cut
        if not codes:
            raise busy("The engine performed nothing; ask again.")
        return await self.keep(owner, np.concatenate(codes), self.rig(rig), truncated=cut)

    async def keep(
        self, owner: str, codes: Int[np.ndarray, "frames books"], rig: str, *, truncated: bool, name: str | None = None
    ) -> Motion:
        """A performed motion into the store."""
        fps = self.codec.fps
        frames = len(codes) * self.codec.frames_per_code
        self.metrics.motion_seconds.inc(frames / fps)
        more: dict[str, Any] = {} if name is None else {"name": name}
        return await anyio.to_thread.run_sync(
            lambda: self.store.motions.add(
                owner, codes=codes, clip=None, codec="face", rig=rig, fps=fps, frames=frames, truncated=truncated,
                weights=self.weights, **more,
            )
        )

    def salt(self, owner: str) -> str | None:
        """What keeps owners' prompts apart in the engine's prefix cache."""
        return None if owner == ANYONE else owner

    async def ready(self) -> bool:
        """Whether a request would be answered now: the engine is up, and nothing is shutting down."""
        return not (self.guard and self.guard.leaving) and await self.engine.ready()

