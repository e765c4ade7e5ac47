"""Judges with others' weights, on models of a few nodes written here, so that what they are given can be checked."""

import json
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tdmm_lm.corpus.asking.patience import Hopeless, Patience
from tdmm_lm.corpus.capture import faces, hearing, judges, listening

pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'tdmm-lm[capture]'")


def field(number: int, value: int | float | str | bytes) -> bytes:
    """One field of a protocol buffer message."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def node(kind: str, inputs: list[str], output: str, **attributes: int | list[int]) -> bytes:
    parts = b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind)
    for name, value in attributes.items():
        if isinstance(value, int):
            parts += field(5, field(1, name) + field(3, value) + field(20, 2))
        else:
            parts += field(5, field(1, name) + b"".join(field(8, one) for one in value) + field(20, 7))
    return field(1, parts)


def value(name: str, axes: list[int | str]) -> bytes:
    shape = b"".join(field(1, field(2, axis) if isinstance(axis, str) else field(1, axis)) for axis in axes)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def onnx(path: Path, nodes: list[bytes], inputs: dict[str, list], outputs: dict[str, list], **numbers: float) -> Path:
    """An ONNX file of float tensors; ``numbers`` are constants that nodes may name."""
    graph = b"".join(nodes) + field(2, "graph")
    for name, number in numbers.items():
        graph += field(5, field(2, 1) + field(4, struct.pack("<f", number)) + field(8, name))
    graph += b"".join(field(11, value(name, axes)) for name, axes in inputs.items())
    graph += b"".join(field(12, value(name, axes)) for name, axes in outputs.items())
    path.write_bytes(field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, graph))
    return path


def bursts(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes at random ten times a second."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.uniform(0.001, 0.5, round(10 * seconds)), 1600)
    return (loud * rng.standard_normal(len(loud)) / 3).clip(-1, 1).astype(np.float32)


@pytest.fixture
def speaker(tmp_path):
    """Scores a frame by how bright the face is."""
    return onnx(
        tmp_path / "asd.onnx",
        [
            node("ReduceMean", ["video"], "bright", axes=[2, 3], keepdims=0),
            node("Mul", ["bright", "one_over_255"], "score"),
        ],
        {"video": [1, "t", 112, 112], "audio": [1, "a", 13]}, {"score": [1, "t"]}, one_over_255=1 / 255,
    )


@pytest.fixture
def syncnet(tmp_path):
    """Embeds sound as its mean cepstrum and faces as their brightness, on one scale."""
    return onnx(
        tmp_path / "sync.onnx",
        [
            node("ReduceMean", ["sound"], "heard4", axes=[1, 2], keepdims=0),
            node("ReduceMean", ["heard4"], "heard", axes=[1], keepdims=1),
            node("ReduceMean", ["faces"], "bright4", axes=[1, 3, 4], keepdims=0),
            node("ReduceMean", ["bright4"], "bright", axes=[1], keepdims=1),
            node("Mul", ["bright", "gain"], "scaled"),
            node("Add", ["scaled", "shift"], "seen"),
        ],
        {"sound": ["n", 1, 13, 20], "faces": ["n", 3, 5, 224, 224]}, {"heard": ["n", 1], "seen": ["n", 1]},
        gain=0.1, shift=-12.0,
    )


@pytest.fixture
def dnsmos(tmp_path):
    """Three times a hundred times the mean of the sound's size."""
    return onnx(
        tmp_path / "sig_bak_ovr.onnx",
        [
            node("Abs", ["x"], "size"),
            node("ReduceMean", ["size"], "mean", axes=[1], keepdims=1),
            node("Mul", ["mean", "hundred"], "much"),
            node("Concat", ["much", "much", "much"], "scores", axis=1),
        ],
        {"x": ["n", 144160]}, {"scores": ["n", 3]}, hundred=100.0,
    )


def test_active_speaker(speaker):
    crops = np.zeros((30, 112, 112, 3), np.uint8)
    crops[10:20] = 255
    scores = judges.active(crops, bursts(1.2), speaker)
    np.testing.assert_allclose(scores, np.repeat([0, 1, 0], 10), atol=1e-5)
    large = np.full((4, 224, 224, 3), 51, np.uint8)  # squares kept for the other judge are halved
    np.testing.assert_allclose(judges.active(large, bursts(0.2), speaker), 0.2, atol=1e-5)


def test_two_logits_a_frame_are_a_probability(tmp_path):
    model = onnx(
        tmp_path / "logits.onnx",
        [
            node("ReduceMean", ["video"], "bright", axes=[0, 2, 3], keepdims=0),
            node("Flatten", ["bright"], "on", axis=1),
            node("Neg", ["on"], "off"),
            node("Concat", ["off", "on"], "logits", axis=1),
        ],
        {"video": [1, "t", 112, 112], "audio": [1, "a", 13]}, {"logits": ["t", 2]},
    )
    crops = np.full((6, 112, 112, 3), 1, np.uint8)
    np.testing.assert_allclose(judges.active(crops, bursts(0.3), model), 1 / (1 + np.exp(-2)), atol=1e-5)


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_synchrony_finds_the_offset(syncnet, late):
    """Faces as bright as the sound is, ``late`` frames before it."""
    wave, frames = bursts(3.0), 60
    told = judges.mfcc(wave, 4 * 75).mean(1).reshape(75, 4).mean(1)
    bright = 10 * (told[np.arange(frames) + 8] + 12)
    assert 0 < bright.min() < bright.max() < 255
    crops = np.broadcast_to(bright.round().astype(np.uint8)[:, None, None, None], (frames, 224, 224, 3))
    heard = wave[(8 - late) * 640 :][: frames * 640]
    offset, sure = judges.synchrony(crops, heard, syncnet)
    assert offset == late
    assert sure > 0.2


def test_quality_is_the_published_fit_of_the_networks_number(dnsmos):
    wave = np.full(16000, 0.03, np.float32)  # a second is repeated to nine
    assert judges.overall(wave, dnsmos) == pytest.approx(-0.06766283 * 9 + 1.11546468 * 3 + 0.04602535, abs=1e-3)
    halves = np.concatenate([np.full(160000, 0.01), np.full(160000, 0.03)]).astype(np.float32)
    means = [np.abs(halves[at : at + 144160]).mean() * 100 for at in range(0, 320000 - 144160 + 1, 16000)]
    assert judges.overall(halves, dnsmos) == pytest.approx(
        np.mean(np.polyval(judges.OVERALL, means)), abs=1e-3
    )


def test_cepstra_are_those_of_a_direct_sum():
    """Against the definition written out, one window at a time."""
    wave = bursts(0.1, 3)
    got = judges.mfcc(wave, 6)
    loud = np.append(wave[:1], wave[1:] - 0.97 * wave[:-1]).astype(np.float64) * 32768
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    bins = np.floor(513 * 700 * (10 ** (mel / 2595) - 1) / 16000).astype(int)
    for step in range(6):
        window = np.pad(loud, (0, 2000))[160 * step : 160 * step + 400]
        power = np.abs(np.fft.rfft(window, 512)) ** 2 / 512
        bands = []
        for low, middle, high in zip(bins, bins[1:], bins[2:]):
            up = sum(power[i] * (i - low) / (middle - low) for i in range(low, middle))
            bands.append(up + sum(power[i] * (high - i) / (high - middle) for i in range(middle, high)))
        logs = np.log(bands)
        for k in range(1, 13):
            sums = sum(logs[n] * np.cos(np.pi * k * (2 * n + 1) / 52) for n in range(26)) * np.sqrt(2 / 26)
            assert got[step, k] == pytest.approx(sums * (1 + 11 * np.sin(np.pi * k / 22)), rel=1e-3, abs=1e-2)
        assert got[step, 0] == pytest.approx(np.log(power.sum()), rel=1e-4)


class _Whisper(BaseHTTPRequestHandler):
    """Gives ``answer`` after ``faults``; without a status these are sent as they are."""

    answer: tuple[int, bytes] = (200, b"")
    faults: list[tuple[int, bytes]] = []  # noqa: RUF012
    seen: dict[str, Any] = {}  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).seen = {"path": self.path, "body": body, "key": self.headers.get("Authorization")}
        status, said = self.faults.pop(0) if self.faults else self.answer
        if status:
            self.send_response(status)
            self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setattr(judges, "PATIENCE", Patience(tries=2, seconds=5, first_pause_seconds=0))
    server = HTTPServer(("127.0.0.1", 0), _Whisper)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_transcription_by_address(address, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "abc")
    named = judges.Settings(transcriber=address, transcriber_key="SOME_KEY", transcriber_model="tiny")
    _Whisper.answer = (200, json.dumps({"text": " Place blue at F two now. "}).encode())
    assert judges.transcribe(bursts(1.0), named) == "Place blue at F two now."
    assert (_Whisper.seen["path"], _Whisper.seen["key"]) == ("/v1/audio/transcriptions", "Bearer abc")
    body = _Whisper.seen["body"]
    assert b'name="model"\r\n\r\ntiny' in body
    assert b"RIFF" in body
    for answer in ((400, b"too short"), (500, b""), (200, b"no json"), (200, b"[]"), (200, b'{"text": null}')):
        _Whisper.answer = answer
        with pytest.raises(ValueError, match=r"/v1/audio/transcriptions: expected a transcription with a text, got"):
            judges.transcribe(bursts(1.0), named)


@pytest.mark.parametrize(
    "fault",
    [
        (503, b"restarting"), (500, b""), (429, b""), (0, b""), (0, b"what is that\r\n\r\n"),
        (0, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    ],
)
def test_an_address_that_is_down_for_a_moment_is_asked_again(address, fault):
    _Whisper.answer, _Whisper.faults = (200, b'{"text": "bin blue"}'), [fault]
    assert judges.transcribe(bursts(1.0), judges.Settings(transcriber=address)) == "bin blue"


def test_an_address_that_stays_down_or_lets_nobody_in_rejects_no_clip(address):
    loud, named = np.full(16000, 0.03, np.float32), judges.Settings(transcriber=address)
    again = r"/v1/audio/transcriptions: expected an answer, got {}.*; start again when it is well\."
    for answer, line in (
        ((503, b"down"), again.format("http_503: down")), ((429, b""), again.format("busy")),
        ((0, b"what is that\r\n\r\n"), again.format("cut_off")),
        ((401, b"No key."), r"127\.0\.0\.1: expected an answer, got status 401: No key\."),
        ((403, b""), "got status 403: nothing said"),
    ):
        _Whisper.answer = answer
        with pytest.raises(Hopeless, match=line):
            faults(named, loud, 0)
    with pytest.raises(Hopeless, match=again.format("unreachable")):
        faults(judges.Settings(transcriber="http://127.0.0.1:1/v1"), loud, 0)
    with pytest.raises(ValueError, match=r"url: expected an address .*80o0"):
        judges.check(judges.Settings(transcriber="http://127.0.0.1:80o0/v1"))


def test_transcription_by_faster_whisper(tmp_path, monkeypatch):
    folder = str(tmp_path)
    named = judges.Settings(transcriber=folder)
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ValueError, match=r"needs faster-whisper .*pip install faster-whisper"):
        judges.check(named)
    fake = ModuleType("faster_whisper")
    said = [SimpleNamespace(text=" bin blue "), SimpleNamespace(text="at A")]
    fake.WhisperModel = lambda path, **_: SimpleNamespace(transcribe=lambda wave: (said, path))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", fake)
    judges.check(named)
    assert judges.transcribe(bursts(0.2), named) == "bin blue at A"
    with pytest.raises(FileNotFoundError, match=r"none: expected an address or a faster-whisper model's folder"):
        judges.check(judges.Settings(transcriber=str(tmp_path / "none")))
    judges._whisper.cache_clear()


def test_other_models_are_refused(tmp_path, dnsmos, speaker):
    with pytest.raises(ValueError, match=r"sig_bak_ovr\.onnx: expected inputs of 3, 4 axes, got 2"):
        judges.active(np.zeros((2, 112, 112, 3), np.uint8), bursts(0.1), dnsmos)
    with pytest.raises(ValueError, match=r"asd\.onnx: expected inputs of 2 axes, got 3, 4"):
        judges.overall(bursts(1.0), speaker)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"broken\.onnx: expected an ONNX model, got something else"):
        judges.check(judges.Settings(quality=tmp_path / "broken.onnx"))
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx: expected an ONNX model, found none"):
        judges.check(judges.Settings(sync=tmp_path / "gone.onnx"))


def test_squares_are_kept_for_those_who_look():
    assert judges.crop_side(judges.Settings()) == 0
    assert judges.crop_side(judges.Settings(quality=Path("x"))) == 0
    assert judges.crop_side(judges.Settings(active_speaker=Path("x"))) == 112
    assert judges.crop_side(judges.Settings(active_speaker=Path("x"), sync=Path("y"))) == 224
    np.testing.assert_array_equal(judges.frames_at(np.array([1.0, 1.02, 1.09]), 1.0, 4), [0, 1, 2, 2])
    np.testing.assert_array_equal(judges.frames_at(np.array([1.0]), 1.0, 2), [0, 0])


def faults(named: judges.Settings, wave: np.ndarray, bright: int, **bounds: float) -> tuple[list[str], dict, dict]:
    frames = len(wave) // 640
    stretch = faces.Stretch(
        0.0, frames / 25, seconds=np.arange(frames) / 25, crops=np.full((frames, 224, 224, 3), bright, np.uint8)
    )
    heard = hearing.Heard(stretch, np.zeros((frames, 478, 3)), wave, frames)
    figures: dict[str, float] = {}
    labels: dict[str, Any] = {}
    settings = listening.Settings(**{"speech_share": 0, "sync_margin": 2, **bounds})
    return [reason for reason, _ in hearing.faults(heard, settings, named, figures, labels)], figures, labels


def test_each_judge_rejects_and_passes(speaker, syncnet, dnsmos, address):
    quiet, loud = np.full(16000, 0.01, np.float32), np.full(16000, 0.03, np.float32)
    by = judges.Settings
    assert faults(by(active_speaker=speaker), quiet, 255)[0] == []
    assert faults(by(active_speaker=speaker), quiet, 200)[0] == ["not_speaking"]
    reasons, figures, _ = faults(by(quality=dnsmos), loud, 0)
    assert (reasons, round(figures["overall"], 2)) == ([], 2.78)
    assert faults(by(quality=dnsmos), quiet, 0)[0] == ["poor_sound"]
    assert faults(by(sync=syncnet, sync_confidence=1.0), loud, 100)[0] == ["out_of_sync"]  # nothing to tell it by
    _Whisper.answer = (200, json.dumps({"text": "lay white"}).encode())
    reasons, figures, labels = faults(by(transcriber=address), loud, 0)
    assert (reasons, labels, figures["seconds_a_character"]) == ([], {"transcript": "lay white"}, 1 / 8)
    assert faults(by(transcriber=address), np.tile(loud, 9), 0)[0] == ["sparse_speech"]
    _Whisper.answer = (200, json.dumps({"text": " ... "}).encode())
    assert faults(by(transcriber=address), loud, 0)[0] == ["nothing_said"]
    _Whisper.answer = (400, b"")
    assert faults(by(transcriber=address), loud, 0)[0] == ["no_transcript"]
