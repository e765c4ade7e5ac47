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


def by_ticks(path: Path, codec: str, rate: int, ticks: list[int]) -> None:
    """A video of frames at these thousandths of a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for tick, frame in zip(ticks, pictures(len(ticks))):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = tick, Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def test_uneven_times_are_reported_as_they_are(tmp_path: Path) -> None:
    path, ticks = tmp_path / "uneven.mp4", [0, 40, 50, 200, 210]
    by_ticks(path, "libx264", 25, ticks)
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


def test_a_rate_that_no_header_states_is_measured(tmp_path: Path) -> None:
    path, rng = tmp_path / "browser.mkv", np.random.default_rng(0)
    ticks = np.cumsum(rng.integers(25, 42, 60)).tolist()
    by_ticks(path, "libvpx", 1000, ticks)
    held = bytearray(path.read_bytes())
    start = held.index(b"\x23\xe3\x83")  # DefaultDuration, which browsers do not write: made a void
    length = 4 + (held[start + 3] & 0x7F)
    held[start : start + length] = bytes([0xEC, 0x80 | (length - 2), *[0] * (length - 2)])
    path.write_bytes(held)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate is None
    assert video.info(path).fps == pytest.approx(1000 * 59 / (ticks[-1] - ticks[0]), rel=0.01)


def test_what_an_edit_list_hides_is_not_missed(tmp_path: Path) -> None:
    whole, trimmed = tmp_path / "a.mp4", tmp_path / "trimmed.mp4"
    video.write(whole, pictures(60), fps=25)
    with av.open(str(whole)) as seen, av.open(str(trimmed), "w", options={"avoid_negative_ts": "disabled"}) as out:
        stream = seen.streams.video[0]
        to = out.add_stream_from_template(stream)
        for packet in seen.demux(stream):
            if packet.dts is not None:
                packet.pts -= round(20 / 25 / stream.time_base)
                packet.dts -= round(20 / 25 / stream.time_base)
                packet.stream = to
                out.mux(packet)
    with av.open(str(trimmed)) as container:
        assert container.streams.video[0].frames == 60
    assert video.info(trimmed).frames == 40
    assert len(list(video.read(trimmed))) == 40


def click_at(wave: np.ndarray) -> float:
    return int(np.abs(wave).argmax()) / video.AUDIO_RATE


def test_a_hole_in_the_sound_is_silence(tmp_path: Path) -> None:
    path, wave = tmp_path / "hole.mkv", np.zeros(8 * 16_000, np.float32)
    wave[6 * 16_000] = 1
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=16_000, layout="mono")
        for start in range(0, len(wave), 800):
            if 2 <= start / 16_000 < 4:
                continue  # lost on the way
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 800], "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    heard = video.audio(path)
    assert click_at(heard) == pytest.approx(6.0, abs=0.01)
    assert len(heard) == pytest.approx(len(wave), abs=200)


def test_a_clock_that_leaps_makes_no_endless_silence() -> None:
    def frames():
        for place in range(20):
            frame = av.AudioFrame.from_ndarray(np.ones((1, 800), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, place * 400 * 16_000, Fraction(1, 16_000)
            yield frame

    seconds = sum(map(len, video.mono(frames()))) / video.AUDIO_RATE
    assert seconds == pytest.approx(400 - 0.05 + 20 * 0.05, abs=0.02)  # one leap is a hole, the rest another clock


def test_sound_and_pictures_of_a_recording_that_begins_between_key_frames(tmp_path: Path) -> None:
    whole, path, wave = tmp_path / "a.mp4", tmp_path / "late.ts", np.zeros(4 * 16_000, np.float32)
    wave[3 * 16_000] = 1
    with av.open(str(whole), "w") as out:
        shown, heard = out.add_stream("libx264", rate=25), out.add_stream("aac", rate=16_000, layout="mono")
        shown.width, shown.height, shown.pix_fmt, shown.gop_size = 64, 48, "yuv420p", 25
        for frame in (*pictures(50), *pictures(50)):
            out.mux(shown.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        for start in range(0, len(wave), 1024):
            part = np.pad(wave[start : start + 1024], (0, max(0, start + 1024 - len(wave))))
            frame = av.AudioFrame.from_ndarray(part[None], "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, start
            out.mux(heard.encode(frame))
        out.mux(shown.encode(None))
        out.mux(heard.encode(None))
    with av.open(str(whole)) as seen, av.open(str(path), "w") as out:
        streams = [*seen.streams.video, *seen.streams.audio]
        to = {stream.index: out.add_stream_from_template(stream) for stream in streams}
        passed = 0
        for packet in seen.demux(streams):
            passed += packet.stream.type == "video"
            if packet.dts is not None and (packet.stream.type == "audio" or passed > 10):
                packet.stream = to[packet.stream.index]
                out.mux(packet)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        claimed, first = float(stream.start_time * stream.time_base), next(container.decode(stream)).time
    assert first - claimed > 0.25, "the first packets show nothing"
    passed_over = 100 - len(list(video.read(path)))
    assert click_at(video.audio(path)) == pytest.approx(3.0 - passed_over / 25, abs=0.07)
