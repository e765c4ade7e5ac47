"""Scores by chance: balanced over families and head gestures, natural in their timing, the same for the same seed."""

from collections.abc import Sequence
from typing import TypeVar, get_args
from zlib import crc32

import numpy as np

from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.performer import sentences
from tdmm_lm.corpus.score import (
    BLINK_APART,
    HELD,
    LEANS,
    PERIOD,
    Direction,
    Expression,
    Gesture,
    Glance,
    HeadMove,
    Saying,
    Score,
)
from tdmm_lm.corpus.wordings import wordings
from tdmm_lm.observe import FAMILIES, INTENSITIES, Side

T = TypeVar("T")
Spans = tuple[tuple[float, float], ...]

SECONDS = (4.0, 4.0, 4.0, 2.0, 2.4, 3.0, 3.6, 5.0, 6.0)  # drawn evenly: mostly four
SILENT = (
    "mouth_open", "pucker", "funnel", "puff", "lip_press", "lip_bite", "teeth", "stretch", "chin_raise", "mouth_side",
    "jaw_side", "jaw_forward", "tongue_out",
)  # families that leave no mouth for speech
CLOSED = ("wink", "eyes_closed")  # and those that leave no eye for a blink
# neutral, emotions, actions: in the order of FAMILIES
CHANCES = np.array([0.04] + [0.05] * 9 + [0.51 / (len(FAMILIES) - 10)] * (len(FAMILIES) - 10))
BLINK_MEAN, BLINK_SPREAD = 2.8, 0.7  # seconds from one blink to the next; standard deviation of their logarithm
BLINK_BEFORE, BLINKS_MOST, BLINK_AT_SHIFT = 20.0, 4, 0.4
SIDES: tuple[Side, Side] = ("left", "right")
MARGIN = 0.04  # intensities keep this far from the borders between levels, so that the name is not a matter of taste


def one(rng: np.random.Generator, ways: Sequence[T]) -> T:
    """One of them, all alike."""
    return ways[int(rng.integers(len(ways)))]


def _intensity(rng: np.random.Generator, word: str, level: str | None = None) -> float:
    """0..1, in a level that the word allows (any by default)."""
    low, high = lexicon().word(word).intensity
    low = max(low, 0.27)  # fainter is lost in the face's idling
    spans = {}
    for name, (start, stop) in INTENSITIES.items():
        span = (max(low, start + MARGIN), min(high, stop - (0 if name == "strong" else MARGIN)))
        if span[1] - span[0] > 0.02:
            spans[name] = span
    if level not in spans:
        level = str(rng.choice(list(spans)))
    start, stop = spans[level]
    return round(float(rng.uniform(start, min(stop, 1.0))), 2)


def expression(
    rng: np.random.Generator, word: str, *, onset: float, until: float, level: str | None = None
) -> Expression:
    """A word as it usually runs, over by ``until`` seconds (or still there, where its shortest form is longer)."""
    usual = lexicon().timing(word)
    attack, hold, release = (float(rng.uniform(*span)) for span in (usual.attack, usual.hold, usual.release))
    hold = max(usual.hold[0] * 0.6, min(hold, until - onset - attack - release))
    side = one(rng, SIDES) if lexicon().word(word).sided else "both"
    return Expression(
        word=word,
        intensity=_intensity(rng, word, level),
        onset=round(onset, 2),
        attack=round(attack, 2),
        hold=round(hold, 2),
        release=round(release, 2),
        side=side,
    )


def _families(words: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """The words to draw from by family, in the order of `FAMILIES`; families without any are left out."""
    for word in words or ():
        lexicon().word(word)
    found = {family: lexicon().of_family(family) for family in FAMILIES}
    if words is not None:
        found = {family: tuple(word for word in known if word in words) for family, known in found.items()}
    return {family: known for family, known in found.items() if known}


def _expressions(
    rng: np.random.Generator, seconds: float, words: Sequence[str] | None, main: str | None = None
) -> tuple[Expression, ...]:
    """One or two; ``main`` is the only or the strongest one's word."""
    known = _families(words)
    chances = np.array([CHANCES[FAMILIES.index(family)] for family in known])
    family = str(rng.choice(tuple(known), p=chances / chances.sum()))
    word = str(rng.choice(known[family]))
    if main is not None:
        word, family = main, lexicon().word(main).family
    if family == "neutral":
        return (expression(rng, word, onset=0.0, until=seconds),)
    if seconds < 3.4 or rng.random() > 0.2:
        return (expression(rng, word, onset=float(rng.uniform(0.1, min(1.0, seconds * 0.25))), until=seconds - 0.1),)
    others = [name for name in known if name not in (family, "neutral")]
    if not others:
        return (expression(rng, word, onset=float(rng.uniform(0.1, 1.0)), until=seconds - 0.1),)
    second_word = str(rng.choice(known[str(rng.choice(others))]))
    if main is not None and rng.random() < 0.5:
        word, second_word = second_word, word
    middle = seconds * float(rng.uniform(0.42, 0.52))
    first = expression(rng, word, onset=float(rng.uniform(0.05, 0.3)), until=middle)
    first = first.model_copy(update={"hold": round(max(0.4, middle - first.onset - first.attack - first.release), 2)})
    for _ in range(8):
        second = expression(rng, second_word, onset=round(first.offset - 0.15, 2), until=seconds)
        apart = second.intensity - first.intensity  # one of the two is the strongest, beyond doubt
        if abs(apart) >= 0.15 and (main is None or (second if apart > 0 else first).word == main):
            return (first, second)
    if main is not None:
        return (expression(rng, main, onset=float(rng.uniform(0.1, 1.0)), until=seconds - 0.1),)
    return (first,)


def head_move(rng: np.random.Generator, gesture: Gesture, *, earliest: float, latest: float) -> HeadMove | None:
    """A gesture that begins and ends between two moments, or None where there is no room for it."""
    room = latest - earliest
    if gesture in HELD:
        seconds = float(rng.uniform(1.25, min(2.6, max(1.3, room))))
        count, degrees = 1, float(rng.uniform(11, 24))
    else:
        period = float(rng.uniform(0.45, 0.75)) if gesture == "nod" else float(rng.uniform(0.55, 0.85))
        most = min(4 if gesture == "nod" else 3, int(room / period))
        if most < 1:
            return None
        count = int(rng.integers(1, most + 1))
        seconds, degrees = period * count, float(rng.uniform(7, 17)) if gesture == "nod" else float(rng.uniform(8, 19))
    if seconds > room:
        return None
    onset = earliest + float(rng.uniform(0, room - seconds))
    return HeadMove(
        gesture=gesture, count=count, onset=round(onset, 2), seconds=round(seconds, 2), degrees=round(degrees, 1)
    )


def gestures(rng: np.random.Generator, *, but: str | None = None) -> Gesture:
    """One gesture; nod and shake, which have counts to be learnt, twice as often as the others, and no leans."""
    choices = [name for name in get_args(Gesture) if name != but and name not in LEANS]
    chances = np.array([2.0 if name in PERIOD else 1.0 for name in choices])
    return choices[int(rng.choice(len(choices), p=chances / chances.sum()))]


def _head(rng: np.random.Generator, seconds: float) -> tuple[HeadMove, ...]:
    if rng.random() < 0.3:
        return ()
    gesture = gestures(rng)
    other = gestures(rng, but=gesture)
    end = seconds - 0.15
    if seconds >= 4 and rng.random() < 0.12:
        middle = seconds / 2
        pair = (
            head_move(rng, gesture, earliest=0.2, latest=middle),
            head_move(rng, other, earliest=middle + 0.2, latest=end),
        )
        return tuple(move for move in pair if move)
    move = head_move(rng, gesture, earliest=0.25, latest=end)
    return (move,) if move else ()


def blinks(
    rng: np.random.Generator, seconds: float, avoid: Spans = (), *, shifts: Sequence[float] = ()
) -> tuple[float, ...]:
    """Moments of natural blinks, apart from each other and from the spans to avoid.

    A renewal process: the time from one to the next is log-normal, 2.8 s in the mean. ``shifts`` are moments at which
    the gaze goes elsewhere; people often blink then (Evinger et al., 1994), here at 40 of 100.
    """
    apart, latest = BLINK_APART + 0.1, max(0.25, seconds - 0.3)

    def allowed(moment: float, others: list[float]) -> bool:
        inside = 0.2 <= moment <= latest and not any(start - 0.25 < moment < stop + 0.25 for start, stop in avoid)
        return inside and all(abs(moment - other) >= apart for other in others)

    moments: list[float] = []
    for shift in shifts:
        moment = round(shift + float(rng.uniform(0.0, 0.08)), 2)
        if rng.random() < BLINK_AT_SHIFT and allowed(moment, moments):
            moments.append(moment)
    # begins long before the clip does, so that the first blink in it is as likely early as late
    mean = np.log(BLINK_MEAN - apart) - BLINK_SPREAD**2 / 2
    count = int((seconds + BLINK_BEFORE) / apart) + 1
    times = np.cumsum(apart + rng.lognormal(mean, BLINK_SPREAD, count)) - BLINK_BEFORE
    for moment in times[(times > 0) & (times < seconds)]:
        if allowed(round(float(moment), 2), moments):
            moments.append(round(float(moment), 2))
    return tuple(sorted(moments[:BLINKS_MOST]))


def _speech(rng: np.random.Generator, seconds: float) -> tuple[tuple[float, float], ...]:
    if rng.random() < 0.4:
        return ((0.0, seconds),)
    spans, start = [], float(rng.uniform(0, seconds * 0.45))
    while start < seconds - 0.9:
        stop = min(seconds, start + float(rng.uniform(0.9, 2.4)))
        spans.append((round(start, 2), round(stop, 2)))
        start = stop + float(rng.uniform(0.8, 1.5))
        if rng.random() < 0.35:
            break
    return tuple(spans)


def sample(
    seed: int,
    *,
    split: str = "train",
    seconds: float | None = None,
    lengths: Sequence[float] = SECONDS,
    words: Sequence[str] | None = None,
    word: str | None = None,
    spoken: float = 0.0,
) -> Score:
    """The ``seed``-th score of a split: another split never draws the same.

    It lasts ``seconds``, else one of ``lengths``.
    Of ``words`` (all of the lexicon's by default) a family is drawn, emotions somewhat more often, then a word of it;
    nod and shake twice as often as the held gestures. ``word`` is not drawn but given: it is the only or the strongest
    expression's. Of the scores with speech a share ``spoken`` says a sentence.
    """
    rng = np.random.default_rng([crc32(split.encode()), seed])
    seconds = seconds or float(rng.choice(lengths))
    expressions = _expressions(rng, seconds, words, word)
    families = {lexicon().word(e.word).family for e in expressions}
    gaze: tuple[Glance, ...] = ()
    head = _head(rng, seconds)
    if rng.random() < (0.12 if head else 0.3) and not families & set(CLOSED):
        length = float(rng.uniform(0.7, min(1.8, seconds * 0.5)))
        gaze = (
            Glance(
                direction=one(rng, get_args(Direction)),
                onset=round(float(rng.uniform(0.2, seconds - length - 0.1)), 2),
                seconds=round(length, 2),
                amount=round(float(rng.uniform(0.55, 0.95)), 2),
            ),
        )
    speech = () if families & set(SILENT) or rng.random() > 0.28 else _speech(rng, seconds)
    says: tuple[Saying, ...] = ()
    if speech and spoken:  # chance of its own, so that the share changes nothing else
        other = np.random.default_rng([crc32(split.encode()), seed, 1])
        saying = sentences.fitting(other, seconds) if other.random() < spoken else None
        if saying:
            speech, says = (), (saying,)
    shut = tuple((e.onset, e.offset) for e in expressions if lexicon().word(e.word).family in CLOSED)
    shut += tuple((g.onset, g.onset + g.seconds) for g in gaze if g.direction == "down")
    shifts = [moment for g in gaze for moment in (g.onset, g.onset + g.seconds)]
    shifts += [move.onset for move in head if move.gesture in HELD]
    return Score(
        seconds=seconds,
        subject=one(rng, tuple(wordings().subjects)),
        expressions=expressions,
        head=head,
        gaze=gaze,
        blinks=blinks(rng, seconds, shut, shifts=shifts),
        speech=speech,
        says=says,
        seed=int(rng.integers(2**31)),
    )
