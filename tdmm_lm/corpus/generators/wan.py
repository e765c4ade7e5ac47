"""Any text-to-video pipeline of diffusers, Wan first of all: a folder that `DiffusionPipeline.from_pretrained` reads.

One pipeline is in memory and makes one video at a time; another is loaded when the first has nothing more to do.
Several GPUs have a process each (`part`, `parts`).
"""

import gc
import inspect
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field

from tdmm_lm import config, video
from tdmm_lm.corpus.generators import Failed, Hopeless, Notes, Request

BROKEN = (OSError, ValueError, RuntimeError, AttributeError, LookupError, TypeError, AssertionError)  # in its layers
IDLE_SECONDS = 10.0  # without a new request: a pipeline has nothing more to do
_ONE_AT_A_TIME = threading.Lock()


@dataclass
class _Held:
    """The pipeline in memory, what `loaded` was called with, and when it ended its last video."""

    by: tuple[Any, ...] = ()
    pipeline: Any = None
    ended: float = 0.0


_HELD = _Held()


class Settings(config.Settings):
    """``options`` go to the pipeline's call under its own names: num_inference_steps, guidance_scale, ..."""

    folder: str  # of the pipeline, or its name on the hub where downloads are allowed
    download: bool = False
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    device: str = "cuda"
    offload: Literal["none", "model", "sequential"] = "none"  # parts wait in main memory while others are at work
    options: dict[str, Any] = Field(default={})


def generate(request: Request, settings: Settings, path: Path, notes: Notes) -> None:
    """Make a video; the same request gives the same video on the same machine.

    Raises:
        Failed: out_of_memory, not_finite, broken_pipeline.
        Hopeless: no diffusers, no pipeline, no such device, or one that makes another number of frames or another size.
        Interrupted: the run is being stopped.
    """
    by = (settings.folder, settings.download, settings.dtype, settings.device, settings.offload)
    while True:  # another generator's pipeline stays as long as it has videos to make: loading takes minutes
        with _ONE_AT_A_TIME:
            if _HELD.by in ((), by) or time.monotonic() - _HELD.ended > IDLE_SECONDS:
                loaded(*by)
                notes.free = False
                try:
                    frames = _frames(_HELD.pipeline, request, settings)
                finally:
                    _HELD.ended = time.monotonic()
                break
        notes.wait(IDLE_SECONDS / 10)
    want = (request.frames, request.size[1], request.size[0], 3)
    if frames.shape != want:  # pipelines round silently
        raise Hopeless(
            f"{request.id}: expected {want[0]} frames of {want[2]}x{want[1]}, the pipeline made {len(frames)} of "
            f"{frames.shape[2]}x{frames.shape[1]}; set frames and size of this generator to what it can make."
        )
    video.write(path, iter(pictures(frames)), fps=request.fps)


def pictures(frames: Float[np.ndarray, "frames height width 3"]) -> UInt8[np.ndarray, "frames height width 3"]:
    """Colours 0..1 as bytes."""
    return (frames.clip(0, 1) * 255).round().astype(np.uint8)


def loaded(folder: str, download: bool, dtype: str, device: str, offload: str) -> Any:
    """The pipeline, ready on its device; a second call with the same arguments costs nothing.

    Raises:
        Hopeless: it cannot be had.
    """
    by = (folder, download, dtype, device, offload)
    if _HELD.by != by:
        _HELD.by, _HELD.pipeline = (), None  # before the next is loaded: there may be no room for two
        gc.collect()
        torch.cuda.empty_cache()
        _HELD.pipeline = _load(*by)
        _HELD.by = by
    return _HELD.pipeline


def _load(folder: str, download: bool, dtype: str, device: str, offload: str) -> Any:
    try:
        from diffusers import DiffusionPipeline
    except ImportError:
        line = "generators.wan: expected the package diffusers, found none; pip install 'tdmm-lm[video]'."
        raise Hopeless(line) from None
    if not download and not Path(folder).is_dir():
        raise Hopeless(f"{folder}: expected a folder with a diffusers pipeline, found none (or set download: true).")
    whole = {"default": getattr(torch, dtype), "vae": torch.float32}  # as Wan's documentation advises for its VAE
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder, dtype=whole, local_files_only=not download, use_safetensors=True
        )
        pipeline.set_progress_bar_config(disable=True)
        if offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        elif offload == "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)
        else:
            pipeline.to(device)
    except BROKEN as error:
        got = f"{type(error).__name__}: {_line(error)}"
        raise Hopeless(f"{folder}: expected a diffusers pipeline that runs on {device}, got {got}") from None
    return pipeline


def _frames(pipeline: Any, request: Request, settings: Settings) -> Float[np.ndarray, "frames height width 3"]:
    asked: dict[str, Any] = {
        "prompt": request.text, "num_frames": request.frames, "width": request.size[0], "height": request.size[1],
        "generator": torch.Generator("cpu").manual_seed(request.seed), "output_type": "np",
    }
    takes = inspect.signature(pipeline.__call__).parameters
    if request.negative and "negative_prompt" in takes:
        asked["negative_prompt"] = request.negative
    unknown = (set(asked) | set(settings.options)) - set(takes)
    if unknown:
        raise Hopeless(
            f"{settings.folder}: expected a text-to-video pipeline that takes {', '.join(sorted(unknown))}, "
            f"{type(pipeline).__name__} takes {', '.join(takes)}."
        )
    try:
        with torch.inference_mode():
            made = pipeline(**asked, **settings.options).frames[0]
    except torch.OutOfMemoryError:
        size = f"{request.frames} frames of {request.size[0]}x{request.size[1]}"
        raise Failed("out_of_memory", f"{size} on {settings.device}; smaller, or offload: model") from None
    except ValueError as error:  # before it begins: a size or a number of frames that it cannot make
        line = f"{request.id}: expected what {type(pipeline).__name__} can make, it says: {_line(error)}"
        raise Hopeless(line) from None
    except torch.AcceleratorError as error:  # nothing works on the device any more, until this process ends
        raise Hopeless(f"{settings.device}: expected a device that works, got {_line(error)}") from None
    except BROKEN as error:
        raise Failed("broken_pipeline", f"{type(pipeline).__name__}: {type(error).__name__}: {_line(error)}") from None
    frames = np.asarray(made, np.float32)
    if not np.isfinite(frames).all():
        raise Failed("not_finite", "the pipeline made numbers that are no colours; try another dtype")
    return frames


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
