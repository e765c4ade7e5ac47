"""Whether heads agree: one motion, solved onto several rigs and read back from each, should become the same codes."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from tdmm_lm import codec, landmarks, rigs
from tdmm_lm.geometry import measure, solve
from tdmm_lm.geometry.reading import read
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.report import figure
from tdmm_lm.rigs import Rig

EYES_APART_MM = 63.0  # of a grown-up: turns inter-ocular distances into millimetres
SHARE, MM = "share of code frames", "mm mean"


@torch.no_grad()
def same_code(model: codec.Codec, heads: Mapping[str, Rig], clips: Sequence[MotionClip]) -> dict[str, dict[str, Any]]:
    """How often heads agree on the code of a frame, and where they do not.

    Each clip is measured on its own rig, solved onto every one of ``heads`` and read back. Figures: ``same_code``, the
    share of frames whose codes are the same among all heads; the like for pairs and, as ``source``, for the clip's own
    rig; how far each head's reading is from the source's (millimetres by region, degrees of gaze); ``residual_mm_*``,
    how far the landmarks of its surface are from where the motion wants them; ``changed_by_*``, the share of codes
    that change on any head if this region alone is read from it.

    Raises:
        ValueError: no heads or no clips.
    """
    if not heads or not clips:
        raise ValueError(f"same_code: expected heads and clips, got {len(heads)} and {len(clips)}.")
    parts = {name: _columns(name) for name in (*landmarks.REGIONS, "head", "gaze")}
    codes: dict[str, list[np.ndarray]] = {name: [] for name in ("source", *heads)}
    apart: dict[str, list[np.ndarray]] = {name: [] for name in heads}
    changed: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    residual: dict[str, list[float]] = {name: [] for name in heads}
    for clip in clips:
        clip = face.resample(clip, model.fps)
        own = rigs.load(clip.rig)
        geometry = read(clip, own)
        rows = measure.features(geometry)
        codes["source"].append(_encoded(model, rows))
        readings = {}
        for name, head in heads.items():
            moved = solve.solve(geometry, head)
            readings[name] = measure.features(read(moved, head))
            codes[name].append(_encoded(model, readings[name]))
            apart[name].append(readings[name] - rows)
            gaps = measure.surface(moved, head).displacement - measure.surface(clip, own).displacement
            residual[name].append(float(1000 * (np.linalg.norm(gaps, axis=-1) * measure.units(head)).mean()))
        for part, columns in parts.items():
            hits = np.zeros(len(codes["source"][-1]), bool)
            for reading in readings.values():
                mixed = rows.copy()
                mixed[:, columns] = reading[:, columns]
                hits |= (_encoded(model, mixed) != codes["source"][-1]).any(1)
            changed[part].append(hits)
    whole = {name: np.concatenate(rows_) for name, rows_ in codes.items()}
    frames = len(whole["source"])

    def share(names: Sequence[str]) -> dict[str, Any]:
        same = np.all([(whole[name] == whole[names[0]]).all(1) for name in names], 0)
        return figure(float(same.mean()), SHARE, n=frames)

    figures = {"same_code": share(list(heads))}
    figures |= {f"same_code_{a}_{b}": share([a, b]) for a, b in itertools.combinations(("source", *heads), 2)}
    for name in heads:
        gap = np.concatenate(apart[name])
        for region in landmarks.REGIONS:
            away = np.linalg.norm(gap[:, _columns(region)].reshape(len(gap), -1, 3), axis=-1) * EYES_APART_MM
            figures[f"apart_{region}_{name}"] = figure(float(away.mean()), MM, n=len(gap))
        gaze = np.degrees(np.linalg.norm(gap[:, _columns("gaze")].reshape(-1, 2), axis=1))
        figures[f"apart_gaze_{name}"] = figure(float(gaze.mean()), "degrees mean", n=len(gap))
        figures[f"residual_mm_{name}"] = figure(float(np.mean(residual[name])), MM, n=len(clips))
    for part, of_clips in changed.items():
        figures[f"changed_by_{part}"] = figure(float(np.concatenate(of_clips).mean()), SHARE, n=frames)
    return figures


def _encoded(model: codec.Codec, rows: Float[np.ndarray, "frames features"]) -> Int[np.ndarray, "n books"]:
    return model.encode(torch.from_numpy(rows)[None])[0].numpy()


def _columns(part: str) -> Int[np.ndarray, " columns"]:
    """Where a landmark region, ``head`` or ``gaze`` lies in a row of `measure.features`."""
    if part in landmarks.REGIONS:
        return np.array([3 * place + axis for place in landmarks.region(part) for axis in range(3)])
    where = measure.FEATURES[part]
    return np.arange(where.start, where.stop)
