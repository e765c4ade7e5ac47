"""Videos for prompts, by several generators in shares: within a budget, killed and resumed at any moment.

    tdmm corpus videos recipes/corpus/generated.yaml -o runs/generated

In the output folder: `prompts.jsonl`, `videos/ID.mp4` (each there when it is whole) and `ledger.jsonl`, where every
step is written before it is taken. A second run makes what is missing; what was paid for is not paid again.
"""

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field, model_validator

from tdmm_lm import config, video
from tdmm_lm.corpus import video_prompts
from tdmm_lm.corpus.asking.budget import Purse, Spent
from tdmm_lm.corpus.asking.ledger import Ledger
from tdmm_lm.corpus.generators import Failed, Hopeless, Interrupted, Notes, Request
from tdmm_lm.corpus.video_prompts import Prompt
from tdmm_lm.files import replacing
from tdmm_lm.progress import track

VIDEOS, PROMPTS = "videos", "prompts.jsonl"
PLACE = "corpus.generators"  # where adapters are


class Generator(config.Settings):
    """Who makes one generator's videos, and what they cost by the user's own table: measured or on a price list."""

    adapter: str  # a file of tdmm_lm/corpus/generators
    settings: dict[str, Any] = Field(default={})
    at_once: int = Field(default=1, ge=1)
    dollars_per_video: float = Field(default=0, ge=0)
    dollars_per_second: float = Field(default=0, ge=0)  # of video
    gpu_seconds_per_video: float = Field(default=0, ge=0)

    @property
    def costs(self) -> bool:
        """Whether the user's table says what it costs."""
        return self.dollars_per_video + self.dollars_per_second + self.gpu_seconds_per_video > 0


class Budget(config.Settings):
    """The most that all runs in a folder may spend together; null for no limit. Each of several parts has its share."""

    videos: int | None = Field(default=None, ge=0)
    dollars: float | None = Field(default=None, ge=0)
    gpu_hours: float | None = Field(default=None, ge=0)


class Settings(config.Settings):
    """A set of videos. Only the ``generators`` named here take part; their shares are those of the prompts' recipe."""

    prompts: Path | None = None  # a recipe like recipes/corpus/video_prompts.yaml, by default that one
    count: int | None = Field(default=None, ge=1)  # of prompts, else what their recipe says
    generators: dict[str, Generator] = Field(min_length=1)
    tries: int = Field(default=3, ge=1)  # of a video: in one run, and over all runs those that cost something
    budget: Budget = Budget()
    dry_run: bool = False
    part: int = Field(default=0, ge=0)  # of ``parts``: machines that share a folder make a part each
    parts: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_of(self) -> "Settings":
        if self.part >= self.parts:
            raise ValueError(f"part: expected one of 0 to {self.parts - 1}, got {self.part}")
        return self


@dataclass
class Summary:
    """What a run did: videos by what became of them, failures by reason, what was spent, generators that broke down."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    spent: dict[str, float] = field(default_factory=dict)
    hopeless: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [", ".join(f"{count} {what}" for what, count in sorted(self.counts.items())) or "nothing to do"]
        if self.reasons:
            parts.append("failed: " + ", ".join(f"{count} {why}" for why, count in self.reasons.most_common()))
        if self.spent:
            parts.append("spent: " + ", ".join(f"{amount:g} {what}" for what, amount in self.spent.items() if amount))
        parts += [f"{name} stopped: {line}" for name, line in self.hopeless.items()]
        return "; ".join(part.rstrip(". ") for part in parts) + "."


def load(path: str | Path, assignments: list[str] | None = None) -> Settings:
    """A recipe like `recipes/corpus/generated.yaml`."""
    return config.load(Settings, path, assignments)


def wanted(settings: Settings) -> list[Prompt]:
    """The prompts, for the generators that take part.

    Raises:
        ValueError: a generator that the prompts' recipe does not know.
    """
    said = video_prompts.load(settings.prompts)
    unknown = set(settings.generators) - set(said.generators)
    if unknown:
        known = ", ".join(said.generators)
        raise ValueError(f"generators: expected names of the prompts' recipe ({known}), got {', '.join(unknown)}.")
    taking_part = {name: own for name, own in said.generators.items() if name in settings.generators}
    return list(
        video_prompts.prompts(
            said.model_copy(update={"generators": taking_part, "count": settings.count or said.count})
        )
    )


def cost(prompt: Prompt, generator: Generator) -> dict[str, float]:
    """What a video takes of a budget, by the recipe's table."""
    return {
        "videos": 1,
        "dollars": generator.dollars_per_video + generator.dollars_per_second * prompt.seconds,
        "gpu_hours": generator.gpu_seconds_per_video / 3600,
    }


def estimate(settings: Settings) -> str:
    """What all videos of the recipe would cost, as a table; asks nobody and writes nothing."""
    lines, total = [], Counter[str]()
    by_name: dict[str, list[Prompt]] = {name: [] for name in settings.generators}
    for prompt in wanted(settings):
        by_name[prompt.generator].append(prompt)
    for name, prompts in by_name.items():
        sums = Counter({"seconds": sum(prompt.seconds for prompt in prompts)})
        for prompt in prompts:
            sums.update(cost(prompt, settings.generators[name]))
        total.update(sums)
        lines.append(_line(name, sums))
    lines.append(_line("total", total))
    over = [
        f"{what}: {total[what]:g} of {limit:g}"
        for what, limit in settings.budget.model_dump().items()
        if limit is not None and total[what] > limit
    ]
    free = [name for name, own in settings.generators.items() if not own.costs]
    lines += [f"no cost given for {', '.join(free)}"] if free else []
    return "\n".join([*lines, f"over the budget: {', '.join(over)}" if over else "within the budget"])


def _line(name: str, sums: Counter[str]) -> str:
    hours = f"{sums['gpu_hours']:.2f} GPU hours"
    return f"{name}: {sums['videos']:g} videos, {sums['seconds'] / 3600:.2f} h, {sums['dollars']:.2f} dollars, {hours}"


def generate(settings: Settings, out: str | Path, *, stop: threading.Event | None = None) -> Summary | str:
    """Make the videos that are missing in ``out``; with ``dry_run`` only say what they would cost.

    ``stop`` ends the run early, as Ctrl-C does: jobs that are under way are noted and taken up by the next run.

    Raises:
        ValueError: unknown generators, adapters or keys, or another run in the same folder.
    """
    adapters = {name: _adapter(name, generator) for name, generator in settings.generators.items()}
    if settings.dry_run:
        return estimate(settings)
    out, stop, summary = Path(out), stop or threading.Event(), Summary()
    prompts = wanted(settings)
    (out / VIDEOS).mkdir(parents=True, exist_ok=True)
    with replacing(out / PROMPTS) as beside:
        video_prompts.save(prompts, beside)
    of = f"-of-{settings.parts}" if settings.parts > 1 else ""
    path = out / (f"ledger-{settings.part}{of}.jsonl" if of else "ledger.jsonl")
    every = sorted(out.glob("ledger*.jsonl"))
    others = [other for other in every if other != path and not (of and other.stem.endswith(of))]
    with Ledger(path, others) as ledger:
        run = _Run(settings, out, ledger, stop, summary)
        pools = {name: ThreadPoolExecutor(own.at_once) for name, own in settings.generators.items()}
        try:
            mine = [prompt for prompt in prompts if prompt.number % settings.parts == settings.part]
            futures: list[Future[None]] = [
                pools[prompt.generator].submit(run.one, prompt, *adapters[prompt.generator]) for prompt in mine
            ]
            for future in track(futures, "videos"):
                future.result()
        except BaseException:
            stop.set()
            raise
        finally:
            for pool in pools.values():
                pool.shutdown(cancel_futures=True)
        spent = Counter(ledger.spent_before)
        spent.update(ledger.spent)
        summary.spent = {what: round(amount, 6) for what, amount in spent.items()}
    return summary


def _adapter(name: str, generator: Generator) -> tuple[ModuleType, Any]:
    """A generator's module and its settings, checked before anything is begun."""
    module = config.find(PLACE, generator.adapter)
    return module, config.check(module.Settings, generator.settings, f"generators.{name}.settings")


class _Run:
    """What the threads of a run share."""

    def __init__(
        self, settings: Settings, out: Path, ledger: Ledger, stop: threading.Event, summary: Summary
    ) -> None:
        self.settings, self.out, self.ledger, self.stop, self.summary = settings, out, ledger, stop, summary
        limits = {
            what: None if limit is None else max(0.0, limit - ledger.spent_before.get(what, 0.0)) / settings.parts
            for what, limit in settings.budget.model_dump().items()
        }
        self.purse = Purse(limits, ledger.spent)
        self._lock = threading.Lock()

    def one(self, prompt: Prompt, adapter: ModuleType, settings: Any) -> None:
        """Make one video and count what became of it."""
        what, reason = "waiting", ""
        if (self.out / VIDEOS / f"{prompt.id}.mp4").is_file():
            what = "there before"
        elif not self.stop.is_set() and prompt.generator not in self.summary.hopeless:
            try:
                what, reason = self._made(prompt, adapter, settings)
            except Spent:
                what = "left for want of budget"
            except Interrupted:
                what = "waiting"
            except Hopeless as error:
                with self._lock:
                    self.summary.hopeless.setdefault(prompt.generator, str(error))
        with self._lock:
            self.summary.counts[what] += 1
            self.summary.reasons.update([reason] if reason else [])

    def _made(self, prompt: Prompt, adapter: ModuleType, settings: Any) -> tuple[str, str]:
        """What became of it, and the reason of a failure."""
        known = self.ledger.of(prompt.id)
        if known.get("reason") == "refused" or known.get("paid_failures", 0) >= self.settings.tries:
            return "given up", str(known.get("reason"))
        request = Request(
            prompt.id, prompt.text, prompt.negative, prompt.frames, prompt.fps, prompt.size, prompt.seed
        )
        reason = ""
        for _ in range(self.settings.tries):
            notes = Notes(self.ledger, prompt.id, self.stop)
            spend = self._take(prompt)
            try:
                with replacing(self.out / VIDEOS / f"{prompt.id}.mp4") as beside:
                    adapter.generate(request, settings, beside, notes)
                    seen = _looked_at(beside)
                self.ledger.note(prompt.id, state="done", generator=prompt.generator, **seen)
                return "made", ""
            except Failed as failure:
                reason = failure.reason
                self._failed(prompt, reason, failure.detail, spend, notes)
                if not failure.again or self.ledger.of(prompt.id).get("paid_failures", 0) >= self.settings.tries:
                    break
            except BaseException as error:
                self._failed(prompt, type(error).__name__.lower(), str(error), spend, notes)
                raise
        return "failed", reason

    def _take(self, prompt: Prompt) -> dict[str, float]:
        """Set aside what a video costs; what is under way was paid for before.

        Raises:
            Spent: it would go over the budget.
        """
        spend = cost(prompt, self.settings.generators[prompt.generator])
        if not self._open(prompt):
            self.purse.take(spend)
            self.ledger.note(prompt.id, state="taken", spend=spend)
        return spend

    def _open(self, prompt: Prompt) -> bool:
        """Whether a server is at work on it, or may be."""
        known = self.ledger.of(prompt.id)
        return bool(known.get("job") or known.get("asked_at"))

    def _failed(self, prompt: Prompt, reason: str, detail: str, spend: dict[str, float], notes: Notes) -> None:
        """Note a failure and give back what it did not cost."""
        open_ = self._open(prompt)
        back = spend if notes.free and not open_ else {}
        self.purse.settle(back, dict.fromkeys(back, 0.0))
        failures = self.ledger.of(prompt.id).get("paid_failures", 0) + (0 if notes.free or open_ else 1)
        self.ledger.note(
            prompt.id, state="failed", reason=reason, detail=detail, paid_failures=failures,
            spend={what: -amount for what, amount in back.items()},
        )


def _looked_at(path: Path) -> dict[str, Any]:
    """Frames, rate and size of a video, all of which was decoded.

    Raises:
        Failed: broken_video.
    """
    try:
        shown = video.info(path)
        frames = sum(1 for _ in video.read(path, lambda index: False))
    except (OSError, ValueError) as error:
        raise Failed("broken_video", str(error).replace(str(path), "video"), again=True) from None
    return {"frames": frames, "fps": round(shown.fps, 3), "size": list(shown.size)}
