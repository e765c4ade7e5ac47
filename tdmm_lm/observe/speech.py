"""When the mouth moves as in speech: openings and roundings that follow one another several times a second.

An expression moves the mouth once and stays; a syllable moves it there and back. So speech is a run of quick moves to
and fro of the lips' gap or of the mouth's width, close to one another, whatever the shapes are called.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tdmm_lm.observe import Event, events

SMOOTHING = 0.025  # seconds, standard deviation
SWINGS = (0.015, 0.03)  # inter-ocular distances: the least move of the lips' gap (1 mm) and of the mouth's width
SLOWEST = 0.5  # seconds: a longer move is an expression's
SPEEDS = (0.12, 0.2)  # inter-ocular distances a second between 15 and 85 % of a move: slower ones are a held face's swaying
PAUSE = 0.4  # seconds between the end of a move and the next: longer, and a new run begins
MOVES, SURE = 3, (0.03, 0.05)  # of one curve in a run, so many moves of such size: an opening and a closing alone are an expression
START, END = 0.05, 0.9  # shares of the first and the last move that are over when the movement begins and ends
LEAD = 0.15  # seconds: a mouth opens that much before it sounds (800 sentences of one GRID talker), and closes with the sound
CUT = 0.06  # seconds: a run so near to the clip's beginning or end is cut by it and lasts until there
WIDE = 0.25  # inter-ocular distances: a mean move of the gap that counts as intensity 1


class Move(NamedTuple):
    """A move of a curve from one turning point to the next: frames of its beginning and end, where speech would
    begin or end in it, and its size."""

    begin: float
    start: float
    end: float
    stop: float
    size: float
    curve: int


def find(mouth: Float[np.ndarray, "frames 2"], fps: float) -> list[Event]:
    """Runs of speech-like movement; ``mouth`` is the lips' gap and the mouth's width in inter-ocular distances.

    ``intensity`` is the mean move of the gap over a wide one, at most 1; ``count`` the openings (about the syllables).
    """
    curves = events.smooth(mouth, fps, SMOOTHING)
    quick = sorted(move for curve, swing in enumerate(SWINGS) for move in _moves(curves[:, curve], swing, curve, fps))
    seconds = len(mouth) / fps
    result: list[Event] = []
    run: list[Move] = []
    reach = 0.0
    for move in quick:
        if run and move.begin - reach > PAUSE * fps:
            result += _event(run, fps, seconds)
            run = []
        reach = max(reach, move.stop) if run else move.stop
        run.append(move)
    return result + _event(run, fps, seconds)


def _moves(curve: Float[np.ndarray, " frames"], swing: float, which: int, fps: float) -> list[Move]:
    turning = events.turns(curve, swing)
    result = []
    for a, b in zip(turning, turning[1:]):
        part = curve[a.frame : b.frame + 1]
        done = (part - part[0]) / (part[-1] - part[0])  # share of the move that is over: 0 .. 1
        times = {share: a.frame + _reached(done, share) for share in (START, 0.15, 0.85, END)}
        size, seconds = float(abs(part[-1] - part[0])), (times[0.85] - times[0.15]) / fps
        if seconds <= SLOWEST and 0.7 * size >= SPEEDS[which] * seconds:
            result.append(Move(times[0.15], times[START], times[END], times[0.85], size, which))
    return result


def _reached(done: Float[np.ndarray, " part"], share: float) -> float:
    """Frame, between frames, at which a move passes a share of its way; of several the first after the last low."""
    after = int(np.flatnonzero(done <= share)[-1]) if share < 0.5 else int(np.argmax(done > share)) - 1
    return after + float((share - done[after]) / (done[after + 1] - done[after]))


def _event(run: list[Move], fps: float, seconds: float) -> list[Event]:
    """The run as an event, or nothing where it is none."""
    sizes = [move.size for move in run if move.curve == 0]
    sure = [sum(move.size >= size for move in run if move.curve == curve) for curve, size in enumerate(SURE)]
    if max(sure) < MOVES:
        return []
    biggest = max(run, key=lambda move: (move.curve == 0, move.size))
    offset = max(move.end for move in run) / fps
    offset = seconds if seconds - offset < CUT else offset
    onset = run[0].start / fps
    onset = 0.0 if onset < CUT else min(onset + LEAD, offset)
    intensity = min(1.0, float(np.mean(sizes or [0.0])) / WIDE)
    apex = min(max((biggest.begin + biggest.stop) / 2 / fps, onset), offset)
    return [Event("speech", "speech", onset, apex, offset, intensity, count=max(1, (len(sizes) + 1) // 2))]


def share(found: list[Event], seconds: float) -> float:
    """Of the clip's time, 0..1."""
    return min(1.0, sum(event.offset - event.onset for event in found) / seconds)


def mask(found: list[Event], frames: int, fps: float) -> Bool[np.ndarray, " frames"]:
    """Which frames lie in speech."""
    times = np.arange(frames) / fps
    return np.any([(times >= e.onset) & (times <= e.offset) for e in found], 0) if found else np.zeros(frames, bool)
