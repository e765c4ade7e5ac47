"""Where a corpus comes from. Every other file is one source, named in a recipe by its file name, with the same names:

    Settings                      the source's section of the recipe
    items(settings, seed)         -> iterator of `Item`s in a fixed order: what there is to do, cheap to list
    samples(item, settings)       -> iterator of `Sample`s and `Rejected`s made of one item, the same for the same item
    summary(settings)             -> where there are parts that may be off: name -> "on: ..." or "off: ..."; optional

`samples` is called in any process, in any order, as often as it pleases whoever runs it: it holds nothing and writes
nothing. What cannot become a sample is yielded as `Rejected` with its reason, and the others go on. Raised is only what
makes the whole source useless (a folder that is not there, a missing package or model).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHARED = "speakers_shared"  # true in the provenance where a speaker is in several splits: the owners', or he is alone


@dataclass(frozen=True)
class Item:
    """A unit of work: a score's number, a video, a file. ``what`` is plain data for JSON."""

    id: str
    split: str
    what: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """What did not become a sample.

    ``reason`` is one word or a few joined by underscores, the same for the same cause (``no_face``, ``too_short``):
    reasons are counted. ``detail`` says what was found and what was expected; ``figures`` are the measures behind it.
    """

    id: str
    source: str
    reason: str
    detail: str
    figures: dict[str, float] = field(default_factory=dict)


def utf8(text: str) -> str:
    """A file's name as text that any table takes: bytes in it that are no UTF-8 are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def found_in(folder: Path) -> str:
    """The first few names in a folder, folders with a slash: what an error says was found instead."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return (", ".join(names[:6]) + (", …" if len(names) > 6 else "")) or "nothing"
