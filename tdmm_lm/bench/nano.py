"""The bundled language model in figures: both directions on held-out performances and prompts, and real recordings.

tdmm bench nano
"""

from pathlib import Path
from typing import Any

from tdmm_lm import bundle, report, rigs
from tdmm_lm.eval import legible, nano
from tdmm_lm.formats import video

Figures = dict[str, dict[str, Any]]


def run() -> Figures:
    """The keys of the nano report; those of real data only where ``$TDMM_DATA`` names the data folder."""
    bench = nano.load()
    figures = nano.described(bench) | nano.performed(bench) | nano.edited(bench) | nano.parameters(bench)
    data = bundle.data()
    if data is not None:
        figures |= nano.recorded(bench, list(nano.recordings(data, split="test")))
        figures |= nano.read(bench, data)
        figures |= heads(video.landmarker())
    return figures


def heads(model: Path) -> Figures:
    """How MediaPipe reads renders of the bundled head, beside the scanned one."""
    reader = legible.Reader(model)
    try:
        seen = legible.detected(rigs.load("head"), reader)
        count = {
            name: sum(row["read"] for row in legible.read_back(rigs.load(name), reader).values())
            for name in ("head", "ict")
        }
    finally:
        reader.close()
    return {
        "head_detected": nano.share(seen),
        "shapes_read_back": report.figure(
            count["head"],
            "shapes",
            n=52,
            peer="scanned head",
            peer_value=count["ict"],
            ratio=count["head"] / count["ict"],
        ),
        "shapes_read_back_scan": report.figure(count["ict"], "shapes", n=52),
    }
