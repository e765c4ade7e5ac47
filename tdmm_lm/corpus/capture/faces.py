"""The stretches of a video in which one person's face is seen, in one pass and with a few frames in memory.

A stretch ends at a scene cut, where the face jumps or is gone, where a second face comes, and when it is long enough.
What lies between stretches comes out as well, with the reason why it is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field

from tdmm_lm import config
from tdmm_lm import video as media
from tdmm_lm.corpus.capture.bystanders import Finder, overlap
from tdmm_lm.corpus.capture.scenes import SIDE, Cuts
from tdmm_lm.formats import video as capture
from tdmm_lm.motion.face import CODE_FPS

MESH = 468  # landmarks on the skin; the others are irises
SETTLE_SECONDS = 0.08  # after a cut, until the tracker's smoothing has forgotten the shot before
SHARP = 128  # pixels: faces are brought to this size before their sharpness is measured


class Settings(config.Settings):
    """How stretches are found."""

    adaptive_threshold: float = Field(default=1.5, gt=0)  # of scene cuts: times the change of the neighbouring frames
    overlap: float = Field(default=0.5, ge=0, le=1)  # of the face's boxes in two frames, intersection over union
    gap_seconds: float = Field(default=0.2, gt=0)  # without a face or a frame that are bridged
    check_seconds: float = Field(default=1.0, gt=0)  # between two looks for a second person
    second: float = Field(default=0.2, ge=0)  # width, in widths of the first, from which a second face counts
    shortest_seconds: float = Field(default=1.0, gt=0)
    longest_seconds: float = Field(default=30.0, gt=0)  # longer ones are cut
    side: int = Field(default=960, ge=64)  # pixels of the longer side that the tracker sees


@dataclass
class Stretch:
    """Part of a video: one face's (``reason`` is empty), or what is none and why.

    Seconds count from the video's first frame. ``table`` has the rows of `tdmm_lm.formats.video.Face`, taken at
    ``seconds``; ``landmarks`` are in pixels, z in the same units. ``looked`` are the frames that were looked at, with a
    face or without; ``changes`` is each one's largest difference to the one before (grey levels, on a small copy).
    At every look for a second person one number is added to each of: ``scores``, how sure the detector is of the
    tracked face (0: it sees none there), ``shares`` (its box in shares of the picture), ``widths`` (of that box, pixels
    of the video) and ``sharpness`` (the face's). ``crops`` are the face's squares where they are asked for.
    """

    start: float
    end: float
    reason: str = ""
    detail: str = ""
    seconds: Float[np.ndarray, " seen"] = field(default_factory=lambda: np.zeros(0))
    table: Float[np.ndarray, "seen 68"] = field(default_factory=lambda: np.zeros((0, 68), np.float32))
    landmarks: Float[np.ndarray, "seen 478 3"] = field(default_factory=lambda: np.zeros((0, 478, 3), np.float32))
    looked: Float[np.ndarray, " looked"] = field(default_factory=lambda: np.zeros(0))
    changes: Float[np.ndarray, " looked"] = field(default_factory=lambda: np.zeros(0))
    scores: Float[np.ndarray, " checks"] = field(default_factory=lambda: np.zeros(0))
    shares: Float[np.ndarray, " checks"] = field(default_factory=lambda: np.zeros(0))
    widths: Float[np.ndarray, " checks"] = field(default_factory=lambda: np.zeros(0))
    sharpness: Float[np.ndarray, " checks"] = field(default_factory=lambda: np.zeros(0))
    crops: UInt8[np.ndarray, "seen side side 3"] | None = None


def stretches(path: str | Path, settings: Settings, *, crop: int = 0) -> Iterator[Stretch]:
    """All of a video from its beginning to its end, except what is too short to be a clip and has no face.

    A video of 50 Hz and more is looked at in every second, third … frame. ``crop`` is the side of the squares to keep,
    in pixels; 0 keeps none.

    Raises:
        FileNotFoundError: no such video, or no landmarker model.
        ValueError: unreadable or cut off (raised where the frames end, after the stretches before), its frames go back
            in time, or mediapipe or scenedetect is missing.
    """
    rate = media.info(path).fps
    every = max(1, int(rate / CODE_FPS + 0.01))
    with capture.tracker() as track, Finder(capture.landmarker()) as find:
        follow = _Following(settings, every / rate, track, find, crop)
        for time, frame in media.read(path, lambda index: index % every == 0):
            if frame is not None:
                yield from follow.step(time, frame)
        yield from follow.end()


def box_of(landmarks: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, " 4"]:
    """The box around the skin's landmarks: left, top, right, bottom, in their units."""
    skin = landmarks[:MESH, :2]
    return np.concatenate([skin.min(0), skin.max(0)])


class _Following:
    """What is known of the video up to the last frame; `step` and `end` give what is finished."""

    def __init__(self, settings: Settings, period: float, track: Any, find: Finder, crop: int) -> None:
        import cv2  # mediapipe brings it

        self.cv2, self.settings, self.period, self.crop = cv2, settings, period, crop
        self.track, self.find, self.cuts = track, find, Cuts(settings.adaptive_threshold)
        self.times: list[float] = []  # of the frames looked at; the cuts come as numbers of them
        self.before: np.ndarray | None = None  # the last frame, small and grey
        self.shape: tuple[int, ...] = ()  # of the last frame
        self.rows: list[dict[str, Any]] = []  # of the open stretch, one a frame looked at
        self.clear = 0.0  # up to here nobody else was seen
        self.check = 0.0  # when to look next
        self.crowded: float | None = None  # since when there are two
        self.empty: float | None = 0.0  # since when there is none

    def step(self, time: float, picture: UInt8[np.ndarray, "height width 3"]) -> Iterator[Stretch]:
        if self.times and time <= self.times[-1]:
            if time == self.times[-1]:
                return  # shown twice at one moment: the first will do
            raise ValueError(f"expected frames in order, got one at {time:.2f} s after one at {self.times[-1]:.2f} s.")
        frame = self._shrunk(picture, self.settings.side, self.cv2.INTER_AREA)
        small = self._shrunk(frame, SIDE, self.cv2.INTER_LINEAR)  # a fifth of the time that areas take
        if self.before is not None and frame.shape != self.shape:  # a phone was turned
            yield from self._close()
            self.check = 0.0
        self.shape = frame.shape
        if self.before is not None and small.shape[:2] != self.before.shape:
            small = self.cv2.resize(small, self.before.shape[::-1])  # cuts are found between equals
        grey = self.cv2.cvtColor(small, self.cv2.COLOR_RGB2GRAY)
        change = 255.0 if self.before is None else float(self.cv2.absdiff(grey, self.before).max())
        self.before = grey
        self.times.append(time)
        for cut in self.cuts(small[..., ::-1]):
            yield from self._cut(self.times[cut])
        if self.rows and time - self.rows[-1]["time"] > self.settings.gap_seconds:
            yield from self._close()  # a hole in the video itself
        face = self.track.look(frame, time)
        size = np.array([frame.shape[1], frame.shape[0], frame.shape[1]], np.float32)
        places = None if face is None else face.landmarks * size
        box = None if places is None else box_of(places)
        if box is not None and (box[2:] - box[:2]).min() < 1:
            face = places = box = None
        if face is None or places is None or box is None:
            yield from self._missed(time, change)
            return
        if self.empty is not None:
            yield from self._faceless(time)
        seen = [row for row in self.rows[-2:] if row["places"] is not None] or self._seen()[-1:]
        if seen and overlap(box_of(seen[-1]["places"]), box) < self.settings.overlap:
            yield from self._close()
        row = {"time": time, "change": change, "row": face.row, "places": places, "checked": None, "crop": None}
        if time >= self.check:
            self.check = time + self.settings.check_seconds
            first, second = self.find(frame, box)
            if second >= self.settings.second:
                yield from self._crowd(time, second)
                return
            if self.crowded is not None:
                yield self._none(self.crowded, time, "second_face", "a second face beside the first")
                self.crowded = None
            self.clear = time
            sharp = self._sharpness(frame, box)
            row["checked"] = (0.0, 0.0, 0.0, sharp)
            if first is not None:
                share = float(np.prod(first[2:4] - first[:2]) / np.prod(size[:2]))
                width = float(first[2] - first[0]) * picture.shape[1] / frame.shape[1]
                row["checked"] = (float(first[4]), share, width, sharp)
        if self.crowded is not None:
            return
        if self.crop:
            row["crop"] = self._square(frame, box, self.crop)
        self.rows.append(row)
        if time + self.period - self.rows[0]["time"] >= self.settings.longest_seconds - 1e-6:
            yield from self._close()

    def end(self) -> Iterator[Stretch]:
        """What is still open after the last frame."""
        last = self.times[-1] + self.period if self.times else 0.0
        yield from self._close()
        if self.empty is not None:
            yield from self._faceless(last)
        if self.crowded is not None:
            yield self._none(self.crowded, last, "second_face", "a second face beside the first")

    def _cut(self, time: float) -> Iterator[Stretch]:
        """The open stretch ends before the cut; what was seen since begins a new one."""
        after = [row for row in self.rows if row["time"] >= time + SETTLE_SECONDS]
        self.rows = [row for row in self.rows if row["time"] < time]
        yield from self._close()
        while after and after[0]["places"] is None:
            del after[0]
        self.rows, self.check = after, 0.0  # the new shot may show others: look at once

    def _missed(self, time: float, change: float) -> Iterator[Stretch]:
        if self.rows:
            self.rows.append(
                {"time": time, "change": change, "row": None, "places": None, "checked": None, "crop": None}
            )
            last = self._seen()[-1]["time"]
            if time - last > self.settings.gap_seconds:
                yield from self._close()
                self.empty = last + self.period
        elif self.empty is None:
            self.empty = time

    def _faceless(self, time: float) -> Iterator[Stretch]:
        assert self.empty is not None
        if time - self.empty >= self.settings.shortest_seconds and self.crowded is None:
            yield self._none(self.empty, time, "no_face", "no face")
        elif self.empty == 0.0 and time >= self.times[-1] + self.period / 2:  # a short video without any
            yield self._none(0.0, time, "no_face", "no face")
        self.empty = None

    def _crowd(self, time: float, width: float) -> Iterator[Stretch]:
        """A second face may have come at any time since the last look: what was seen since then goes."""
        if self.crowded is not None:
            return
        first = self.rows[0]["time"] if self.rows else time
        self.rows = [row for row in self.rows if row["time"] <= self.clear]
        self.crowded = self.clear + self.period if self.rows else first
        yield from self._close()

    def _seen(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["places"] is not None]

    def _close(self) -> Iterator[Stretch]:
        rows, seen = self.rows, self._seen()
        self.rows = []
        if not seen:
            return
        while rows[-1]["places"] is None:
            rows = rows[:-1]
        checked = np.array([row["checked"] for row in rows if row["checked"]]).reshape(-1, 4)
        yield Stretch(
            rows[0]["time"], rows[-1]["time"] + self.period,
            seconds=np.array([row["time"] for row in seen]),
            table=np.stack([row["row"] for row in seen]),
            landmarks=np.stack([row["places"] for row in seen]),
            looked=np.array([row["time"] for row in rows]),
            changes=np.array([row["change"] for row in rows]),
            scores=checked[:, 0], shares=checked[:, 1], widths=checked[:, 2], sharpness=checked[:, 3],
            crops=np.stack([row["crop"] for row in seen]) if self.crop else None,
        )

    def _none(self, start: float, end: float, reason: str, what: str) -> Stretch:
        return Stretch(start, end, reason, f"expected one person's face, got {what} from {start:.2f} to {end:.2f} s.")

    def _shrunk(self, picture: np.ndarray, side: int, how: int) -> np.ndarray:
        height, width = picture.shape[:2]
        if max(height, width) <= side:
            return picture
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return self.cv2.resize(picture, size, interpolation=how)

    def _square(self, frame: np.ndarray, box: Float[np.ndarray, " 4"], side: int) -> UInt8[np.ndarray, "side side 3"]:
        """The face's square; what lies outside the picture repeats its edge."""
        centre, reach = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * 1.1
        matrix = np.array([[side / reach, 0, side / 2], [0, side / reach, side / 2]])
        matrix[:, 2] -= matrix[:, :2] @ centre
        return self.cv2.warpAffine(
            frame, matrix, (side, side), flags=self.cv2.INTER_AREA, borderMode=self.cv2.BORDER_REPLICATE
        )

    def _sharpness(self, frame: np.ndarray, box: Float[np.ndarray, " 4"]) -> float:
        """Variance of the Laplacian over that of the grey levels, of the face at `SHARP` pixels."""
        grey = self.cv2.cvtColor(self._square(frame, box, SHARP), self.cv2.COLOR_RGB2GRAY)
        return float(self.cv2.Laplacian(grey, self.cv2.CV_32F).var() / max(float(grey.var()), 1.0))
