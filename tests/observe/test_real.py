"""A real talker (GRID, tracked by MediaPipe), against word alignments and plain thresholds on the tracks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, rigs, rotations
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import Observation, run

FPS, TICKS = 25.0, 25_000  # frames and alignment units a second


@pytest.fixture(scope="module")
def grid() -> list[tuple[str, np.ndarray, Observation]]:
    """Name, tracked weights and observation of every eighth clip that was tracked throughout."""
    folder = bundle.data()
    if folder is None:
        pytest.skip("needs grid_s1/ of the real data: set $TDMM_DATA to their folder")
    tracks = np.load(folder / "grid_s1/mediapipe_arkit52_25fps.npz", allow_pickle=False)
    names = list(tracks["bs_names"])
    columns = [names.index(name) if name in names else -1 for name in ARKIT]
    values = np.concatenate([tracks["blendshapes"], np.zeros((len(tracks["ok"]), 1), np.float32)], 1)[:, columns]
    turned = rotations.matrix_to_axis_angle(torch.from_numpy(tracks["head_matrix"][:, :3, :3])).numpy()
    rig, result = rigs.load("head"), []
    stops = np.cumsum(tracks["n"])
    for name, stop, frames in list(zip(tracks["clip"], stops, tracks["n"]))[::8]:
        part = slice(stop - frames, stop)
        if tracks["ok"][part].all():
            clip = face.assemble({"expression": values[part], "head": turned[part]}, fps=FPS, rig="head")
            result.append((str(name), values[part], run.run(clip, rig)))
    return result


def spoken(path: Path) -> float:
    """Seconds from an alignment that are not silence."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return sum(int(stop) - int(start) for start, stop, word in rows if word not in ("sil", "sp")) / TICKS


def test_blinks_within_one(grid):
    lids = [ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight")]
    plain = [int((np.diff(weights[:, lids].min(1) > 0.4) > 0).sum() + 1) // 2 for _, weights, _ in grid]
    assert np.mean([abs(seen.blinks - count) <= 1 for (_, _, seen), count in zip(grid, plain)]) >= 0.95


def test_speech_within_ten_points(grid):
    folder = bundle.data() / "grid_s1/align"
    gaps = [seen.speech_share - spoken(folder / f"{name}.align") / seen.seconds for name, _, seen in grid]
    assert np.mean(np.abs(gaps) <= 0.1) >= 0.7
    assert abs(np.median(gaps)) < 0.04


def test_talking_is_no_expression_and_no_gesture(grid):
    assert np.mean([seen.family == "neutral" for _, _, seen in grid]) >= 0.93
    assert np.mean([seen.gesture == "none" for _, _, seen in grid]) >= 0.85
    assert np.mean([seen.gaze == "front" for _, _, seen in grid]) >= 0.85
