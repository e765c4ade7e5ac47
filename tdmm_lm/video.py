"""Video and sound in and out through PyAV: frames one by one with their times, mp4 with sound, constant memory.

Frames are uint8 (height, width, 3) RGB as a viewer sees them: the rotation that phones write is applied.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import overload

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from jaxtyping import Float, UInt8

from tdmm_lm import files

AUDIO_RATE = 16_000  # Hz, mono: the rate of all sound in this package
LOOKED_AT = 250  # packets, by whose times a rate is measured that no header states
HOLE_SECONDS = (0.05, 600.0)  # what may be missing of the sound: less is inexact times, more in all another clock


@dataclass(frozen=True)
class Info:
    """What a video file says about itself.

    ``fps`` is its average rate in Hz (measured where the file states none), ``size`` (width, height) in pixels after
    rotation, ``rotation`` the degrees that were applied (counter-clockwise), ``frames`` the count that its index
    declares and its edit list shows (0 where it declares none).
    """

    fps: float
    size: tuple[int, int]
    rotation: int
    has_audio: bool
    frames: int


def info(path: str | Path) -> Info:
    """The file's metadata; decodes one frame to be sure there is one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: empty, cut off, no video, or no picture in it.
    """
    with _opened(path) as container:
        stream = _video(container, path)
        frame = next(_decoded(container, path), None)
        if frame is None:
            raise ValueError(f"{path}: expected a video, got a video stream without a single frame.")
        turns = round(frame.rotation / 90) % 4
        size = (frame.width, frame.height) if turns % 2 == 0 else (frame.height, frame.width)
        has_audio, frames = bool(container.streams.audio), _declared(container, stream)
        rate = stream.average_rate or _measured(path) or stream.guessed_rate or Fraction(25)
        return Info(float(rate), size, 90 * turns, has_audio, frames)


@overload
def read(path: str | Path) -> Iterator[tuple[float, UInt8[np.ndarray, "height width 3"]]]: ...
@overload
def read(
    path: str | Path, wanted: Callable[[int], bool]
) -> Iterator[tuple[float, UInt8[np.ndarray, "height width 3"] | None]]: ...
def read(
    path: str | Path, wanted: Callable[[int], bool] | None = None
) -> Iterator[tuple[float, UInt8[np.ndarray, "height width 3"] | None]]:
    """Yield (seconds since the first frame, RGB frame) one after another; only a few frames are in memory at a time.

    A frame whose number ``wanted`` declines is decoded, not converted, and comes as None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: empty, no video, no frames, or cut off (raised where the frames end too early).
    """
    with _opened(path) as container:
        declared = _declared(container, _video(container, path))
        first, count, rate = None, 0, float(_video(container, path).average_rate or 25)
        for frame in _decoded(container, path):
            time = count / rate if frame.time is None else frame.time
            first = time if first is None else first
            count += 1
            if wanted is not None and not wanted(count - 1):
                yield time - first, None
                continue
            turns = round(frame.rotation / 90) % 4
            picture = frame.to_ndarray(format="rgb24")
            # contiguous: av pads rows, and readers of raw memory (MediaPipe) would misread them
            yield time - first, np.ascontiguousarray(np.rot90(picture, turns) if turns else picture)
        if not count:
            raise ValueError(f"{path}: expected a video, got a video stream without a single frame.")
        if count < declared - max(2, declared // 50):  # some encoders count a frame or two that they never show
            raise ValueError(f"{path}: expected {declared} frames, got {count}: the file is cut off or damaged.")


def audio(path: str | Path) -> Float[np.ndarray, " samples"]:
    """The sound of a video or audio file: mono float32 at 16 kHz, -1..1.

    In a video, sample 0 is the moment of its first frame, so that sound and `read` share their clock.

    Raises:
        FileNotFoundError: no such file.
        ValueError: empty, unreadable, or without sound.
    """
    with _opened(path) as container:
        if not container.streams.audio:
            raise ValueError(f"{path}: expected sound, got a file without an audio stream.")
        stream = container.streams.audio[0]
        try:
            frames = container.decode(stream)
            first = next(frames, None)
            parts = [] if first is None else list(mono(chain([first], frames)))
        except av.error.FFmpegError as error:
            raise ValueError(f"{path}: expected sound, got a damaged stream ({error.strerror}).") from None
        if not parts:
            raise ValueError(f"{path}: expected sound, got an audio stream without a sample.")
        wave = np.concatenate(parts)
        heard, seen = None if first is None else first.time, began(path)
        if heard is not None and seen is not None:
            ahead = round((heard - seen) * AUDIO_RATE)
            wave = np.concatenate([np.zeros(ahead, np.float32), wave]) if ahead > 0 else wave[-ahead:]
        return np.ascontiguousarray(wave.clip(-1, 1), np.float32)


def began(path: str | Path) -> float | None:
    """The time of a video's first frame by the file's own clock, from which `read` counts; None without a video.

    A recording that begins between two key frames has pictures before it that cannot be decoded.
    """
    try:
        with _opened(path) as container:
            first = next(_decoded(container, path), None)
            return None if first is None else first.time
    except ValueError:
        return None


def mono(frames: Iterable[av.AudioFrame]) -> Iterator[Float[np.ndarray, " samples"]]:
    """Decoded sound at 16 kHz, the channels' mean: libav's own mix to mono adds them at 0.7 each and overflows.

    Layout and rate may change on the way, as they do in broadcasts; where sound is missing, silence takes its place, so
    that the rest stays in time.
    """
    resampler, reached, left = AudioResampler("fltp", None, AUDIO_RATE), None, HOLE_SECONDS[1]
    for frame in frames:
        at = reached if frame.time is None else frame.time
        missing = 0.0 if reached is None or at is None else at - reached
        if HOLE_SECONDS[0] < missing < left:
            left -= missing
            yield from map(_mean, resampler.resample(None))
            resampler = AudioResampler("fltp", None, AUDIO_RATE)
            yield np.zeros(round(missing * AUDIO_RATE), np.float32)
        if missing > HOLE_SECONDS[0]:
            reached = at
        reached = (at or 0.0) if reached is None else reached
        reached += frame.samples / frame.sample_rate
        try:
            parts = resampler.resample(frame)
        except ValueError:  # of another kind than the frames before
            parts, resampler = resampler.resample(None), AudioResampler("fltp", None, AUDIO_RATE)
            parts += resampler.resample(frame)
        yield from map(_mean, parts)
    yield from map(_mean, resampler.resample(None))


def _mean(part: av.AudioFrame) -> Float[np.ndarray, " samples"]:
    return np.nan_to_num(part.to_ndarray().mean(0)).astype(np.float32)


def write(
    path: str | Path,
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    *,
    fps: float,
    audio: Float[np.ndarray, " samples"] | None = None,
    audio_rate: int = AUDIO_RATE,
    crf: int = 18,
) -> None:
    """Write an mp4 (H.264, and AAC where there is sound), frame by frame as they come.

    ``audio`` is mono float32, -1..1; what outlasts the pictures is left out. ``crf`` is x264's (lower is better).

    Raises:
        ValueError: no frames, a side that is odd, frames of different sizes, or a rate outside 1..1000 Hz.
    """
    if not 1 <= fps <= 1000:
        raise ValueError(f"{path}: expected 1 to 1000 frames a second, got {fps}.")
    rate = Fraction(fps).limit_denominator(1001)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"{path}: expected frames to write, got none.")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"{path}: expected an even width and height (H.264), got {width}x{height}.")
    options = {"movflags": "+faststart"}
    with files.replacing(path) as beside, av.open(str(beside), "w", format="mp4", options=options) as out:
        pictures = out.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        sound = None
        if audio is not None:
            sound = out.add_stream("aac", rate=audio_rate, layout="mono")
        position = 0

        def hear(until: float) -> None:  # sound up to a time, so that both streams are interleaved
            nonlocal position
            while sound is not None and audio is not None and position < min(round(until * audio_rate), len(audio)):
                end = min(position + 1024, len(audio))
                samples = np.ascontiguousarray(audio[None, position:end], np.float32)
                block = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
                block.sample_rate, block.pts, block.time_base = audio_rate, position, Fraction(1, audio_rate)
                out.mux(sound.encode(block))
                position = end

        for count, frame in enumerate(chain([first], iterator)):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise ValueError(f"{path}: expected uint8 frames of {first.shape}, got {frame.dtype} {frame.shape}.")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = count, 1 / rate
            out.mux(pictures.encode(picture))
            hear(float((count + 1) / rate))
        out.mux(pictures.encode(None))
        if sound is not None:
            out.mux(sound.encode(None))


@contextmanager
def _opened(path: str | Path) -> Iterator[InputContainer]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a video file, found none.")
    if not path.stat().st_size:
        raise ValueError(f"{path}: expected a video, got an empty file.")
    try:
        container = av.open(str(path))
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: expected a video, got none or one that is cut off ({error.strerror}).") from None
    try:
        yield container
    finally:
        container.close()


def _video(container: InputContainer, path: str | Path) -> av.VideoStream:
    moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not moving:
        what = "sound only" if container.streams.audio else "neither pictures nor sound"
        raise ValueError(f"{path}: expected a video, got {what}.")
    return moving[0]


def _declared(container: InputContainer, stream: av.VideoStream) -> int:
    """Frames by the index, without those that an edit list cuts off (mp4, mov: trimmed without encoding anew)."""
    if not stream.frames or "mov" not in container.format.name:
        return stream.frames
    return min(stream.frames, sum(not entry.is_discard for entry in stream.index_entries)) or stream.frames


def _measured(path: str | Path) -> float | None:
    """Frames a second by the times of the first packets, None for a single one: browsers record WebM without a rate."""
    with _opened(path) as container:
        packets = islice(container.demux(_video(container, path)), LOOKED_AT)
        try:
            times = sorted(float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)
        except av.error.FFmpegError:
            return None
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None


def _decoded(container: InputContainer, path: str | Path) -> Iterator[av.VideoFrame]:
    stream = _video(container, path)
    stream.thread_type = "AUTO"
    try:
        yield from container.decode(stream)
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: expected a whole video, got a damaged one ({error.strerror}).") from None
