"""Bodies (HumanML3D's protocol): what a codec keeps of motion capture nobody trained on; the standard four figures of
embeddings that somebody's evaluator made.

Clips are HumanML3D's: 20 fps, 22 joints of its skeleton on a floor at 0, 40 to 196 frames. ``embeddings`` names an npz
with arrays ``text``, ``real`` and ``made`` (n, d) of the published evaluator's networks, which are not ours to give;
with it R-precision, FID, MM-Dist and diversity are computed as the public script does, in 20 shuffles.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field

from tdmm_lm import bundle, codec, config, metrics
from tdmm_lm.corpus import mocap, sources
from tdmm_lm.eval.suites import Answered, Column, Item, OfSamples, Vectors, of_values
from tdmm_lm.geometry import humanml3d
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton

FPS, SHORTEST, LONGEST = 20.0, 40, 196  # frames
REPLICATIONS, PAIRS = 20, 300
COLUMNS = {
    "mpjpe_mm": Column("mm", "lower", "mean distance of joints, roots and headings laid together"),
    "pa_mpjpe_mm": Column("mm", "lower", "after the best turn, scale and shift a frame"),
    "acceleration_error": Column("m/s²", "lower", "size of the difference of accelerations"),
    "foot_skate": Column("share", "lower", "steps in which a standing foot slides (GMD)"),
    "foot_skate_real": Column("share", "lower", "the same of the real motion"),
    "jitter": Column("m/s³", "lower", "jerk"),
    "jitter_real": Column("m/s³", "lower", "the same of the real motion"),
    "penetration_mm": Column("mm", "lower", "depth under the floor"),
    "codes_per_second": Column("codes", "lower", "what a second becomes"),
}
FOUR = ("r_precision_1", "r_precision_2", "r_precision_3", "mm_dist", "fid", "diversity")
SETS = {
    **{name: Column("share", "higher", "32 candidates, text to motion") for name in FOUR[:3]},
    **{f"{name}_real": Column("share", "higher", "the same of the real motion") for name in FOUR[:3]},
    "mm_dist": Column("distance", "lower", "of a text and its motion"),
    "fid": Column("Fréchet", "lower", "made to real motion", "t"),
    "diversity": Column("distance", "none", f"mean of {PAIRS} pairs"),
}


class Data(config.Settings):
    """``source``: CMU's held-out subjects of $TDMM_DATA, or the test split of a ``folder`` in HumanML3D's layout."""

    source: Literal["cmu", "humanml3d"] = "cmu"
    folder: str | None = None
    n: int = Field(200, ge=1)
    codec: str = "tokenizers/body"
    embeddings: str | None = None


@cache
def _network(name: str) -> codec.Codec:
    return codec.load(bundle.either(name))


@cache
def _embedded(path: str) -> dict[str, Float[np.ndarray, "n d"]]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected an npz of embeddings, found none.")
    with np.load(path, allow_pickle=False) as held:
        missing = {"text", "real", "made"} - set(held)
        if missing:
            raise ValueError(f"{path}: expected arrays text, real and made, {', '.join(sorted(missing))} missing.")
        found = {name: np.asarray(held[name], np.float64) for name in ("text", "real", "made")}
    if len({array.shape for array in found.values()}) > 1 or found["text"].ndim != 2:
        shapes = {name: array.shape for name, array in found.items()}
        raise ValueError(f"{path}: expected three arrays (n, d) of one shape, got {shapes}.")
    return found


def items(data: Data, seed: int) -> Iterator[Item]:
    """Pieces of clips, or a row an embedding.

    Raises:
        FileNotFoundError, ValueError: no data there.
    """
    if data.embeddings is not None:
        count = len(_embedded(data.embeddings)["text"])
        yield from (Item(f"row-{place}", f"row-{place}", []) for place in range(min(count, data.n)))
        return
    found = 0
    for name, cluster, text, clip in _clips(data):
        at_rate = body.resample(clip, FPS)
        if at_rate.frames < SHORTEST or found == data.n:
            continue
        found += 1
        cut = MotionClip(at_rate.values[:LONGEST], FPS, "body", at_rate.rig, at_rate.shape)
        yield Item(name, cluster, [], {}, text, None, humanml3d.recover(humanml3d.clip_rows(cut)))


def _clips(data: Data) -> Iterator[tuple[str, str, str, MotionClip]]:
    if data.source == "cmu":
        folder = bundle.data()
        if folder is None:
            raise ValueError("data.source: cmu: expected $TDMM_DATA to name the folder of real data, it is unset.")
        for sample in mocap.cmu(folder, "test"):
            yield sample.id, sample.id.split("/")[1].split("_")[0], sample.texts[0], sample.clips["body"]
        return
    if data.folder is None:
        raise ValueError("data.folder: expected a folder in HumanML3D's layout, got none.")
    reader = config.find("corpus.sources", "humanml3d")
    settings = config.check(reader.Settings, {"folder": data.folder}, "data")
    for item in reader.items(settings, 0):
        for sample in reader.samples(item, settings):
            if not isinstance(sample, sources.Rejected) and sample.split == "test":
                yield sample.id, sample.id, sample.texts[0], sample.clips["body"]


def local(item: Item, data: Data) -> Answered | None:
    """To codes and back; of embeddings nothing is asked."""
    if item.clip is None:
        return Answered("embedded")
    network = _network(data.codec)
    codes = codec.tokenize(network, item.clip)
    return Answered("", codec.detokenize(network, codes), tokens_in=codes.size)


def scored(item: Item, answer: Answered, data: Data) -> dict[str, float | None]:
    """The columns of a piece; none of an embedding."""
    result: dict[str, float | None] = dict.fromkeys(COLUMNS)
    if item.clip is None or answer.clip is None:
        return result
    real, made = (skeleton.joints(clip).double().numpy() for clip in (item.clip, answer.clip))
    frames = min(len(real), len(made))
    real, made = real[:frames], made[:frames]
    away = _rooted(made), _rooted(real)
    more: dict[str, Any] = {"fps": FPS}
    result["mpjpe_mm"] = metrics.measure("mpjpe_mm", [away[0]], [away[1]]).value
    result["pa_mpjpe_mm"] = metrics.measure("pa_mpjpe_mm", [made], [real]).value
    result["acceleration_error"] = metrics.measure("acceleration_error", [made], [real], **more).value
    result["penetration_mm"] = metrics.measure("penetration_mm", [made]).value
    for name in ("foot_skate", "jitter"):
        result[name] = metrics.measure(name, [made], **more).value
        result[f"{name}_real"] = metrics.measure(name, [real], **more).value
    result["codes_per_second"] = answer.tokens_in / (item.clip.frames / FPS)
    return result


def _rooted(joints: Float[np.ndarray, "frames joints 3"]) -> Float[np.ndarray, "frames joints 3"]:
    """Seen from the root, turned to face Z+ frame by frame."""
    away = torch.from_numpy(joints)
    across = (away[:, 1] - away[:, 2]) + (away[:, 16] - away[:, 17])  # left minus right: hips and shoulders
    angle = torch.atan2(across[:, 2], across[:, 0])
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    seen = away - away[:, :1]
    x, y, z = seen.unbind(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], -1).numpy()


def sets(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> dict[str, OfSamples]:
    """The standard four, where embeddings are given. Ranks are means over 20 shuffles, drawn a sample at a time."""
    if data.embeddings is None:
        return {}
    found = {name: rows[: len(items)] for name, rows in _embedded(data.embeddings).items()}
    text, real, made = found["text"], found["real"], found["made"]
    if len(items) < 2:
        return {}
    result: dict[str, OfSamples] = {}
    for ending, motions in (("", made), ("_real", real)):
        ranks = _ranks(text, motions)
        for k in (1, 2, 3):
            hits = np.where(np.isnan(ranks), np.nan, ranks <= k)
            there = ~np.isnan(hits).all(0)
            result[f"r_precision_{k}{ending}"] = of_values(
                np.where(there, np.nansum(hits, 0) / np.maximum(1, np.isfinite(hits).sum(0)), np.nan)
            )
    result["mm_dist"] = of_values(np.linalg.norm(text - made, axis=1))
    result["fid"] = OfSamples(lambda places: metrics.measure("fid", made[places], real[places]).value, len(items))
    if len(items) > PAIRS:
        result["diversity"] = OfSamples(
            lambda places: metrics.measure("diversity", made[places], pairs=PAIRS, seed=0).value, len(items)
        )
    return {name: result[name] for name in SETS if name in result}


def _ranks(text: Float[np.ndarray, "n d"], motions: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "replications n"]:
    """Place of the right motion among 32, in so many shuffles; nan in a last batch that is smaller."""
    ranks = np.full((REPLICATIONS, len(text)), np.nan)
    for number in range(REPLICATIONS):
        order = np.random.default_rng(number).permutation(len(text))
        for start in range(0, len(order) - 31, 32):
            batch = order[start : start + 32]
            away = np.linalg.norm(text[batch][:, None] - motions[batch][None], axis=-1)
            ranks[number, batch] = (away < np.diag(away)[:, None]).sum(1) + 1
    return ranks


def candidate(item: Item, answer: Answered) -> tuple[str, str]:
    """Nothing for a judge to read."""
    return "", item.reference


def told(item: Item, answer: Answered) -> tuple[str, str] | None:
    """Nothing to confuse."""
    return None


def vectors(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> Vectors | None:
    """Nothing to draw."""
    return None
