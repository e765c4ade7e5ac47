"""Video in and out: times, rotation, sound, and what is said about files that are no whole video."""

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tdmm_lm import video


def pictures(count: int, height: int = 48, width: int = 64):
    """Frames whose left half is dark and whose brightness on the right grows with time."""
    for i in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:, width // 2 :] = 40 + 3 * i
        yield frame


def tone(seconds: float) -> np.ndarray:
    times = np.arange(round(seconds * video.AUDIO_RATE)) / video.AUDIO_RATE
    return (0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


def test_written_frames_come_back_with_their_times_and_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    video.write(path, pictures(30), fps=12.5, audio=tone(2.4))
    told = video.info(path)
    assert (told.fps, told.size, told.rotation, told.has_audio, told.frames) == (12.5, (64, 48), 0, True, 30)
    times, frames = zip(*video.read(path))
    assert times == pytest.approx([i / 12.5 for i in range(30)], abs=1e-3)
    for got, wanted in zip(frames, pictures(30)):
        assert np.abs(got.astype(int) - wanted)[:, 40:].mean() < 4
    heard = video.audio(path)
    assert heard.dtype == np.float32
    assert len(heard) == pytest.approx(2.4 * video.AUDIO_RATE, abs=2048)
    middle = heard[8000:24000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(440, abs=2)  # one second: bins are Hz
    assert middle.std() == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_a_rate_that_is_no_integer_is_kept(tmp_path: Path) -> None:
    video.write(tmp_path / "a.mp4", pictures(4), fps=30000 / 1001)
    assert video.info(tmp_path / "a.mp4").fps == pytest.approx(29.97003, abs=1e-4)


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        video.write(tmp_path / name, pictures(10), fps=25, audio=tone(0.4))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_rotation_of_phones_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        for frame in pictures(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    told = video.info(path)
    assert told.size == (48, 64)
    assert told.rotation == 90
    _, frame = next(video.read(path))
    assert frame.shape == (64, 48, 3)
    assert frame[:24].mean() > 30 > 10 > frame[40:].mean()  # counter-clockwise: the bright right side is on top now


def test_uneven_times_are_reported_as_they_are(tmp_path: Path) -> None:
    path, ticks = tmp_path / "uneven.mp4", [0, 40, 50, 200, 210]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for tick, frame in zip(ticks, pictures(5)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = tick, Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    assert [time for time, _ in video.read(path)] == pytest.approx([t / 1000 for t in ticks], abs=2e-3)


def test_sound_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = np.full(8000, 16000, np.int16), np.full(8000, 8000, np.int16)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(np.stack([left, right], 1).tobytes())
    heard = video.audio(path)
    assert len(heard) == 8000
    assert heard[4000] == pytest.approx(12000 / 32768, abs=1e-3)
    with pytest.raises(ValueError, match="expected a video, got sound only"):
        next(video.read(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected a video, got an empty file"),
        (b"no video at all\n" * 400, "expected a video, got none or one that is cut off"),
    ],
)
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    for call in (video.info, lambda p: list(video.read(p)), video.audio):
        with pytest.raises(ValueError, match=said) as caught:
            call(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_cut_video_is_an_error_wherever_it_is_cut(tmp_path: Path, share: float) -> None:
    whole, cut = tmp_path / "a.mp4", tmp_path / "cut.mp4"
    noise = np.random.default_rng(0)
    video.write(whole, (noise.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(60)), fps=25)
    data = whole.read_bytes()
    cut.write_bytes(data[: round(share * len(data))])
    with pytest.raises(ValueError, match=r"cut|damaged|neither pictures nor sound"):
        list(video.read(cut))


def test_missing_files_and_missing_sound(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a video file, found none"):
        video.info(tmp_path / "none.mp4")
    video.write(tmp_path / "silent.mp4", pictures(3), fps=25)
    with pytest.raises(ValueError, match="without an audio stream"):
        video.audio(tmp_path / "silent.mp4")


def test_bad_frames_leave_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with pytest.raises(ValueError, match="expected frames to write, got none"):
        video.write(path, [], fps=25)
    with pytest.raises(ValueError, match="even width and height"):
        video.write(path, pictures(2, height=47), fps=25)
    with pytest.raises(ValueError, match=r"expected uint8 frames of \(48, 64, 3\)"):
        video.write(path, [*pictures(2), np.zeros((50, 64, 3), np.uint8)], fps=25)
    with pytest.raises(ValueError, match="frames a second"):
        video.write(path, pictures(2), fps=0)
    assert list(tmp_path.iterdir()) == []
