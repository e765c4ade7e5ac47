"""BEAT2 (Liu et al. 2024) as it is cloned to a user's disk: people who talk, bodies and faces at 30 fps with words.

    FOLDER/beat_english_v2.0.0/        FOLDER may be one of these language folders itself
        smplxflame_30/1_wayne_0_1_1.npz    poses (frames, 165), expressions (frames, 100), trans, betas, 30 fps
        wave16k/1_wayne_0_1_1.wav          mono, 16 kHz
        textgrid/1_wayne_0_1_1.TextGrid    Praat's, with a tier of words
        train_test_split.csv               id,type: train, val, test, additional

The parameters have Y up, unlike AMASS. A name is SPEAKER_NAME_RECORDING_FIRST_LAST. RECORDING is even where somebody
talks alone (0 English, 2 Chinese, 4 Spanish, 6 Japanese); there FIRST says which emotion they were asked for, as
the owners' loader has it. In conversations (odd) no emotion is known. Speakers are in all splits: so it was published.

Recordings last a minute or more: they are cut where somebody pauses, words stay whole. Expressions are FLAME's and make
a clip of rig ``flame``, which nobody can see without FLAME: ``faces`` asks for them where FLAME was imported.

    sources: {beat2: {folder: BEAT2, faces: true}}
"""

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from tdmm_lm import config, video
from tdmm_lm.corpus.sources import SHARED, Item, Rejected
from tdmm_lm.formats import flame, npz, smpl
from tdmm_lm.motion import MotionClip
from tdmm_lm.rigs import flame as flame_rig
from tdmm_lm.sample import Sample

SOURCE = "BEAT2"
LICENCE = (
    "BEAT2 (Liu et al. 2024), Apache-2.0 as published; SMPL-X and FLAME, which its parameters drive, have their own"
)
FPS = 30.0
WIDTHS = {"poses": 165, "expressions": 100}
MOTION, SOUND, WORDS, LIST = "smplxflame_30", "wave16k", "textgrid", "train_test_split.csv"
SPLITS = {"train": "train", "val": "dev", "test": "test", "additional": "train"}
LANGUAGES = ("English", "Chinese", "Spanish", "Japanese")  # RECORDING // 2
EMOTIONS = (  # the last FIRST of each, what they were asked for, its family, its word
    (64, "neutral", "neutral", "neutral"), (72, "happiness", "joy", "happy"), (80, "anger", "anger", "angry"),
    (86, "sadness", "sadness", "sad"), (94, "contempt", "contempt", "contemptuous"),
    (102, "surprise", "surprise", "surprised"), (110, "fear", "fear", "afraid"),
    (118, "disgust", "disgust", "disgusted"),
)
SILENCES = ("", "sp", "sil", "<eps>")  # what aligners write where nobody speaks
UNKNOWN = ("spn", "<unk>")  # and where somebody says something that is no known word
SEE = "clone it from https://huggingface.co/datasets/H-Liu1997/BEAT2 (with git lfs)"
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|\[\d*\]|<(\w+)>|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)')

Word = tuple[float, float, str]  # seconds from, seconds to, what is said ("" where nothing is)


class Settings(config.Settings):
    """``additional`` are the recordings outside the benchmark. ``faces`` needs FLAME (`tdmm_lm.rigs.flame`); ``model``
    is the owner's body model (`tdmm_lm.formats.smpl`), without which bodies have the default skeleton."""

    folder: Path
    additional: bool = False
    least_seconds: float = Field(default=2.0, gt=0)
    most_seconds: float = Field(default=10.0, gt=0)
    faces: bool = False
    model: Path | None = None

    @model_validator(mode="after")
    def _room(self) -> "Settings":
        if self.most_seconds < 2 * self.least_seconds:
            raise ValueError("most_seconds: expected at least twice least_seconds, so that any length can be cut")
        return self


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a recording in the order of the languages and of their lists; ``seed`` changes nothing.

    Raises:
        FileNotFoundError: the folder or its parts are missing, or faces are asked for without FLAME.
        ValueError: the list has other columns or types.
    """
    del seed  # the order is the corpus's
    if settings.faces:
        flame_rig.load()  # says how to get it where it is not there
    for language in _languages(settings.folder):
        with (language / LIST).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames != ["id", "type"]:
                raise ValueError(f"{language / LIST}: expected the columns id, type, got {rows.fieldnames}.")
            for number, row in enumerate(rows, 2):
                name, kind = str(row["id"]).strip(), str(row["type"]).strip()
                if kind not in SPLITS or Path(name).name != name:
                    wanted = f"expected an id and one of {', '.join(SPLITS)}"
                    raise ValueError(f"{language / LIST}:{number}: {wanted}, got {name!r}, {kind!r}.")
                if kind != "additional" or settings.additional:
                    below = language.relative_to(settings.folder).as_posix()
                    yield Item(f"beat2/{name}", SPLITS[kind], {"language": below, "name": name})


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """The recording's pieces, each with its body (and face), its sound and its words."""
    name, folder = str(item.what["name"]), settings.folder / str(item.what["language"])
    known = named(name)
    if known is None:
        said = f"expected SPEAKER_NAME_RECORDING_FIRST_LAST, got {name!r}"
        yield Rejected(item.id, SOURCE, "bad_name", f"{said}.")
        return
    paths = {
        "missing_motion": folder / MOTION / f"{name}.npz", "missing_audio": folder / SOUND / f"{name}.wav",
        "missing_text": folder / WORDS / f"{name}.TextGrid",
    }
    for reason, path in paths.items():
        if not path.is_file():
            yield Rejected(item.id, SOURCE, reason, f"expected {path.relative_to(settings.folder)}, found none.")
            return
    motion, sound, words = paths.values()
    try:
        reason = "broken_file"
        clips = _clips(motion, settings)
        reason = "broken_audio"
        wave = video.audio(sound)
        reason = "bad_text"
        spoken = words_of(words)
    except ValueError as error:
        yield Rejected(item.id, SOURCE, reason, str(error))
        return
    seconds = min(clips["body"].seconds, len(wave) / video.AUDIO_RATE)
    pieces = list(cuts(spoken, seconds, settings.least_seconds, settings.most_seconds))
    if not pieces:
        said = f"expected at least {settings.least_seconds:g} s, got {seconds:.2f} s."
        yield Rejected(item.id, SOURCE, "too_short", said, {"seconds": seconds})
    for start, stop in pieces:
        frames = slice(round(start * FPS), round(stop * FPS))
        begin = round(frames.start / FPS * video.AUDIO_RATE)  # on the frame, so that both share their clock
        inside = [(a - start, b - start, text) for a, b, text in spoken if text and a >= start and b <= stop]
        inside = [word for word in inside if word[2] not in UNKNOWN]
        labels = known | {
            "transcript": " ".join(text for _, _, text in inside),
            "words": [{"word": text, "start": round(a, 3), "end": round(b, 3)} for a, b, text in inside],
        }
        yield Sample(
            f"{item.id}@{start:.2f}-{stop:.2f}", _texts(known),
            {kind: MotionClip(clip.values[frames], FPS, kind, clip.rig, clip.shape) for kind, clip in clips.items()},
            item.split, SOURCE, LICENCE, labels,
            audio=wave[begin : begin + round((frames.stop - frames.start) / FPS * video.AUDIO_RATE)],
            speaker=f"beat2/{name.split('_')[0]}_{name.split('_')[1]}",
            provenance={
                "file": str(motion.relative_to(settings.folder)), "seconds": [round(start, 3), round(stop, 3)],
                SHARED: True,
            },
        )


def named(name: str) -> dict[str, Any] | None:
    """What a file's name says of its recording; None where it is no such name."""
    parts = name.split("_")
    if len(parts) != 5 or not all(part.isdecimal() for part in (parts[0], *parts[2:])):
        return None
    recording, first = int(parts[2]), int(parts[3])
    if recording >= 2 * len(LANGUAGES):
        return None
    known: dict[str, Any] = {"language": LANGUAGES[recording // 2], "conversation": recording % 2 == 1}
    emotion = next((row for row in EMOTIONS if first <= row[0]), None)
    if not known["conversation"] and emotion is not None:
        known |= {"emotion": emotion[1], "family": emotion[2], "adjective": emotion[3]}
    return known


def words_of(path: Path) -> list[Word]:
    """The intervals of a TextGrid's tier ``words``, in Praat's long or short text format, UTF-8 or UTF-16.

    Raises:
        ValueError: no TextGrid, cut off, or without that tier.
    """
    held = path.read_bytes()
    try:
        text = held.decode("utf-16" if held[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a TextGrid as text, got other bytes.") from None
    # keys hold no digits: what is left without them and the indices in brackets are texts, flags, numbers in order
    found = iter([(m[1], m[2], m[3]) for m in _TOKEN.finditer(text) if m[0][0] != "["])

    def read_text() -> str:
        said, flag, number = next(found)
        if flag or number:
            raise ValueError("text")
        return said.replace('""', '"')

    def read_number() -> float:
        return float(next(found)[2])

    tiers = []
    try:
        if (read_text(), read_text()) != ("ooTextFile", "TextGrid"):
            raise ValueError("header")
        read_number(), read_number(), next(found)
        for _ in range(int(read_number())):
            kind, name = read_text(), read_text()
            read_number(), read_number()
            count, tier = int(read_number()), []
            for _ in range(count):
                start = read_number()
                stop = read_number() if kind == "IntervalTier" else start
                tier.append((start, stop, read_text().strip()))
            tiers.append((name, tier))
    except (ValueError, TypeError, OverflowError, StopIteration):  # a text where a number should be, an infinite count
        raise ValueError(f"{path}: expected a TextGrid in Praat's text format, got another or a cut one.") from None
    named_words = next((tier for name, tier in tiers if name.lower() == "words"), None)
    if named_words is None:
        names = ", ".join(name for name, _ in tiers) or "none"
        raise ValueError(f"{path}: expected a tier named words, got {names}.")
    return [(start, stop, "" if text in SILENCES else text) for start, stop, text in named_words]


def cuts(words: Sequence[Word], seconds: float, least: float, most: float) -> Iterator[tuple[float, float]]:
    """(from, to) seconds of pieces in order, one after another: each cut lies in the widest pause it can reach."""
    spoken = [(start, stop) for start, stop, text in words if text]
    pauses = list(zip([0.0, *(stop for _, stop in spoken)], [*(start for start, _ in spoken), seconds]))
    start = 0.0
    while seconds - start > most:
        first, last = start + least, min(start + most, seconds - least)
        reached = [(min(b, last) - max(a, first), max(a, first), min(b, last)) for a, b in pauses]
        width, left, right = max(reached, default=(-1.0, first, last))
        if width < 0:  # one word fills the whole reach: it is cut, there is nothing else
            left = right = last
        yield start, (left + right) / 2
        start = (left + right) / 2
    if seconds - start >= least:
        yield start, seconds


def _texts(known: dict[str, Any]) -> tuple[str, ...]:
    if known["conversation"]:
        return ("A person talks in a conversation.",)
    return (f"A person talks and looks {known['adjective']}.",) if "adjective" in known else ("A person talks.",)


def _languages(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected {SOURCE}'s folder, found none; {SEE}.")
    languages = [folder] if (folder / MOTION).is_dir() else sorted(folder.glob("beat_*_v2*/"))
    wanted = (MOTION, SOUND, WORDS, LIST)
    for language in languages:
        missing = [name for name in wanted if not (language / name).exists()]
        if missing:
            raise FileNotFoundError(f"{language}: expected {', '.join(wanted)}, {', '.join(missing)} missing; {SEE}.")
    if not languages:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        wanted_here = f"beat_english_v2.0.0/ (with {', '.join(wanted)})"
        raise FileNotFoundError(f"{folder}: expected {wanted_here} below it, found only {found}; {SEE}.")
    return languages


def _clips(path: Path, settings: Settings) -> dict[str, MotionClip]:
    """Body and face of one recording; both have the same frames."""
    held = npz.arrays(path, WIDTHS)
    for name, width in WIDTHS.items():
        if held[name].ndim != 2 or held[name].shape[1] != width:
            raise ValueError(f"{path}: {name}: expected (frames, {width}), got {held[name].shape}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Y is up, which is known here
        clips = {"body": smpl.read(path, fps=FPS, model=settings.model)}
    if settings.faces:
        clips["face"] = flame.read(path, fps=FPS)
    for kind, clip in clips.items():
        if clip.fps != FPS or clip.frames != clips["body"].frames:
            raise ValueError(f"{path}: expected {FPS:g} fps and as many frames, got a {kind} of {clip.fps:g} fps.")
    return clips
