"""What the gateway asks of whatever generates: a conversation in, pieces of text and codes out."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from tdmm_lm.lm.vocab import MotionVocab


@dataclass(frozen=True)
class Options:
    """How to answer. ``frames`` fixes a motion's length; ``form`` None lets the model choose text or motion; the engine
    has defaults for what is None. ``more`` holds OpenAI's other sampling fields, passed on as they are."""

    form: Literal["text", "motion"] | None = None
    frames: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    n: int = 1
    stream: bool = True  # False: nobody looks before the end
    salt: str | None = None  # of prefix caches: whose prompts may share them
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Begun:
    """The engine has taken the request and will not refuse it any more; need not come."""


@dataclass(frozen=True)
class Said:
    """Words of answer ``index``, or whatever else OpenAI puts into a delta (``extra``: tool calls, refusals)."""

    index: int
    text: str
    logprobs: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Moved:
    """Code frames of answer ``index``, in order."""

    index: int
    codes: Int[np.ndarray, "frames books"]
    modality: str = "face"


@dataclass(frozen=True)
class Ended:
    """The end of answer ``index``, with OpenAI's reason."""

    index: int
    reason: str
    cut: bool = False  # a motion was begun and not closed


@dataclass(frozen=True)
class Used:
    """What all answers together cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    motion_tokens: int


Piece = Begun | Said | Moved | Ended | Used


class Engine(ABC):
    """A language model that answers. Conversations are OpenAI's message dicts whose content is plain text,
    with motion spelled as the vocabulary's tokens (`tdmm_lm.lm.vocab.text`).

    Attributes:
        folder: the model's, whose vocabulary and codecs are used.
        restarts: how often it had to be started again.
        extras: OpenAI's fields that ``Options.more`` may hold; any other is refused with 400.
    """

    name: str
    folder: Path
    vocab: MotionVocab
    restarts: int = 0
    extras: frozenset[str] = frozenset()

    @abstractmethod
    def answer(self, messages: list[dict[str, Any]], options: Options) -> AsyncGenerator[Piece, None]:
        """The answers piece by piece, `Used` at the end. Closing the iterator stops the computation.

        Raises:
            ApiError: the conversation cannot be answered (400), or the engine cannot be reached (503).
        """

    async def start(self) -> None:  # noqa: B027  (most engines have nothing to start)
        """Make ready; returns when `ready` may be asked."""

    async def ready(self) -> bool:
        """Whether a request would be answered now."""
        return True

    async def close(self) -> None:  # noqa: B027
        """Let go of everything."""

    async def metrics(self) -> str:
        """Its own figures in Prometheus' text form, if it has any."""
        return ""
