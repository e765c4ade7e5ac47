"""What a face codec keeps of motion: errors in mm and degrees beside two peers, and what `observe` still finds.

The peers are frame-wise k-means of the same size in the codec's own components, and the mean frame.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm import codec, landmarks, rotations
from tdmm_lm.geometry.measure import FEATURES
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import run as observing
from tdmm_lm.progress import track
from tdmm_lm.report import figure
from tdmm_lm.rigs import Rig

EYES_APART_MM = 63.0  # of a grown-up: turns inter-ocular distances into millimetres
UNITS = {"landmarks_mm": "mm mean", "lips_mm": "mm mean", "head_deg": "degrees mean", "gaze_deg": "degrees mean"}
WHO = ("codec", "kmeans", "mean")


def kmeans(rows: Float[Tensor, "frames d"], centres: int, *, rounds: int = 15) -> Float[Tensor, "centres d"]:
    """Lloyd's algorithm from the first rows; centres that lose all rows take another."""
    means = rows[torch.linspace(0, len(rows) - 1, centres).long()].clone()
    for turn in range(rounds):
        nearest = torch.cdist(rows, means).argmin(-1)
        counts = torch.bincount(nearest, minlength=centres)
        sums = torch.zeros_like(means).index_add_(0, nearest, rows)
        spare = rows[(torch.arange(centres) * 7919 + turn) % len(rows)]
        means = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), spare)
    return means


def errors(
    before: Float[Tensor, "frames features"], after: Float[Tensor, "frames features"]
) -> dict[str, Float[Tensor, " frames"]]:
    """Per frame: means over all landmarks and over the lips (mm), the head's angle and the eyes' mean (degrees)."""
    moved = [rows[:, FEATURES["displacement"]].unflatten(-1, (-1, 3)) for rows in (before, after)]
    apart = (moved[0] - moved[1]).norm(dim=-1) * EYES_APART_MM
    one, other = (rotations.six_to_matrix(rows[:, FEATURES["head"]]) for rows in (before, after))
    turned = rotations.matrix_to_axis_angle(one.mT @ other).norm(dim=-1)
    gaze = (before - after)[:, FEATURES["gaze"]].unflatten(-1, (2, 2)).norm(dim=-1).mean(-1)
    return {
        "landmarks_mm": apart.mean(-1), "lips_mm": apart[:, list(landmarks.region("lips"))].mean(-1),
        "head_deg": torch.rad2deg(turned), "gaze_deg": torch.rad2deg(gaze),
    }


@torch.no_grad()
def reconstruction(
    model: Any, tests: dict[str, list[Float[Tensor, "frames features"]]], centres: Float[Tensor, "codes components"]
) -> dict[str, dict[str, Any]]:
    """For each set of clips the codec's errors, with k-means as the peer, and those of the mean frame; codes used."""
    figures, counts = {}, torch.zeros(model.codebook_size)
    for name, clips in tests.items():
        found: dict[str, dict[str, list[Tensor]]] = {who: {key: [] for key in UNITS} for who in WHO}
        for rows in clips:
            codes = model.encode(rows[None])
            counts += torch.bincount(codes.flatten(), minlength=model.codebook_size)
            nearest = centres[torch.cdist(model.project(rows), centres).argmin(-1)]
            made = (model.decode(codes)[0], model.restore(nearest), model.mean.expand_as(rows))
            for who, again in zip(WHO, made):
                for key, error in errors(rows, again).items():
                    found[who][key].append(error)
        frames = sum(map(len, clips))
        for key, unit in UNITS.items():
            value, peer, mean = (float(torch.cat(found[who][key]).mean()) for who in WHO)
            by_clip = torch.stack([clip.mean() for clip in found["codec"][key]])
            margin = 1.96 * float(by_clip.std() / len(by_clip) ** 0.5) if len(by_clip) > 1 else 0.0
            figures[f"{name}_{key}"] = figure(
                value, unit, n=frames, interval=(value - margin, value + margin), ratio=peer / value,
                peer=f"k-means {len(centres)}, frame by frame", peer_value=peer,
            )
            figures[f"{name}_{key}_mean_frame"] = figure(mean, unit, n=frames)
    share = counts / counts.sum()
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    figures["codes_used"] = figure(int((counts > 0).sum()), f"of {model.codebook_size}", n=int(counts.sum()))
    figures["perplexity"] = figure(float(entropy.exp()), "codes", n=int(counts.sum()))
    return figures


def kept(model: codec.Codec, clips: list[MotionClip], rig: Rig) -> dict[str, dict[str, Any]]:
    """Shares of clips in which `observe` finds the same before and after tokenising and detokenising on a rig."""
    pairs = []
    for clip in track(clips, "observing"):
        again = codec.detokenize(model, codec.tokenize(model, clip, rig), rig)
        pairs.append((observing.run(clip, rig), observing.run(again, rig)))
    repeated = [pair for pair in pairs if pair[0].gesture in ("nod", "shake")]
    same = {
        "family": [a.family == b.family for a, b in pairs],
        "gesture": [a.gesture == b.gesture for a, b in pairs],
        "count": [(a.gesture, a.count) == (b.gesture, b.count) for a, b in repeated],
        "gaze": [a.gaze == b.gaze for a, b in pairs],
        "blinks": [a.blinks == b.blinks for a, b in pairs],
        "blinks_within_1": [abs(a.blinks - b.blinks) <= 1 for a, b in pairs],
        "speech_within_10": [abs(a.speech_share - b.speech_share) <= 0.1 for a, b in pairs],
    }
    unit = "share of clips"
    return {f"kept_{name}": figure(float(np.mean(hits)), unit, n=len(hits)) for name, hits in same.items() if hits}
