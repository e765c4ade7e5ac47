"""How fast and how lean `tdmm capture` is at 360x288: frames a second, and memory on 10 s against 5 min of video; and
how fast a corpus takes videos in.

    tdmm bench capture

Video is streamed; what grows is the answer, 280 bytes a frame, and the tables that it is made from: 840 bytes a frame
together, 6 MB over those 5 minutes, where two runs of the same video differ by under 1 MB.
"""

import multiprocessing
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice, repeat
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm import bundle, report, video
from tdmm_lm.corpus.sources import Item, Rejected, videos
from tdmm_lm.formats import video as capturing

SECONDS = (10, 300)
FPS = 25
ROUNDS, LENIENT = 3, 0.1  # of the corpus's source; share of a frame that a face may have
CLIPS = 10  # of the data folder's talker, looped


def run() -> dict[str, dict[str, Any]]:
    """``capture_fps`` (decoding included, the model's start not), ``capture_memory_growth_mb`` and both peaks.

    Raises:
        ValueError: there is no data folder to take real video from.
    """
    data = bundle.data()
    films = (data or Path()) / "grid_s1" / "video"
    clips = sorted(films.glob("*.mpg"))[:CLIPS]
    if data is None or not clips:
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
        **at_scale(films),
        "capture_fps": report.figure(speeds[long], "frames/s", n=counts[long]),
        "capture_fps_10s": report.figure(speeds[short], "frames/s", n=counts[short]),
        "capture_peak_10s_mb": report.figure(peaks[short], "MB", n=1),
        "capture_peak_300s_mb": report.figure(peaks[long], "MB", n=1),
        "capture_memory_growth_mb": report.figure(peaks[long] - peaks[short], "MB", n=1),
    }


def at_scale(folder: Path) -> dict[str, dict[str, Any]]:
    """Every video of a folder through the corpus's source in two processes: frames a second, and what became of them.

    The peer is decoding and MediaPipe alone, in the same two processes; they take turns. GRID's faces are near the
    least share of a frame that a corpus wants (15 %): speed is measured with a share that lets them all through,
    ``videos_*`` count what the corpus's own thresholds keep and why the others go.
    """
    usual: dict[str, Any] = {"folder": str(folder)}
    lenient = usual | {"quality": {"box_share": LENIENT}}
    items = list(videos.items(videos.Settings.model_validate(usual), 0))
    frames = sum(1 for item in items for _ in video.read(Path(item.what["path"]), lambda index: False))
    taken: dict[str, list[float]] = {"corpus": [], "peer": []}
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for turn in range(-1, ROUNDS):  # the first turn warms them up
            for name, work in (("corpus", _sampled), ("peer", _tracked)):
                start = time.perf_counter()
                list(pool.map(work, items[: 4 if turn < 0 else None], repeat(lenient)))
                if turn >= 0:
                    taken[name].append(time.perf_counter() - start)
        reasons = sum(pool.map(_sampled, items, repeat(usual)), Counter[str]())
    ours, peer = (frames / float(np.median(taken[name])) for name in taken)
    ratios = [theirs / mine for mine, theirs in zip(*taken.values())]
    return {
        "capture_fps_2_cores": report.figure(
            ours, "frames/s", n=frames, peer="decoding and MediaPipe alone", peer_value=peer, ratio=ours / peer
        ),
        "capture_against_mediapipe": report.figure(
            float(np.median(ratios)), "of its speed", n=ROUNDS, interval=(min(ratios), max(ratios))
        ),
        **{f"videos_{what}": report.figure(count, "clips", n=len(items)) for what, count in sorted(reasons.items())},
    }


def _sampled(item: Item, section: dict[str, Any]) -> Counter[str]:
    """How many samples a video gave, and why others were none."""
    made = videos.samples(item, videos.Settings.model_validate(section))
    return Counter(one.reason if isinstance(one, Rejected) else "accepted" for one in made)


def _tracked(item: Item, section: dict[str, Any]) -> None:
    with capturing.tracker() as looking:
        for seconds, frame in video.read(Path(item.what["path"])):
            looking.look(frame, seconds)


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
