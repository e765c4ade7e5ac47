"""How fast faces become geometry and geometry becomes weights again on one core, and how exactly.

    tdmm bench solve
"""

import time
from typing import Any

import numpy as np
import torch

from tdmm_lm import report, rigs
from tdmm_lm.geometry import measure, solve
from tdmm_lm.motion import MotionClip, face

FRAMES = 5000
REPEATS = 3
MOVES = 0.1  # mm at full weight: what a shape must do to a landmark to be told from noise


def performance(rig: rigs.Rig, frames: int, seed: int = 0) -> MotionClip:
    """Shapes that swell and fade, a few at a time, on a slowly turning head: what a performance is like."""
    rng = np.random.default_rng(seed)
    now, expression = np.arange(frames), np.zeros((frames, len(rig.expressions)))
    for _ in range(frames // 6):
        swell = np.clip(1 - np.abs(now - rng.integers(frames)) / rng.integers(8, 40), 0, 1) * rng.random()
        shape = rng.integers(len(rig.expressions))
        expression[:, shape] = np.maximum(expression[:, shape], swell)
    head = 0.3 * np.sin(now[:, None] / 50 + np.arange(3))
    return face.assemble({"expression": expression, "head": head}, fps=face.CODE_FPS, rig=rig.name)


def run(names: tuple[str, ...] = ("head", "ict")) -> dict[str, dict[str, Any]]:
    """For each rig that is here: frames/s of measuring and solving against real time, and what a round trip costs."""
    figures: dict[str, dict[str, Any]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in names:
            try:
                rig = rigs.load(name)
            except FileNotFoundError:  # the scanned head is not bundled
                continue
            figures |= _figures(rig)
    finally:
        torch.set_num_threads(threads)
    return figures


def _figures(rig: rigs.Rig) -> dict[str, dict[str, Any]]:
    clip = performance(rig, FRAMES)
    measuring, geometry = _best(lambda: measure.measure(clip, rig))
    solving, result = _best(lambda: solve.solve(geometry, rig))
    mean, largest = solve.residual_mm(geometry, result, rig)
    moved = np.linalg.norm(solve.basis(rig), axis=1).max(0) * rig.interocular * 1000 > MOVES
    error = np.abs(face.part(result, "expression") - face.part(clip, "expression"))[:, moved]

    def speed(seconds: float) -> dict[str, Any]:
        fps = clip.frames / seconds
        return report.figure(
            fps, "frames/s", n=clip.frames, peer="real time", peer_value=face.CODE_FPS, ratio=fps / face.CODE_FPS
        )

    return {
        f"measure_fps_{rig.name}": speed(measuring),
        f"solve_fps_{rig.name}": speed(solving),
        f"round_trip_mm_{rig.name}": report.figure(mean, "mm mean", n=clip.frames),
        f"round_trip_max_mm_{rig.name}": report.figure(largest, "mm max", n=clip.frames),
        f"weights_error_{rig.name}": report.figure(float(error.mean()), "mean weight", n=int(moved.sum())),
        f"weights_error_99_{rig.name}": report.figure(float(np.quantile(error, 0.99)), "weight", n=int(moved.sum())),
    }


def _best(call: Any) -> tuple[float, Any]:
    """Seconds of the fastest of a few runs, and what it gave."""
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = call()
        taken.append(time.perf_counter() - start)
    return min(taken), result
