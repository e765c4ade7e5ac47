"""The raters' CSV files against the key: every row is checked, every fault is one line and is counted."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tdmm_lm import config
from tdmm_lm.eval.studies.form import COLUMNS, GRADES, Key, Study

RATER = re.compile(r"^[a-z0-9_-]{2,32}$")  # the page lets nothing else in


@dataclass(frozen=True)
class Answer:
    """One good row: ``given`` is the answer on every axis, "1" to "5", or "x", "y" or "same"."""

    rater: str
    token: str
    left: str  # in pairs, which candidate stood on the left: x or y
    seconds: float
    reason: str
    given: dict[str, str]


@dataclass(frozen=True)
class Answers:
    """All good rows, and what was wrong with the others; ``missing`` counts questions of a rater without an answer."""

    key: Key
    rows: tuple[Answer, ...]
    faults: tuple[str, ...]
    missing: dict[str, int]


def key_of(path: str | Path) -> Key:
    """The key beside a page, given the file or its folder.

    Raises:
        FileNotFoundError: none is there.
        ValueError: it is not the key of a study.
    """
    path = Path(path)
    path = path / "key.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the key.json that was written with the page, found none.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got {error.msg} in line {error.lineno}.") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected the key of a study, got {type(data).__name__}.")
    return config.check(Key, data, str(path))


def read(files: Sequence[str | Path], key: str | Path | Key) -> Answers:
    """Every row of the files that holds; a fault leaves out its row, the summary counts it.

    Raises:
        FileNotFoundError: a file, or the key, is not there.
        ValueError: the key is none.
    """
    key = key if isinstance(key, Key) else key_of(key)
    rows: dict[tuple[str, str], Answer] = {}
    faults: list[str] = []
    for path in map(Path, files):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a rater's CSV file, found none.")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            faults.append(f"{path}: expected UTF-8 text: the file is left out.")
            continue
        _read(path, text, key, rows, faults)
    missing = _missing(key, rows, faults)
    return Answers(key, tuple(rows.values()), tuple(faults), missing)


def _read(path: Path, text: str, key: Key, rows: dict[tuple[str, str], Answer], faults: list[str]) -> None:
    columns = [*COLUMNS, *(axis.name for axis in key.recipe.axes)]
    lines = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(lines, [])
        if header != columns:
            faults.append(f"{path}: expected the columns {','.join(columns)}, got {','.join(header) or 'nothing'}: "
                          "the file is left out.")
            return
        for values in lines:
            if not values:
                continue
            where = f"{path}:{lines.line_num}"
            if len(values) != len(columns):
                faults.append(f"{where}: expected {len(columns)} values, got {len(values)}: the row is left out.")
                continue
            row = dict(zip(columns, (value.strip() for value in values)))
            fault = _fault(row, key, rows)
            if fault:
                faults.append(f"{where}: {fault}: the row is left out.")
                continue
            given = {axis.name: row[axis.name] for axis in key.recipe.axes}
            rows[row["rater"], row["item"]] = Answer(
                row["rater"], row["item"], row["left"], float(row["seconds"]), row["reason"], given
            )
    except csv.Error as error:
        faults.append(f"{path}:{lines.line_num}: expected CSV, got {error}: the rest of the file is left out.")


def allowed(study: Study) -> tuple[str, ...]:
    """The answers that an axis can get."""
    if study.form == "likert":
        return tuple(str(grade) for grade in range(1, GRADES + 1))
    return ("x", "same", "y") if study.no_preference else ("x", "y")


def _fault(row: dict[str, str], key: Key, rows: dict[tuple[str, str], Answer]) -> str:
    """What is wrong with a row, "" where nothing is."""
    if row["study"] != key.study:
        return f"study: expected {key.study}, got {row['study'] or 'nothing'}"
    if not RATER.match(row["rater"]):
        return f"rater: expected 2 to 32 of a-z, 0-9, - and _, got {row['rater']!r}"
    question = key.questions.get(row["item"])
    if question is None:
        return f"item: expected one of the study's {len(key.questions)}, got {row['item'] or 'nothing'}"
    if row["part"] != str(question.part):
        return f"part: expected {question.part} for item {row['item']}, got {row['part'] or 'nothing'}"
    if (row["rater"], row["item"]) in rows:
        return f"rater {row['rater']} has answered item {row['item']} before"
    answers = allowed(key.recipe)
    for axis in key.recipe.axes:
        if row[axis.name] not in answers:
            return f"{axis.name}: expected one of {', '.join(answers)}, got {row[axis.name] or 'nothing'}"
    sides = ("x", "y") if key.recipe.form == "pairs" else ("",)
    if row["left"] not in sides:
        return f"left: expected {' or '.join(sides) or 'nothing'}, got {row['left'] or 'nothing'}"
    if key.recipe.reason == "required" and not row["reason"]:
        return "reason: expected words, got nothing"
    if not re.fullmatch(r"\d+(\.\d+)?", row["seconds"]):
        return f"seconds: expected a number, got {row['seconds'] or 'nothing'}"
    return ""


def _missing(key: Key, rows: dict[tuple[str, str], Answer], faults: list[str]) -> dict[str, int]:
    """Questions of the parts that a rater began and that have no good row; a line of faults for every part."""
    begun: dict[tuple[str, int], int] = {}
    for rater, token in rows:
        part = key.questions[token].part
        begun[rater, part] = begun.get((rater, part), 0) + 1
    missing: dict[str, int] = {}
    for (rater, part), count in sorted(begun.items()):
        wanted = sum(question.part == part for question in key.questions.values())
        if count < wanted:
            faults.append(f"rater {rater}: expected {wanted} answers in part {part}, got {count}: the others count.")
            missing[rater] = missing.get(rater, 0) + wanted - count
    return missing
