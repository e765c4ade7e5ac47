"""What the gateway asks of whatever generates: a conversation in, pieces of text and codes out."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from tdmm_lm.lm.generate import Piece


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
