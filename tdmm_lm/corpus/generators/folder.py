"""Videos that were made elsewhere, by a generator's own code or a web page: files named by their prompt's id.

The prompts are in `prompts.jsonl` of the output folder. What is not there yet is looked for again by the next run.
"""

import os
import shutil
from pathlib import Path

from tdmm_lm import config
from tdmm_lm.corpus.generators import Failed, Hopeless, Notes, Request


class Settings(config.Settings):
    """``folder`` holds ID.mp4, or ID with another of the ``endings``."""

    folder: Path
    endings: tuple[str, ...] = (".mp4", ".mov", ".webm", ".mkv", ".avi")


def generate(request: Request, settings: Settings, path: Path, notes: Notes) -> None:
    """Link or copy the finished video.

    Raises:
        Failed: not_there.
        Hopeless: there is no such folder.
    """
    if not settings.folder.is_dir():
        raise Hopeless(f"{settings.folder}: expected a folder of videos named by their prompts' ids, found none.")
    for ending in settings.endings:
        made = settings.folder / (request.id + ending)
        if made.is_file():
            try:
                os.link(made.resolve(), path)  # not a link to a link
            except OSError:  # another disk
                shutil.copyfile(made, path)
            return
    raise Failed("not_there", f"expected {request.id}{settings.endings[0]} in {settings.folder}, found none")
