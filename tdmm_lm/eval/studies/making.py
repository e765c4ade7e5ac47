"""From a recipe and items to the page: drawn, paired, mixed and blinded by a seed; media under names that say nothing.

OUT/index.html and OUT/media/ go to the raters (index.html alone where the recipe embeds media); OUT/key.json stays.
"""

import base64
import hashlib
import html
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm import bundle
from tdmm_lm.eval.studies.form import GRADES, KINDS, Candidate, Item, Key, Question, Shown, Study, grouped
from tdmm_lm.files import replacing

TEMPLATE = "eval/studies/page.html"
CHECK = "check"  # the system's name of what attention checks show
SIDES = ("x", "y")


@dataclass(frozen=True)
class Made:
    """What was written; ``study`` is the hash that every answer will carry."""

    folder: Path
    study: str
    groups: int
    questions: int
    checks: int
    media: int


@dataclass(frozen=True)
class _Asked:
    """A question before it is blinded."""

    shown: tuple[Item, ...]
    part: int
    right: dict[str, tuple[str, ...]]  # of attention checks only


def page(study: Study, items: Sequence[Item], out: str | Path, *, seed: int = 0) -> Made:
    """Write the page, its media and its key; the same recipe, items and seed give the same bytes.

    Likert studies ask about every item, pairs about every two systems of a group. Each rater meets the questions in an
    order, and pairs with sides, that follow from the code that he or she enters.

    Raises:
        ValueError: the folder is not empty, items do not fit the recipe, or there are too few of them.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: expected a new or empty folder, got one in use; an older key would be lost.")
    rng = np.random.default_rng(seed)
    _fit(study, items)
    groups, checks = _apart(study, items)
    drawn = _drawn(study, list(groups), rng)
    asked = _questions(study, [groups[name] for name in drawn], rng) + _checks(study, checks, rng)
    asked = [asked[k] for k in rng.permutation(len(asked))]
    names = _names(asked, rng)
    with replacing(out) as folder:
        folder.mkdir()
        digests = _copy(study, names, folder)
        tokens = [f"q{k + 1:04d}" for k in range(len(asked))]
        questions = {
            token: Question(
                part=one.part,
                group=one.shown[0].group or one.shown[0].id,
                cluster=one.shown[0].cluster or one.shown[0].group or one.shown[0].id,
                candidates=tuple(Candidate(id=item.id, system=item.system or CHECK) for item in one.shown),
                right=one.right,
            )
            for token, one in zip(tokens, asked)
        }
        told = _told(study, dict(zip(tokens, asked)), names)
        key = Key(study="", seed=seed, recipe=study, media=digests, questions=questions)
        whole = json.dumps([told, key.model_dump(mode="json")], sort_keys=True)
        key = key.model_copy(update={"study": hashlib.sha256(whole.encode()).hexdigest()[:16]})
        (folder / "index.html").write_text(_html(study, {"study": key.study, **told}), encoding="utf-8")
        (folder / "key.json").write_text(json.dumps(key.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    checked = sum(bool(one.right) for one in asked)
    return Made(out, key.study, len(drawn), len(asked) - checked, checked, len(names))


def _is_check(item: Item) -> bool:
    return bool(item.right or item.wins)


def _apart(study: Study, items: Sequence[Item]) -> tuple[dict[str, list[Item]], list[list[Item]]]:
    """Groups to ask about, and attention checks: items in Likert studies, groups of two in pairs."""
    if study.form == "likert":
        checks = [[item] for item in items if _is_check(item)]
        return grouped(item for item in items if not _is_check(item)), checks
    groups = grouped(items)
    checks = [group for group in groups.values() if any(map(_is_check, group))]
    return {name: group for name, group in groups.items() if group not in checks}, checks


def _fit(study: Study, items: Sequence[Item]) -> None:
    """What items of this form of study must be.

    Raises:
        ValueError: one is not.
    """
    axes = [axis.name for axis in study.axes]
    for item in items:
        for name in (*item.right, *item.wins):
            if name not in axes:
                raise ValueError(f"item {item.id!r}: right answers: expected one of {', '.join(axes)}, got {name!r}.")
        if item.wins if study.form == "likert" else item.right:
            wanted, came = ("right", "wins") if study.form == "likert" else ("wins", "right")
            raise ValueError(f"item {item.id!r}: expected {wanted} in a study of the form {study.form}, got {came}.")
        for name, grades in item.right.items():
            if not grades or not set(grades) <= set(range(1, GRADES + 1)):
                raise ValueError(f"item {item.id!r}: right.{name}: expected grades in 1 to {GRADES}, got {grades}.")
    for name, group in grouped(items).items():
        if study.form == "pairs" and any(map(_is_check, group)):
            if len(group) != 2 or sum(map(_is_check, group)) != 1:
                raise ValueError(f"group {name!r}: expected an attention check of two items, one of which wins, "
                                 f"got {len(group)} items and {sum(map(_is_check, group))} that win.")
            continue
        often = Counter(item.system for item in group if not _is_check(item))
        for system, count in often.items():
            if count > 1:
                raise ValueError(f"group {name!r}: expected every system once, got {system!r} {count} times.")
        if study.form == "pairs" and len(often) < 2:
            raise ValueError(f"group {name!r}: expected two systems or more to compare, got {', '.join(often)}.")


def _drawn(study: Study, groups: list[str], rng: np.random.Generator) -> list[str]:
    wanted = len(groups) if study.samples is None else study.samples
    if not groups or wanted > len(groups):
        raise ValueError(f"samples: expected {wanted or 'some'} groups of items, got {len(groups)}; "
                         "give more items or ask for fewer samples.")
    return [groups[k] for k in rng.permutation(len(groups))[:wanted]]


def _questions(study: Study, groups: list[list[Item]], rng: np.random.Generator) -> list[_Asked]:
    """Whole groups go to parts in turn, so that one person sees all systems of a group."""
    asked: list[_Asked] = []
    turns: Counter[tuple[str, ...]] = Counter()
    for k, group in enumerate(groups):
        part = k % study.parts + 1
        if study.form == "likert":
            asked += [_Asked((item,), part, {}) for item in group]
            continue
        for pair in itertools.combinations(sorted(group, key=lambda item: item.system), 2):
            systems = tuple(item.system for item in pair)
            if systems not in turns:
                turns[systems] = int(rng.integers(2))
            asked.append(_Asked(pair[::-1] if turns[systems] % 2 else pair, part, {}))
            turns[systems] += 1
    return asked


def _checks(study: Study, given: list[list[Item]], rng: np.random.Generator) -> list[_Asked]:
    """Every part has every check, as a question of its own: one that all parts share would be known for what it is."""
    made = []
    for part in range(1, study.parts + 1):
        for group in given:
            pair = tuple(group[k] for k in rng.permutation(len(group)))
            right = {name: tuple(map(str, grades)) for name, grades in pair[0].right.items()}
            right |= {name: (side,) for side, item in zip(SIDES, pair) for name in item.wins}
            made.append(_Asked(pair, part, right))
        made += [_instructed(study, k, part, rng) for k in range(study.checks.instructed)]
    return made


def _instructed(study: Study, k: int, part: int, rng: np.random.Generator) -> _Asked:
    """A question that says what to choose."""
    name = f"instructed-{k + 1}"
    axes = [axis.name for axis in study.axes]
    reason = ' Write "check" as the reason.' if study.reason == "required" else ""
    if study.form == "likert":
        grade = int(rng.integers(1, GRADES + 1))
        text = f"This one only shows that you are reading. Choose {grade} everywhere.{reason}"
        return _Asked((Item(id=name, text=text),), part, {axis: (str(grade),) for axis in axes})
    asks = f"This one only shows that you are reading. Choose this side everywhere.{reason}"
    yes = Item(id=f"{name}-yes", group=name, text=asks)
    no = Item(id=f"{name}-no", group=name, text="Choose the other side everywhere.")
    turned = bool(rng.integers(2))
    return _Asked((no, yes) if turned else (yes, no), part, dict.fromkeys(axes, (SIDES[turned],)))


def _names(asked: Sequence[_Asked], rng: np.random.Generator) -> dict[Path, str]:
    """A name for every file, which says nothing of where it comes from."""
    files = dict.fromkeys(
        shown.media.resolve()
        for one in asked
        for item in one.shown
        for shown in (item.shown(), *item.reference)
        if shown.media is not None
    )
    order = rng.permutation(len(files))
    return {path: f"m{order[k] + 1:04d}{path.suffix.lower()}" for k, path in enumerate(files)}


def _copy(study: Study, names: dict[Path, str], folder: Path) -> dict[str, str]:
    """Media beside the page, if not inside it; returns their SHA-256 by name."""
    digests = {}
    for path, name in sorted(names.items(), key=lambda both: both[1]):
        with path.open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        if not study.embed:
            (folder / "media").mkdir(exist_ok=True)
            shutil.copyfile(path, folder / "media" / name)
    return digests


def _told(study: Study, asked: dict[str, _Asked], names: dict[Path, str]) -> dict[str, Any]:
    """All that the page knows: no system, no id, no group, no right answer."""

    def seen(shown: Shown) -> dict[str, str]:
        if shown.media is None:
            return {"kind": "text", "text": shown.text or "", "label": shown.label}
        path = shown.media.resolve()
        kind, mime = KINDS[path.suffix.lower()]
        source = f"media/{names[path]}"
        if study.embed:
            source = f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode()}"
        return {"kind": kind, "source": source, "label": shown.label}

    def referred(one: _Asked) -> list[dict[str, str]]:
        every = [seen(shown) for item in one.shown for shown in item.reference]
        return [shown for k, shown in enumerate(every) if shown not in every[:k]]

    asks = study.model_dump(mode="json", include={"title", "introduction", "ending", "form", "axes", "reason", "parts"})
    return {
        **asks,
        "no_preference": study.form == "pairs" and study.no_preference,
        "questions": [
            {
                "item": token,
                "part": one.part,
                "references": referred(one),
                "candidates": [seen(item.shown()) for item in one.shown],
            }
            for token, one in asked.items()
        ],
    }


def _html(study: Study, told: dict[str, Any]) -> str:
    data = json.dumps(told, ensure_ascii=True).replace("<", "\\u003c")  # no caption may end the script
    page = bundle.path(TEMPLATE).read_text(encoding="utf-8")
    return page.replace("{{title}}", html.escape(study.title)).replace("{{data}}", data)
