"""What is evaluated: every other file is one kind of suite, named in a YAML of ``eval/suites``, with the same names:

    Data                       settings of what is asked: how many, of what
    COLUMNS                    {name: Column}: figures of single samples, judge-free
    SETS                       {name: Column}: figures of all samples together; possibly none
    items(data, seed)          -> iterator of Item, the same for the same seed; LeftOut for what cannot be asked about
    scored(item, answer, data) -> {column: value}: None where the column does not apply to the item
    sets(items, answers, data) -> {name: OfSamples}, to be drawn again by a bootstrap
    candidate(item, answer)    -> the text that a judge reads of an answer, and the reference beside it
    told(item, answer)         -> (true, found) for a table of confusions, or None
    local(item, data)          -> Answered without any endpoint: baselines, codecs; None: the endpoint is asked
    vectors(items, answers, data) -> (vectors, names) for a picture of clusters, or None

A suite asks an endpoint as anybody would, over HTTP; nothing of the model under test is imported. What an endpoint made
is never graded by a model of the same endpoint unless the suite's judges say so.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from tdmm_lm import rigs
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import Observation
from tdmm_lm.observe import run as observing

NAMES = ("Data", "COLUMNS", "SETS", "items", "scored", "sets", "candidate", "told", "local", "vectors")
Better = Literal["higher", "lower", "none"]
Messages = list[dict[str, Any]]
Vectors = tuple[Float[np.ndarray, "n d"], list[str]]


@dataclass(frozen=True)
class Column:
    """What a figure is: the unit, which way is better, one line for the table's legend.

    ``spread`` is the way to an interval: distances of distributions grow when samples are drawn again, so percentiles
    of draws would lie beside them; there clusters are left out instead ("t").
    """

    unit: str
    better: Better
    what: str
    spread: Literal["auto", "t"] = "auto"


@dataclass(frozen=True)
class OfSamples:
    """A figure of many samples: ``function`` of the numbers of those that are drawn; ``n`` of all have part in it.

    ``shares`` are the samples' own values where the figure is nothing but their mean and they lie in 0..1.
    """

    function: Callable[[Int[np.ndarray, " drawn"]], float]
    n: int
    shares: Float[np.ndarray, " samples"] | None = None

    def __call__(self, places: Int[np.ndarray, " drawn"]) -> float:
        return self.function(places)


def of_values(
    values: Float[np.ndarray, " samples"], middle: Callable[[Float[np.ndarray, " some"]], Any] = np.mean
) -> OfSamples:
    """The mean, or another ``middle``, of values of the samples' own; nan where a sample has none."""
    def drawn(places: Int[np.ndarray, " drawn"]) -> float:
        some = values[places]
        some = some[np.isfinite(some)]
        return float(middle(some)) if len(some) else float("nan")

    there = values[np.isfinite(values)]
    plain = middle is np.mean and bool(np.all((there >= 0) & (there <= 1)))
    return OfSamples(drawn, len(there), values if plain else None)


@dataclass(frozen=True)
class Item:
    """One sample: what is asked of the endpoint and what is true.

    ``cluster`` is who or what samples have in common (a speaker, a word): intervals are drawn over these.
    ``messages`` and ``options`` are a chat completion's; ``truth`` is the suite's own; ``clip`` is the motion asked
    about, or performed exactly.
    """

    id: str
    cluster: str
    messages: Messages
    options: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    truth: Any = None
    clip: MotionClip | None = None


@dataclass(frozen=True)
class LeftOut:
    """Something that was there and is no sample: no face in a film, too long to be shown. It is counted, and said."""

    id: str
    reason: str


def samples(found: Iterable[Item | LeftOut]) -> Iterator[Item]:
    """Those that are."""
    return (one for one in found if isinstance(one, Item))


@dataclass(frozen=True)
class Answered:
    """What came back: the text, and the motion where one was performed. ``fault`` says in a word why there is neither.

    ``tokens_in`` is what the prompt counted, as the server says; ``seen`` what `observe` finds in the motion.
    """

    text: str = ""
    clip: MotionClip | None = None
    fault: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    @cached_property
    def seen(self) -> Observation:
        assert self.clip is not None
        return observing.run(self.clip, rigs.load(self.clip.rig))
