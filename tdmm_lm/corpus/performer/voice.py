"""A sentence spoken by espeak-ng: its sound, and when each phoneme and word of it is heard.

The same text and voice give the same bytes whatever was spoken before and in whatever process, for one version of
espeak-ng and one machine. The library comes with the extra `tdmm-lm[speech]`, or from the system.
"""

import ctypes.util
import importlib.util
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.signal import resample_poly

from tdmm_lm.corpus.performer import espeak_process
from tdmm_lm.video import AUDIO_RATE

WORD, PHONEME = 1, 7  # kinds of events, as in speak_lib.h
LOUD = 0.08  # root mean square of every sentence, of 1: about -22 dB, where no peak is cut
FADE = 0.03  # seconds of silence kept after the last phoneme
STRESS = "',%=_"  # what espeak-ng writes before a phoneme: stresses, and the mark of an unstressed syllable
VOICE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*(\+[A-Za-z0-9]+)?")


class Phoneme(NamedTuple):
    """espeak-ng's mnemonic ("aI", "p"; "" for a pause) and its seconds. ``stressed`` is the main stress of a word.

    Of p, t and k ``start`` is the burst: their silence lies before it.
    """

    name: str
    start: float
    stop: float
    stressed: bool


class Word(NamedTuple):
    """A word as written, and its seconds."""

    text: str
    start: float
    stop: float


@dataclass(frozen=True)
class Speech:
    """A spoken sentence. ``wave`` is mono float32 at 16 kHz; ``seconds`` is the end of the last phoneme."""

    wave: Float[np.ndarray, " samples"]
    phonemes: tuple[Phoneme, ...]
    words: tuple[Word, ...]
    seconds: float


@lru_cache(maxsize=1)
def library() -> tuple[str, str]:
    """Paths of libespeak-ng and of its data ("" where the library knows).

    Raises:
        ValueError: it is not installed.
    """
    if importlib.util.find_spec("espeakng_loader"):
        import espeakng_loader

        return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())
    if found := ctypes.util.find_library("espeak-ng"):
        return found, ""
    raise ValueError("speech: expected espeak-ng, found none; install it with: pip install 'tdmm-lm[speech]'")


@lru_cache(maxsize=64)
def speak(text: str, *, voice: str = "en-us", words_per_minute: int = 165, pitch: int = 50) -> Speech:
    """Speak a text. ``pitch`` is 0..99, 50 the voice's own.

    Raises:
        ValueError: no espeak-ng, no such voice, or nothing in the text that can be spoken.
    """
    if not VOICE.fullmatch(voice):
        raise ValueError(f"voice: expected one of espeak-ng's like en-us, en-gb or en-us+f2, got {voice!r}.")
    path, data = library()
    asked = [path, data, voice, str(words_per_minute), str(pitch)]
    command = [sys.executable, "-I", "-S", espeak_process.__file__, *asked]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=60)
    if done.returncode:
        why = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing said why"])[-1]
        raise ValueError(f"speech: espeak-ng as {voice!r} refused {text!r}: {why}.")
    return _speech(done.stdout, text)


def _speech(answer: bytes, text: str) -> Speech:
    """What the process wrote."""
    hertz, count = struct.unpack_from("<ii", answer)
    body = answer[8 : 8 + count * espeak_process.EVENT.size]
    events = list(espeak_process.EVENT.iter_unpack(body))
    samples = np.frombuffer(answer[8 + len(body) :], "<i2")
    told = [(sample / hertz, name) for kind, sample, _, _, name in events if kind == PHONEME]
    ends = [time for time, _ in told[1:]] + [len(samples) / hertz]
    phonemes = tuple(
        _phoneme(name.rstrip(b"\0").decode(), start, stop) for (start, name), stop in zip(told, ends) if stop > start
    )
    heard = [p for p in phonemes if p.name]
    if not heard:
        raise ValueError(f"speech: expected words to speak, got {text!r}.")
    begins = [(s / hertz, at - 1, at - 1 + length) for kind, s, at, length, _ in events if kind == WORD and length]
    seconds = heard[-1].stop
    up, down = AUDIO_RATE, hertz
    wave = resample_poly(samples.astype(np.float64) / 32768, up // np.gcd(up, down), down // np.gcd(up, down))
    wave = wave[: round((seconds + FADE) * AUDIO_RATE)]
    wave = (wave * (LOUD / np.sqrt(np.mean(wave**2)))).clip(-1, 1).astype(np.float32)
    wave.flags.writeable = False  # it is cached
    return Speech(wave, phonemes, _words(text, begins, heard), seconds)


def _words(text: str, begins: list[tuple[float, int, int]], heard: list[Phoneme]) -> tuple[Word, ...]:
    """Words as written, without their punctuation. A word spoken as several ("42") stays one."""
    tokens = list(re.finditer(r"\S+", text))
    found: list[tuple[int, Word]] = []  # with the number of the last token of each
    for (start, first, last), until in zip(begins, [begin for begin, _, _ in begins[1:]] + [heard[-1].stop]):
        inside = [p.stop for p in heard if start <= p.start < until]
        touched = [i for i, token in enumerate(tokens) if token.start() < last and first < token.end()]
        if not inside or not touched:
            continue
        stop = min(max(inside), until)
        if found and touched[-1] <= found[-1][0]:
            found[-1] = (found[-1][0], found[-1][1]._replace(stop=stop))
        else:
            written = " ".join(tokens[i].group() for i in touched if not found or i > found[-1][0])
            found.append((touched[-1], Word(re.sub(r"^\W+|\W+$", "", written), start, stop)))
    return tuple(word for _, word in found)


def _phoneme(said: str, start: float, stop: float) -> Phoneme:
    name = said.lstrip(STRESS)
    return Phoneme("" if name in ("", ":") else name, start, stop, said.startswith("'"))
