"""Geometry -> timed attributes, with no network and no model: what a face does, when, how strongly, on which side.

The words below are shared by everything that says or checks what a motion contains: the corpus labels its
performances with them, the evaluation grades descriptions against them.
"""

from dataclasses import dataclass, field
from typing import Literal

Side = Literal["both", "left", "right"]  # the person's own

# What a face can express so that geometry alone tells it from the others. Each family is a rule in `actions.py`.
FAMILIES = (
    "neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust", "contempt", "pain", "doubt",  # emotions
    "pucker", "funnel", "mouth_open", "squint", "eyes_wide", "eyes_closed", "puff", "lip_press", "lip_bite",  # actions
    "teeth", "stretch", "dimple", "chin_raise", "mouth_side", "jaw_side", "jaw_forward", "brow_raise", "brow_lower",
    "wink", "tongue_out",
)
GESTURES = ("none", "nod", "shake", "tilt_left", "tilt_right", "turn_left", "turn_right", "look_up", "look_down")
# nod and shake are repeated and have a count; tilt, turn, look are held: the head goes there and stays for a while
GAZES = ("front", "left", "right", "up", "down")  # of the eyes in the head
INTENSITIES = {"slight": (0.15, 0.45), "clear": (0.45, 0.75), "strong": (0.75, 1.01)}  # of the peak, 0..1


@dataclass(frozen=True)
class Event:
    """Something with a beginning, a strongest moment and an end, in seconds from the clip's start.

    ``kind`` is one of shape, family, blink, gaze, head, speech; ``name`` the shape's, family's, gesture's name.
    ``intensity`` is 0..1 of what a person can do. ``count`` is the repetitions of a nod or shake (else 1).
    """

    kind: str
    name: str
    onset: float
    apex: float
    offset: float
    intensity: float
    side: Side = "both"
    count: int = 1


@dataclass(frozen=True)
class Observation:
    """All that `observe.run` found in a clip.

    Attributes:
        seconds, fps: of the clip.
        events: sorted by onset.
        family: the strongest family over the clip, ``neutral`` where none passes its threshold.
        intensity: peak intensity of that family, 0..1 (0 for neutral).
        gesture: the most salient head gesture, with ``count``; ``none`` where there is none.
        gaze: the most salient gaze direction held, else ``front``.
        blinks: number of blinks (both eyes).
        speech_share: share of the clip's time with speech-like mouth movement, 0..1.
    """

    seconds: float
    fps: float
    family: str
    intensity: float
    gesture: str
    count: int
    gaze: str
    blinks: int
    speech_share: float
    events: list[Event] = field(default_factory=list)
