"""Who makes videos from prompts. Every other file is one way, named in a recipe by its file name, with two names:

    Settings                                  the generator's section of the recipe
    generate(request, settings, path, notes)  make one video and write it to the path, an mp4

`generate` may be called from several threads. It raises `Failed` where this video did not come about and `Hopeless`
where none will. What it must remember when the process is killed half way, it tells the notes before it goes on; it
waits by `notes.wait`. Whoever calls it looks after budgets, further tries and whether the file is a whole video.
"""

import threading
from dataclasses import dataclass
from typing import Any

from tdmm_lm.corpus.asking.ledger import Ledger
from tdmm_lm.corpus.asking.patience import Failed, Hopeless

__all__ = ["Failed", "Hopeless", "Interrupted", "Notes", "Request"]


class Interrupted(Exception):
    """The run is being stopped; what was noted is taken up by the next."""


@dataclass(frozen=True)
class Request:
    """A video to be made: ``size`` is (width, height) in pixels, ``negative`` what should not be seen, or ""."""

    id: str
    text: str
    negative: str
    frames: int
    fps: float
    size: tuple[int, int]
    seed: int

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


class Notes:
    """One video's page in the ledger.

    ``job`` and ``asked_at`` are understood by everybody: while one of them is set, the video counts as paid for and
    under way, and the next call of `generate` takes it up. ``free`` is true as long as nothing was charged: whoever
    begins what costs sets it to False.
    """

    def __init__(self, ledger: Ledger, name: str, stop: threading.Event) -> None:
        self._ledger, self._name, self._stop = ledger, name, stop
        self.free = not (self.known.get("job") or self.known.get("asked_at"))

    @property
    def known(self) -> dict[str, Any]:
        return self._ledger.of(self._name)

    def note(self, **fields: Any) -> None:
        """Remember, on the disk; None forgets."""
        self._ledger.note(self._name, **fields)

    @property
    def dropped(self) -> list[str]:
        """Jobs of this video that came to nothing."""
        return list(self.known.get("dropped", []))

    def drop(self, job: str) -> None:
        """Remember that the video's job came to nothing: it is neither under way nor taken for a later one."""
        self.note(job=None, asked_at=None, dropped=[*self.dropped, job])

    def claim(self, job: str) -> bool:
        """Remember a server's job as this video's, unless it is another's."""
        return self._ledger.claim(self._name, job)

    def wait(self, seconds: float) -> None:
        """
        Raises:
            Interrupted: the run is being stopped.
        """
        if self._stop.wait(seconds):
            raise Interrupted
