"""Judges of a clip that need others' weights: each is off until the recipe names its file, folder or address.

    active_speaker  is it this face that speaks (LightASD and its kin)?           an ONNX file
    sync            do lips and sound fit (SyncNet and its kin)?                  an ONNX file
    quality         is the speech clean (DNSMOS P.835)?                           sig_bak_ovr.onnx
    transcriber     what is said, and is there a word for the time it takes?      an address, or faster-whisper's folder
"""

import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from jaxtyping import Float, UInt8
from pydantic import Field
from scipy.fft import dct

from tdmm_lm import config
from tdmm_lm.corpus.asking import patience
from tdmm_lm.corpus.asking.patience import Failed, Hopeless, Patience
from tdmm_lm.corpus.capture.listening import session
from tdmm_lm.motion.face import CODE_FPS
from tdmm_lm.video import AUDIO_RATE

if TYPE_CHECKING:
    import httpx

ASD_SIDE, SYNC_SIDE, SYNC_FRAMES, SYNC_LAGS = 112, 224, 5, 15
QUALITY_SECONDS = 9.01  # what DNSMOS hears at once
# DNSMOS P.835's fit from its network's number to the scale of 1 to 5 (Reddy et al. 2022, their published script)
OVERALL = (-0.06766283, 1.11546468, 0.04602535)
PATIENCE = Patience(tries=8, seconds=300)  # with an address that transcribes: a minute or two to be well again


class Settings(config.Settings):
    """Files and bounds. What is not named is off."""

    active_speaker: Path | None = None
    active_score: float = Field(default=0.8, ge=0, le=1)  # mean probability, at least
    sync: Path | None = None
    sync_offset: int = Field(default=3, ge=0)  # frames between lips and sound, at most
    sync_confidence: float = Field(default=1.0, ge=0)  # median distance less the least, at least
    quality: Path | None = None
    overall: float = Field(default=2.5, ge=1, le=5)  # DNSMOS OVRL, at least
    transcriber: str | None = None  # http(s)://…/v1, or the folder of a faster-whisper model
    transcriber_model: str = "whisper-1"  # the name to ask an address for
    transcriber_key: str = ""  # the environment variable that holds its key
    seconds_a_character: float = Field(default=1.0, gt=0)  # at most


def crop_side(settings: Settings) -> int:
    """How large the face's squares must be for the judges that look at it; 0 where none does."""
    return SYNC_SIDE if settings.sync else ASD_SIDE if settings.active_speaker else 0


def check(settings: Settings) -> None:
    """Load what is named, so that a mistake is told before the work.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: not a model, no address, or a missing package.
        ModuleNotFoundError: an address, and no httpx.
    """
    for model in (settings.active_speaker, settings.sync, settings.quality):
        if model is not None:
            session(model)
    if settings.transcriber and _address(settings.transcriber):
        _client(settings).close()
    elif settings.transcriber:
        _whisper(settings.transcriber)


def active(
    crops: UInt8[np.ndarray, "frames side side 3"], wave: Float[np.ndarray, " samples"], model: Path
) -> Float[np.ndarray, " frames"]:
    """Per frame at 25 fps the probability that the face seen is the one heard.

    The model takes 13 MFCC of 10 ms steps, (1, 4 x frames, 13), and grey faces 0..255, (1, frames, 112, 112), as
    float32 under any names; it gives two logits a frame (the second: speaking) or one probability a frame.

    Raises:
        ValueError: the model has other inputs or outputs.
    """
    grey = (crops @ np.array([0.299, 0.587, 0.114])).astype(np.float32)
    step = grey.shape[1] // ASD_SIDE
    grey = grey[:, : ASD_SIDE * step, : ASD_SIDE * step].reshape(len(grey), ASD_SIDE, step, ASD_SIDE, step).mean((2, 4))
    heard = mfcc(wave, 4 * len(grey))
    answer = _run(model, {3: heard[None], 4: grey[None]})[0]
    scores = np.asarray(answer, np.float64).reshape(-1)
    if len(scores) == 2 * len(grey):
        logits = scores.reshape(-1, 2)
        scores = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    if len(scores) != len(grey):
        raise ValueError(f"{model}: expected one or two numbers a frame for {len(grey)} frames, got {answer.shape}.")
    return scores.astype(np.float32)


def synchrony(
    crops: UInt8[np.ndarray, "frames 224 224 3"], wave: Float[np.ndarray, " samples"], model: Path
) -> tuple[int, float]:
    """By how many frames (25 fps) the sound comes late, and the confidence, as SyncNet defines both (Chung 2016).

    The model takes MFCC of 0.2 s, (n, 1, 13, 20), and five RGB faces 0..255, (n, 3, 5, 224, 224), as float32 under any
    names; it gives two embeddings (n, d), that of the sound first.

    Raises:
        ValueError: under six frames, or the model has other inputs or outputs.
    """
    count = len(crops) - SYNC_FRAMES + 1
    if count < 2:
        raise ValueError(f"expected at least {SYNC_FRAMES + 1} frames to compare with sound, got {len(crops)}.")
    coefficients, heard, seen = mfcc(wave, 4 * len(crops)), [], []
    for start in range(0, count, 16):  # a few windows at a time: they overlap, and all at once would be five videos
        rows = range(start, min(start + 16, count))
        sound = np.stack([coefficients[4 * i : 4 * i + 20].T[None] for i in rows])
        faces = np.stack([np.moveaxis(crops[i : i + SYNC_FRAMES], -1, 0) for i in rows]).astype(np.float32)
        answers = _run(model, {4: sound, 5: faces})
        if len(answers) != 2 or any(np.ndim(answer) != 2 or len(answer) != len(rows) for answer in answers):
            shapes = ", ".join(str(np.shape(answer)) for answer in answers)
            raise ValueError(f"{model}: expected two embeddings ({len(rows)}, d), got {shapes}.")
        heard.append(answers[0])
        seen.append(answers[1])
    a, b = np.concatenate(heard), np.concatenate(seen)
    reach = min(SYNC_LAGS, count - 1)
    distances = []
    for lag in range(-reach, reach + 1):
        ahead, behind = max(lag, 0), max(-lag, 0)
        gaps = b[behind : count - ahead] - a[ahead : count - behind]
        distances.append(float(np.linalg.norm(gaps, axis=1).mean()))
    return int(np.argmin(distances)) - reach, float(np.median(distances) - min(distances))


def overall(wave: Float[np.ndarray, " samples"], model: Path) -> float:
    """DNSMOS P.835's overall quality, 1 to 5, mean over windows a second apart; short sound is repeated.

    The model takes (n, 144160) samples at 16 kHz and gives (n, 3): signal, background, overall.
    """
    length = int(QUALITY_SECONDS * AUDIO_RATE)
    if not len(wave):
        raise ValueError(f"{model}: expected sound to judge, got none.")
    wave = np.tile(wave, -(-length // len(wave)))[: max(length, len(wave))].astype(np.float32)
    starts = range(0, len(wave) - length + 1, AUDIO_RATE)
    answers = [np.asarray(_run(model, {2: wave[None, at : at + length]})[0]).reshape(-1) for at in starts]
    if any(len(answer) != 3 for answer in answers):
        raise ValueError(f"{model}: expected three numbers (signal, background, overall), got {len(answers[0])}.")
    return float(np.mean([np.polyval(OVERALL, answer[2]) for answer in answers]))


def transcribe(wave: Float[np.ndarray, " samples"], settings: Settings) -> str:
    """What is said.

    Raises:
        ValueError: the address's answer is no transcription as OpenAI's is.
        Hopeless: the address lets nobody in, or is not well: that is not the clip's fault.
    """
    assert settings.transcriber is not None
    if not _address(settings.transcriber):
        segments, _ = _whisper(settings.transcriber).transcribe(wave.astype(np.float32))
        return " ".join(segment.text.strip() for segment in segments).strip()
    file, where = io.BytesIO(), "audio/transcriptions"
    soundfile.write(file, wave, AUDIO_RATE, format="WAV", subtype="PCM_16")
    fields = {"model": settings.transcriber_model, "response_format": "json"}
    files = {"file": ("clip.wav", file.getvalue(), "audio/wav")}

    def asked() -> str:
        reply = patience.once(client, "POST", where, seconds=PATIENCE.seconds, body=fields, files=files)
        said = reply.json().get("text")
        if not isinstance(said, str):
            raise Failed("nonsense", f"expected a text, got {reply.body[:60]!r}")
        return said.strip()

    try:
        with _client(settings) as client:
            return patience.tried(asked, PATIENCE)
    except Failed as failure:
        url, got = f"{settings.transcriber.rstrip('/')}/{where}", str(failure).rstrip(".")
        if failure.again and failure.reason not in ("nonsense", "http_500"):  # these may be this clip's alone
            raise Hopeless(f"{url}: expected an answer, got {got}; start again when it is well.") from None
        raise ValueError(f"{url}: expected a transcription with a text, got {got}.") from None


def mfcc(wave: Float[np.ndarray, " samples"], steps: int) -> Float[np.ndarray, "steps 13"]:
    """Mel cepstra, 13 every 10 ms from windows of 25 ms: pre-emphasis .97, 512-point power spectra, 26 triangles, DCT,
    liftered by 22, the first replaced by the logarithm of the energy; these judges were trained on such."""
    window, hop, points, bands, kept, lifter = 400, 160, 512, 26, 13, 22
    wave = np.asarray(wave, np.float64) * 32768  # they were trained on 16-bit numbers
    sharp = np.append(wave[:1], wave[1:] - 0.97 * wave[:-1])
    sharp = np.pad(sharp, (0, max(0, (steps - 1) * hop + window - len(sharp))))
    frames = np.lib.stride_tricks.sliding_window_view(sharp, window)[::hop][:steps]
    power = np.abs(np.fft.rfft(frames, points)) ** 2 / points
    tiny = np.finfo(float).eps
    top = 2595 * np.log10(1 + AUDIO_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.floor((points + 1) * hertz / AUDIO_RATE)
    at = np.arange(points // 2 + 1)
    rise = (at - bins[:-2, None]) / np.maximum(np.diff(bins)[:-1, None], 1)
    fall = (bins[2:, None] - at) / np.maximum(np.diff(bins)[1:, None], 1)
    mel = np.maximum(power @ np.maximum(np.minimum(rise, fall), 0).T, tiny)
    cepstra = dct(np.log(mel), type=2, axis=1, norm="ortho")[:, :kept]
    cepstra = cepstra * (1 + lifter / 2 * np.sin(np.pi * np.arange(kept) / lifter))
    cepstra[:, 0] = np.log(np.maximum(power.sum(1), tiny))
    return cepstra.astype(np.float32)


def frames_at(seconds: Float[np.ndarray, " seen"], start: float, frames: int) -> np.ndarray:
    """For each frame at 25 fps from ``start`` on the number of the nearest row."""
    wanted = start + np.arange(frames) / CODE_FPS
    right = np.searchsorted(seconds, wanted).clip(1, max(len(seconds) - 1, 1))
    left = right - 1
    nearest = np.where(wanted - seconds[left] <= seconds[np.minimum(right, len(seconds) - 1)] - wanted, left, right)
    return np.minimum(nearest, len(seconds) - 1)


def _run(model: Path, by_rank: dict[int, np.ndarray]) -> list[np.ndarray]:
    """The model's outputs; its inputs are told apart by how many axes they have."""
    network = session(model)
    inputs = network.get_inputs()
    ranks = sorted(len(each.shape) for each in inputs)
    if ranks != sorted(by_rank):
        wanted = ", ".join(map(str, sorted(by_rank)))
        raise ValueError(f"{model}: expected inputs of {wanted} axes, got {', '.join(map(str, ranks))}.")
    return network.run(None, {each.name: np.ascontiguousarray(by_rank[len(each.shape)]) for each in inputs})


def _address(where: str) -> bool:
    return where.startswith(("http://", "https://"))


def _client(settings: Settings) -> "httpx.Client":
    assert settings.transcriber is not None
    return patience.client(settings.transcriber, settings.transcriber_key or None, PATIENCE.seconds)


@lru_cache(maxsize=1)
def _whisper(folder: str) -> Any:
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: expected an address or a faster-whisper model's folder, found neither.")
    try:
        import faster_whisper
    except ImportError as error:
        raise ValueError(f"{folder}: needs faster-whisper ({error}); pip install faster-whisper.") from None
    return faster_whisper.WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)
