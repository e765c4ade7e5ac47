"""Generated videos: those prompts of `corpus.generate`'s output folder whose videos exist, captured like any video.

What the prompt asked for goes along as the label `asked`. Generators do not always do as they are told: the label
`obeyed` says whether all of it was observed in the capture, and only then is its sentence a text.
"""

import importlib
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

from pydantic import Field

from tdmm_lm import config, rigs
from tdmm_lm.corpus import labels, video_prompts
from tdmm_lm.corpus.sources import Item, Rejected
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import Event
from tdmm_lm.observe import run as observing
from tdmm_lm.sample import Sample

SOURCE = "generated"
SILENT = {"speech_share": 0.0}  # most generators make no sound
CAPTURE = "tdmm_lm.corpus.sources.videos"  # the source that captures films; imported when there is something to capture
LICENCE = "made by a generator; its owner's terms"


class Settings(config.Settings):
    """``folder`` is the output of `corpus.generate`; ``videos`` is the section of the source that captures."""

    folder: Path
    licence: str = LICENCE
    trusting: bool = False  # what was asked for is a text also where it was not observed
    dev: float = Field(default=0.01, ge=0, le=1)  # shares of the prompts, by their ids
    test: float = Field(default=0.02, ge=0, le=1)
    videos: dict[str, Any] = Field(default={})


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """The prompts with a video, in the order of their numbers; ``seed`` changes nothing, so that splits stay.

    Raises:
        FileNotFoundError: the folder has no prompts.
    """
    del seed
    path = settings.folder / "prompts.jsonl"
    for prompt in video_prompts.read(path):
        film = settings.folder / "videos" / f"{prompt.id}.mp4"
        if film.is_file():
            what = {
                "path": str(film), "generator": prompt.generator, "prompt": prompt.text, "facial": prompt.facial,
                "seed": prompt.seed, "asked": prompt.labels,
            }
            yield Item(f"{SOURCE}/{prompt.id}", _split(prompt.id, settings), what)


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """What the capture finds in the video, with what was asked for.

    Raises:
        ValueError: a section ``videos`` that the capture does not understand.
    """
    capture = importlib.import_module(CAPTURE)
    how = config.check(capture.Settings, _section(capture, item, settings), "generated.videos")
    what, made = item.what, {name: item.what[name] for name in ("generator", "prompt", "seed")}
    try:
        for found in capture.samples(replace(item, what={"path": what["path"]}), how):
            if isinstance(found, Rejected):
                yield replace(found, source=SOURCE)
                continue
            did = obeyed(found.clips["face"], what["asked"])
            yield replace(
                found, source=f"{SOURCE}: {what['generator']}", licence=settings.licence,
                texts=(what["facial"], *found.texts) if did or settings.trusting else found.texts,
                labels={**found.labels, "asked": what["asked"], "obeyed": did},
                provenance={**found.provenance, **made},
            )
    except (ValueError, FileNotFoundError) as error:
        if Path(what["path"]).is_file() and what["path"] not in str(error):
            raise  # not about this video: a model or a package is missing
        yield Rejected(item.id, SOURCE, "broken_video", str(error))


def obeyed(clip: MotionClip, asked: dict[str, Any]) -> bool:
    """Whether all that a prompt says of a face (`Prompt.labels`) is observed in a clip.

    That is the family, on its side and not slight for strong or strong for slight (for ``neutral``: that nothing is
    shown), and the small thing beside it: as many blinks, nods or shakes as said.
    """
    seen = observing.run(clip, _rig(clip.rig))

    def found(kind: str, name: str) -> list[Event]:
        return [event for event in seen.events if (event.kind, event.name) == (kind, name)]

    shown = [
        event for event in found("family", asked["family"])
        if asked["side"] in ("both", event.side)
        and {asked["level"], labels.level(event.intensity)} != {"slight", "strong"}
    ]
    small, gesture, gaze = asked["micro_family"], asked["gesture"], asked["gaze"]
    return (
        bool(shown or asked["family"] == seen.family == "neutral")
        and (not small or bool(found("family", small)))
        and (not asked["blinks"] or seen.blinks == asked["blinks"])
        and (gesture == "none" or any(event.count == asked["count"] for event in found("head", gesture)))
        and (gaze == "front" or bool(found("gaze", gaze)))
    )


@lru_cache(maxsize=4)
def _rig(name: str) -> rigs.Rig:
    return rigs.load(name)


def _section(capture: Any, item: Item, settings: Settings) -> dict[str, Any]:
    """The capture's settings; where it wants a folder of its own, the one the videos are in."""
    needs = {"folder"} & set(capture.Settings.model_fields) - set(settings.videos)
    silent = {"sound": SILENT} if "sound" in capture.Settings.model_fields else {}
    return {**silent, **settings.videos, **{name: str(Path(item.what["path"]).parent) for name in needs}}


def _split(name: str, settings: Settings) -> str:
    """By the id alone."""
    place = crc32(name.encode()) / 2**32
    return "test" if place < settings.test else "dev" if place < settings.test + settings.dev else "train"
