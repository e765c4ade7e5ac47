"""The suites as tasks for Inspect, the UK AI Security Institute's evaluation framework: its models, logs and viewer.

    inspect eval tdmm_lm/eval/inspect_tasks.py@m2l --model openai/gpt-5 -T n=50

Motion goes out as a contact sheet of the rendered head, or as motion tokens to an engine that serves our export
(``-T present=tokens``); what comes back is scored as in ``tdmm eval run``: motions from tokens, or from links in the
text, of which the path alone counts: files are fetched from ``-T server=URL``.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, ContentImage, ContentText
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState, generate

from tdmm_lm import config
from tdmm_lm.corpus.asking import patience
from tdmm_lm.corpus.asking.patience import Failed
from tdmm_lm.eval import reading_answers
from tdmm_lm.eval.suites import Answered, Item, samples
from tdmm_lm.motion import MotionClip

LINK = re.compile(r"/v1/motions/[\w-]+\.npz[^\s)\"']*")
SERVER = "http://127.0.0.1:8000/v1"  # that motions come from: what a model writes names no other
SECONDS = 60.0


@task
def m2l(n: int = 50, present: str = "sheet", source: str = "performances", seed: int = 0) -> Task:
    """Motion2Language."""
    return made("m2l", {"n": n, "present": present, "source": source}, seed)


@task
def l2m(n: int = 50, swaps: int = 0, seed: int = 0, server: str = SERVER) -> Task:
    """Language2Motion."""
    return made("l2m", {"n": n, "swaps": swaps}, seed, server)


@task
def robustness(n: int = 10, seed: int = 0, server: str = SERVER) -> Task:
    """Paraphrases, swaps, left and right, lengths, several actions."""
    return made("robustness", {"n": n}, seed, server)


@task
def retrieval(n: int = 64, seed: int = 0, server: str = SERVER) -> Task:
    """Only whether motions come: the figures of sets are those of ``tdmm eval run``."""
    return made("retrieval", {"n": n}, seed, server)


def made(name: str, section: dict[str, Any], seed: int, server: str = SERVER) -> Task:
    """A suite as a task: its items, one generation each, its columns that every sample has."""
    suite = config.find("eval.suites", name)
    data = config.check(suite.Data, section, "data")
    items = list(samples(suite.items(data, seed)))
    empty = [suite.scored(item, Answered(), data) for item in items]
    columns = [name for name in suite.COLUMNS if all(row[name] is not None for row in empty)]
    asked = [
        Sample(input=messages(item), target=item.reference, id=item.id, metadata={"cluster": item.cluster})
        for item in items
    ]
    scored = _scorer({item.id: item for item in items}, suite, data, columns, server)
    return Task(dataset=MemoryDataset(asked, name=f"tdmm-{name}"), solver=generate(), scorer=scored)


def messages(item: Item) -> list[ChatMessage]:
    """An item's question in Inspect's classes.

    Raises:
        ValueError: a part that Inspect has no class for.
    """
    result: list[ChatMessage] = []
    for message in item.messages:
        content = message["content"]
        given: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts: list[Any] = []
        for part in given:
            if part["type"] == "text":
                parts.append(ContentText(text=part["text"]))
            elif part["type"] == "image_url":
                parts.append(ContentImage(image=part["image_url"]["url"]))
            else:
                raise ValueError(f"present: expected sheet or tokens for Inspect, got a {part['type']} part.")
        kind = ChatMessageSystem if message["role"] == "system" else ChatMessageUser
        result.append(kind(content=parts))
    return result


def _scorer(items: dict[str, Item], suite: Any, data: Any, columns: Sequence[str], server: str) -> Scorer:
    @scorer(metrics={"*": [mean(), stderr()]}, name=f"tdmm_{data.__class__.__module__.rsplit('.', 1)[-1]}")
    def scored() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            item = items[str(state.sample_id)]
            text = state.output.completion
            try:
                clip = await asyncio.to_thread(_motion, text, server)
                answer = Answered("" if clip else text, clip, "" if text.strip() else "empty")
            except Failed as failure:
                answer = Answered(fault=failure.reason)
            found = suite.scored(item, answer, data)
            return Score(
                value={name: float(found[name]) for name in columns}, answer=answer.text or answer.fault,
                explanation=suite.candidate(item, answer)[0], metadata={"columns": found},
            )

        return score

    return scored()


def _motion(text: str, server: str) -> MotionClip | None:
    """The motion that a text links to, or holds as tokens.

    Raises:
        Failed: it did not come, or is none.
    """
    link = LINK.search(text)
    if link is None:
        return reading_answers.of_tokens(text)
    home = urlsplit(server)
    with patience.client(f"{home.scheme}://{home.netloc}", None, SECONDS) as client:
        return reading_answers.of_file(patience.once(client, "GET", link.group(0), seconds=SECONDS, hopeless=()).body)
