"""Sound piece by piece, speech, and lips against loudness."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tdmm_lm import bundle, video
from tdmm_lm.corpus.capture import listening

DATA = bundle.data()
real = pytest.mark.skipif(DATA is None, reason="needs the real data: set $TDMM_DATA to their folder")


def noise(seconds: float) -> np.ndarray:
    return (0.2 * np.random.default_rng(0).standard_normal(round(16000 * seconds))).astype(np.float32)


def pictures(count: int):
    return (np.full((48, 64, 3), i, np.uint8) for i in range(count))


def test_pieces_are_those_of_the_whole(tmp_path):
    video.write(tmp_path / "a.mp4", pictures(100), fps=25, audio=noise(3.2))
    whole = video.audio(tmp_path / "a.mp4")
    with listening.Sound(tmp_path / "a.mp4") as sound:
        assert sound.present
        for start, end in ((0.0, 0.5), (0.5, 0.9), (0.7, 1.7), (2.0, 2.5), (2.5, 4.0)):
            np.testing.assert_array_equal(sound.take(start, end), whole[round(start * 16000) : round(end * 16000)])
        assert len(sound.take(3.9, 4.0)) == 0
        assert len(sound._held) < 20000
        assert not sound.damaged
    video.write(tmp_path / "b.mp4", pictures(10), fps=25)
    with listening.Sound(tmp_path / "b.mp4") as sound:
        assert not sound.present
        assert len(sound.take(0, 1)) == 0


def test_sound_that_becomes_stereo_at_another_rate(tmp_path):
    """As in a broadcast, where an advertisement begins."""
    for name, rate, layout, channels in (("a", 16000, "mono", 1), ("b", 44100, "stereo", 2)):
        wave = (np.random.default_rng(0).uniform(-9000, 9000, (1, rate * channels))).astype(np.int16)
        with av.open(str(tmp_path / name), "w", format="mp2") as out:
            heard = out.add_stream("mp2", rate=rate, layout=layout)
            for at in range(0, rate, 1152):
                block = wave[:, at * channels : (at + 1152) * channels]
                frame = av.AudioFrame.from_ndarray(block, "s16", layout)
                frame.sample_rate, frame.pts = rate, at
                out.mux(heard.encode(frame))
            out.mux(heard.encode(None))
    path = tmp_path / "both.mp2"
    path.write_bytes((tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes())
    whole = video.audio(path)
    assert len(whole) == pytest.approx(2 * 16000, abs=2000)
    with listening.Sound(path) as sound:
        np.testing.assert_array_equal(sound.take(0.0, 5.0), whole)
        assert not sound.damaged


@pytest.mark.parametrize("ahead", [-0.3, 0.4])
def test_sound_that_begins_before_or_after_the_pictures(tmp_path, ahead):
    wave = noise(2.0)
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        shown, heard = out.add_stream("libx264", rate=25), out.add_stream("pcm_s16le", rate=16000, layout="mono")
        shown.width, shown.height, shown.pix_fmt = 64, 48, "yuv420p"
        for i, picture in enumerate(pictures(50)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i + 25, Fraction(1, 25)
            out.mux(shown.encode(frame))
        out.mux(shown.encode(None))
        for at in range(0, len(wave), 1600):
            block = av.AudioFrame.from_ndarray((wave[None, at : at + 1600] * 32767).astype(np.int16), "s16", "mono")
            block.sample_rate, block.pts, block.time_base = 16000, at + round(16000 * (1 + ahead)), Fraction(1, 16000)
            out.mux(heard.encode(block))
        out.mux(heard.encode(None))
    whole = video.audio(tmp_path / "a.mkv")
    with listening.Sound(tmp_path / "a.mkv") as sound:
        np.testing.assert_array_equal(sound.take(0.0, 0.6), whole[:9600])
        np.testing.assert_array_equal(sound.take(1.0, 1.5), whole[16000:24000])


@real
def test_speech_is_told_from_noise_and_silence():
    assert DATA is not None
    model = listening.detector()
    assert model is not None
    talk = video.audio(DATA / "speech" / "jfk.flac")
    assert (listening.speech(talk, model) >= 0.5).mean() > 0.5
    for other in (np.zeros(32000, np.float32), noise(2), 0.3 * np.sin(np.arange(32000) * 0.17)):
        found = listening.speech(np.asarray(other, np.float32), model)
        assert len(found) == 63
        assert (found >= 0.5).mean() < 0.05


def test_loudness_is_a_frames():
    wave = np.repeat([0.0, 0.5, -0.25], 640).astype(np.float32)
    np.testing.assert_allclose(listening.loudness(wave, 25, 4), [0, 0.5, 0.25, 0], atol=1e-6)


@pytest.mark.parametrize("late", [-12, -8, 0, 3, 10])
def test_a_known_offset_is_found(late):
    rng = np.random.default_rng(1)
    opening = np.convolve(rng.uniform(0, 1, 230), np.hanning(5), "same")
    lips, sound = opening[15:215], opening[15 - late : 215 - late] ** 2
    offset, by = listening.apart(listening.together(lips, sound + 0.01 * rng.uniform(0, 1, 200)))
    assert offset == late
    assert (by > 0.3) == (abs(late) > listening.NEAR)


def test_still_lips_say_nothing():
    for lips, sound in ((np.zeros(50), np.ones(50)), (np.zeros(3), np.zeros(3))):
        correlations = listening.together(lips, sound)
        assert np.isfinite(correlations).all()
        assert listening.apart(correlations)[1] == 0


def test_the_detector_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("TDMM_DATA", raising=False)
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path))
    assert listening.detector() is None
    (tmp_path / "silero_vad.onnx").touch()
    assert listening.detector() == tmp_path / "silero_vad.onnx"
    monkeypatch.setenv("TDMM_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "vad").mkdir(parents=True)
    (tmp_path / "data" / "vad" / "silero_vad.onnx").touch()
    assert listening.detector() == Path(tmp_path / "data" / "vad" / "silero_vad.onnx")
