"""Captions -> natural, conversational words by a language model, kept only where every label survives.

    tdmm corpus paraphrase captions.jsonl -o runs/paraphrases

A rewording that loses, adds or turns round a fact is refused, told what was wrong with it and asked again; where none
is good the original stays.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from tdmm_lm import bundle, config
from tdmm_lm.corpus.asking import endpoint as endpoints
from tdmm_lm.corpus.asking import rewording
from tdmm_lm.corpus.asking.budget import Spent
from tdmm_lm.corpus.asking.endpoint import Endpoint
from tdmm_lm.corpus.asking.patience import Failed
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.files import replacing
from tdmm_lm.progress import track

ANSWERS = "answers.jsonl"
LONGER = 3  # times the original's length, and a few words: beyond it something was made up


class Settings(config.Settings):
    """The whole YAML file; what its keys mean is explained there."""

    endpoint: endpoints.Settings
    times: int = Field(default=1, ge=1)
    asks: int = Field(default=3, ge=1)
    ways: tuple[str, ...] = Field(min_length=1)
    version: int
    system: str
    ask: str
    again: str

    @field_validator("ask")
    @classmethod
    def _slots(cls, value: str) -> str:
        if "{text}" not in value:
            raise ValueError("expected {text} in it")
        return value


@dataclass(frozen=True)
class Text:
    """A caption to be reworded. ``labels``, where known, are what it says."""

    id: str
    text: str
    labels: Labels | None = None


@dataclass(frozen=True)
class Paraphrase:
    """``text`` is the rewording where ``kept``, else the original; ``refused`` has a reason for each answer refused.

    ``failed`` says why there was no good answer: ``unsure`` where all were refused, else why the endpoint gave none.
    """

    id: str
    number: int
    original: str
    text: str
    kept: bool
    refused: tuple[str, ...]
    failed: str
    model: str
    version: int


def load(path: str | Path | None = None, assignments: list[str] | None = None) -> Settings:
    """The recipe, by default the bundled one."""
    return config.load(Settings, path or bundle.path("recipes/corpus/paraphrase.yaml"), assignments)


def fault(original: str, text: str, known: Labels | None) -> list[str]:
    """Why a rewording cannot stand for the original; [] where it can."""
    unusable = rewording.unusable(text)
    if unusable:
        return [unusable]
    if _plain(text) == _plain(original):
        return ["same"]
    if len(text) > LONGER * len(original) + 60:
        return ["too_long"]
    return rewording.changed(original, text, known)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def one(source: Text, number: int, endpoint: Endpoint, settings: Settings) -> Paraphrase:
    """The ``number``-th paraphrase of a text.

    Raises:
        Hopeless: the endpoint answers nobody.
    """
    way = settings.ways[number % len(settings.ways)]
    question = settings.ask.replace("{way}", way).replace("{text}", source.text)
    messages = [{"role": "system", "content": settings.system}, {"role": "user", "content": question}]
    refused: list[str] = []
    failed, model = "unsure", settings.endpoint.model
    for turn in range(settings.asks):
        try:
            answer = endpoint.ask(messages, turn=1000 * number + turn)
        except Failed as failure:
            failed = failure.reason
            break
        except Spent:
            failed = "budget"
            break
        model, text = answer.model, rewording.cleaned(answer.text)
        wrong = ["cut_off"] if answer.finish == "length" else fault(source.text, text, source.labels)
        if not wrong:
            return Paraphrase(
                source.id, number, source.text, text, True, tuple(refused), "", model, settings.version
            )
        refused.append(wrong[0])
        if text and wrong[0].partition("_")[0] in ("lost", "added", "other", "wrong"):
            told = ", ".join(one.replace("_", " ") for one in wrong)
            messages = [
                *messages[:2], {"role": "assistant", "content": text},
                {"role": "user", "content": settings.again.replace("{wrong}", told)},
            ]
    return Paraphrase(
        source.id, number, source.text, source.text, False, tuple(refused), failed, model, settings.version
    )


def many(texts: Iterable[Text], endpoint: Endpoint, settings: Settings) -> Iterator[Paraphrase]:
    """``times`` paraphrases of every text, in order."""
    jobs = ((text, number) for text in texts for number in range(settings.times))
    for _, made in endpoints.each(lambda job: one(*job, endpoint, settings), jobs, settings.endpoint.at_once):
        yield made


def run(settings: Settings, source: str | Path, out: str | Path) -> str:
    """Paraphrase a file or a data set into ``out/paraphrases.jsonl``; the answer counts what was kept and why not.

    Rows that cannot be read are in ``out/aside.jsonl`` with their reasons.

    Raises:
        FileNotFoundError: no such source.
        ValueError: the endpoint answers nobody, or ``out`` lies in the source.
    """
    out, aside = Path(out), list[dict[str, str]]()
    endpoints.apart(Path(source), out)
    kept, refused, failed = Counter[bool](), Counter[str](), Counter[str]()
    with Endpoint(settings.endpoint, out / ANSWERS) as endpoint:
        with replacing(out / "paraphrases.jsonl") as beside, beside.open("w") as file:
            for made in track(many(texts(Path(source), aside), endpoint, settings), "paraphrases"):
                file.write(json.dumps(asdict(made)) + "\n")
                kept[made.kept] += 1
                refused.update(made.refused)
                failed.update([made.failed] if made.failed else [])
        spent = {what: round(amount, 6) for what, amount in endpoint.purse.spent.items()}
    with replacing(out / "aside.jsonl") as beside:
        beside.write_text("".join(json.dumps(row) + "\n" for row in aside))
    lines = [f"{out}: {kept[True]} kept, {kept[False]} stay as they were, {len(aside)} rows set aside."]
    lines += [f"  refused: {_counted(refused)}"] if refused else []
    lines += [f"  stayed: {_counted(failed)}"] if failed else []
    return "\n".join([*lines, f"  spent: {', '.join(f'{amount:g} {what}' for what, amount in spent.items())}"])


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def texts(source: Path, aside: list[dict[str, str]]) -> Iterator[Text]:
    """The captions of JSON lines (prompts of `video_prompts` too) or of a data set's folder; others go into ``aside``.

    Raises:
        FileNotFoundError: no such file or folder.
    """
    if source.is_dir():
        from tdmm_lm.corpus import table  # pyarrow, for data sets alone

        rows: Iterable[Any] = (
            {"id": f"{row['id']}/{number}", "text": text, "labels": row["labels"]}
            for row in table.rows(source)
            for number, text in enumerate(row["texts"])
        )
    elif source.is_file():
        rows = _lines(source)
    else:
        raise FileNotFoundError(f"{source}: expected JSON lines or a data set's folder, found none.")
    for place, row in enumerate(rows, 1):
        try:
            text, labels = row["text"], row.get("labels")
            if "facial" in row:  # a prompt for generators of videos: what the face does is for the model, and no more
                text, labels = row["facial"], None
            if not isinstance(text, str) or not text.strip():
                raise TypeError("text: expected words")
            yield Text(str(row["id"]), text, Labels.model_validate(labels) if labels else None)
        except (KeyError, TypeError, AttributeError, ValidationError) as error:
            aside.append({"row": str(place), "reason": "no_caption", "detail": " ".join(str(error).split())[:200]})


def _lines(source: Path) -> Iterator[Any]:
    with source.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                yield None
