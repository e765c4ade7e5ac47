"""A suite against an endpoint: every sample asked, scored and judged, and what came of it as files.

    tdmm eval run eval/suites/m2l.yaml --endpoint http://127.0.0.1:8000/v1 -o runs/m2l

Every answer is kept in ``OUT/calls.jsonl`` by the hash of what was asked, so that a run that was stopped at any moment
goes on, and pays for nothing twice; ``offline`` everything is made again from there.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field, model_validator

from tdmm_lm import config
from tdmm_lm.corpus.asking import endpoint as endpoints
from tdmm_lm.corpus.asking import patience
from tdmm_lm.corpus.asking.answers import Answers
from tdmm_lm.corpus.asking.budget import Purse, Spent
from tdmm_lm.corpus.asking.endpoint import Answer, Endpoint
from tdmm_lm.corpus.asking.patience import Failed
from tdmm_lm.eval import judging, live, presenting, reading_answers, suites
from tdmm_lm.eval.judging import Grade, Judge
from tdmm_lm.eval.suites import Answered, Item, LeftOut
from tdmm_lm.files import replacing
from tdmm_lm.motion import MotionClip

AUTO = "auto"  # a model's name: the first that the endpoint lists
CALLS, MOTIONS, SETTINGS = "calls.jsonl", "motions", "settings.json"
BYTES_A_TOKEN = 4  # of text, for an estimate before anything was asked


class Threshold(config.Settings):
    """What a column's value must be; a run that misses it ends with exit code 1."""

    least: float | None = None
    most: float | None = None

    @model_validator(mode="after")
    def _one(self) -> "Threshold":
        if self.least is None and self.most is None:
            raise ValueError("expected least, most or both")
        return self


class Settings(config.Settings):
    """A suite's YAML. ``data`` is a section of the file of `tdmm_lm.eval.suites` that ``suite`` names."""

    suite: str
    data: dict[str, Any] = Field(default={})
    endpoint: endpoints.Settings = endpoints.Settings(model=AUTO, options={"max_tokens": 512, "temperature": 0})
    judges: list[judging.Settings] = Field(default=[])
    judge_prompt: str | None = None  # of `eval/judges`: for judges named on the command line
    people: str | None = None  # CSV (id, axis, rater, score): what people gave the same answers, to check judges by
    thresholds: dict[str, Threshold] = Field(default={})
    published: dict[str, dict[str, float]] = Field(default={})  # {row: {column: value}} of papers, on their own data
    published_note: str = "the paper's own data, model and judge; printed for orientation, not comparable"
    resamples: int = Field(1000, ge=2)
    seed: int = 0

    @model_validator(mode="after")
    def _names(self) -> "Settings":
        names = [judge.name for judge in self.judges]
        if len(set(names)) < len(names):
            raise ValueError(f"judges: expected names of their own, got {', '.join(names)}")
        return self


@dataclass(frozen=True)
class Sample:
    """One item with all that came of it."""

    item: Item
    answer: Answered
    columns: dict[str, float | None]
    candidate: str
    grades: dict[str, Grade] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Everything that a report is made of. ``duplicated`` are ids that came twice and were asked once."""

    settings: Settings
    suite: ModuleType
    data: Any
    samples: list[Sample]
    model: str
    judges: dict[str, judging.Prompt]
    duplicated: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    spent: dict[str, float] = field(default_factory=dict)


def load(
    path: str | Path, changes: Sequence[str] = (), *, endpoint: str | None = None, judges: Sequence[str] = ()
) -> Settings:
    """A suite's YAML with what the command line says. A judge is ``URL`` or ``URL#MODEL`` and takes ``judge_prompt``.

    Raises:
        FileNotFoundError, ValueError: no such file, or settings that are wrong.
    """
    data = config.override(config.read(path), list(changes))
    if endpoint:
        url, _, model = endpoint.partition("#")
        data["endpoint"] = {"model": AUTO, "options": {"max_tokens": 512, "temperature": 0}} | data.get("endpoint", {})
        data["endpoint"] |= {"url": url} | ({"model": model} if model else {})
    for number, judge in enumerate(judges, 1):
        if not data.get("judge_prompt"):
            raise ValueError(f"{path}: judge_prompt: expected a file of eval/judges for --judge, found none.")
        url, _, model = judge.partition("#")
        asked = {"url": url, "model": model or AUTO, "options": {"max_tokens": 1200, "temperature": 0}}
        data["judges"] = [
            *data.get("judges", []), {"name": f"judge{number}", "prompt": data["judge_prompt"], "endpoint": asked},
        ]
    return config.check(Settings, data, str(path))


def suite_of(settings: Settings) -> tuple[ModuleType, Any]:
    """The suite's file and its checked data section."""
    suite = config.find("eval.suites", settings.suite)
    missing = [name for name in suites.NAMES if name not in vars(suite)]
    if missing:
        wanted = ", ".join(suites.NAMES)
        raise ValueError(f"suite: expected a module with {wanted}, {settings.suite} lacks {missing[0]}.")
    return suite, config.check(suite.Data, settings.data, "data")


def named(settings: endpoints.Settings) -> endpoints.Settings:
    """With the model's name, asked of the endpoint where it is `AUTO`.

    Raises:
        Hopeless, ValueError: the endpoint lists none.
    """
    if settings.model != AUTO:
        return settings
    client = patience.client(settings.url, settings.key_variable, settings.patience.seconds)
    try:
        listed = patience.tried(
            lambda: patience.once(client, "GET", "models", seconds=settings.patience.seconds).json(), settings.patience
        )
        model = listed["data"][0]["id"]
    except (Failed, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{settings.url}/models: expected a list with a model, got {error}; say it as URL#MODEL."
        ) from None
    finally:
        client.close()
    return settings.model_copy(update={"model": str(model)})


@dataclass(frozen=True)
class Taken:
    """A suite's samples, ids that came more than once, and what is no sample."""

    items: list[Item]
    twice: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def taken(suite: ModuleType, data: Any, seed: int, limit: int | None) -> Taken:
    """The items, the first ``limit`` of them, with what came among them.

    Raises:
        ValueError: none.
    """
    found: dict[str, Item] = {}
    twice: list[str] = []
    left_out: list[LeftOut] = []
    for item in suite.items(data, seed):
        if isinstance(item, LeftOut):
            left_out.append(item)
        elif item.id in found:
            twice.append(item.id)
        elif limit is None or len(found) < limit:
            found[item.id] = item
        if limit is not None and len(found) == limit:
            break
    if not found:
        why = f"; left out: {left_out[0].id}: {left_out[0].reason}" if left_out else "."
        raise ValueError(f"data: expected at least one sample, found none{why}")
    return Taken(list(found.values()), tuple(twice), tuple(left_out))


def estimate(settings: Settings, limit: int | None = None) -> str:
    """What a run would ask and cost, in words: typical, and at most."""
    suite, data = suite_of(settings)
    items = taken(suite, data, settings.seed, limit).items
    if suite.local(items[0], data) is not None:
        return f"{settings.suite}: {len(items)} samples are computed here; nobody is asked."
    lines, typical, most = [], 0.0, 0.0
    texts = [sum(_size(message["content"], item) for message in item.messages) for item in items]
    graded = [(judge.name, judge.endpoint, judging.load(judge.prompt)) for judge in settings.judges]
    asked = [("model", settings.endpoint, sum(texts), 1)]
    for name, endpoint, prompt in graded:
        frame = len(prompt.system) + len(prompt.question)
        words = sum(2 * len(item.reference) + frame for item in items)
        asks = next(judge.asks for judge in settings.judges if judge.name == name)
        asked.append((name, endpoint, words // BYTES_A_TOKEN, asks))
    for name, endpoint, tokens, asks in asked:
        replies = len(items) * endpoint.longest
        low = tokens * endpoint.dollars_per_million_in + replies / 4 * endpoint.dollars_per_million_out
        high = tokens * BYTES_A_TOKEN * endpoint.dollars_per_million_in + replies * endpoint.dollars_per_million_out
        typical, most = typical + low / 1e6, most + asks * high / 1e6
        lines.append(
            f"{name} ({endpoint.url}): {len(items)} requests, about {tokens:,} tokens in, {replies:,} out at most"
        )
    cost = f"about {typical:.2f} dollars, {most:.2f} at most by the prices given; nothing was asked."
    return "\n".join([*lines, cost])


def _size(content: Any, item: Item) -> int:
    """About how many tokens a message's content counts; a motion as many as it has frames of 25 a second."""
    if isinstance(content, str):
        return len(content) // BYTES_A_TOKEN + 1
    counts = {"text": lambda part: len(part["text"]) // BYTES_A_TOKEN + 1, "image_url": lambda part: 1000}
    motion = round(item.clip.frames / item.clip.fps * 25) if item.clip else 250
    return sum(counts.get(part["type"], lambda part: motion)(part) for part in content)


def run(
    settings: Settings, out: Path, *, limit: int | None = None, offline: bool = False, max_dollars: float | None = None
) -> Run:
    """Ask, score and judge all samples, several at a time, with a live table of the means so far.

    Raises:
        ValueError: another suite was run in ``out``, or its answers are missing ``offline``.
        Hopeless: the endpoint, or a judge, answers nobody.
    """
    suite, data = suite_of(settings)
    found = taken(suite, data, settings.seed, limit)
    items = found.items
    if suite.local(items[0], data) is not None:  # baselines and codecs: nobody is asked
        alone = settings.endpoint.model_copy(update={"model": settings.data.get("baseline") or settings.suite})
        settings = settings.model_copy(update={"endpoint": alone})
    settings = _resolved(settings, out, offline=offline)
    limits = {"dollars": max_dollars}
    with ExitStack() as stack:
        answers = Answers(out / CALLS, reading=offline)
        stack.callback(answers.close)
        purse = Purse(limits, answers.spent(), answers.add)
        ask = stack.enter_context(Endpoint(settings.endpoint, answers, purse=purse, offline=offline))
        judges = {
            one.name: Judge(one, stack.enter_context(Endpoint(one.endpoint, answers, purse=purse, offline=offline)))
            for one in settings.judges
        }
        work = functools.partial(_sample, suite=suite, data=data, ask=ask, judges=judges, folder=out / MOTIONS)
        at_once = 1 if offline else settings.endpoint.at_once  # threads wait for answers; they compute no faster
        samples = list(live.shown(work, items, at_once))
        spent = answers.spent()
    prompts = {name: judge.prompt for name, judge in judges.items()}
    return Run(
        settings, suite, data, samples, settings.endpoint.model, prompts, found.twice, found.left_out, spent
    )


def _resolved(settings: Settings, out: Path, *, offline: bool) -> Settings:
    """With the models' names, and kept in ``out``: a folder holds one run."""
    path = out / SETTINGS
    kept = config.check(Settings, config.read(path), str(path)) if path.is_file() else None  # YAML reads JSON
    if offline and kept is None:
        raise ValueError(f"{out}: expected the answers of a run for --offline, found none.")
    if kept is not None:
        settings = _with_names(settings, [kept.endpoint, *(judge.endpoint for judge in kept.judges)])
    elif not offline:
        settings = _with_names(settings, [named(settings.endpoint), *(named(one.endpoint) for one in settings.judges)])
    asked = ("suite", "data", "seed")
    if kept is not None and any(vars(kept)[key] != vars(settings)[key] for key in asked):
        raise ValueError(
            f"{out}: expected the suite, data and seed that were run there before, got others; choose another --output."
        )
    with replacing(path) as beside:
        beside.write_text(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
    return settings


def _with_names(settings: Settings, known: Sequence[endpoints.Settings]) -> Settings:
    """Names of models in place of `AUTO`, from endpoints in the same order."""
    def one(endpoint: endpoints.Settings, place: int) -> endpoints.Settings:
        if endpoint.model != AUTO or place >= len(known):
            return endpoint
        return endpoint.model_copy(update={"model": known[place].model})

    judges = [
        judge.model_copy(update={"endpoint": one(judge.endpoint, place)})
        for place, judge in enumerate(settings.judges, 1)
    ]
    return settings.model_copy(update={"endpoint": one(settings.endpoint, 0), "judges": judges})


def _sample(
    item: Item, *, suite: ModuleType, data: Any, ask: Endpoint, judges: dict[str, Judge], folder: Path
) -> Sample:
    answer = suite.local(item, data) or answered(item, ask, folder)
    text, reference = suite.candidate(item, answer)
    grades = {}
    for name, judge in judges.items():
        pictures = None
        if judge.settings.sees != "words" and (clip := answer.clip or item.clip):
            pictures = presenting.parts(clip, judge.settings.sees)
        grades[name] = judge.grade(text, reference, pictures)
    return Sample(item, answer, suite.scored(item, answer, data), text, grades)


def answered(item: Item, ask: Endpoint, folder: Path) -> Answered:
    """What the endpoint makes of an item. What fails comes with its reason and the others go on.

    Raises:
        Hopeless: nothing will ever be answered.
    """
    try:
        answer = ask.ask(item.messages, options=item.options)
        clip = _motion(answer, ask, folder)
    except Failed as failure:
        return Answered(fault=failure.reason)
    except Spent:
        return Answered(fault="budget")
    text = answer.text if clip is None else ""
    fault = "" if text.strip() or clip is not None else "empty"
    return Answered(text, clip, fault, answer.tokens_in, answer.tokens_out, answer.seconds)


def _motion(answer: Answer, ask: Endpoint, folder: Path) -> MotionClip | None:
    """The motion of an answer: the gateway's as the file that it offers, an engine's own from its tokens."""
    if answer.motion is None:
        return reading_answers.of_tokens(answer.text)
    key = hashlib.sha256(json.dumps([answer.motion.get("id"), answer.motion.get("codes")]).encode()).hexdigest()
    path = folder / f"{key[:32]}.npz"
    if not path.is_file():
        _fetch(answer.motion, ask, path)
    return reading_answers.of_file(path.read_bytes())


def _fetch(motion: dict[str, Any], ask: Endpoint, path: Path) -> None:
    if ask.offline:
        raise Failed("not_kept", f"{path} is not there")
    files = motion.get("files")
    files = files if isinstance(files, list) else []
    links = {one.get("format"): one.get("url") for one in files if isinstance(one, dict)}
    link = links.get("npz")
    if not isinstance(link, str):
        raise Failed("no_motion_file", "expected a link to an npz file in message.motion.files")
    reply = ask.fetch(link)
    with replacing(path) as beside:
        beside.write_bytes(reply)


def missed(values: dict[str, float | None], thresholds: dict[str, Threshold]) -> list[str]:
    """A line for every threshold that is not kept.

    Raises:
        ValueError: a threshold of a column that there is not.
    """
    lines = []
    for name, threshold in thresholds.items():
        if name not in values:
            raise ValueError(f"thresholds.{name}: expected one of {', '.join(values)}.")
        value = values[name]
        if value is None:
            lines.append(f"{name}: expected a value, there is none.")
        elif threshold.least is not None and value < threshold.least:
            lines.append(f"{name}: expected at least {threshold.least:g}, got {value:.4g}.")
        elif threshold.most is not None and value > threshold.most:
            lines.append(f"{name}: expected at most {threshold.most:g}, got {value:.4g}.")
    return lines
