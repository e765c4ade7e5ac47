"""What a data set holds, counted from its rows one by one: the numbers of its card, the same for the same rows."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import rotations
from tdmm_lm.corpus import table
from tdmm_lm.motion import face

COLUMNS = [  # what is looked at: everything but the sound itself, codes and what belongs to edits
    "split", "source", "licence", "speaker", "texts", "prompts", "labels", "face", "body.frames", "body.fps",
    "audio.path", "provenance",
]
COUNTED = ("family", "level", "gesture", "gaze", "blinks")  # of the labels
EDGES: dict[str, tuple[float, float, float]] = {  # first edge, last edge, step; what lies beyond counts at the ends
    "duration_seconds": (0, 60, 0.5), "intensity": (0, 1, 0.05), "yaw_degrees": (-60, 60, 2),
    "pitch_degrees": (-60, 60, 2), "roll_degrees": (-60, 60, 2), "text_words": (0, 100, 2),
    "box_share": (0, 1, 0.02), "sharpness": (0, 0.3, 0.01), "overall": (1, 5, 0.1),
}
FIGURES = ("box_share", "sharpness", "overall")  # of captured videos: size, picture, sound
EVERY = 5  # frames between two whose head is looked at


def of(rows: Iterable[dict[str, Any]], rejected: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Plain data for JSON: counts by split, source, licence, label and reason; hours; histograms as lists of counts."""
    counts: dict[str, Counter[str]] = {
        key: Counter() for key in ("splits", "sources", "licences", "speakers", "words", *COUNTED)
    }
    bins = {name: np.zeros(round((last - first) / step), np.int64) for name, (first, last, step) in EDGES.items()}
    seconds = {"all": 0.0, "sound": 0.0, "train": 0.0, "dev": 0.0, "test": 0.0}
    texts: set[bytes] = set()
    held: Counter[str] = Counter()
    for row in rows:
        held["rows"] += 1
        lasts = lasting(row)
        seconds["all"] += lasts
        seconds[row["split"]] += lasts
        counts["splits"][row["split"]] += 1
        counts["sources"][row["source"]] += 1
        counts["licences"][row["licence"]] += 1
        counts["speakers"][row["speaker"] or ""] += 1
        for name in ("face", "body", "audio"):
            held[name] += row[name] is not None
        seconds["sound"] += lasts if row["audio"] is not None else 0
        held["texts"] += len(row["texts"])
        held["prompts"] += len(row["prompts"])
        texts |= {hashlib.blake2b(text.encode(), digest_size=8).digest() for text in (*row["texts"], *row["prompts"])}
        _count(bins["duration_seconds"], "duration_seconds", [lasts])
        _count(bins["text_words"], "text_words", [len(text.split()) for text in row["texts"]])
        if row["labels"] is not None:
            known = row["labels"]
            for key in COUNTED:
                counts[key][str(known[key])] += 1
            counts["words"][known["word"] or ""] += 1
            if known["family"] != "neutral":
                _count(bins["intensity"], "intensity", [known["intensity"]])
        if row["face"] is not None:
            for name, degrees in zip(("yaw", "pitch", "roll"), _head(row).T):
                _count(bins[f"{name}_degrees"], f"{name}_degrees", degrees)
        figures = json.loads(row["provenance"]).get("figures", {})
        for name in FIGURES:
            if name in figures:
                _count(bins[name], name, [figures[name]])
    counts["speakers"].pop("", None)
    counts["words"].pop("", None)
    return {
        "rows": held["rows"], "hours": round(seconds["all"] / 3600, 4),
        "hours_of_sound": round(seconds["sound"] / 3600, 4),
        "hours_by_split": {key: round(seconds[key] / 3600, 4) for key in ("train", "dev", "test")},
        **{f"rows_with_{name}": held[name] for name in ("face", "body", "audio")},
        "texts": held["texts"], "prompts": held["prompts"], "distinct_texts_and_prompts": len(texts),
        **{key: dict(sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))) for key, count in counts.items()},
        "rejected": dict(sorted(Counter(one["reason"] for one in rejected).items())),
        "histograms": {
            name: {"first": EDGES[name][0], "step": EDGES[name][2], "counts": found.tolist()}
            for name, found in bins.items()
        },
    }


def lasting(row: dict[str, Any]) -> float:
    """Seconds of a row: of its clip, else what its labels say, else 0."""
    for name in ("face", "body"):
        if row[name] is not None:
            return row[name]["frames"] / row[name]["fps"]
    return row["labels"]["seconds"] if row["labels"] is not None else 0.0


def _count(bins: np.ndarray, name: str, values: Iterable[float]) -> None:
    first, _, step = EDGES[name]
    places = np.floor((np.asarray(values, np.float64) - first) / step + 1e-6).astype(int).clip(0, len(bins) - 1)
    np.add.at(bins, places, 1)


def _head(row: dict[str, Any]) -> Float[np.ndarray, "frames 3"]:
    """Degrees of yaw, pitch and roll, now and then."""
    turn = torch.from_numpy(face.part(table.clip_of(row), "head")[::EVERY].astype(np.float64))
    return torch.rad2deg(rotations.matrix_to_euler_yxz(rotations.axis_angle_to_matrix(turn))).numpy()
