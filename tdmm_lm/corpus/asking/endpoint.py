"""Any OpenAI-compatible chat endpoint, asked many things at once: with patience, within a budget, nothing paid twice.

    with Endpoint(settings, folder / "answers.jsonl") as endpoint:
        for text, answer in each(lambda text: endpoint.ask([{"role": "user", "content": text}]), texts, 8): ...
"""

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, model_validator

from tdmm_lm import config
from tdmm_lm.corpus.asking import patience
from tdmm_lm.corpus.asking.answers import Answers
from tdmm_lm.corpus.asking.budget import Purse
from tdmm_lm.corpus.asking.patience import Failed, Hopeless, Patience

A = TypeVar("A")
B = TypeVar("B")

LENGTHS = ("max_completion_tokens", "max_tokens")  # names under which an answer's length is bounded
MESSAGE_TOKENS = 16  # that a chat template puts around a message, at most
UNANSWERED = ("busy", "unreachable")  # failures that no server charges for, as for all of http_4..


class Budget(config.Settings):
    """The most that all runs with the same file of answers may spend together; null for no limit."""

    requests: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    dollars: float | None = Field(default=None, ge=0)


class Settings(config.Settings):
    """An endpoint. ``options`` go into every request under the API's own names and must bound an answer's tokens."""

    url: str = "http://127.0.0.1:8000/v1"
    model: str
    key_variable: str | None = "OPENAI_API_KEY"  # environment variable that holds the key
    at_once: int = Field(default=8, ge=1)  # requests under way
    options: dict[str, Any] = Field(default={"max_tokens": 512, "temperature": 0.9})
    image_tokens: int = Field(default=2000, ge=0)  # that a picture may count for, at most
    dollars_per_million_in: float = Field(default=0, ge=0)
    dollars_per_million_out: float = Field(default=0, ge=0)
    budget: Budget = Budget()
    patience: Patience = Patience()
    give_up_after: int = Field(default=20, ge=1)  # failed requests in a row, each with all its tries

    @model_validator(mode="after")
    def _bounded(self) -> "Settings":
        longest(self.options)
        reserved = {"model", "messages", "stream", "n"} & set(self.options)
        if reserved:
            raise ValueError(f"options: expected none of {', '.join(sorted(reserved))}, which are set elsewhere")
        return self

    @property
    def longest(self) -> int:
        """Tokens of an answer, at most."""
        return longest(self.options)


def longest(options: Mapping[str, Any]) -> int:
    """Tokens of an answer to a request with these options, at most.

    Raises:
        ValueError: nothing bounds it.
    """
    bound = max((options[name] for name in LENGTHS if isinstance(options.get(name), int)), default=0)
    if bound < 1:
        raise ValueError(f"options: expected {' or '.join(LENGTHS)}, a whole number; a budget needs a bound")
    return bound


@dataclass(frozen=True)
class Answer:
    """``finish`` is OpenAI's finish_reason; tokens are 0 where the server does not count; ``kept`` if not asked now.

    ``motion`` is the message's, where a server of ours performed one; ``seconds`` are the request's.
    """

    text: str
    finish: str
    model: str
    tokens_in: int
    tokens_out: int
    kept: bool = False
    motion: dict[str, Any] | None = None
    seconds: float = field(default=0.0, compare=False)


def apart(source: Path, out: Path) -> None:
    """
    Raises:
        FileNotFoundError: no such source.
        ValueError: what is written would lie in it.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: expected JSON lines or a data set's folder, found none.")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise ValueError(f"{out}: expected a folder outside of {source}, which is only read; choose another --output.")


class Endpoint:
    """An open endpoint with its kept answers; its methods may be called from many threads."""

    def __init__(
        self, settings: Settings, answers: Path | Answers, *, wait: Callable[[float], None] = time.sleep,
        purse: Purse | None = None, offline: bool = False,
    ) -> None:
        """``wait`` pauses between tries. Several endpoints may share an open file of answers, which stays open then,
        and a ``purse``. ``offline`` nothing is asked: what was not kept is a failure.

        Raises:
            ValueError: no http address, or a file that holds something else.
            ImportError: no httpx.
        """
        self.settings, self._wait, self.offline = settings, wait, offline
        self._client = patience.client(settings.url, settings.key_variable, settings.patience.seconds)
        self._own = not isinstance(answers, Answers)
        self._answers = answers if isinstance(answers, Answers) else Answers(answers)
        self.purse = purse or Purse(settings.budget.model_dump(), self._answers.spent(), self._answers.add)
        self._lock, self._failures = threading.Lock(), 0

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()
        if self._own:
            self._answers.close()

    def ask(
        self, messages: list[dict[str, Any]], *, turn: int = 0, options: dict[str, Any] | None = None
    ) -> Answer:
        """The answer to a conversation, from the store where it was asked before; ``turn`` numbers answers to the same.

        ``options`` are this request's alone, over those of the settings.

        Raises:
            Failed: no answer in all tries; its reason is for counting.
            Spent: another request may go over the budget.
            Hopeless: nothing will ever be answered (key, model, address, or many failures in a row).
            ValueError: ``options`` that unbind an answer's tokens.
        """
        body, key = self.asked(messages, turn=turn, options=options)
        with self._answers.asking(key):
            kept = self._answers.get(key)
            if kept is not None:
                return Answer(**{**kept, "kept": True})
            if self.offline:
                raise Failed("not_kept", f"{self._answers.path} holds no answer to this question")
            try:
                answer = patience.tried(lambda: self._once(body), self.settings.patience, wait=self._wait)
            except Failed as failure:
                self._count(failed=failure.again)
                raise
            self._count(failed=False)
            self._answers.put(key, asdict(answer))
            return answer

    def asked(
        self, messages: list[dict[str, Any]], *, turn: int = 0, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], str]:
        """A request's body, and the hash that its answer is kept by: of the model, options, messages and turn."""
        body = {**self.settings.options, **(options or {}), "model": self.settings.model, "messages": messages}
        return body, hashlib.sha256(json.dumps([body, turn], sort_keys=True).encode()).hexdigest()

    def fetch(self, url: str) -> bytes:
        """A file that an answer links to, by its path: of this endpoint's server and no other.

        Raises:
            Failed: it did not come in all tries, or is gone: that says nothing of other files.
        """
        seconds, home, link = self.settings.patience.seconds, urlsplit(self.settings.url), urlsplit(url)
        here = urlunsplit((home.scheme, home.netloc, link.path, link.query, ""))
        return patience.tried(
            lambda: patience.once(self._client, "GET", here, seconds=seconds, hopeless=()).body,
            self.settings.patience, wait=self._wait,
        )

    def _count(self, *, failed: bool) -> None:
        """A dead endpoint must not run through a whole corpus row by row."""
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if self._failures >= self.settings.give_up_after:
                raise Hopeless(
                    f"{self.settings.url}: expected answers, got {self._failures} requests in a row without one; "
                    "start again when it is well: what was answered is kept."
                )

    def _cost(self, tokens_in: int, tokens_out: int) -> dict[str, float]:
        price = tokens_in * self.settings.dollars_per_million_in + tokens_out * self.settings.dollars_per_million_out
        return {"requests": 1, "tokens": tokens_in + tokens_out, "dollars": price / 1e6}

    def _once(self, body: dict[str, Any]) -> Answer:
        most_in = _most_tokens(body["messages"], self.settings.image_tokens)
        taken = self.purse.take(self._cost(most_in, longest(body)))
        began = time.monotonic()
        try:
            reply = patience.once(
                self._client, "POST", "chat/completions", seconds=self.settings.patience.seconds, body=body
            )
        except Failed as failure:
            if failure.reason in UNANSWERED or failure.reason.startswith("http_4"):
                self.purse.settle(taken, self._cost(0, 0))
            raise  # of a time-out or a broken server nobody knows what it cost: the most stays counted
        except Hopeless:
            self.purse.settle(taken, self._cost(0, 0))
            raise
        answer, counted = _read(reply.json(), self.settings.model)
        answer = replace(answer, seconds=round(time.monotonic() - began, 4))
        if counted:
            self.purse.settle(taken, self._cost(answer.tokens_in, answer.tokens_out))
        return answer


def _read(data: dict[str, Any], model: str) -> tuple[Answer, bool]:
    """A chat completion and whether it says how many tokens it took.

    Raises:
        Failed: it is none.
    """
    try:
        choice = data["choices"][0]
        text = choice["message"]["content"]
        if text is not None and not isinstance(text, str):
            raise TypeError
    except (KeyError, IndexError, TypeError):
        raise Failed("nonsense", f"expected a chat completion, got {str(data)[:80]}", again=True) from None
    usage = data.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    known = [count for count in counts if isinstance(count, int) and count >= 0]
    tokens_in, tokens_out = known if len(known) == 2 else (0, 0)
    named = data.get("model")
    answer = Answer(
        text or "", str(choice.get("finish_reason") or ""), named if isinstance(named, str) else model,
        tokens_in, tokens_out, motion=motion if isinstance(motion := choice["message"].get("motion"), dict) else None,
    )
    return answer, len(known) == 2


def _most_tokens(messages: list[dict[str, Any]], image_tokens: int) -> int:
    """A bound for what messages count: a token is at least one byte of text, and pictures count as they are said to."""
    count = 0
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        count += MESSAGE_TOKENS
        for part in parts:
            count += image_tokens if part["type"] == "image_url" else len(part.get("text", "").encode())
    return count


def each(work: Callable[[A], B], items: Iterable[A], at_once: int) -> Iterator[tuple[A, B]]:
    """(item, work(item)) in the items' order, several at a time; few items are taken ahead.

    What ``work`` raises is raised here, after what is under way has ended; nothing new is begun.
    """
    with ThreadPoolExecutor(at_once) as pool:
        waiting: deque[tuple[A, Future[B]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) >= 4 * at_once:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
