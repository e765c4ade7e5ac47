"""What is heard in a video: its sound piece by piece, whether someone speaks, and whether lips and sound go together.

Speech is told by the Silero detector (an ONNX file, below ``$TDMM_DATA/vad`` or in the cache). Lips and sound are
compared without any network: an opening mouth goes with rising loudness, an open one with loud sound.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from jaxtyping import Float
from pydantic import Field

from tdmm_lm import bundle, config, video
from tdmm_lm.video import AUDIO_RATE

MODEL = "silero_vad.onnx"
WINDOW, BEFORE = 512, 64  # samples that the detector looks at, and that it sees again of those before
LAGS = 15  # frames to either side at which lips and sound are compared
NEAR = 5  # frames, 0.2 s at 25 fps: what counts as together; trackers and microphones are off by a frame or two
UPPER_LIP, LOWER_LIP = 13, 14  # MediaPipe's middle of the inner lips


class Settings(config.Settings):
    """Bounds of good sound; ``speech_share`` 0 and ``sync_margin`` 2 let everything pass."""

    speech_share: float = Field(default=0.2, ge=0, le=1)  # of the clip, at least, is speech
    speech: float = Field(default=0.5, ge=0, le=1)  # the detector's probability from which it is
    sync_margin: float = Field(default=0.15, ge=0)  # of correlation, by which another offset may fit lips better


class Sound:
    """A video's sound, taken forwards: mono at 16 kHz, sample 0 at the moment of its first frame; use it as a context.

    What was passed is forgotten, so that a long video's sound is never all in memory.
    """

    def __init__(self, path: str | Path) -> None:
        self.damaged, self._path = False, path
        self._container = av.open(str(path))
        self.present = bool(self._container.streams.audio)
        self._blocks = self._decoded() if self.present else iter(())
        self._held, self._at = np.zeros(0, np.float32), 0

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._container.close()

    def take(self, start: float, end: float) -> Float[np.ndarray, " samples"]:
        """From ``start`` to ``end`` seconds; shorter where the sound ends earlier. ``start`` never goes back."""
        first, last = round(start * AUDIO_RATE), round(end * AUDIO_RATE)
        assert first >= self._at or not self._at, "sound is taken forwards"
        parts, reached = [self._held], self._at + len(self._held)
        while reached < last:
            block = next(self._blocks, None)
            if block is None:
                break
            if reached + len(block) > first:
                parts.append(block)
            else:  # passed over
                parts, self._at = [np.zeros(0, np.float32)], reached + len(block)
            reached += len(block)
        held = np.concatenate(parts)
        wanted = held[max(0, first - self._at) : last - self._at]
        self._held, self._at = held[max(0, first - self._at) :], max(first, self._at)
        return np.ascontiguousarray(wanted.clip(-1, 1))

    def _decoded(self) -> Iterator[Float[np.ndarray, " samples"]]:
        began = video.began(self._path) or 0.0
        try:
            frames = self._container.decode(self._container.streams.audio[0])
            first = next(frames, None)
            if first is None:
                return
            ahead = round(((first.time or 0.0) - began) * AUDIO_RATE)
            if ahead > 0:
                yield np.zeros(ahead, np.float32)
            for block in video.mono(chain([first], frames)):
                skipped = min(max(-ahead, 0), len(block))
                ahead += skipped
                if len(block) > skipped:
                    yield block[skipped:]
        except av.error.FFmpegError:
            self.damaged = True


def detector() -> Path | None:
    """The speech detector's file below ``$TDMM_DATA``, else in the cache, else None."""
    data = bundle.data()
    places = [*([data / "vad" / MODEL] if data else []), bundle.cache() / MODEL]
    return next((place for place in places if place.is_file()), None)


@lru_cache(maxsize=4)
def session(model: Path) -> Any:
    """An ONNX model on one thread, loaded once a process.

    Raises:
        FileNotFoundError: no such file.
        ValueError: onnxruntime is missing, or the file is no model.
    """
    if not model.is_file():
        raise FileNotFoundError(f"{model}: expected an ONNX model, found none.")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f'{model.name} needs onnxruntime ({error}); pip install "tdmm-lm[capture]".') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions share no ancestor below Exception
        what = " ".join(str(error).split())[:100]
        raise ValueError(f"{model}: expected an ONNX model, got something else ({what}).") from None


def speech(wave: Float[np.ndarray, " samples"], model: Path) -> Float[np.ndarray, " windows"]:
    """The probability of speech in every 32 ms of mono sound at 16 kHz; the last window is filled up with silence."""
    network = session(model)
    count = -(-len(wave) // WINDOW)
    padded = np.pad(wave.astype(np.float32), (BEFORE, count * WINDOW - len(wave)))
    state, rate, found = np.zeros((2, 1, 128), np.float32), np.array(AUDIO_RATE, np.int64), np.zeros(count, np.float32)
    for i in range(count):
        piece = padded[None, i * WINDOW : (i + 1) * WINDOW + BEFORE]
        answer, state = network.run(None, {"input": piece, "state": state, "sr": rate})
        found[i] = answer[0, 0]
    return found


def lip_gap(laid: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, " frames"]:
    """How far the lips are apart, in the landmarks' units."""
    return np.linalg.norm(laid[:, UPPER_LIP] - laid[:, LOWER_LIP], axis=-1)


def loudness(wave: Float[np.ndarray, " samples"], fps: float, frames: int) -> Float[np.ndarray, " frames"]:
    """Root mean square of the sound of each frame; silence where there is none."""
    edges = np.round(np.arange(frames + 1) * AUDIO_RATE / fps).astype(int)
    padded = np.pad(wave.astype(np.float64), (0, max(0, edges[-1] - len(wave))))
    energy = np.concatenate([[0.0], np.cumsum(padded**2)])
    return np.sqrt(np.maximum(np.diff(energy[edges]), 0) / np.diff(edges))


def together(gap: Float[np.ndarray, " frames"], sound: Float[np.ndarray, " frames"]) -> Float[np.ndarray, " lags"]:
    """How well lips and loudness go together, -1..1, with the sound -`LAGS` to `LAGS` frames after the lips.

    The mean of two correlations: of the lips' speed with the change of loudness, and of their gap with its logarithm.
    """
    pairs = ((np.gradient(gap), np.gradient(sound)), (gap, np.log(sound + 1e-3)))
    return np.array([np.mean([_correlation(a, b, lag) for a, b in pairs]) for lag in range(-LAGS, LAGS + 1)])


def apart(correlations: Float[np.ndarray, " lags"]) -> tuple[int, float]:
    """Of `together`'s answer: by how many frames the sound comes late, and how much better a far offset fits.

    The second is the best correlation beyond `NEAR` frames less the best within: above 0, lips and sound may be apart.
    """
    lags = np.arange(-LAGS, LAGS + 1)
    near = np.abs(lags) <= NEAR
    return int(lags[correlations.argmax()]), float(correlations[~near].max() - correlations[near].max())


def _correlation(lips: np.ndarray, sound: np.ndarray, lag: int) -> float:
    count = len(lips) - abs(lag)
    if count < 5:
        return 0.0
    a, b = lips[max(-lag, 0) :][:count], sound[max(lag, 0) :][:count]
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 1e-12 else 0.0
