"""The bundled language model against an earlier one, trained on another corpus, on what neither has met.

    TDMM_BEFORE=FOLDER tdmm bench corpora        FOLDER: the earlier model, as `tdmm export` leaves it

Both describe and perform the same unseen scores: of the words of the first corpus, then of all the lexicon; and both
describe the recordings held out. Every figure has the earlier model's as its peer; ``..._gain`` is the mean difference
on the same samples (new less old) with its bootstrap interval.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm import bundle, config, report, rigs
from tdmm_lm.corpus.building import recipe
from tdmm_lm.eval import nano, statistics
from tdmm_lm.observe import run as observing
from tdmm_lm.progress import track

Figures = dict[str, dict[str, Any]]
FIRST = "recipes/corpus/first.yaml"
N = 2000  # scores of each kind: with 500 and one draw each, a share of counts moves by several points of itself


def run() -> Figures:
    """Keys: those of `nano` behind ``first_`` and ``all_``, then those of recordings where there is ``$TDMM_DATA``.

    Raises:
        FileNotFoundError: ``$TDMM_BEFORE`` names no folder.
    """
    folder = Path(os.environ.get("TDMM_BEFORE", ""))
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"TDMM_BEFORE: expected the folder of an earlier language model, got {str(folder)!r}; "
            "take tdmm_lm/assets/lm of an earlier version."
        )
    return against(nano.load(folder), nano.load(), n=N)


def against(old: nano.Bench, new: nano.Bench, *, n: int) -> Figures:
    """The same figures of both."""
    words = recipe.sources(config.load(recipe.Settings, bundle.path(FIRST)))["performed"][1].words
    figures: Figures = {}
    for name, asked in (("first", words), ("all", None)):
        seen, prompted = nano.unseen(n, asked, first=10_000), nano.unseen(n, asked, first=20_000)
        before, after = (
            nano.described_hits(bench, seen) | nano.performed_hits(bench, prompted) for bench in (old, new)
        )
        figures |= {f"{name}_{key}": figure for key, figure in _gains(before, after).items()}
    data = bundle.data()
    if data is not None:
        clips = list(nano.recordings(data, split="test"))
        truth = [observing.run(clip, rigs.load(clip.rig)) for clip in track(clips, "observing recordings")]
        figures |= _gains(*(nano.recorded_hits(bench, clips, truth) for bench in (old, new)))
    return figures


def _gains(before: nano.Hits, after: nano.Hits) -> Figures:
    """Each share beside the earlier model's; gains are of the samples that say something of both."""
    old, new = (np.array([side[key] for key in after], float).T for side in (before, after))
    figures = {}
    for key, one in zip(after, statistics.compare(old, new)):
        was = nano.share(before[key])["value"]
        figures[key] = nano.share(after[key], peer="earlier model", peer_value=was)
        if was and figures[key]["value"] is not None:
            figures[key]["ratio"] = figures[key]["value"] / was
        gain = one.difference
        figures[f"{key}_gain"] = report.figure(gain.value, "difference of shares", n=gain.n, interval=gain.interval)
    return figures
