"""What is performed: a score of expressions, head gestures, glances, blinks and speech, readable as YAML.

    seconds: 4
    expressions: [{word: smile, intensity: 0.9, onset: 0.4}]
    head: [{gesture: nod, count: 2, onset: 2.0}]
    says: [{text: "Good morning, Bob.", voice: en-us, onset: 0.6}]

Seconds from the clip's start everywhere; what runs past the end is simply still there when the clip ends.
"""

import itertools
from typing import Literal

from pydantic import Field, model_validator

from tdmm_lm.config import Settings
from tdmm_lm.corpus.lexicon import lexicon, weights
from tdmm_lm.corpus.performer.voice import Speech, speak
from tdmm_lm.observe import Side

LEANS = ("lean_forward", "lean_back")  # they move the head through space, which no codec of ours keeps
HELD = ("tilt_left", "tilt_right", "turn_left", "turn_right", "look_up", "look_down", *LEANS)
Gesture = Literal[
    "nod", "shake", "tilt_left", "tilt_right", "turn_left", "turn_right", "look_up", "look_down", "lean_forward",
    "lean_back",
]
Direction = Literal["left", "right", "up", "down"]
PERIOD = {"nod": 0.6, "shake": 0.75}  # seconds a dip or a full cycle takes where the score does not say
BLINK_APART = 0.45  # seconds between the middles of two blinks, so that they are two


class OnTheFace(Settings):
    """A word on the face: it rises for ``attack`` seconds from ``onset``, holds, is released. The kinds have bounds."""

    word: str
    intensity: float
    onset: float
    attack: float
    hold: float
    release: float
    side: Side = "both"

    @model_validator(mode="after")
    def _known(self) -> "OnTheFace":
        weights(lexicon().word(self.word), self.side)
        return self

    @property
    def offset(self) -> float:
        return self.onset + self.attack + self.hold + self.release


class Expression(OnTheFace):
    """What a face shows."""

    intensity: float = Field(default=0.6, gt=0, le=1)
    onset: float = Field(default=0.3, ge=0)
    attack: float = Field(default=0.4, ge=0.08, le=5)
    hold: float = Field(default=1.8, ge=0, le=60)
    release: float = Field(default=0.5, ge=0.08, le=5)


class Micro(OnTheFace):
    """A micro-expression: a word that flashes over the face, weakly, and is gone before one is sure of it."""

    intensity: float = Field(default=0.35, gt=0, le=0.6)
    onset: float = Field(default=1.0, ge=0)
    attack: float = Field(default=0.06, ge=0.03, le=0.15)
    hold: float = Field(default=0.1, ge=0.04, le=0.2)
    release: float = Field(default=0.1, ge=0.03, le=0.2)


class HeadMove(Settings):
    """A gesture of the head, ``seconds`` in all; ``degrees``: a nod's dip, half a shake's swing, the held angle, or how
    far the upper body leans."""

    gesture: Gesture
    count: int = Field(default=1, ge=1, le=4)
    onset: float = Field(default=1.0, ge=0)
    seconds: float | None = Field(default=None, ge=0.3, le=60)
    degrees: float = Field(default=14.0, ge=4, le=40)

    @model_validator(mode="after")
    def _possible(self) -> "HeadMove":
        if self.gesture in HELD and self.count != 1:
            raise ValueError(f"head: expected a count of 1 for {self.gesture}, which is held, got {self.count}")
        return self

    @property
    def lasts(self) -> float:
        """Seconds, as given or usual for the gesture."""
        return self.seconds or (1.6 if self.gesture in HELD else PERIOD[self.gesture] * self.count)


class Glance(Settings):
    """The eyes go somewhere, stay and come back; ``amount`` is 0..1 of their range.

    A ``saccade`` is there at once; a ``pursuit`` follows something that moves there all the while.
    """

    direction: Direction
    kind: Literal["saccade", "pursuit"] = "saccade"
    onset: float = Field(default=0.8, ge=0)
    seconds: float = Field(default=1.2, ge=0.3, le=60)
    amount: float = Field(default=0.7, gt=0, le=1)


class Saying(Settings):
    """A sentence and who speaks it: a voice of espeak-ng such as en-us, en-gb or en-us+f2. ``pitch`` 50 is its own."""

    text: str = Field(min_length=1, max_length=500)
    voice: str = "en-us"
    onset: float = Field(default=0.3, ge=0)
    words_per_minute: int = Field(default=165, ge=80, le=400)
    pitch: int = Field(default=50, ge=0, le=99)

    @property
    def spoken(self) -> Speech:
        """Its sound and the times of its phonemes, from its own onset.

        Raises:
            ValueError: espeak-ng is not installed, or the voice or the text is not one.
        """
        return speak(self.text, voice=self.voice, words_per_minute=self.words_per_minute, pitch=self.pitch)

    @property
    def offset(self) -> float:
        return self.onset + self.spoken.seconds


class Score(Settings):
    """One performance. ``blinks`` are the moments the eyes are shut, ``speech`` spans with a beginning and an end in
    which somebody speaks without words, ``says`` what is spoken with words and sound.

    ``subject`` is for the text alone; ``seed`` chooses the person (how this face does things) and all small chance.
    """

    seconds: float = Field(default=4.0, ge=0.4, le=60)
    fps: float = Field(default=25.0, ge=1, le=240)
    subject: str = "person"
    expressions: tuple[Expression, ...] = ()
    micro: tuple[Micro, ...] = ()
    head: tuple[HeadMove, ...] = ()
    gaze: tuple[Glance, ...] = ()
    blinks: tuple[float, ...] = ()
    speech: tuple[tuple[float, float], ...] = ()
    says: tuple[Saying, ...] = ()
    seed: int = Field(default=0, ge=0)

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * self.fps))

    @property
    def spoken(self) -> tuple[tuple[float, float], ...]:
        """Spans in which somebody speaks, with words or without, in order and merged where they touch.

        Raises:
            ValueError: espeak-ng is not installed, or a voice or text is not one.
        """
        spans = [*self.speech, *((one.onset, min(one.offset, self.seconds)) for one in self.says)]
        merged: list[tuple[float, float]] = []
        for start, stop in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        return tuple(merged)

    def crossfade(self, place: int) -> Expression | None:
        """The expression that another goes over into, because it begins while that one is released."""
        first = self.expressions[place]
        follow = [e for e in self.expressions if first.offset - first.release <= e.onset <= first.offset]
        return min((e for e in follow if e.offset > first.offset), key=lambda e: e.onset, default=None)

    @model_validator(mode="after")
    def _fits(self) -> "Score":
        for kind, onsets in (
            ("expressions", [e.onset for e in self.expressions]),
            ("micro", [m.onset for m in self.micro]),
            ("says", [s.onset for s in self.says]),
            ("head", [h.onset for h in self.head]),
            ("gaze", [g.onset for g in self.gaze]),
            ("blinks", list(self.blinks)),
        ):
            if onsets and max(onsets) >= self.seconds:
                raise ValueError(f"{kind}: expected a time before the end at {self.seconds} s, got {max(onsets)}")
        for first, second in zip(sorted(self.blinks), sorted(self.blinks)[1:]):
            if second - first < BLINK_APART:
                raise ValueError(f"blinks: expected at least {BLINK_APART} s between two, got {first} and {second}")
        end = 0.0
        for start, stop in self.speech:
            if not end <= start < stop <= self.seconds + 1e-6:
                raise ValueError(f"speech: expected spans in order and inside the clip, got {start} to {stop}")
            end = stop
        moves = sorted(self.head, key=lambda move: move.onset)
        for before, after in itertools.pairwise(moves):
            if after.onset < before.onset + before.lasts - 1e-6:
                raise ValueError(
                    f"head: expected {after.gesture} to begin after {before.gesture} ends, got {after.onset}"
                )
        return self
