"""What a study asks (its recipe), what about (its items), and the key that says afterwards which was whose."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tdmm_lm import config
from tdmm_lm.config import Settings

KINDS = {  # file ending -> how a page shows it, and its type in a data URI
    ".mp4": ("video", "video/mp4"),
    ".webm": ("video", "video/webm"),
    ".png": ("image", "image/png"),
    ".jpg": ("image", "image/jpeg"),
    ".wav": ("audio", "audio/wav"),
    ".mp3": ("audio", "audio/mpeg"),
}
COLUMNS = ("study", "rater", "part", "item", "position", "left", "seconds", "reason")  # of a rater's CSV, then the axes
NAME = re.compile(r"^[a-z][a-z0-9_]*$")
GRADES = 5


class Axis(Settings):
    """One thing asked of every item. ``anchors`` say what each of 1 to 5 means; pairs have none."""

    name: str
    question: str
    definition: str
    anchors: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not NAME.match(name) or name in COLUMNS:
            raise ValueError(f"expected small letters, digits and _, none of {', '.join(COLUMNS)}, got {name!r}")
        return name

    @field_validator("anchors")
    @classmethod
    def _anchored(cls, anchors: tuple[str, ...]) -> tuple[str, ...]:
        if len(anchors) not in (0, GRADES):
            raise ValueError(f"expected {GRADES} anchors, one for each of 1 to {GRADES}, got {len(anchors)}")
        return anchors


class Checks(Settings):
    """Questions with a known right answer; a rater with a smaller share right is left out, and named."""

    instructed: int = Field(default=2, ge=0)  # made by us: they say what to choose
    at_least: float = Field(default=0.75, gt=0, le=1)


class Study(Settings):
    """A recipe. ``samples`` groups of items are drawn (none given: all), dealt out to ``parts`` of the page.

    ``clusters`` says over what the intervals go: "item" for these raters and any clips, "rater" for these clips and any
    raters, "both" for any of both, which is wider and right where raters are few and may have tastes of their own.
    """

    title: str
    introduction: str
    ending: str = "Save your answers and send the file to whoever asked you."
    form: Literal["likert", "pairs"]
    axes: tuple[Axis, ...]
    no_preference: bool = True  # in pairs
    reason: Literal["none", "optional", "required"] = "none"
    samples: int | None = Field(default=None, ge=1)
    parts: int = Field(default=1, ge=1)
    raters: int | None = Field(default=None, ge=1)  # how many are wanted; said beside how many there were
    checks: Checks = Checks()
    clusters: Literal["item", "rater", "both"] = "item"
    z_scores: bool = False
    embed: bool = False  # media inside the page rather than beside it

    @model_validator(mode="after")
    def _fits(self) -> "Study":
        names = [axis.name for axis in self.axes]
        if not names:
            raise ValueError("axes: expected one or more, got none")
        if len(set(names)) < len(names):
            raise ValueError(f"axes: expected different names, got {', '.join(names)}")
        for axis in self.axes:
            if bool(axis.anchors) != (self.form == "likert"):
                wanted = f"{GRADES} anchors" if self.form == "likert" else "no anchors, which pairs do not have"
                raise ValueError(f"axes.{axis.name}: expected {wanted}, got {len(axis.anchors)}")
        if self.form == "pairs" and self.z_scores:
            raise ValueError("z_scores: expected false in a study of pairs, which have no grades, got true")
        return self


class Shown(Settings):
    """A file or a text on the page, with a few words over it."""

    media: Path | None = None
    text: str | None = None
    label: str = ""

    @model_validator(mode="after")
    def _one(self) -> "Shown":
        if (self.media is None) == (self.text is None):
            raise ValueError("expected either media or text")
        if self.media is not None and self.media.suffix.lower() not in KINDS:
            raise ValueError(f"media: expected a file ending in {', '.join(KINDS)}, got {self.media.name!r}")
        return self


class Item(Settings):
    """One line of ITEMS.jsonl: what one ``system`` made. Items of one ``group`` are compared with each other.

    ``cluster`` is the source clip or person that groups share (none given: the group). Attention checks carry the right
    answers: ``right`` the accepted grades of axes, ``wins`` the axes in which this one must be preferred to the other
    of its group.
    """

    id: str
    system: str = ""
    group: str = ""
    cluster: str = ""
    media: Path | None = None
    text: str | None = None
    reference: tuple[Shown, ...] = ()
    right: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    wins: tuple[str, ...] = ()

    @field_validator("reference", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        """A text, one thing shown, or a list of them."""
        listed = given if isinstance(given, list | tuple) else [given]
        return tuple({"text": one} if isinstance(one, str) else one for one in listed)

    @model_validator(mode="after")
    def _one(self) -> "Item":
        Shown(media=self.media, text=self.text)
        return self

    def shown(self) -> Shown:
        return Shown(media=self.media, text=self.text)


class Candidate(Settings):
    """What was behind one place of a question."""

    id: str
    system: str


class Question(Settings):
    """One question of the page: its candidates, x then y in pairs; ``right`` accepted answers by axis, in checks."""

    part: int
    group: str
    cluster: str
    candidates: tuple[Candidate, ...]
    right: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Key(Settings):
    """key.json: what turns answers into figures. Nobody who rates may see it."""

    study: str  # hash of page and key
    seed: int
    recipe: Study
    media: dict[str, str]  # name on the page -> SHA-256
    questions: dict[str, Question]


def items(path: str | Path) -> tuple[Item, ...]:
    """The items of a JSONL file; media are found beside it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no item, an id twice, or media that are not there; file and line are named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of items, one JSON object a line, found none.")
    found: list[Item] = []
    known: dict[str, int] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: expected a JSON object, got {error.msg} at column {error.colno}.") from None
        if not isinstance(data, dict):
            raise ValueError(f"{where}: expected a JSON object, got {type(data).__name__}.")
        item = _placed(config.check(Item, data, where), path.parent)
        if item.id in known:
            raise ValueError(f"{where}: id: expected every id once, got {item.id!r}, which line {known[item.id]} has.")
        if not item.system and not item.right and not item.wins:
            raise ValueError(f"{where}: system: expected a name, got none; only attention checks go without.")
        known[item.id] = number
        for shown in (item.shown(), *item.reference):
            if shown.media is not None and not shown.media.is_file():
                raise ValueError(f"{where}: media: expected a file at {shown.media}, found none.")
        found.append(item)
    if not found:
        raise ValueError(f"{path}: expected items, one JSON object a line, found none.")
    return tuple(found)


def _placed(item: Item, folder: Path) -> Item:
    """Paths seen from here rather than from the file of items; groups and clusters filled in."""
    group = item.group or item.id
    references = tuple(
        one if one.media is None else one.model_copy(update={"media": folder / one.media}) for one in item.reference
    )
    media = None if item.media is None else folder / item.media
    placed = {"group": group, "cluster": item.cluster or group, "media": media, "reference": references}
    return item.model_copy(update=placed)


def grouped(found: Iterable[Item]) -> dict[str, list[Item]]:
    """Items by group, in the order in which groups come."""
    groups: dict[str, list[Item]] = {}
    for item in found:
        groups.setdefault(item.group or item.id, []).append(item)
    return groups
