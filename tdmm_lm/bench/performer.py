"""Does the corpus perform what its labels say? Lips at /p b m/, words and gestures by MediaPipe, families by `observe`.

    tdmm bench performer

What MediaPipe can read of the lexicon was settled on the scanned head (`tdmm_lm.eval.readback`); here it sees the
bundled one.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
from jaxtyping import Float

from tdmm_lm import report, rigs
from tdmm_lm.corpus import caption, labels, prompts, reading
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.perform import perform, speech_of
from tdmm_lm.corpus.performer.sentences import sentences
from tdmm_lm.corpus.score import Saying, Score
from tdmm_lm.eval import readback
from tdmm_lm.eval.legible import Reader
from tdmm_lm.eval.nano import share
from tdmm_lm.formats import video
from tdmm_lm.geometry.measure import measure
from tdmm_lm.observe.signals import mouth
from tdmm_lm.progress import track

SHUT_MM, AROUND = 1.5, 0.04  # the lips' gap, and seconds around a closure's sound
SENTENCES, CAPTIONS = 200, 1000
EACH_GESTURE = 8  # performances
BILABIALS = ("p", "b", "m")
Figures = dict[str, dict[str, Any]]


def run() -> Figures:
    """``closures_on_bilabials``, ``gap_at_rest_mm``, ``captions_contradicting``, ``observe_agrees``,
    ``descriptors_read_back``, ``gestures_read_back``.

    Raises:
        ValueError: espeak-ng or mediapipe is not installed.
        FileNotFoundError: no face landmarker.
    """
    video.landmarker()
    return {**closures(), **captions(), **seen(), **read()}


def closures(count: int = SENTENCES) -> Figures:
    """The lips' gap at /p b m/ within `AROUND` of the sound's beginning, and before and after a sentence."""
    rig, known, rng = rigs.load("head"), sentences(), np.random.default_rng(0)
    shut: list[bool] = []
    resting: list[float] = []
    for number, (text, voice) in enumerate(zip(track(known.sentences[:count], "speaking"), cycle(known.voices))):
        rate = int(rng.integers(140, 200))
        saying = Saying(text=text, voice=voice, words_per_minute=rate, onset=0.4)
        score = Score(seconds=round(saying.offset + 0.6, 2), says=(saying,), seed=number)
        clip = perform(score)
        gap = mouth(measure(clip, rig).displacement)[:, 0] * rig.interocular * 1000
        times = np.arange(clip.frames) / clip.fps
        shut += [_least(gap, times, p.start) < SHUT_MM for p in speech_of(score).phonemes if p.name in BILABIALS]
        resting += gap[(times < 0.2) | (times > saying.offset + 0.25)].tolist()
    return {
        "closures_on_bilabials": share(shut),
        "gap_at_rest_mm": report.figure(float(np.max(resting)), "mm at most", n=len(resting)),
    }


def _least(gap: Float[np.ndarray, " frames"], times: Float[np.ndarray, " frames"], moment: float) -> float:
    return float(gap[np.abs(times - moment) <= AROUND + 1e-9].min())


def captions(count: int = CAPTIONS) -> Figures:
    """Texts at all three lengths that contradict their labels, as they are read."""
    wrong = 0
    for number, (known, style) in enumerate(zip(_known(count), cycle(caption.LENGTHS))):
        text = caption.describe(known, np.random.default_rng(number), style)
        wrong += bool(reading.contradictions(caption.parse(text), known))
    return {"captions_contradicting": report.figure(wrong, "texts", n=count)}


def _known(count: int) -> Iterator[labels.Labels]:
    return (labels.of_score(prompts.sample(number, split="test")) for number in range(count))


def seen() -> Figures:
    """The family that `observe` finds in every word at intensities above slight."""
    found = readback.observed(rigs.load("head"))
    return {"observe_agrees": share([family == lexicon().word(word).family for word, _, family in found])}


def read() -> Figures:
    """What MediaPipe reads of rendered words and gestures."""
    rig, reader = rigs.load("head"), Reader(video.landmarker())
    try:
        words = readback.words(rig, reader, readback.readable())
    finally:
        reader.close()
    moved = readback.gestures(list(islice(_gesturing(), EACH_GESTURE * 8)), rig)
    return {
        "descriptors_read_back": share(list(words.values())),
        "gestures_read_back": share([asked == seen for asked, _, seen, _ in moved]),
        "gesture_counts_read_back": share(
            [times == counted for asked, times, seen, counted in moved if asked == seen and asked in ("nod", "shake")]
        ),
    }


def _gesturing() -> Iterator[Score]:
    """Unseen performances with one gesture, so many of each."""
    taken: Counter[str] = Counter()
    number = 0
    while True:
        score = prompts.sample(number, split="test", seconds=4.0)
        known = labels.of_score(score)
        number += 1
        if len(known.gestures) == 1 and taken[known.gesture] < EACH_GESTURE:
            taken[known.gesture] += 1
            yield score
