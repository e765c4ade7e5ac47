"""Language2Motion (TDMM-LM, section 5; T16, T17, T19): prompts in unseen words are performed; `observe` says what came.

The motion is never described by the model that made it: columns are measured on its geometry, and a judge reads what
was measured, or sees it rendered. Distances are to the exact performance of the same score, the corpus's own truth.
"""

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from tdmm_lm import config
from tdmm_lm.corpus import caption, labels, lexicon, prompts
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.perform import perform
from tdmm_lm.eval import summaries, teacher
from tdmm_lm.eval.suites import Answered, Column, Item, OfSamples, Vectors, of_values
from tdmm_lm.metrics import fd
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.observe import Observation

SHARE = "share"
COLUMNS = {
    "answered": Column(SHARE, "higher", "a motion came back"),
    "family": Column(SHARE, "higher", "the strongest expression observed is the strongest asked for"),
    "level": Column(SHARE, "higher", "how strong it is: slight, clear, strong"),
    "side": Column(SHARE, "higher", "left or right of a one-sided expression whose side the prompt tells"),
    "gesture": Column(SHARE, "higher", "the most salient head gesture is one asked for, or none where none is"),
    "count": Column(SHARE, "higher", "nods and shakes counted as asked, where the gesture is right"),
    "gaze": Column(SHARE, "higher", "where the eyes went, where the prompt says it"),
    "transition": Column(SHARE, "higher", "of prompts with two expressions: both observed, in their order (T17)"),
    "seconds_off": Column("s", "lower", "length against what was asked"),
    "expression_l2": Column("norm", "lower", "mean over frames of the distance of ARKit weights, to the performance"),
    "pose_l2": Column("rad", "lower", "the same of the head's rotation vector"),
    "tok": Column(SHARE, "higher", "codes of the performance that are the model's first choice, teacher-forced (T19)"),
}
SETS = {
    "fd": Column("Fréchet", "lower", f"to the performances, in {summaries.VERSION}", "t"),
    "swap_followed": Column(SHARE, "higher", "of pairs of prompts that differ in one word: both faces as asked (T16)"),
}


class Data(config.Settings):
    """What is asked for. Of ``swaps`` pairs the two prompts differ in the expression's word alone."""

    n: int = Field(500, ge=1)
    swaps: int = Field(50, ge=0)
    words: list[str] | None = None  # of the lexicon; null: all
    seconds: bool = True  # ask for the performance's length
    lm: str | None = None  # folder of the model under test, for `tok`, which no endpoint says; assets/lm: the bundled
    options: dict[str, object] = Field(default={"modalities": ["motion"]})  # of a request


def items(data: Data, seed: int) -> Iterator[Item]:
    """Prompts in wordings kept from training; pairs that differ in one word follow, both of a pair in one cluster.

    Raises:
        FileNotFoundError, ValueError: no model in ``data.lm``, before anybody is asked.
    """
    if data.lm is not None:
        teacher.loaded(data.lm)  # here, and not by all threads of a run at once
    rng = np.random.default_rng(seed)
    for i in range(data.n):
        number = seed * 1_000_003 + 400_000 + i
        score = prompts.sample(number, split="test", words=data.words)
        known = labels.of_score(score)
        text = caption.prompt(known, rng, split="test")
        yield _item(f"prompt-{number}", known.word or known.family, text, known, perform(score), data)
    made, number = 0, seed * 1_000_003 + 450_000
    while made < data.swaps:
        number += 1
        pair = swapped(number, data.words)
        if pair is None:
            continue
        made += 1
        for letter, (text, known) in zip("ab", pair):
            yield _item(f"swap-{number}-{letter}", f"swap-{number}", text, known, None, data)


def _item(name: str, cluster: str, text: str, known: Labels, clip: MotionClip | None, data: Data) -> Item:
    options = dict(data.options) | ({"motion": {"seconds": known.seconds}} if data.seconds else {})
    return Item(name, cluster, [{"role": "user", "content": text}], options, text, known, clip)


def swapped(seed: int, words: Sequence[str] | None = None) -> list[tuple[str, Labels]] | None:
    """Two prompts, word for word the same but for the expression, and what each asks for; None where the drawn words
    are of one family."""
    rng = np.random.default_rng([seed, 9])
    known = {name: word for name, word in lexicon.lexicon().words.items() if not words or name in words}
    plain = [name for name, word in known.items() if word.adjective and not word.sided and word.family != "neutral"]
    if len({known[name].family for name in plain}) < 2:
        raise ValueError("data.swaps: expected adjectives of two families among the words, got fewer; swaps: 0.")
    names = [plain[int(place)] for place in rng.choice(len(plain), 2, replace=False)]
    one, other = (known[name] for name in names)
    if one.family == other.family:
        return None
    base = labels.of_score(prompts.sample(seed, split="test", word=names[0], seconds=4.0))
    if len(base.shown) != 1:
        return None
    text = caption.prompt(base, np.random.default_rng([seed, 1]), split="test")
    said = re.compile(rf"\b{re.escape(str(one.adjective))}\b")
    if len(said.findall(text)) != 1:  # a synonym was drawn
        return None
    changed = base.model_copy(update={
        "family": other.family, "word": names[1], "words": (names[1],),
        "shown": (base.shown[0].model_copy(update={"word": names[1], "family": other.family}),),
    })
    return [(text, base), (said.sub(str(other.adjective), text), changed)]


def scored(item: Item, answer: Answered, data: Data) -> dict[str, float | None]:
    """Columns of one answer. Where no motion came, nothing that was asked for is there, and no distance is."""
    truth: Labels = item.truth
    read = caption.parse(item.reference)
    asked: dict[str, bool] = {
        "family": True, "level": bool(read.level), "side": bool(read.sides), "gesture": True, "count": False,
        "gaze": read.gaze != "front", "transition": len(truth.shown) == 2,
    }
    result: dict[str, float | None] = {name: 0.0 if told else None for name, told in asked.items()}
    result |= dict.fromkeys(("seconds_off", "expression_l2", "pose_l2", "tok"))
    result["answered"] = float(answer.clip is not None)
    if data.lm is not None and item.clip is not None:
        result["tok"] = teacher.token_accuracy(data.lm, item.reference, item.clip)
    if answer.clip is None:
        return result
    found = answer.seen
    event = max((e for e in found.events if e.kind == "family"), key=lambda e: e.intensity, default=None)
    wanted = [move.name for move in truth.gestures] or ["none"]
    right = {
        "family": found.family == truth.family,
        "level": labels.level(found.intensity) == truth.level if found.family != "neutral" else False,
        "side": event is not None and event.side == next(iter(read.sides), ""),
        "gesture": found.gesture in wanted,
        "gaze": found.gaze == truth.gaze,
        "transition": in_order(found, [shown.family for shown in truth.shown]),
    }
    result |= {name: float(good) for name, good in right.items() if asked[name]}
    if len(truth.gestures) == 1 and truth.gesture in ("nod", "shake") and found.gesture == truth.gesture:
        result["count"] = float(found.count == truth.count)
    if data.seconds:
        result["seconds_off"] = abs(answer.clip.frames / answer.clip.fps - truth.seconds)
    if item.clip is not None:
        result |= distances(answer.clip, item.clip)
    return result


def in_order(found: Observation, families: Sequence[str]) -> bool:
    """Whether families are among the events, the apexes one after the other."""
    times = []
    for family in families:
        apex = max(
            (e for e in found.events if e.kind == "family" and e.name == family), key=lambda e: e.intensity,
            default=None,
        )
        if apex is None:
            return False
        times.append(apex.apex)
    return all(before < after for before, after in itertools.pairwise(times))


def distances(clip: MotionClip, reference: MotionClip) -> dict[str, float | None]:
    """T19's parameter L2 over the frames that both have; None on rigs with other parameters."""
    one, other = (face.resample(each, face.CODE_FPS) for each in (clip, reference))
    if one.rig != other.rig:
        return {"expression_l2": None, "pose_l2": None}
    frames = min(one.frames, other.frames)
    away: dict[str, float | None] = {}
    for name, part in (("expression_l2", "expression"), ("pose_l2", "head")):
        apart = face.part(one, part)[:frames] - face.part(other, part)[:frames]
        away[name] = float(np.linalg.norm(apart, axis=-1).mean())
    return away


def sets(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> dict[str, OfSamples]:
    """``fd`` over prompts that have a performance and an answer; ``swap_followed`` over whole pairs."""
    result: dict[str, OfSamples] = {}
    both = {
        place: (summaries.of(answer.clip), summaries.of(item.clip))
        for place, (item, answer) in enumerate(zip(items, answers)) if item.clip and answer.clip
    }
    if both:
        made, true = (np.full((len(items), summaries.SIZE), np.nan) for _ in range(2))
        for place, (one, other) in both.items():
            made[place], true[place] = one, other
        good = np.isfinite(made[:, 0])

        def frechet(places: np.ndarray) -> float:
            places = places[good[places]]
            return fd.whole(made[places], true[places]) if len(places) > 1 else float("nan")

        result["fd"] = OfSamples(frechet, len(both))
    pairs = np.full(len(items), np.nan)
    right = {
        item.id: scored(item, answer, data)["family"]
        for item, answer in zip(items, answers) if item.id.startswith("swap-")
    }
    for place, item in enumerate(items):
        if item.id.startswith("swap-") and item.id.endswith("-b"):
            pairs[place] = float(bool(right[item.id]) and bool(right.get(item.id[:-1] + "a")))
    if np.isfinite(pairs).any():
        result["swap_followed"] = of_values(pairs)
    return result


def candidate(item: Item, answer: Answered) -> tuple[str, str]:
    """What was observed in the motion, in words, and the prompt: no model describes its own motion."""
    if answer.clip is None:
        return "", item.reference
    known = labels.of_observation(answer.seen)
    return caption.describe(known, np.random.default_rng(0), "full"), item.reference


def told(item: Item, answer: Answered) -> tuple[str, str] | None:
    """The family asked for and the one observed, for a table of confusions."""
    return item.truth.family, answer.seen.family if answer.clip is not None else "nothing"


def local(item: Item, data: Data) -> Answered | None:
    """The endpoint is asked."""
    return None


def vectors(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> Vectors | None:
    """Nothing to draw."""
    return None
