"""What a codec keeps: clips nobody trained on, to codes and back, no endpoint involved.

Distances are in millimetres on the person's own surface, with the inter-ocular distance of a grown-up; `observe` says
whether what a clip expresses is still there.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

import torch
from pydantic import Field

from tdmm_lm import bundle, codec, config, landmarks, rigs
from tdmm_lm.eval.suites import Answered, Column, Item, OfSamples, Vectors, m2l, samples
from tdmm_lm.geometry.measure import FEATURES
from tdmm_lm.rotations import matrix_to_axis_angle, six_to_matrix

SHARE, MM = "share", "mm"
EYES_APART_MM = 63.0
COLUMNS = {
    "landmarks_mm": Column(MM, "lower", "mean over frames and 208 landmarks"),
    "lips_mm": Column(MM, "lower", "the lips alone"),
    "lids_mm": Column(MM, "lower", "the lids alone"),
    "head_deg": Column("degrees", "lower", "angle of the head's rotation"),
    "family": Column(SHARE, "higher", "the strongest expression observed stays"),
    "gesture": Column(SHARE, "higher", "the most salient head gesture stays"),
    "blinks": Column(SHARE, "higher", "the number of blinks stays"),
    "codes_per_second": Column("codes", "lower", "what a second of motion becomes"),
}
SETS: dict[str, Column] = {}


class Data(config.Settings):
    """Which clips, and the codec's folder (a bundled name or a path)."""

    source: Literal["performances", "recordings"] = "performances"
    n: int = Field(200, ge=1)
    words: list[str] | None = None
    codec: str = "tokenizers/face"


@cache
def _network(name: str) -> codec.Codec:
    return codec.load(bundle.either(name))


def items(data: Data, seed: int) -> Iterator[Item]:
    """The clips of m2l."""
    for one in samples(m2l.items(m2l.Data(source=data.source, n=data.n, words=data.words), seed)):
        yield Item(one.id, one.cluster, [], {}, one.reference, one.truth, one.clip)


def local(item: Item, data: Data) -> Answered | None:
    """To codes and back on the clip's own rig."""
    assert item.clip is not None
    network, rig = _network(data.codec), rigs.load(item.clip.rig)
    codes = codec.tokenize(network, item.clip, rig)
    return Answered("", codec.detokenize(network, codes, rig), tokens_in=codes.size)


def scored(item: Item, answer: Answered, data: Data) -> dict[str, float | None]:
    """Distances over the frames that both have, and what is still observed."""
    assert item.clip is not None
    assert answer.clip is not None
    network, rig = _network(data.codec), rigs.load(item.clip.rig)
    before, after = (torch.from_numpy(codec.rows(network, clip, rig)) for clip in (item.clip, answer.clip))
    frames = min(len(before), len(after))
    before, after = before[:frames], after[:frames]
    moved = (before - after)[:, FEATURES["displacement"]].unflatten(-1, (-1, 3)).norm(dim=-1) * EYES_APART_MM
    turns = [six_to_matrix(rows[:, FEATURES["head"]]) for rows in (before, after)]
    angle = torch.rad2deg(matrix_to_axis_angle(turns[0].mT @ turns[1]).norm(dim=-1))
    one, other = Answered("", item.clip).seen, answer.seen
    return {
        "landmarks_mm": float(moved.mean()),
        "lips_mm": float(moved[:, list(landmarks.region("lips"))].mean()),
        "lids_mm": float(moved[:, list(landmarks.region("lids"))].mean()),
        "head_deg": float(angle.mean()),
        "family": float(one.family == other.family),
        "gesture": float(one.gesture == other.gesture),
        "blinks": float(one.blinks == other.blinks),
        "codes_per_second": answer.tokens_in / (item.clip.frames / item.clip.fps),
    }


def sets(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> dict[str, OfSamples]:
    """None: all are means."""
    return {}


def candidate(item: Item, answer: Answered) -> tuple[str, str]:
    """Nothing for a judge to read."""
    return "", item.reference


def told(item: Item, answer: Answered) -> tuple[str, str] | None:
    """The family observed before and after."""
    return (Answered("", item.clip).seen.family, answer.seen.family) if item.clip and answer.clip else None


def vectors(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> Vectors | None:
    """Nothing to draw."""
    return None
