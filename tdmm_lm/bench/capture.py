"""How fast and how lean `tdmm capture` is at 360x288: frames a second, and memory on 10 s against 5 min of video.

    tdmm bench capture

Video is streamed; what grows is the answer, 280 bytes a frame, and the tables that it is made from: 840 bytes a frame
together, 6 MB over those 5 minutes, where two runs of the same video differ by under 1 MB.
"""

import multiprocessing
import re
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm import bundle, report, video
from tdmm_lm.formats import video as capturing

SECONDS = (10, 300)
FPS = 25
CLIPS = 10  # of the data folder's talker, looped


def run() -> dict[str, dict[str, Any]]:
    """``capture_fps`` (decoding included, the model's start not), ``capture_memory_growth_mb`` and both peaks.

    Raises:
        ValueError: there is no data folder to take real video from.
    """
    data = bundle.data()
    clips = sorted((data / "grid_s1" / "video").glob("*.mpg"))[:CLIPS] if data else []
    if not clips:
        raise ValueError("bench capture: expected grid_s1/video/*.mpg below $TDMM_DATA, found none.")
    speeds, peaks, counts = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for seconds in SECONDS:
            path = Path(folder) / f"{seconds}.mp4"
            video.write(path, islice(_frames(clips), seconds * FPS), fps=FPS)
            counts[seconds], taken, peaks[seconds] = _apart(path)
            speeds[seconds] = counts[seconds] / taken
    short, long = SECONDS
    return {
        "capture_fps": report.figure(speeds[long], "frames/s", n=counts[long]),
        "capture_fps_10s": report.figure(speeds[short], "frames/s", n=counts[short]),
        "capture_peak_10s_mb": report.figure(peaks[short], "MB", n=1),
        "capture_peak_300s_mb": report.figure(peaks[long], "MB", n=1),
        "capture_memory_growth_mb": report.figure(peaks[long] - peaks[short], "MB", n=1),
    }


def _frames(clips: list[Path]) -> Iterator[np.ndarray]:
    for clip in cycle(clips):
        for _, frame in video.read(clip):
            yield frame


def _apart(path: Path) -> tuple[int, float, float]:
    """Frames, seconds and peak memory in MB of a capture in a fresh process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(path, there))
    child.start()
    there.close()
    try:
        return here.recv()
    finally:
        child.join()


def _measure(path: Path, answer: Connection) -> None:
    first: list[float] = []

    def progress(frames: int) -> None:
        if not first:
            first.append(time.perf_counter())

    clip = capturing.capture(path, progress=progress)
    taken = time.perf_counter() - first[0]
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None, "Linux says the peak of resident memory"
    answer.send((clip.frames, taken, int(peak[1]) / 1024))
