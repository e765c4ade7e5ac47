"""When the mouth moves as in speech: openings and roundings that follow one another several times a second.

An expression moves the mouth once and stays; a syllable moves it there and back. So speech is a run of quick moves to
and fro of the lips' gap or of the mouth's width, close to one another, whatever the shapes are called.

All lengths are in inter-ocular distances (about 64 mm). Thresholds were set on 800 sentences of one GRID talker.
"""

from itertools import pairwise, repeat
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tdmm_lm.observe import Event, events

SMOOTHING = 0.025  # seconds, standard deviation
SWINGS = (0.015, 0.03)  # the least move of the lips' gap (1 mm) and of the mouth's width that is one
SLOWEST = 0.5  # seconds between 15 and 85 % of a move: longer is an expression's
SPEEDS = (0.12, 0.2)  # a second, over the same stretch: slower is a held face's swaying
PAUSE = 0.4  # seconds between the end of a move and the next: longer, and a new run begins
MOVES, SURE = 3, (0.03, 0.05)  # so many moves of one curve, so large, in a run: two are an expression
WORD, NEAR = 0.8, 1.2  # seconds: an opening and closing so short is a word where another run lies so near
DRAWL = 0.2  # seconds: a longer move of the width at a run's beginning or end is an expression's
CLOSED, AJAR = 5, 0.05  # percentile of the gap over the clip that is closed; how much more is not quite shut
REACH = 0.3  # seconds before and after a run in which a mouth not quite shut still belongs to it
LEAD, EARLY = 0.18, 0.15  # seconds, and share of the run: by the lesser the mouth begins to move before it sounds
CUT = 0.06  # seconds: a run so near to the clip's beginning or end is cut by it and lasts until there
BEGUN, DONE = 0.05, 0.9  # shares of the first and the last move that are over when the movement begins and ends
CREEP = 0.12  # seconds that this lies before 15 or after 85 % at most
WIDE = 0.25  # a mean move of the gap that counts as intensity 1


class Move(NamedTuple):
    """A move from one turning point to the next: frames at 5 and 15, 85 and 90 % of its way, its size and curve."""

    begin: float
    start: float
    stop: float
    end: float
    size: float
    curve: int  # 0 the gap, 1 the width


def find(mouth: Float[np.ndarray, "frames 2"], fps: float) -> list[Event]:
    """Runs of speech-like movement; ``mouth`` is the lips' gap and the mouth's width.

    ``intensity`` is the mean move of the gap over a wide one, at most 1; ``count`` the openings (about the syllables).
    """
    curves = events.smooth(mouth, fps, SMOOTHING)
    ajar = curves[:, 0] - np.percentile(curves[:, 0], CLOSED) > AJAR
    runs: list[list[Move]] = []
    for move in sorted(move for curve in (0, 1) for move in _moves(curves[:, curve], curve, fps)):
        if runs and move.start - _stop(runs[-1]) <= PAUSE * fps:
            runs[-1].append(move)
        else:
            runs.append([move])
    runs = [run for run in map(_trimmed, runs, repeat(fps)) if _spoken(run, 2)]
    able = [_spoken(run, MOVES) or _stop(run) - run[0].start <= WORD * fps for run in runs]
    close = [b[0].start - _stop(a) <= NEAR * fps for a, b in pairwise(runs)]
    found: list[Event] = []
    for i, run in enumerate(runs):
        beside = (i > 0 and able[i - 1] and close[i - 1]) or (i + 1 < len(runs) and able[i + 1] and close[i])
        if _spoken(run, MOVES) or (able[i] and beside):
            found.append(_event(run, ajar, fps, after=found[-1].offset if found else 0.0))
    return found


def share(found: list[Event], seconds: float) -> float:
    """Of the clip's time, 0..1."""
    return min(1.0, sum(event.offset - event.onset for event in found) / seconds)


def mask(found: list[Event], frames: int, fps: float) -> Bool[np.ndarray, " frames"]:
    """Which frames lie in speech."""
    times = np.arange(frames) / fps
    return np.any([(times >= e.onset) & (times <= e.offset) for e in found], 0) if found else np.zeros(frames, bool)


def _moves(curve: Float[np.ndarray, " frames"], which: int, fps: float) -> list[Move]:
    """The quick moves of a curve."""
    result = []
    for a, b in pairwise(events.turns(curve, SWINGS[which])):
        part = curve[a.frame : b.frame + 1]
        size = float(abs(part[-1] - part[0]))
        done = (part - part[0]) / (part[-1] - part[0])  # share of the move that is over: 0 .. 1
        begin, start, stop, end = (a.frame + _reached(done, share) for share in (BEGUN, 0.15, 0.85, DONE))
        seconds = (stop - start) / fps
        if seconds <= SLOWEST and 0.7 * size >= SPEEDS[which] * seconds:
            begin, end = max(begin, start - CREEP * fps), min(end, stop + CREEP * fps)
            result.append(Move(begin, start, stop, end, size, which))
    return result


def _reached(done: Float[np.ndarray, " part"], share: float) -> float:
    """Frame, between frames, at which a move passes a share of its way: a low one for good, a high one first."""
    before = int(np.flatnonzero(done <= share)[-1]) if share < 0.5 else int(np.argmax(done > share)) - 1
    return before + float((share - done[before]) / (done[before + 1] - done[before]))


def _stop(run: list[Move]) -> float:
    return max(move.stop for move in run)


def _spoken(run: list[Move], moves: int) -> bool:
    """Whether one curve makes so many sure moves."""
    return any(sum(move.curve == curve and move.size >= SURE[curve] for move in run) >= moves for curve in (0, 1))


def _event(run: list[Move], ajar: Bool[np.ndarray, " frames"], fps: float, *, after: float) -> Event:
    seconds = len(ajar) / fps
    onset = _open(ajar, run[0].begin, -1, fps) / fps
    offset = _open(ajar, max(move.end for move in run), 1, fps) / fps
    onset = 0.0 if onset < CUT else onset + min(LEAD, EARLY * (offset - onset))
    offset = seconds if seconds - offset < CUT else offset
    onset = min(max(onset, after), offset)
    largest = max(run, key=lambda move: (move.curve == 0, move.size))
    apex = float(np.clip((largest.start + largest.stop) / 2 / fps, onset, offset))
    sizes = [move.size for move in run if move.curve == 0]
    intensity = min(1.0, float(np.mean(sizes or [0.0])) / WIDE)
    return Event("speech", "speech", onset, apex, offset, intensity, count=max(1, (len(sizes) + 1) // 2))


def _trimmed(run: list[Move], fps: float) -> list[Move]:
    """Without a drawn-out move of the width at either end, by which an expression goes before or after the speech."""
    def drawn(move: Move) -> bool:
        return move.curve == 1 and move.stop - move.start > DRAWL * fps

    run = run[1:] if run and drawn(run[0]) else run
    last = max(run, key=lambda move: move.stop, default=None)
    return [move for move in run if move is not last or not drawn(move)]


def _open(ajar: Bool[np.ndarray, " frames"], frame: float, step: int, fps: float) -> float:
    """How far the mouth stays ajar beyond a frame, at most `REACH`."""
    i = round(frame)
    while 0 <= i + step < len(ajar) and ajar[i + step] and abs(i + step - frame) <= REACH * fps:
        i += step
    return frame if i == round(frame) else float(i)
