"""What workers make of a stored motion: files of every format, pictures, a rig at rest. Run by `workers.call`.

A motion comes as its source: ``clip`` (the path of its npz) or ``codes`` with the folder of the ``codec`` that decodes
them; ``rig`` is what `rigs.load` takes, None for a body.
"""

import dataclasses
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from tdmm_lm import codec, config, formats, rigs, video
from tdmm_lm.formats import npz
from tdmm_lm.motion import MotionClip, body, face
from tdmm_lm.serve.disk import FULL, sha256

SHOWN = {"face": "mesh", "body": "skeleton"}  # by which renderer
POSE_CHANNELS = tuple(
    f"{joint}_{axis}" for joint in ("jaw", "neck", "head", "left_eye", "right_eye", "translation") for axis in "xyz"
)
Made = dict[str, Any]  # bytes and sha256 of a file, or full: True where the disk was


def channels(modality: str, rig: rigs.Rig | None) -> list[str]:
    """A name for every number of a clip's rows: turns in radians (axis-angle), translation in metres."""
    if modality == "face":
        if rig is None:
            raise ValueError("channels: expected the rig that a face moves, got none.")
        return [*rig.expressions, *POSE_CHANNELS]
    turns = [f"{joint}_{column}{axis}" for joint in body.JOINTS for column in "ab" for axis in "xyz"]
    return [*POSE_CHANNELS[-3:], *turns]


@lru_cache(8)
def _rig(name: str) -> rigs.Rig:
    return rigs.load(name)


@lru_cache(2)
def _codec(folder: Path) -> codec.Codec:
    return codec.load(folder)


def warm() -> None:
    """What most calls need, made once in the template that children are forked from."""
    from tdmm_lm.geometry import solve

    torch.set_num_threads(1)
    for name in ("head",):
        solve.Solver(_rig(name))


def decoded(
    clip: Path | None, codes: Int[np.ndarray, "n books"] | None, codec_folder: Path | None, rig: rigs.Rig | None
) -> MotionClip:
    """The clip that a source stands for; codes exactly as ``tdmm detokenize`` decodes them."""
    if clip is not None:
        return npz.read(clip)
    if codes is None or codec_folder is None:
        raise ValueError("motion: expected a clip, or codes and the codec that made them.")
    return codec.detokenize(_codec(codec_folder), codes, rig)


def export(source: dict[str, Any], rig: str | None, target: Path) -> Made:
    """The motion in the format that the target's ending names."""
    clip, driven = _posed(source, rig, None)
    with _room() as made:
        if target.suffix == ".mp4":
            config.find("render", SHOWN[clip.modality]).write(clip, target, driven)
        else:
            formats.write(clip, target, rig=driven)
        _measured(made, target)
    return made


def pictures(
    source: dict[str, Any], rig: str | None, wanted: str | None, target: Path, size: tuple[int, int],
    report: Callable[[float], None],
) -> Made:
    """The motion as an mp4, on another rig where one is ``wanted``."""
    clip, driven = _posed(source, rig, wanted)
    renderer = config.find("render", SHOWN[clip.modality])

    def counted() -> Iterator[np.ndarray]:
        for number, picture in enumerate(renderer.frames(clip, driven, size=size)):
            report(number / clip.frames)
            yield picture

    with _room() as made:
        video.write(target, counted(), fps=clip.fps)
        _measured(made, target)
        made["seconds"] = clip.seconds
    return made


def at_rest(rig: str, target: Path) -> Made:
    """A rig that does nothing, with all that it could do."""
    driven = _rig(rig)
    still = np.zeros((1, len(driven.expressions) + face.POSE_CHANNELS), np.float32)
    with _room() as made:
        formats.write(MotionClip(still, face.CODE_FPS, "face", driven.name), target, rig=driven)
        _measured(made, target)
    return made


def _posed(source: dict[str, Any], rig: str | None, wanted: str | None) -> tuple[MotionClip, rigs.Rig | None]:
    """The clip and the rig that it drives."""
    if rig is None:
        return decoded(source["clip"], source["codes"], source["codec"], None), None
    if wanted is not None and source["clip"] is None:
        rig, wanted = wanted, None  # codes are of no rig: they are decoded for the one that is wanted
    driven = _rig(rig)
    # an imported rig may be called otherwise where it was made than it is here
    clip = dataclasses.replace(decoded(source["clip"], source["codes"], source["codec"], driven), rig=driven.name)
    if wanted is not None and wanted != rig:
        from tdmm_lm.geometry import solve

        target = _rig(wanted)
        clip, _ = solve.retarget(clip, driven, target)
        driven = target
    return clip, driven


def _measured(made: Made, target: Path) -> None:
    made["bytes"], made["sha256"] = target.stat().st_size, sha256(target)


@contextmanager
def _room() -> Iterator[Made]:
    """A full disk is told as such: the server has an answer for that."""
    made: Made = {}
    try:
        yield made
    except Exception as error:
        number = vars(error).get("errno") if not isinstance(error, OSError) else error.errno  # PyAV's own have one too
        if number == errno.EFBIG:
            raise ValueError("expected a file that is no larger than uploads may be (limits.file_mb)") from None
        if number not in FULL:
            raise
        made.clear()
        made["full"] = True
