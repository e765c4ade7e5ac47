"""How fast codecs turn motion into codes and back on one core, whole and in chunks, and how much memory that takes.

    tdmm bench codec
"""

import math
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tdmm_lm import bundle, codec, report, rigs, streaming
from tdmm_lm.corpus import perform, prompts
from tdmm_lm.geometry import measure, reading, solve
from tdmm_lm.motion import MotionClip

SECONDS = 60.0
LONG = (300.0, 900.0, 1500.0)  # seconds of clips whose memory is measured
ROUNDS = 5
CHUNK = 5  # frames that come at a time


def run(folders: dict[str, Path] | None = None) -> dict[str, dict[str, Any]]:
    """Figures of the bundled codecs, or of those in ``folders`` by modality.

    ``face_realtime_factor``: encoding and decoding features; ``solve_realtime_factor``: from a clip on a head to codes
    and back to a clip, measuring and solving included; ``body_realtime_factor`` likewise for features;
    ``streaming_max_difference``: the largest difference of a clip's values between chunks of five frames and the whole;
    ``megabytes_per_minute``: what a longer clip takes more, and ``memory_linearity``, what ten minutes
    more take after fifteen over what they take after five.
    """
    folders = folders or {name: bundle.path(f"tokenizers/{name}") for name in ("face", "body")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            figures = _face(codec.load(folders["face"]))
            if "body" in folders:
                figures |= _coded(codec.load(folders["body"]), "body_realtime_factor", "features to codes and back")
    finally:
        torch.set_num_threads(threads)
    return figures | _memory(folders["face"])


def talking(seconds: float) -> MotionClip:
    """One long performance after another, on the bundled head."""
    parts: list[np.ndarray] = []
    seed = 0
    while sum(map(len, parts)) < seconds * 25:
        parts.append(perform.perform(prompts.sample(seed)).values)
        seed += 1
    return MotionClip(np.concatenate(parts)[: round(seconds * 25)], 25.0, "face", "head")


def _best(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()  # of this core alone: the machine may have others to serve
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def _factor(taken: float, what: str) -> dict[str, Any]:
    factor = SECONDS / taken
    return report.figure(factor, f"times real time, {what}", n=ROUNDS, peer="real time", peer_value=1.0, ratio=factor)


def _coded(model: codec.Codec, key: str, what: str) -> dict[str, dict[str, Any]]:
    frames = round(SECONDS * model.fps)
    x = model.mean + 0.02 * torch.randn(1, frames, model.features, generator=torch.Generator().manual_seed(0))
    return {key: _factor(_best(lambda: model.decode(model.encode(x))), what)}


def _face(model: codec.Codec) -> dict[str, dict[str, Any]]:
    rig, clip = rigs.load("head"), talking(SECONDS)
    rows = torch.from_numpy(codec.rows(model, clip, rig))[None]
    figures = {
        "face_realtime_factor": _factor(_best(lambda: model.decode(model.encode(rows))), "features to codes and back")
    }
    whole = codec.detokenize(model, codec.tokenize(model, clip, rig), rig)
    there_and_back = _best(lambda: codec.detokenize(model, codec.tokenize(model, clip, rig), rig))
    figures["solve_realtime_factor"] = _factor(there_and_back, "clip to codes and back to a clip on a head")

    encoding, performing, parts = streaming.Encoding(model), streaming.Performing(model, rig), []
    for start in range(0, clip.frames, CHUNK):
        piece = MotionClip(clip.values[start : start + CHUNK], clip.fps, "face", "head")
        codes = encoding(measure.features(reading.read(piece, rig)))
        parts.append(performing(codes))
    parts += [performing(encoding.finish()), performing.finish()]
    chunked = np.concatenate([part.values for part in parts if part is not None])
    apart = float(np.abs(chunked - whole.values).max()) if len(chunked) == whole.frames else float("inf")
    figures["streaming_max_difference"] = report.figure(apart, "largest of all channels", n=whole.frames)
    frames = sum(model.look_ahead) * model.frames_per_code
    figures["look_ahead_frames"] = report.figure(frames, "frames, encoding and decoding together")
    return figures


def _memory(folder: Path) -> dict[str, dict[str, Any]]:
    """Memory by clip length, each in a process of its own."""
    peaks = []
    for seconds in LONG:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks.append(pool.apply(_peak, (folder, seconds)))
    slopes = [(b - a) / (t - s) for a, b, s, t in zip(peaks, peaks[1:], LONG, LONG[1:])]
    return {
        "megabytes_per_minute": report.figure((peaks[-1] - peaks[0]) / (LONG[-1] - LONG[0]) * 60, "MB", n=len(LONG)),
        "memory_linearity": report.figure(slopes[1] / slopes[0], "growth of the second part over the first's", n=1),
    }


def _peak(folder: Path, seconds: float) -> float:
    """Megabytes that this process took at most, beyond what it held before: so long a clip coded and decoded."""
    torch.set_num_threads(1)
    model, rig = codec.load(folder), rigs.load("head")
    values = np.tile(talking(10.0).values, (math.ceil(seconds / 10), 1))
    clip = MotionClip(values[: round(seconds * 25)], 25.0, "face", "head")
    before = _held("VmRSS")
    codes = codec.tokenize(model, clip, rig)
    solve.solve(codec.geometry(model, codes), rig)
    return _held("VmHWM") - before


def _held(what: str) -> float:
    """Megabytes, by this process's status: of now (VmRSS) or at most (VmHWM). Not ``ru_maxrss``: that one remembers
    the process which started this one."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) / 1024
