"""MEAD (Wang et al. 2020) as its archives unpack: actors who speak sentences in eight emotions at three levels, filmed.

    FOLDER/M003/video/front/angry/level_1/001.mp4    views front, down, top, left_30, left_60, right_30, right_60
    FOLDER/M003/audio/angry/level_1/001.m4a          the sound of all views

    sources: {mead: {folder: MEAD, videos: {quality: {...}}}}

Neutral has level 1 only. A video goes through the source ``videos`` (filtered, tracked, cut), with its .m4a's sound
where it has none of its own; the label becomes a family, a level and a text. MEAD publishes no split: the default holds
out the speakers that EMOTE (Danecek et al. 2023) holds out and later papers take over.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import av
from pydantic import Field

from tdmm_lm import config, video
from tdmm_lm.corpus.sources import Item, Rejected, found_in
from tdmm_lm.corpus.table import FULL
from tdmm_lm.sample import Sample

SOURCE = "MEAD"
LICENCE = "MEAD (Wang et al. 2020), https://wywu.github.io/projects/MEAD/MEAD.html: research only, real people"
EMOTIONS = {  # MEAD's folders: our family, the word of the text
    "angry": ("anger", "angry"), "contempt": ("contempt", "contemptuous"), "disgusted": ("disgust", "disgusted"),
    "fear": ("fear", "afraid"), "happy": ("joy", "happy"), "neutral": ("neutral", "neutral"), "sad": ("sadness", "sad"),
    "surprised": ("surprise", "surprised"),
}
LEVELS = {"level_1": ("slight", "slightly "), "level_2": ("clear", ""), "level_3": ("strong", "very ")}
View = Literal["front", "down", "top", "left_30", "left_60", "right_30", "right_60"]
DEV = ("M032", "M033", "M034", "M035", "W033", "W035", "W036")
TEST = ("M037", "M039", "M040", "M041", "M042", "W037", "W038", "W040")
SEE = "get it from https://wywu.github.io/projects/MEAD/MEAD.html and unpack each speaker's video.tar and audio.tar"


class Settings(config.Settings):
    """``videos`` is the section of the source ``videos``, by which every file is tracked."""

    folder: Path
    views: tuple[View, ...] = ("front",)
    dev: tuple[str, ...] = DEV
    test: tuple[str, ...] = TEST
    videos: dict[str, Any] = Field(default={})


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a video in the order of speakers, views, emotions, levels, numbers; ``seed`` changes nothing.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: it holds no speaker, or speakers without videos of the views asked for.
    """
    del seed  # the order is the corpus's
    folder = settings.folder
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected {SOURCE}'s folder, found none; {SEE}.")
    found = False
    for speaker in sorted(path for path in folder.iterdir() if (path / "video").is_dir()):
        for view in settings.views:
            for path in sorted((speaker / "video" / view).glob("*/*/*.mp4")):
                found = True
                ident = path.relative_to(folder).with_suffix("").as_posix().replace("/video/", "/")
                split = "test" if speaker.name in settings.test else "dev" if speaker.name in settings.dev else "train"
                yield Item(f"mead/{ident}", split, {"file": path.relative_to(folder).as_posix()})
    if not found:
        wanted = f"SPEAKER/video/{'|'.join(settings.views)}/EMOTION/level_N/*.mp4 below it"
        raise ValueError(f"{folder}: expected {wanted}, found only {found_in(folder)}; {SEE}.")


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """What the source ``videos`` makes of the file, with MEAD's label, sound and speaker."""
    file = str(item.what["file"])
    speaker, _, view, emotion, level, name = Path(file).with_suffix("").parts
    if emotion not in EMOTIONS or level not in LEVELS or (emotion == "neutral" and level != "level_1"):
        wanted = f"one of {', '.join(EMOTIONS)} at level_1 to level_3 (neutral at level_1)"
        yield Rejected(item.id, SOURCE, "unknown_label", f"expected {wanted}, got {emotion}/{level}.")
        return
    from tdmm_lm.corpus.sources import videos  # the trackers, where something is tracked

    section = config.check(videos.Settings, {"folder": settings.folder, **settings.videos}, "mead.videos")
    family, adjective = EMOTIONS[emotion]
    strength, adverb = ("", "") if family == "neutral" else LEVELS[level]
    labels = {"emotion": emotion, "family": family, "level": strength, "view": view}
    pictures = settings.folder / file
    with tempfile.TemporaryDirectory() as beside:
        path = pictures
        if _silent(pictures):
            path = Path(beside) / pictures.name
            sound = settings.folder / speaker / "audio" / emotion / level / f"{name}.m4a"
            try:
                joined(pictures, sound, path)
            except FileNotFoundError:
                said = f"expected {sound.relative_to(settings.folder)}, found none."
                yield Rejected(item.id, SOURCE, "missing_audio", said)
                return
            except (ValueError, av.error.FFmpegError) as error:
                if getattr(error, "errno", None) in FULL:  # not the clip's fault
                    raise ValueError(f"{beside}: expected room for sound and pictures, got a full disk.") from None
                told = " ".join(str(error).split())
                said = f"{sound.relative_to(settings.folder)}: expected sound, got a damaged file ({told})."
                yield Rejected(item.id, SOURCE, "broken_audio", said)
                return
        for made in videos.samples(Item(item.id, item.split, {"path": str(path)}), section):
            if isinstance(made, Rejected):
                yield replace(made, source=SOURCE, detail=made.detail.replace(str(path), str(pictures)))
                continue
            yield replace(
                made, texts=(f"A person talks and looks {adverb}{adjective}.", *made.texts), split=item.split,
                source=SOURCE, licence=LICENCE, labels=made.labels | labels, speaker=f"mead/{speaker}",
                provenance=made.provenance | {"file": str(pictures)},
            )


def joined(pictures: Path, sound: Path, path: Path) -> None:
    """A video of the first's pictures and the second's sound, both as they are: nothing is encoded again.

    Raises:
        FileNotFoundError: there is no sound.
        ValueError: the file has no sound in it. And what PyAV raises of a damaged file.
    """
    if not sound.is_file():
        raise FileNotFoundError(sound)
    with av.open(str(pictures)) as seen, av.open(str(sound)) as heard, av.open(str(path), "w") as out:
        if not heard.streams.audio:
            raise ValueError("no sound in it")
        streams = (seen.streams.video[0], heard.streams.audio[0])
        added = [out.add_stream_from_template(stream) for stream in streams]
        for container, stream, to in zip((seen, heard), streams, added):
            for packet in container.demux(stream):
                if packet.dts is not None:  # the last one is empty
                    packet.stream = to
                    out.mux(packet)


def _silent(path: Path) -> bool:
    """Whether a whole video has no sound; what is no video at all is for the source ``videos`` to say."""
    try:
        return not video.info(path).has_audio
    except (ValueError, OSError):
        return False
