"""Grades by a language model: a prompt in Markdown, reasons before scores, whole numbers from 1 to 5 with anchors.

A judge is any OpenAI-compatible endpoint and a file of ``eval/judges``. What is graded may try to speak to the judge:
it stands between markers that nobody could guess, and sentences that talk about grading are taken out and counted.
Whatever is no valid answer (prose, broken JSON, a grade out of range, a refusal, a grade that contradicts its reason)
is asked for again, and counted by its kind where it stays so: no sample disappears.
"""

import hashlib
import json
import re
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tdmm_lm import bundle, config
from tdmm_lm.corpus.asking import endpoint as endpoints
from tdmm_lm.corpus.asking.budget import Spent
from tdmm_lm.corpus.asking.endpoint import Endpoint
from tdmm_lm.corpus.asking.patience import Failed

LOW, HIGH = 1, 5
REASON = 200  # characters of a reason, at most: a small model does not come to an end by itself
LONGEST = 4000  # characters of a candidate that a judge reads; more is cut and counted as `cut`
# What a description of a face never says, and somebody who speaks to a judge does.
_NUMBER = r"(?<![\d.])(?:[1-5](?!\.?\d)|five|full|max\w*|highest|perfect|best)\b"
_SPEAKS_TO_JUDGE = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,40}\b(?:instruction|above|previous|rule|prompt|reference)"
    r"|\b(?:judge|grader|evaluator|assistant|as an ai|system prompt)\b"
    rf"|\b(?:scores?|grades?|rate|rating|marks?|points?)\b[^.!?\n]{{0,40}}\b{_NUMBER}"
    rf"|\b(?:give|assign|award|output|answer|respond|return)\b[^.!?\n]{{0,40}}\b{_NUMBER}"
    r"(?=\W*$|\s*[.,;!?]|\s+(?:on|for|in|to|everywhere|every|all|points?|stars?|marks?|out)\b)"
    r"|\b[1-5]\s*(?:/|out of)\s*5\b|\bfull (?:marks|score)\b|\"(?:expression|motion|intensity|better)\"\s*:"
    r"|\b(?:choose|prefer|pick|select)\b.{0,20}\b(?:a|b|this|me|first|second)\b"
    r".{0,20}\b(?:better|answer|option|description|candidate)\b",
    re.IGNORECASE | re.DOTALL,
)
_REFUSES = re.compile(r"\b(?:i (?:can(?:no|')t|am unable|won't)|i'm (?:sorry|unable)|as an ai)\b", re.IGNORECASE)
_SAID = re.compile(
    r"\b(?:score|grade|rating)\s*(?:is|of|:|=)?\s*([0-9]+)\b|\b([0-9]+)\s*(?:/|out of)\s*5\b", re.IGNORECASE
)


class Settings(config.Settings):
    """One judge. ``prompt`` is a file of ``eval/judges`` or a path; it ``sees`` pictures where told to."""

    name: str
    prompt: str
    endpoint: endpoints.Settings
    sees: Literal["words", "sheet", "video"] = "words"
    asks: int = Field(default=3, ge=1)  # times that an answer that is none is asked for again, the first included
    json_schema: bool = True  # ask the server to force the answer's form; set false where it refuses that


@dataclass(frozen=True)
class Prompt:
    """A judge's file: its version, axes and the two messages with ``$slots``."""

    name: str
    version: int
    axes: tuple[str, ...]
    pairwise: bool
    system: str
    question: str
    sha256: str

    def schema(self) -> dict[str, Any]:
        """JSON schema of an answer, every reason before its grade."""
        reason = {"type": "string", "maxLength": REASON}
        wanted: dict[str, Any] = {}
        if self.pairwise:
            wanted = {"reason": reason, "better": {"type": "string", "enum": ["A", "B", "tie"]}}
        for axis in self.axes:
            wanted[f"{axis}_reason"] = reason
            wanted[axis] = {"type": "integer", "minimum": LOW, "maximum": HIGH}
        return {"type": "object", "properties": wanted, "required": list(wanted), "additionalProperties": False}


@dataclass(frozen=True)
class Grade:
    """A judge's answer on one candidate. ``fault`` says why there is none; ``injected`` counts sentences taken out.

    ``faults`` are those of all asks; ``tokens`` and ``model`` are of the last answer.
    """

    scores: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    fault: str = ""
    faults: tuple[str, ...] = ()
    injected: int = 0
    cut: bool = False
    model: str = ""


def load(name: str) -> Prompt:
    """A judge's file by its name in ``eval/judges`` or by its path.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not three parts between ``---`` lines, or slots that it needs are missing.
    """
    path = Path(name) if name.endswith(".md") else bundle.path(f"eval/judges/{name}.md")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a judge's prompt, found none.")
    text = path.read_text()
    parts = re.split(r"^---\n", text, flags=re.MULTILINE)
    if len(parts) != 4 or parts[0].strip():
        raise ValueError(f"{path}: expected a head, the system's text and the question, each after a line ---.")
    head = config.parse(parts[1], str(path))
    known = {"version", "axes", "pairwise"}
    if not isinstance(head, dict) or set(head) - known or not isinstance(head.get("version"), int):
        raise ValueError(f"{path}: expected version (a whole number) and axes or pairwise, got {head}.")
    axes, pairwise = tuple(head.get("axes", ())), bool(head.get("pairwise", False))
    if bool(axes) == pairwise or not all(isinstance(axis, str) and axis.isidentifier() for axis in axes):
        raise ValueError(f"{path}: expected either axes (words) or pairwise: true, got {head}.")
    needed = {"reference", "mark"} | ({"a", "b"} if pairwise else {"candidate"})
    found = set(string.Template(parts[3]).get_identifiers())
    if found != needed:
        raise ValueError(f"{path}: expected the slots {', '.join(sorted(needed))}, got {', '.join(sorted(found))}.")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Prompt(path.stem, head["version"], axes, pairwise, parts[2].strip(), parts[3].strip(), digest)


def guarded(text: str) -> tuple[str, int, bool]:
    """What a judge may read of a text, how many sentences that speak to a judge were taken out, and whether the end was
    cut."""
    cut = len(text) > LONGEST
    sentences = re.split(r"(?<=[.!?])\s+|\n+", text[:LONGEST].strip())
    kept = [sentence for sentence in sentences if not _SPEAKS_TO_JUDGE.search(sentence)]
    joined = " ".join(kept)
    if _SPEAKS_TO_JUDGE.search(joined):  # said across sentences
        return "", len(sentences), cut
    return joined, len(sentences) - len(kept), cut


def asked(
    prompt: Prompt, texts: dict[str, str], pictures: list[dict[str, Any]] | None = None
) -> tuple[list[dict[str, Any]], int, bool]:
    """Messages for a judge; sentences taken out of what is graded, and whether any was cut. The marker depends on the
    texts alone, so that a question asked again is the same."""
    safe: dict[str, str] = {}
    injected, cut = 0, False
    for name, text in texts.items():
        if name == "reference":
            safe[name] = text
            continue
        safe[name], out, short = guarded(text)
        safe[name] = safe[name] or "(nothing)"
        injected, cut = injected + out, cut or short
    mark = "=" * 4 + hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
    question = string.Template(prompt.question).substitute(safe, mark=mark)
    content: Any = question if not pictures else [{"type": "text", "text": question}, *pictures]
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": content}], injected, cut


def read(prompt: Prompt, text: str) -> tuple[dict[str, Any], str]:
    """An answer's values and the word for what is wrong with it ("" where nothing is)."""
    body = text.strip()
    fenced = re.search(r"```(?:json)?\s*(\{.*?\})\s*```", body, re.DOTALL)
    start, stop = body.find("{"), body.rfind("}")
    inside = fenced.group(1) if fenced else body[start : stop + 1] if 0 <= start < stop else ""
    if not inside:
        return {}, "refused" if _REFUSES.search(body) else "empty" if not body else "prose"
    try:
        values = json.loads(inside)
    except (ValueError, RecursionError):
        return {}, "broken_json"
    if not isinstance(values, dict):
        return {}, "broken_json"
    if prompt.pairwise:
        return values, "" if values.get("better") in ("A", "B", "tie") else "out_of_range"
    for axis in prompt.axes:
        grade, reason = values.get(axis), values.get(f"{axis}_reason")
        if axis not in values:
            return values, "missing_axis"
        if isinstance(grade, bool) or not isinstance(grade, int) or not LOW <= grade <= HIGH:
            return values, "out_of_range"
        if not isinstance(reason, str) or not reason.strip():
            return values, "no_reason"
        said = [int(one or other) for one, other in _SAID.findall(reason)]
        if said and grade not in said:
            return values, "contradicts_reason"
    return values, ""


class Judge:
    """An open judge. Its answers are kept in ``folder``, so that nothing is paid for twice."""

    def __init__(self, settings: Settings, endpoint: Endpoint) -> None:
        self.settings, self.endpoint, self.prompt = settings, endpoint, load(settings.prompt)
        self.options: dict[str, Any] = {"temperature": 0}
        if settings.json_schema:
            form = {"name": "grade", "strict": True, "schema": self.prompt.schema()}
            self.options["response_format"] = {"type": "json_schema", "json_schema": form}

    def grade(self, candidate: str, reference: str, pictures: list[dict[str, Any]] | None = None) -> Grade:
        """Scores on every axis, or the reason why there are none. An empty candidate is not asked about.

        Raises:
            Hopeless: the endpoint answers nobody.
        """
        if not candidate.strip():
            return Grade(fault="no_candidate")
        messages, injected, cut = asked(self.prompt, {"candidate": candidate, "reference": reference}, pictures)
        values, faults, model = self._valid(messages)
        if values is None:
            return Grade(fault=faults[-1], faults=faults, injected=injected, cut=cut, model=model)
        return Grade(
            {axis: values[axis] for axis in self.prompt.axes},
            {axis: str(values[f"{axis}_reason"]) for axis in self.prompt.axes}, "", faults, injected, cut, model,
        )

    def better(self, a: str, b: str, reference: str) -> tuple[str, str, int]:
        """"A", "B" or "tie" ("" where there is no valid answer), its fault, and sentences taken out."""
        messages, injected, _ = asked(self.prompt, {"a": a, "b": b, "reference": reference})
        values, faults, _ = self._valid(messages)
        return (str(values["better"]), "", injected) if values is not None else ("", faults[-1], injected)

    def _valid(self, messages: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, tuple[str, ...], str]:
        faults: list[str] = []
        model = ""
        for turn in range(self.settings.asks):
            # at temperature 0 the same question has the same answer: from the second time on it is drawn
            options = self.options if turn == 0 else self.options | {"temperature": 0.7, "seed": turn}
            try:
                answer = self.endpoint.ask(messages, turn=turn, options=options)
            except Failed as failure:
                return None, (*faults, failure.reason), model
            except Spent:
                return None, (*faults, "budget"), model
            model = answer.model
            values, fault = read(self.prompt, answer.text)
            if not fault:
                return values, tuple(faults), model
            faults.append("cut_off" if answer.finish == "length" else fault)
        return None, tuple(faults), model
