"""What is true of a clip: exactly, from its score, or as observed in a recording. Captions are made from this."""

from typing import Any

from pydantic import Field

from tdmm_lm.config import Settings
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.score import OnTheFace, Score
from tdmm_lm.observe import INTENSITIES, Event, Observation, Side
from tdmm_lm.observe.head import NAMED


class Shown(Settings):
    """An expression; seconds of onset, apex (first moment at full) and offset. ``word`` is None where observed."""

    family: str
    word: str | None = None
    intensity: float
    level: str
    side: Side = "both"
    onset: float = 0.0
    apex: float = 0.0
    offset: float = 0.0


class Moved(Settings):
    """A head gesture or a glance, seconds from ``onset`` to ``offset``; ``name`` of GESTURES or GAZES."""

    name: str
    count: int = 1
    onset: float = 0.0
    offset: float = 0.0


class Labels(Settings):
    """``family``, ``word``, ``intensity``, ``level`` are the strongest expression's; ``gesture`` and ``count`` are the
    first head gesture's, ``nods`` counts the dips of all.

    ``shown`` is in order of onset and has no neutral expressions, ``micro`` are those that only flash by; ``level`` is
    "" for a neutral face. ``blinks`` and ``speech_share`` (0..1 of the time) are facts of the whole clip.
    """

    seconds: float
    subject: str = "person"
    shown: tuple[Shown, ...] = ()
    gestures: tuple[Moved, ...] = ()
    gazes: tuple[Moved, ...] = ()
    micro: tuple[Shown, ...] = ()
    blinks: int = 0
    speech_share: float = Field(default=0.0, ge=0, le=1)
    family: str = "neutral"
    word: str | None = None
    words: tuple[str, ...] = ()
    intensity: float = 0.0
    level: str = ""
    gesture: str = "none"
    count: int = 0
    nods: int = 0
    gaze: str = "front"

    @property
    def families(self) -> tuple[str, ...]:
        """In order of onset; ("neutral",) where nothing is shown."""
        return tuple(shown.family for shown in self.shown) or ("neutral",)


def level(intensity: float) -> str:
    """The name of an intensity above zero; what is below the slightest is called slight."""
    return next((name for name, (low, high) in INTENSITIES.items() if low <= intensity < high), "slight")


def _labels(seconds: float, shown: list[Shown], gestures: list[Moved], gazes: list[Moved], **facts: Any) -> Labels:
    main = max(shown, key=lambda s: s.intensity) if shown else None
    first = gestures[0] if gestures else None
    return Labels(
        seconds=seconds,
        shown=tuple(shown),
        gestures=tuple(gestures),
        gazes=tuple(gazes),
        family=main.family if main else "neutral",
        intensity=main.intensity if main else 0.0,
        level=main.level if main else "",
        gesture=first.name if first else "none",
        count=first.count if first else 0,
        nods=sum(moved.count for moved in gestures if moved.name == "nod"),
        gaze=gazes[0].name if gazes else "front",
        **facts,
    )


def _shown(e: OnTheFace, end: float) -> Shown:
    return Shown(
        family=lexicon().word(e.word).family, word=e.word, intensity=e.intensity, level=level(e.intensity), side=e.side,
        onset=e.onset, apex=min(e.onset + e.attack, end), offset=end,
    )


def of_score(score: Score) -> Labels:
    """Exact labels of a performance."""
    shown = []
    for place, e in sorted(enumerate(score.expressions), key=lambda pair: pair[1].onset):
        if lexicon().word(e.word).family != "neutral":
            after = score.crossfade(place)  # then it is gone when the next is at its apex
            end = after.onset + after.attack if after else e.offset
            shown.append(_shown(e, min(end, score.seconds)))
    gestures = [
        Moved(name=m.gesture, count=m.count, onset=m.onset, offset=min(m.onset + m.lasts, score.seconds))
        for m in sorted(score.head, key=lambda m: m.onset)
    ]
    gazes = [
        Moved(name=g.direction, onset=g.onset, offset=min(g.onset + g.seconds, score.seconds))
        for g in sorted(score.gaze, key=lambda g: g.onset)
    ]
    flashes = tuple(_shown(m, min(m.offset, score.seconds)) for m in sorted(score.micro, key=lambda m: m.onset))
    words = tuple(e.word for e in sorted(score.expressions, key=lambda e: e.onset))
    named = max(shown, key=lambda s: s.intensity).word if shown else (words[0] if words else None)
    share = sum(stop - start for start, stop in score.spoken) / score.seconds
    return _labels(
        score.seconds,
        shown,
        gestures,
        gazes,
        micro=flashes,
        subject=score.subject,
        blinks=len(score.blinks),
        speech_share=min(1.0, share),
        words=words,
        word=named,
    )


def of_observation(seen: Observation) -> Labels:
    """What was observed, as far as a caption says it: the strongest family, gesture and gaze, blinks and speech.

    Times are those of the very event that the observation names; all of the clip where its events lack it.
    """

    def found(kind: str, name: str) -> list[Event]:
        return [e for e in seen.events if (e.kind, e.name) == (kind, name)]

    def moved(name: str, count: int, event: Event | None) -> Moved:
        onset, offset = (event.onset, event.offset) if event else (0.0, seen.seconds)
        return Moved(name=name, count=count, onset=onset, offset=offset)

    shown: list[Shown] = []
    if seen.family != "neutral":
        event = max(found("family", seen.family), key=lambda e: e.intensity, default=None)
        shown.append(
            Shown(
                family=seen.family,
                intensity=seen.intensity,
                level=level(seen.intensity),
                side=event.side if event else "both",
                onset=event.onset if event else 0.0,
                apex=event.apex if event else 0.0,
                offset=event.offset if event else seen.seconds,
            )
        )
    gestures: list[Moved] = []
    if seen.gesture != "none":  # as `head.salient` chose it
        least = NAMED * max((e.intensity for e in seen.events if e.kind == "head"), default=0.0)
        named = (e for e in found("head", seen.gesture) if e.count == seen.count and e.intensity >= least)
        gestures.append(moved(seen.gesture, seen.count, next(named, None)))
    gazes: list[Moved] = []
    if seen.gaze != "front":  # as `gaze.salient` chose it
        longest = max(found("gaze", seen.gaze), key=lambda e: e.intensity * (e.offset - e.onset), default=None)
        gazes.append(moved(seen.gaze, 1, longest))
    return _labels(seen.seconds, shown, gestures, gazes, blinks=seen.blinks, speech_share=seen.speech_share)
