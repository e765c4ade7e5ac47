"""What the gateway asks of whatever generates: a conversation in, pieces of text and codes out."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Options:
    """How to answer. ``frames`` fixes a motion's length; ``form`` None lets the model choose text or motion; the engine
    has defaults for what is None."""

    form: Literal["text", "motion"] | None = None
    frames: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Text:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class Codes:
    """Code frames of the answer's motion, in order."""

    codes: Int[np.ndarray, "frames books"]


@dataclass(frozen=True)
class Finish:
    """The end of an answer: why, and what it cost in tokens."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    motion_tokens: int


Piece = Text | Codes | Finish


class Engine(ABC):
    """A language model that answers. Conversations are OpenAI's message dicts whose content is plain text,
    with motion spelled as the vocabulary's tokens (`spell`)."""

    name: str

    @abstractmethod
    def spell(self, codes: Int[np.ndarray, "frames books"]) -> str:
        """Codes as the text that stands for them in a conversation."""

    @abstractmethod
    def answer(self, messages: list[dict[str, Any]], options: Options, stop: threading.Event) -> Iterator[Piece]:
        """The answer piece by piece, a `Finish` at the end; ends early when ``stop`` is set.

        Raises:
            ValueError: the conversation cannot be answered (for instance it is too long).
        """
