"""RAVDESS (Livingstone and Russo 2018) as its archives unpack: 24 actors who say or sing two sentences in emotions.

    FOLDER/Actor_01/01-01-05-02-01-01-01.mp4                          or, as Zenodo's archives are named,
    FOLDER/Video_Speech_Actor_01/Actor_01/01-01-05-02-01-01-01.mp4    (Video_Song_Actor_01 likewise)

The seven numbers: modality (01 pictures with sound, 02 pictures, 03 sound), channel (01 speech, 02 song), emotion,
intensity (01 normal, 02 strong; neutral has no strong), statement, repetition, actor (odd men, even women). Files with
pictures and sound are read, through the source ``videos``. RAVDESS publishes no split: the default holds out actors.

    sources: {ravdess: {folder: RAVDESS, channels: [speech, song]}}
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tdmm_lm import config
from tdmm_lm.corpus.sources import Item, Rejected, found_in
from tdmm_lm.sample import Sample

SOURCE = "RAVDESS"
LICENCE = "CC BY-NC-SA 4.0, RAVDESS (Livingstone and Russo 2018), https://zenodo.org/records/1188976"
CHANNELS = {"01": "speech", "02": "song"}
EMOTIONS = {  # the number: RAVDESS's word, our family, the word of the text
    "01": ("neutral", "neutral", "neutral"), "02": ("calm", "neutral", "calm"), "03": ("happy", "joy", "happy"),
    "04": ("sad", "sadness", "sad"), "05": ("angry", "anger", "angry"), "06": ("fearful", "fear", "afraid"),
    "07": ("disgust", "disgust", "disgusted"), "08": ("surprised", "surprise", "surprised"),
}
INTENSITIES = {"01": ("clear", ""), "02": ("strong", "very ")}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
SEE = "get Video_Speech_Actor_*.zip from https://zenodo.org/records/1188976 and unpack them below it"


class Settings(config.Settings):
    """``videos`` is the section of the source ``videos``; actors are numbers, half of those held out are women."""

    folder: Path
    channels: tuple[Literal["speech", "song"], ...] = ("speech",)
    dev: tuple[int, ...] = (19, 20)
    test: tuple[int, ...] = (21, 22, 23, 24)
    videos: dict[str, Any] = Field(default={})


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a video in the order of actors and names; ``seed`` changes nothing.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: it holds no actor's videos of the channels asked for.
    """
    del seed  # the order is the corpus's
    folder = settings.folder
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected {SOURCE}'s folder, found none; {SEE}.")
    paths = {*folder.glob("Actor_*/*.mp4"), *folder.glob("Video_S*_Actor_*/*.mp4"), *folder.glob("*/Actor_*/*.mp4")}
    found, seen = False, set()
    for path in sorted(paths, key=lambda path: (path.stem.split("-")[-1], path.stem, str(path))):
        parts = path.stem.split("-")
        other = NAME.fullmatch(path.stem) and (parts[0] != "01" or CHANNELS[parts[1]] not in settings.channels)
        if other or path.stem in seen:  # the same file may lie in both layouts
            continue
        found = True
        seen.add(path.stem)
        actor = int(parts[-1]) if parts[-1].isdecimal() else 0
        split = "test" if actor in settings.test else "dev" if actor in settings.dev else "train"
        yield Item(f"ravdess/{path.stem}", split, {"file": path.relative_to(folder).as_posix()})
    if not found:
        wanted = f"Actor_NN/01-{'|'.join(n for n, c in CHANNELS.items() if c in settings.channels)}-*.mp4 below it"
        raise ValueError(f"{folder}: expected {wanted}, found only {found_in(folder)}; {SEE}.")


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """What the source ``videos`` makes of the file, with RAVDESS's label, sentence and actor."""
    file = str(item.what["file"])
    known = named(Path(file).stem)
    if known is None:
        said = f"expected seven numbers such as 01-01-05-02-01-01-12 (no strong neutral), got {Path(file).stem!r}."
        yield Rejected(item.id, SOURCE, "bad_name", said)
        return
    from tdmm_lm.corpus.sources import videos  # the trackers, where something is tracked

    section = config.check(videos.Settings, {"folder": settings.folder, **settings.videos}, "ravdess.videos")
    text = str(known.pop("text"))
    for made in videos.samples(Item(item.id, item.split, {"path": str(settings.folder / file)}), section):
        if isinstance(made, Rejected):
            yield replace(made, source=SOURCE)
            continue
        if made.audio is None and section.audio:
            yield Rejected(made.id, SOURCE, "missing_audio", f"{file}: expected sound in the video, found none.")
            continue
        yield replace(
            made, texts=(text, *made.texts), split=item.split, source=SOURCE, licence=LICENCE,
            labels=made.labels | known, speaker=f"ravdess/{known['actor']:02d}",
        )


def named(stem: str) -> dict[str, Any] | None:
    """What a name says, by word; None where it is no such name."""
    match = NAME.fullmatch(stem)
    if match is None:
        return None
    _, channel, number, intensity, statement, repetition, actor = match.groups()
    emotion, family, adjective = EMOTIONS[number]
    if emotion == "neutral" and intensity == "02":
        return None
    strength, adverb = ("", "") if family == "neutral" else INTENSITIES[intensity]
    sex = "man" if int(actor) % 2 else "woman"
    verb, sentence = {"speech": "says", "song": "sings"}[CHANNELS[channel]], STATEMENTS[statement]
    return {
        "text": f'A {sex} {verb} "{sentence}" and looks {adverb}{adjective}.', "emotion": emotion, "family": family,
        "level": strength, "channel": CHANNELS[channel], "transcript": sentence, "repetition": int(repetition),
        "actor": int(actor), "subject": sex,
    }
