"""Whether a clip's sound belongs to its face: all filters that listen, in turn, those without others' weights first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tdmm_lm.corpus.asking.patience import Hopeless
from tdmm_lm.corpus.capture import judges, listening
from tdmm_lm.corpus.capture.faces import Stretch
from tdmm_lm.motion.face import CODE_FPS
from tdmm_lm.video import AUDIO_RATE

WHOLE = 0.9  # of a clip's time: with less sound than that, it broke off


@dataclass(frozen=True)
class Heard:
    """A stretch with its landmarks laid upright and its sound (None: the video has none), ``frames`` long at 25 fps."""

    stretch: Stretch
    laid: Float[np.ndarray, "seen 478 3"]
    wave: Float[np.ndarray, " samples"] | None
    frames: int


def faults(
    heard: Heard, bounds: listening.Settings, named: judges.Settings, figures: dict[str, float], labels: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """Reason and detail of each filter that the clip fails; what they measure is added to ``figures``, what is said to
    ``labels``. Filters that are off say nothing; a clip without sound fails those that are on."""
    model = listening.detector() if bounds.speech_share else None
    wave = heard.wave
    listens = model or named.active_speaker or named.sync or named.quality or named.transcriber
    if wave is None:
        if listens:
            yield "no_sound", "expected a video with sound, got one without."
        return
    share = len(wave) / (heard.frames / CODE_FPS * AUDIO_RATE)
    figures["sound_share"] = share
    if listens and share < WHOLE:
        yield "sound_breaks_off", f"expected sound for the whole clip, got {share:.0%} of it."
        return
    if model:
        figures["speech_share"] = float((listening.speech(wave, model) >= bounds.speech).mean())
        if figures["speech_share"] < bounds.speech_share:
            yield "no_speech", f"expected speech in {bounds.speech_share:g} of it, got {figures['speech_share']:.3g}."
    if bounds.sync_margin < 2:
        yield from _lips(heard, wave, bounds.sync_margin, figures)
    yield from _judged(heard, wave, named, figures, labels)


def _lips(heard: Heard, wave: np.ndarray, margin: float, figures: dict[str, float]) -> Iterator[tuple[str, str]]:
    """Lips against loudness, by correlation."""
    seconds = heard.stretch.start + np.arange(heard.frames) / CODE_FPS
    gap = np.interp(seconds, heard.stretch.seconds, listening.lip_gap(heard.laid))
    correlations = listening.together(gap, listening.loudness(wave, CODE_FPS, heard.frames))
    late, by = listening.apart(correlations)
    figures |= {"lips_late_frames": float(late), "lips_margin": by, "lips_correlation": float(correlations.max())}
    if by > margin:
        found = f"sound {late} frames late fits by {by:.3g} better"
        yield "out_of_sync", f"expected lips and sound together (within a margin of {margin:g}), but {found}."


def _judged(
    heard: Heard, wave: np.ndarray, named: judges.Settings, figures: dict[str, float], labels: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """What others' models say."""
    crops = heard.stretch.crops
    if crops is not None:
        crops = crops[judges.frames_at(heard.stretch.seconds, heard.stretch.start, heard.frames)]
    if named.active_speaker and crops is not None:
        figures["active_score"] = float(judges.active(crops, wave, named.active_speaker).mean())
        if figures["active_score"] <= named.active_score:
            found = f"{figures['active_score']:.3g}"
            yield "not_speaking", f"expected the face to speak (over {named.active_score:g}), got {found}."
    if named.sync and crops is not None:
        late, sure = judges.synchrony(crops, wave, named.sync)
        figures |= {"sync_late_frames": float(late), "sync_confidence": sure}
        if abs(late) > named.sync_offset or sure < named.sync_confidence:
            bound = f"within {named.sync_offset} frames (confidence {named.sync_confidence:g})"
            yield "out_of_sync", f"expected lips and sound {bound}, got {late} frames ({sure:.3g})."
    if named.quality:
        figures["overall"] = judges.overall(wave, named.quality)
        if figures["overall"] <= named.overall:
            yield "poor_sound", f"expected a DNSMOS over {named.overall:g}, got {figures['overall']:.3g}."
    if named.transcriber:
        yield from _said(wave, named, figures, labels)


def _said(
    wave: np.ndarray, named: judges.Settings, figures: dict[str, float], labels: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    try:
        said = judges.transcribe(wave, named)
    except Hopeless:
        raise
    except ValueError as error:
        yield "no_transcript", str(error)
        return
    characters = sum(letter.isalnum() for letter in said)
    if not characters:
        yield "nothing_said", "expected words, got none."
        return
    labels["transcript"] = said
    figures["seconds_a_character"] = len(wave) / AUDIO_RATE / characters
    if figures["seconds_a_character"] >= named.seconds_a_character:
        found = f"{figures['seconds_a_character']:.3g}"
        yield "sparse_speech", f"expected under {named.seconds_a_character:g} s a character, got {found}."
