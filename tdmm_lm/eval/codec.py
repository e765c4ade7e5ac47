"""What a codec keeps of motion: errors beside two peers, what `observe` still finds, tables and a picture of it.

The peers are frame-wise k-means of the same size in the codec's own components, and the mean frame.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm import codec
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import Event
from tdmm_lm.observe import run as observing
from tdmm_lm.progress import track
from tdmm_lm.report import figure
from tdmm_lm.rigs import Rig

Rows = Float[Tensor, "frames features"]
WHO = ("codec", "kmeans", "mean")
BLINK_SECONDS = 0.12  # how far a blink's apex may move and still be the same blink
SHOWN = 8  # frames of the picture


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


@torch.no_grad()
def reconstruction(
    model: codec.Codec, modality: Any, tests: Mapping[str, list[Rows]], centres: Float[Tensor, "codes components"]
) -> dict[str, dict[str, Any]]:
    """For each source the codec's errors (`modality.key` names them), with k-means as the peer and those of the mean
    frame; codes used. The interval is over clips."""
    figures: dict[str, dict[str, Any]] = {}
    counts = torch.zeros(model.books, model.codebook_size)
    for source, clips in tests.items():
        found: dict[str, dict[str, list[Tensor]]] = {who: {key: [] for key in modality.UNITS} for who in WHO}
        for rows in clips:
            codes = model.encode(rows[None])
            for book, chosen in enumerate(codes[0].unbind(-1)):
                counts[book] += torch.bincount(chosen, minlength=model.codebook_size)
            for who, again in zip(WHO, _again(model, centres, rows)):
                for key, error in modality.errors(rows, again).items():
                    found[who][key].append(error)
        for key, unit in modality.UNITS.items():
            value, peer, mean = (float(torch.cat(found[who][key]).mean()) for who in WHO)
            named, frames = modality.key(source, key), sum(map(len, found["codec"][key]))
            figures[named] = figure(
                value, unit, n=frames, interval=interval([float(clip.mean()) for clip in found["codec"][key]]),
                peer=_kmeans(centres), peer_value=peer, ratio=peer / value,
            )
            figures[f"kmeans_{named}"] = figure(peer, unit, n=frames)
            figures[f"mean_frame_{named}"] = figure(mean, unit, n=frames)
    for books in range(1, model.books):
        for source, clips in tests.items():
            away = [modality.errors(rows, first_books(model, rows, books))[modality.MAIN] for rows in clips]
            figures[f"books{books}_{modality.key(source, modality.MAIN)}"] = figure(
                float(torch.cat(away).mean()), modality.UNITS[modality.MAIN], n=sum(map(len, away)),
                interval=interval([float(clip.mean()) for clip in away]),
            )
    used, total = (counts > 0).sum(-1), int(counts[0].sum())
    share = counts[0] / counts[0].sum()
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    figures["codes_used"] = figure(int(used.min()), f"of {model.codebook_size}", n=total)
    figures["codes_used_share"] = figure(float(used.min()) / model.codebook_size, "share of codes", n=total)
    figures["perplexity"] = figure(float(entropy.exp()), "codes", n=total)
    return figures


def _again(model: codec.Codec, centres: Float[Tensor, "codes components"], rows: Rows) -> tuple[Rows, Rows, Rows]:
    """A clip out of codes, out of k-means frame by frame, and the mean frame: as `WHO` has them."""
    nearest = centres[torch.cdist(model.project(rows), centres).argmin(-1)]
    made = model.decode(model.encode(rows[None]))[0][: len(rows)]
    return made, model.restore(nearest), model.mean.expand_as(rows)


@torch.no_grad()
def by_action(
    model: codec.Codec, away: Callable[[Rows, Rows], Float[Tensor, " frames"]], clips: Iterable[tuple[str, Rows]],
    centres: Float[Tensor, "codes components"],
) -> dict[str, dict[str, Any]]:
    """How far codes lead ``away`` (mm), by the word for what a clip shows; k-means and the mean frame beside them."""
    found: dict[str, dict[str, list[Tensor]]] = {}
    for action, rows in clips:
        for who, again in zip(WHO, _again(model, centres, rows)):
            found.setdefault(action, {who: [] for who in WHO})[who].append(away(rows, again))
    figures = {}
    for action, clips_ in sorted(found.items()):
        value, peer, mean = (float(torch.cat(clips_[who]).mean()) for who in WHO)
        frames = sum(map(len, clips_["codec"]))
        figures[f"by_action_{action}"] = figure(
            value, "mm mean", n=frames, interval=interval([float(clip.mean()) for clip in clips_["codec"]]),
            peer=_kmeans(centres), peer_value=peer, ratio=peer / value,
        )
        figures[f"mean_frame_by_action_{action}"] = figure(mean, "mm mean", n=frames)
    return figures


def _kmeans(centres: Float[Tensor, "codes components"]) -> str:
    return f"k-means {len(centres)}, frame by frame"


def first_books(model: codec.Codec, rows: Rows, books: int) -> Rows:
    """Rows out of the first books of a residual codec alone."""
    codes = model.encode(rows[None])[..., :books]
    return model.restore(model.decoder(model.quantizer.vectors(codes)))[0][: len(rows)]


def interval(values: list[float]) -> tuple[float, float] | None:
    """95 %: of a mean over clips, by the normal approximation. One clip says nothing of others: None."""
    if len(values) < 2:
        return None
    margin = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)) - margin, float(np.mean(values)) + margin


def kept(model: codec.Codec, held_out: Mapping[str, list[MotionClip]], rig: Rig) -> dict[str, dict[str, Any]]:
    """Face clips before and after codes and a rig: shares of performances in which `observe` finds the same, and over
    all sources the F1 of blinks found again."""
    pairs, matched, before, after = [], 0, 0, 0
    for source, clips in held_out.items():
        for clip in track(clips, "observing"):
            again = codec.detokenize(model, codec.tokenize(model, clip, rig), rig)
            pair = observing.run(clip, rig), observing.run(again, rig)
            one, other = ([event for event in seen.events if event.kind == "blink"] for seen in pair)
            matched += matching(one, other)
            before, after = before + len(one), after + len(other)
            if source == "performances":
                pairs.append(pair)
    figures = {"blink_f1": figure(2 * matched / max(1, before + after), "F1 of blinks", n=before)}
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
    return figures | {
        f"kept_{name}": figure(float(np.mean(hits)), unit, n=len(hits)) for name, hits in same.items() if hits
    }


def matching(one: list[Event], other: list[Event]) -> int:
    """How many events have a partner at the same time; each serves once."""
    free, count = list(other), 0
    for event in one:
        near = [partner for partner in free if abs(partner.apex - event.apex) <= BLINK_SECONDS]
        if near:
            free.remove(min(near, key=lambda partner: abs(partner.apex - event.apex)))
            count += 1
    return count


def tables(modality: Any, figures: Mapping[str, dict[str, Any]], sources: Iterable[str]) -> str:
    """A table a source: the codec, k-means and the mean frame in rows, what is measured in columns."""
    lines = []
    for source in sources:
        keys = [modality.key(source, key) for key in modality.UNITS]
        rows = {
            "codec": [figures[key]["value"] for key in keys],
            f"{figures[keys[0]]['peer']}": [figures[key]["peer_value"] for key in keys],
            "mean frame": [figures[f"mean_frame_{key}"]["value"] for key in keys],
        }
        lines += [f"## {source}, held out", "", "| | " + " | ".join(modality.UNITS) + " |"]
        lines.append("|---|" + "---|" * len(keys))
        lines += [f"| {who} | " + " | ".join(f"{value:.3g}" for value in row) + " |" for who, row in rows.items()]
        lines.append("")
    actions = {key.removeprefix("by_action_"): figures[key] for key in figures if key.startswith("by_action_")}
    if actions:
        peer = next(iter(actions.values()))["peer"]
        lines += [f"## {modality.MAIN} by action, held out", "", f"| action | codec | {peer} | mean frame | frames |"]
        lines.append("|---|---|---|---|---|")
        for name, one in actions.items():
            mean = figures[f"mean_frame_by_action_{name}"]["value"]
            lines.append(f"| {name} | {one['value']:.3g} | {one['peer_value']:.3g} | {mean:.3g} | {one['n']} |")
        lines.append("")
    return "\n".join(lines)


@torch.no_grad()
def picture(model: codec.Codec, modality: Any, tests: Mapping[str, list[Rows]], path: Path) -> None:
    """A PNG: frames of one held-out clip a source, as it was (grey) and out of its codes (red) in one drawing."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(2 * SHOWN, 2.4 * len(tests)), dpi=80)
    axes = drawing.subplots(len(tests), SHOWN, squeeze=False)
    for line, (source, clips) in zip(axes, tests.items()):
        rows = max(clips, key=lambda clip: float(clip.var(0).sum()))  # one in which much happens
        again = model.decode(model.encode(rows[None]))[0][: len(rows)]
        at = np.linspace(0, len(rows) - 1, SHOWN).astype(int)
        for colour, made in (("0.6", rows), ("tab:red", again)):
            points, edges = modality.drawn(made)
            for axis, frame in zip(line, at):
                axis.add_collection(LineCollection(points[frame][edges], colors=colour, linewidths=1.1))
        for axis, frame in zip(line, at):
            axis.set_title(f"{source} {frame / model.fps:.1f} s", fontsize=8)
            axis.autoscale()
            axis.set_aspect("equal")
            axis.axis("off")
    drawing.savefig(path, bbox_inches="tight")
