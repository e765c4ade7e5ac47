"""A folder of videos as a source: clips of one person's face and voice, found, tracked, measured and filtered.

    sources: {videos: {folder: VIDEOS, speaker: parent, licence: CC BY 4.0}}

A clip has the weights, the head's turn and place at 25 fps, and in ``shape`` the identity that fits its landmarks. All
bounds are settings. Filters that need others' weights are off until the recipe names these; `summary` says which are.
"""

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from pydantic import Field, field_validator

from tdmm_lm import config
from tdmm_lm import video as media
from tdmm_lm.corpus.capture import faces, filters, hearing, identity, listening
from tdmm_lm.corpus.capture import judges as judging
from tdmm_lm.corpus.sources import Item, Rejected, utf8
from tdmm_lm.formats import video as capture
from tdmm_lm.motion import face
from tdmm_lm.sample import Sample

FPS = face.CODE_FPS
BROKEN = (ValueError, OSError, RuntimeError, MemoryError, av.error.FFmpegError)  # what a broken file may raise


class Settings(config.Settings):
    """``speaker`` says who is seen: "parent" is the name of the video's folder; anything else is a regular expression
    for its path below ``folder``, of which the first group counts (or all, without groups); left empty, every video is
    somebody's of its own. Speakers are in one split, told by their names alone."""

    folder: Path
    name: str = Field(default="videos", min_length=1)  # what ids and rows call this source
    licence: str = "not stated"
    speaker: str = ""
    dev: float = Field(default=0.05, ge=0, le=1)  # share of the speakers
    test: float = Field(default=0.05, ge=0, le=1)
    audio: bool = True  # keep the sound
    finding: faces.Settings = Field(default=faces.Settings())
    quality: filters.Settings = Field(default=filters.Settings())
    sound: listening.Settings = Field(default=listening.Settings())
    judges: judging.Settings = Field(default=judging.Settings())

    @field_validator("speaker")
    @classmethod
    def _expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"expected a regular expression ({error})") from None
        return value


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a video, by path; ``seed`` changes nothing: a speaker stays in its split from one corpus to the next.
    The same bytes under a second name, which might be in another split, are found here and rejected by `samples`.

    Raises:
        FileNotFoundError: no such folder, or the landmarker's or a named judge's file is missing.
        ValueError: no video below it, a missing package, or a named judge that is no model.
    """
    del seed
    folder = settings.folder
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of videos, found none.")
    _ready(settings)
    if settings.sound.speech_share and listening.detector() is None:
        warnings.warn(f"videos: {summary(settings)['speech']}", stacklevel=2)
    found = (path for path in folder.rglob("*") if path.suffix.lower() in capture.ENDINGS and path.is_file())
    paths = sorted((path.relative_to(folder).as_posix(), path) for path in found)
    if not paths:
        raise ValueError(f"{folder}: expected videos ({', '.join(capture.ENDINGS)}) below it, found none.")
    copies = _copies(path for _, path in paths)
    for name, path in paths:
        who = _speaker(name, path, settings.speaker)
        name, who = utf8(name), None if who is None else utf8(who)
        what: dict[str, Any] = {"path": str(path), "speaker": who if settings.speaker else ""}
        if path in copies:
            what["copy_of"] = utf8(copies[path].relative_to(folder).as_posix())
        yield Item(f"{settings.name}/{name}", _split(name if who is None else who, settings), what)


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """The video's clips in time; what is none is rejected with its reason and what was measured of it.

    Raises:
        FileNotFoundError, ValueError: as `items`, but for the folder: what no video can be captured without.
    """
    _ready(settings)
    import cv2

    path = Path(item.what["path"])
    if "copy_of" in item.what:
        told = f"{path}: expected a video of its own, got the bytes of {item.what['copy_of']}."
        yield Rejected(item.id, settings.name, "duplicate", told)
        return
    if item.what.get("speaker", "") is None:
        told = f"{path}: expected a speaker by {settings.speaker!r}, found none in its name."
        yield Rejected(item.id, settings.name, "no_speaker", told)
        return
    fault = _unusable(path)
    if fault is not None:
        yield Rejected(item.id, settings.name, *fault)
        return
    any_, reached = False, 0.0
    with listening.Sound(path) as sound:
        found = faces.stretches(path, settings.finding, crop=judging.crop_side(settings.judges))
        while True:
            try:
                stretch = next(found, None)
            except (*BROKEN, cv2.error) as error:
                told = f"{path}: {_line(error)}" if str(path) not in str(error) else _line(error)
                figures = {"seconds": reached}
                yield Rejected(item.id, settings.name, "damaged", f"{told} Used up to {reached:.2f} s.", figures)
                return
            if stretch is None:
                break
            any_, reached = True, stretch.end
            yield _judged(item, settings, stretch, sound)
    if not any_:
        yield Rejected(item.id, settings.name, "no_face", f"{path}: expected a face, found none long enough.")


def summary(settings: Settings) -> dict[str, str]:
    """Every filter that may be off, and whether it is on: ``on`` and its bound, or ``off`` and how to turn it on."""
    judge, sound = settings.judges, settings.sound
    model = listening.detector()
    speech = f"on: speech in at least {sound.speech_share:g} of the clip ({model})"
    if not sound.speech_share:
        speech = "off: speech_share is 0"
    elif model is None:
        speech = f"off: {listening.MODEL} found neither below $TDMM_DATA/vad nor in the cache"
    named = {
        "active_speaker": (judge.active_speaker, f"at least {judge.active_score:g} the one who speaks"),
        "sync": (judge.sync, f"at most {judge.sync_offset} frames between lips and sound"),
        "quality": (judge.quality, f"DNSMOS OVRL over {judge.overall:g}"),
        "transcriber": (judge.transcriber, f"under {judge.seconds_a_character:g} s a character"),
    }
    told = {
        name: f"off: judges.{name} names nothing" if where is None else f"on: {bound} ({where})"
        for name, (where, bound) in named.items()
    }
    lips = "off: sync_margin is 2 or more" if sound.sync_margin >= 2 else f"on: margin of {sound.sync_margin:g}"
    return {"speech": speech, "lips_and_sound": lips, **told}


@lru_cache(maxsize=8)
def _ready(settings: Settings) -> None:
    """Raises what would fail for every video."""
    for package in ("mediapipe", "scenedetect", "cv2"):
        try:
            __import__(package)
        except ImportError as error:
            raise ValueError(f'videos need {package} ({error}); pip install "tdmm-lm[capture]".') from None
    with capture.tracker():  # a model that is broken makes no tracker
        pass
    judging.check(settings.judges)
    if settings.sound.speech_share and (model := listening.detector()) is not None:
        listening.session(model)


def _speaker(name: str, path: Path, rule: str) -> str | None:
    """Who is seen, or the recording where nobody asks; None where the rule finds nobody."""
    if not rule:
        return name
    if rule == "parent":
        return path.parent.name
    match = re.search(rule, name)
    if match is None:
        return None
    return match.group(1) if match.re.groups else match.group(0)


def _copies(paths: Iterable[Path]) -> dict[Path, Path]:
    """Which file each later copy repeats. Only files of one size are read."""
    sizes: dict[int, list[Path]] = {}
    for path in paths:
        with suppress(OSError):  # `samples` says what is wrong with it
            sizes.setdefault(path.stat().st_size, []).append(path)
    copies: dict[Path, Path] = {}
    for size, alike in sizes.items():
        firsts: dict[bytes, Path] = {}
        for path in alike if size and len(alike) > 1 else ():
            with suppress(OSError), path.open("rb") as file:
                first = firsts.setdefault(hashlib.file_digest(file, "sha256").digest(), path)
                if first != path:
                    copies[path] = first
    return copies


def _split(who: str, settings: Settings) -> str:
    share = int.from_bytes(hashlib.sha256(who.encode("utf-8", "surrogateescape")).digest()[:6]) / 2**48
    return "test" if share < settings.test else "dev" if share < settings.test + settings.dev else "train"


def _unusable(path: Path) -> tuple[str, str] | None:
    """Reason and detail where a file is no video at all."""
    if path.is_dir():
        return "folder", f"{path}: expected a video, got a folder."
    if not path.is_file():
        return "missing", f"{path}: expected a video, found none."
    try:
        if not path.stat().st_size:
            return "empty", f"{path}: expected a video, got an empty file."
        try:
            capture.refuse_text(path)
        except ValueError as error:
            return "text", _line(error)
        media.info(path)
    except BROKEN as error:
        return "unreadable", _line(error)
    return None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _judged(
    item: Item, settings: Settings, stretch: faces.Stretch, sound: listening.Sound
) -> Sample | Rejected:
    """A stretch as a sample, or the first reason why it is none."""
    name = f"{item.id}@{round(1000 * stretch.start)}-{round(1000 * stretch.end)}"
    figures: dict[str, float] = {"seconds": stretch.end - stretch.start}

    def rejected(reason: str, detail: str) -> Rejected:
        rounded = {key: round(float(value), 5) for key, value in figures.items()}
        return Rejected(name, settings.name, reason, f"{item.what['path']}: {detail}", rounded)

    if stretch.reason:
        return rejected(stretch.reason, stretch.detail)
    laid = identity.upright(stretch.landmarks)
    figures |= filters.measured(stretch, laid, settings.quality.turned)
    for reason, detail in filters.faults(figures, settings.quality, settings.finding):
        return rejected(reason, detail)
    frames = max(1, round((stretch.end - stretch.start) * FPS))
    wave = None
    if sound.present:
        wave = sound.take(stretch.start, stretch.start + frames / FPS)
    heard, labels = hearing.Heard(stretch, laid, wave, frames), dict[str, Any]()
    for reason, detail in hearing.faults(heard, settings.sound, settings.judges, figures, labels):
        return rejected(reason, detail)
    fitted = identity.fit(laid, stretch.table[:, : len(face.ARKIT)], capture.RIG)
    figures |= {"identity_residual_mm": fitted.residual_mm, "identity_mean_mm": fitted.mean_mm}
    clip = capture.clip_of(
        stretch.table, stretch.seconds - stretch.start, fps=FPS, frames=frames, shape=fitted.shape
    )
    provenance = {
        "file": item.what["path"], "seconds": [round(stretch.start, 3), round(stretch.end, 3)],
        "figures": {key: round(float(value), 5) for key, value in figures.items()},
        "filters_off": sorted(key for key, state in summary(settings).items() if state.startswith("off")),
    }
    return Sample(
        name, (), {"face": clip}, item.split, settings.name, settings.licence, labels,
        wave if settings.audio else None, str(item.what.get("speaker", "")), provenance,
    )
