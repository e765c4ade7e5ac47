"""Scores by chance: balanced over families and head gestures, natural in their timing, the same for the same seed."""

from collections.abc import Sequence
from typing import TypeVar, get_args
from zlib import crc32

import numpy as np

from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.score import BLINK_APART, HELD, PERIOD, Direction, Expression, Gesture, Glance, HeadMove, Score
from tdmm_lm.corpus.wordings import wordings
from tdmm_lm.observe import FAMILIES, INTENSITIES, Side

T = TypeVar("T")

SECONDS = (4.0, 4.0, 4.0, 2.0, 2.4, 3.0, 3.6, 5.0, 6.0)  # drawn evenly: mostly four
SILENT = (
    "mouth_open",
    "pucker",
    "puff",
    "lip_press",
    "tongue_out",
    "jaw_side",
)  # families that leave no mouth for speech
_CHANCES = np.array([0.055] + [0.075] * 7 + [0.42 / 9] * 9)  # neutral, emotions, actions: in the order of FAMILIES
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


def _expressions(rng: np.random.Generator, seconds: float) -> tuple[Expression, ...]:
    family = str(rng.choice(FAMILIES, p=_CHANCES))
    word = str(rng.choice(lexicon().of_family(family)))
    if family == "neutral":
        return (expression(rng, word, onset=0.0, until=seconds),)
    if seconds < 3.4 or rng.random() > 0.2:
        return (expression(rng, word, onset=float(rng.uniform(0.1, min(1.0, seconds * 0.25))), until=seconds - 0.1),)
    other = str(rng.choice([name for name in FAMILIES if name not in (family, "neutral")]))
    second_word = str(rng.choice(lexicon().of_family(other)))
    middle = seconds * float(rng.uniform(0.42, 0.52))
    first = expression(rng, word, onset=float(rng.uniform(0.05, 0.3)), until=middle)
    first = first.model_copy(update={"hold": round(max(0.4, middle - first.onset - first.attack - first.release), 2)})
    for _ in range(8):
        second = expression(rng, second_word, onset=round(first.offset - 0.15, 2), until=seconds)
        if abs(second.intensity - first.intensity) >= 0.15:  # one of the two is the strongest, beyond doubt
            return (first, second)
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
    """One gesture; nod and shake, which have counts to be learnt, twice as often as the others."""
    choices = [name for name in get_args(Gesture) if name != but]
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


def blinks(rng: np.random.Generator, seconds: float, avoid: tuple[tuple[float, float], ...] = ()) -> tuple[float, ...]:
    """Moments of natural blinks, about one in 2.5 seconds, apart from each other and from the spans to avoid."""
    wanted = min(int(rng.poisson(seconds / 2.5)), 4)
    moments: list[float] = []
    for moment in rng.uniform(0.2, max(0.25, seconds - 0.3), 12):
        clear = all(abs(moment - other) >= BLINK_APART + 0.1 for other in moments)
        if clear and len(moments) < wanted and not any(start - 0.25 < moment < stop + 0.25 for start, stop in avoid):
            moments.append(round(float(moment), 2))
    return tuple(sorted(moments))


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
    seed: int, *, split: str = "train", seconds: float | None = None, lengths: Sequence[float] = SECONDS
) -> Score:
    """The ``seed``-th score of a split: another split never draws the same.

    It lasts ``seconds``, else one of ``lengths``.
    Families are drawn evenly, then a word of the family; nod and shake twice as often as the held gestures.
    """
    rng = np.random.default_rng([crc32(split.encode()), seed])
    seconds = seconds or float(rng.choice(lengths))
    expressions = _expressions(rng, seconds)
    families = {lexicon().word(e.word).family for e in expressions}
    gaze: tuple[Glance, ...] = ()
    head = _head(rng, seconds)
    if rng.random() < (0.12 if head else 0.3) and "wink" not in families:
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
    shut = tuple((e.onset, e.offset) for e in expressions if lexicon().word(e.word).family == "wink")
    shut += tuple((g.onset, g.onset + g.seconds) for g in gaze if g.direction == "down")
    return Score(
        seconds=seconds,
        subject=one(rng, tuple(wordings().subjects)),
        expressions=expressions,
        head=head,
        gaze=gaze,
        blinks=blinks(rng, seconds, shut),
        speech=speech,
        seed=int(rng.integers(2**31)),
    )
