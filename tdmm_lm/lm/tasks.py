"""Tasks: conversations with ``$slots`` in YAML (`recipes/tasks/*.yaml`), filled from rows of a corpus.

A row offers slots. What always may be there: ``$motion`` (the row's codes), ``$text`` (one of its descriptions),
``$prompt`` (one of its prompts), ``$hint`` (how long the motion is, as `timed` writes it), ``$instruction`` and
``$edited`` (an edit and the motion after it), ``$start`` and ``$rest`` (the motion cut in two). Every label of the row
is a slot of its own name. A task is for the rows that have all its slots.
"""

import random
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from tdmm_lm import config
from tdmm_lm.config import Settings
from tdmm_lm.lm import vocab

MOTIONS = ("motion", "edited", "start", "rest")
SLOT = re.compile(r"\$([a-z_]+)")


class Message(Settings):
    """One turn with its phrasings; one is drawn each time."""

    role: Literal["system", "user", "assistant"]
    content: tuple[str, ...] = Field(min_length=1)

    @field_validator("content", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _same_slots(self) -> "Message":
        if any("<|" in phrasing for phrasing in self.content):
            raise ValueError("content: expected words and $slots, got a token <|...|>")
        return self


class Task(Settings):
    """One file of `recipes/tasks`. ``weight`` is how often it is drawn among the tasks that a row allows."""

    weight: float = Field(1.0, ge=0)
    where: dict[str, tuple[Any, ...]] = Field(default_factory=dict)  # only rows whose label is one of these
    messages: tuple[Message, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _answers(self) -> "Task":
        if self.messages[-1].role != "assistant":
            raise ValueError("messages: expected the assistant's turn at the end")
        return self

    @property
    def slots(self) -> frozenset[str]:
        """Every slot that some phrasing names."""
        phrasings = [phrasing for message in self.messages for phrasing in message.content]
        return frozenset(slot for phrasing in phrasings for slot in SLOT.findall(phrasing))


def load(folder: str | Path) -> dict[str, Task]:
    """All tasks of a folder by file name.

    Raises:
        FileNotFoundError: no YAML there.
        ValueError: a file that is no task.
    """
    files = sorted(Path(folder).glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"{folder}: expected task files (*.yaml), found none.")
    return {file.stem: config.load(Task, file) for file in files}


def hint(seconds: float) -> str:
    """The wire form of a length: `` [4.0 s]``."""
    return f" [{seconds:.1f} s]"


def timed(prompt: str, seconds: float | None) -> str:
    """A prompt as the model saw prompts in training: with its length behind it where one is asked for."""
    return prompt if seconds is None else prompt + hint(seconds)


def slots(row: dict[str, Any], code_fps: float, books: int, random_: random.Random) -> dict[str, Any]:
    """What a row offers: strings, and arrays (frames, books) under the names of `MOTIONS`."""
    motion = _motion(row["codes"], books)
    filled: dict[str, Any] = {"motion": motion, "hint": hint(len(motion) / code_fps)}
    for slot, key in (("text", "texts"), ("prompt", "prompts")):
        if row.get(key):
            filled[slot] = random_.choice(list(row[key]))
    edit = row.get("edit")
    if edit:
        filled |= {"instruction": edit["instruction"], "edited": _motion(edit["codes"], books)}
    if len(motion) > code_fps:
        cut = random_.randint(int(0.25 * len(motion)), int(0.75 * len(motion)))
        filled |= {"start": motion[:cut], "rest": motion[cut:], "more": hint((len(motion) - cut) / code_fps)}
    for name, value in (row.get("labels") or {}).items():
        if isinstance(value, str | int | float) and value != "":
            filled[name] = str(value)
    return filled


def fill(task: Task, filled: dict[str, Any], random_: random.Random, modality: str = "face") -> list[dict[str, str]]:
    """The task's messages with a phrasing drawn for each turn and its slots filled in.

    Raises:
        ValueError: a slot that the row does not offer.
    """
    messages = []
    for message in task.messages:
        content = random_.choice(message.content)
        for slot in SLOT.findall(content):
            if slot not in filled:
                raise ValueError(f"task: expected slots among {', '.join(sorted(filled))}, got ${slot}.")
        content = SLOT.sub(
            lambda match: vocab.text(filled[match[1]], modality) if match[1] in MOTIONS else filled[match[1]], content
        )
        messages.append({"role": message.role, "content": content})
    return messages


def eligible(tasks: dict[str, Task], filled: dict[str, Any]) -> list[str]:
    """The tasks whose every slot the row offers and whose conditions it meets."""
    return [
        name for name, task in tasks.items()
        if task.slots <= filled.keys()
        and all(filled.get(key) in [str(value) for value in allowed] for key, allowed in task.where.items())
    ]


def _motion(codes: Any, books: int) -> np.ndarray:
    return np.asarray(codes, np.int64).reshape(-1, books)
