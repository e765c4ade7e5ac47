"""Faces for a codec: performances by code, real recordings, and posed faces that nobody performed.

What it sees is rig-free geometry (`tdmm_lm.geometry.measure.features`); `see: coefficients` gives it the ARKit weights
and the head's turn instead, to compare (TDMM-LM: geometry, not 3DMM coefficients).
"""

import dataclasses
import math
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from tdmm_lm import codec, config, landmarks, material, rigs, rotations
from tdmm_lm.corpus import prompts, recordings
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.perform import limit, perform, smoothstep
from tdmm_lm.eval import codec as evaluation
from tdmm_lm.eval import rigs as agreement
from tdmm_lm.geometry import measure as measuring
from tdmm_lm.geometry import solve
from tdmm_lm.geometry.measure import FEATURES, features, from_features
from tdmm_lm.geometry.reading import read
from tdmm_lm.material import Rows
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.observe import FAMILIES
from tdmm_lm.observe import run as observing
from tdmm_lm.report import figure
from tdmm_lm.rigs.flame import FlameRig

EYES_APART_MM = 63.0  # of a grown-up: turns inter-ocular distances into millimetres
MODALITY: codec.Modality = "face"
GROUPS = {"displacement": 3 * len(landmarks.NAMES), "head": 6, "gaze": 4}
REGIONS = ("lips", "lids", "brows", "jaw")
LOSSES = (*REGIONS, "head", "gaze")
UNITS = {
    "landmarks_mm": "mm mean", **{f"{name}_mm": "mm mean" for name in REGIONS}, "head_deg": "degrees mean",
    "gaze_deg": "degrees mean",
}
MAIN = "landmarks_mm"
SOURCES = ("grid", "facegood", "performances", "rare", "posed")
ONE_WAY = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")  # of these a face can show one at a time
SHOWN_MM = 5.0  # a head that leaves a landmark farther away than this cannot show the frame (a tongue, say)
AGREED = 25  # held-out clips of each source on which heads are asked to agree
DEV_EVERY = 16  # of the recordings for training every so manieth is for development


class Metric(config.Settings):
    """What an error weighs, in millimetres of a landmark, all of them moving. Decides what the codes hold."""

    regions: dict[str, float] = Field(default={"lips": 1.5, "lids": 1.5})  # of landmarks, others 1
    shape: float = 3.0  # a whole unit of error in one ARKit weight
    damping: float = 0.01  # of shapes that move hardly any skin: heads do not agree on them (squared eyes' distances)
    head: float = 0.45  # a degree of the head's rotation
    gaze: float = 0.06  # a degree of an eye's


class Data(material.Data):
    """Examples, the heads they are measured on, and what an error weighs."""

    shares: dict[str, float] = Field(
        default={"grid": 0.3, "facegood": 0.06, "performances": 0.52, "posed": 0.12}, min_length=1
    )
    performances: int = Field(4000, ge=1)
    rare: int = Field(1000, ge=1)
    rare_families: tuple[str, ...] = (
        "contempt", "doubt", "wink", "jaw_side", "mouth_side", "tongue_out", "anger", "lip_press", "pucker",
    )
    posed: int = Field(1500, ge=1)
    test_performances: int = Field(300, ge=1)
    test_posed: int = Field(100, ge=1)
    rigs: dict[str, float] = Field(default={"head": 0.6, "ict": 0.4})  # heads to measure on; missing ones are left out
    strangers: int = Field(12, ge=0)  # heads made up from those, each with its own face, that read motions too
    readings: bool = True  # learn that what any of the heads reads of a motion is that motion
    metric: Metric = Metric()


def examples(data: Data, split: str, seed: int) -> dict[str, Iterator[Rows]]:
    """Rows of every source, each clip measured on one of the heads (all of them drive the same ARKit shapes).

    What is held out is measured on the first head alone.

    Raises:
        ValueError: an unknown source, recordings without $TDMM_DATA, or none of the heads on this machine.
    """
    heads = _heads(data)
    if split != "train":
        heads = dict([next(iter(heads.items()))])
    return {name: _rows(made, heads, data, seed) for name, made in clips(data, split, seed).items()}


def clips(data: Data, split: str, seed: int) -> dict[str, Iterator[MotionClip]]:
    """The same as clips."""
    material.check_shares(data.shares, SOURCES)
    for name in set(data.shares) & set(recordings.SOURCES):
        material.real_data(name)
    return {name: _clips(name, data, split, seed) for name in data.shares}


def _clips(source: str, data: Data, split: str, seed: int) -> Iterator[MotionClip]:
    if source == "performances":
        count = {"train": data.performances, "dev": 64, "test": data.test_performances}[split]
        first, held_out = seed * 1_000_003 + (500_000 if split == "dev" else 0), split == "test"
        yield from (perform(prompts.sample(first + i, split="test" if held_out else "train")) for i in range(count))
    elif source == "rare":
        unknown = set(data.rare_families) - set(FAMILIES)
        if unknown or not data.rare_families:
            raise ValueError(f"data.rare_families: expected families such as wink, got {sorted(unknown) or 'none'}.")
        first, count = {"train": (0, data.rare), "dev": (500_000, 32), "test": (700_000, data.test_posed)}[split]
        words = [word for family in data.rare_families for word in lexicon().of_family(family)]
        kept = "test" if split == "test" else "train"
        numbers = (seed * 1_000_003 + first + i for i in range(count))
        yield from (perform(prompts.sample(number, split=kept, words=words)) for number in numbers)
    elif source == "posed":
        first, count = {"train": (0, data.posed), "dev": (500_000, 32), "test": (700_000, data.test_posed)}[split]
        yield from (posed(seed * 1_000_003 + first + i) for i in range(count))
    elif source in recordings.SOURCES:
        where = material.real_data(source)
        belonging = (s for s in recordings.SOURCES[source](where) if (s.split == "test") == (split == "test"))
        for place, sample in enumerate(belonging):
            if split == "test" or (place % DEV_EVERY == DEV_EVERY - 1) == (split == "dev"):
                yield sample.clips["face"]
    else:
        yield from material.folder(source, "face", split)


def posed(seed: int, seconds: float = 3.0) -> MotionClip:
    """One to four shapes, both sides mostly alike, come and go on a head that turns; half have a person's noise."""
    rng = np.random.default_rng([seed, 4])
    t = np.arange(round(seconds * face.CODE_FPS)) / face.CODE_FPS
    weights = np.zeros((len(t), len(face.ARKIT)))
    if rng.random() < 0.5:
        weights += rng.uniform(0, 0.03, len(face.ARKIT))
    for name in rng.choice(face.ARKIT, int(rng.integers(1, 5)), replace=False):
        onset, attack, release = rng.uniform(-0.3, 1.0), rng.uniform(0.12, 0.8), rng.uniform(0.12, 0.8)
        offset = onset + attack + rng.uniform(0.2, 2.5)
        curve = rng.uniform(0.15, 1.0) * smoothstep((t - onset) / attack) * (1 - smoothstep((t - offset) / release))
        other = name.replace("Left", "?").replace("Right", "Left").replace("?", "Right")
        both = other in face.ARKIT and name not in ONE_WAY and rng.random() < 0.75
        for one in (name, other) if both else (name,):
            weights[:, face.ARKIT.index(one)] = np.maximum(weights[:, face.ARKIT.index(one)], curve)
    turn = np.radians(rng.normal(0, 5, 3)) * (rng.random() < 0.5) * np.ones((len(t), 1))
    if rng.random() < 0.5:
        turn = turn + np.radians(rng.normal(0, 8, 3)) * np.sin(2 * np.pi * rng.uniform(0.2, 1.8) * t)[:, None]
    return face.assemble({"expression": limit(weights), "head": turn}, fps=face.CODE_FPS, rig="head")


def _rows(clips: Iterator[MotionClip], heads: dict[str, rigs.Rig], data: Data, seed: int) -> Iterator[Rows]:
    chances = np.array([data.rigs[name] for name in heads])
    rng = np.random.default_rng(seed)
    for clip in clips:
        rig = heads[str(rng.choice(list(heads), p=chances / chances.sum()))]
        yield torch.from_numpy(features(read(face.resample(clip, face.CODE_FPS), rig)))


def _heads(data: Data) -> dict[str, rigs.Rig]:
    """The rigs that are on this machine."""
    return _loaded(tuple(data.rigs))


@cache
def _loaded(names: tuple[str, ...]) -> dict[str, rigs.Rig]:
    heads = {}
    for name in names:
        try:
            heads[name] = rigs.load(name)
        except FileNotFoundError as error:
            print(f"left out: {error}")
    if not heads:
        raise ValueError(f"data.rigs: expected at least one of {', '.join(names)} on this machine, found none.")
    return heads


def fitting(data: Data, counts: dict[str, int], seed: int) -> tuple[Rows, list[Rows]]:
    """Clips on the first head; and solved onto each other head and read back from there."""
    first = next(iter(_heads(data).values()))
    rows: list[list[Rows]] = []
    for source, made in clips(data, "train", seed).items():
        for clip in islice(made, max(1, counts[source])):
            row = torch.from_numpy(features(read(face.resample(clip, face.CODE_FPS), first)))
            rows.append([row, *elsewhere(data, row)])
    whole, *others = (torch.cat(parts) for parts in zip(*rows))
    return whole, others


def elsewhere(data: Data, rows: Rows) -> list[Rows]:
    """Solved onto each of the heads and onto one of the strangers, and read back from their surfaces. Frames that a
    head cannot show stay as they are: nobody can tell from it what they were."""
    if not data.readings:
        return []
    geometry = from_features(rows.numpy(), face.CODE_FPS)
    others = list(_heads(data).values())
    strangers = _strangers(tuple(data.rigs), data.strangers)
    if strangers:
        others.append(strangers[zlib.crc32(rows.numpy().tobytes()) % len(strangers)])
    shown = [torch.from_numpy(features(read(solve.solve(geometry, rig), rig))) for rig in others]
    return [torch.where(_apart(rows, one).amax(-1, keepdim=True) < SHOWN_MM, one, rows) for one in shown]


@cache
def _strangers(names: tuple[str, ...], count: int) -> list[rigs.Rig]:
    """So many, of those heads in turn that others can be made from: avatars are nobody else."""
    models = [rig for rig in _loaded(names).values() if isinstance(rig, FlameRig)]
    return [stranger(models[i % len(models)], i) for i in range(count if models else 0)]


def stranger(rig: FlameRig, seed: int) -> FlameRig:
    """A head of somebody: another identity, wider or longer, each shape moving the skin somewhat more or less."""
    rng = np.random.default_rng([seed, 6])
    identity = np.zeros(rig.identities, np.float32)
    identity[:10] = rng.normal(0, 0.8, min(10, rig.identities))
    stretch, middle = 1 + rng.normal(0, 0.04, 3), rig.eyes.mean(0)
    arrays, gains = rig.arrays, rng.uniform(0.9, 1.1, len(rig.expressions))
    changed = dataclasses.replace(
        arrays, v_template=(rig.identity(identity) - middle) * stretch + middle,
        shapedirs_expression=arrays.shapedirs_expression * stretch[:, None] * gains,
    )
    return FlameRig(
        changed, name=f"{rig.name}-{seed}", expressions=rig.expressions, authority=rig.authority, lower=rig.lower,
        upper=rig.upper, uv=None, colours=rig.colours, landmarks=rig.landmarks,
        eyes=(rig.joints(identity)[3:] - middle) * stretch + middle,
    )


def metrics(data: Data) -> dict[str, Float[Tensor, "rows group"]]:
    """For each group the matrix whose product with an error is what the error weighs (mm)."""
    rig = next(iter(_heads(data).values()))
    weights = np.full(len(landmarks.NAMES), EYES_APART_MM / math.sqrt(len(landmarks.NAMES)))
    for name, weight in data.metric.regions.items():
        weights[list(landmarks.region(name))] *= weight
    # Shapes that move little skin say as much as those that move much: errors of weights count beside those of places.
    basis = torch.from_numpy(solve.basis(rig)).flatten(0, 1)  # (3 landmarks, expressions)
    trust = torch.from_numpy(solve.landmark_weights()).repeat_interleave(3)[:, None]
    weighted = basis * trust
    gram = weighted.mT @ weighted + data.metric.damping * torch.eye(basis.shape[1]).double()
    inverse = torch.linalg.solve(gram, (weighted * trust).mT)
    places = torch.diag(torch.from_numpy(weights).repeat_interleave(3))
    return {
        "displacement": torch.cat([places, data.metric.shape * inverse]),
        "head": torch.eye(6) * math.degrees(data.metric.head) / math.sqrt(2),  # a turn moves 6D by sqrt 2 of it or less
        "gaze": torch.eye(4) * math.degrees(data.metric.gaze),
    }


@cache
def _places(region: str) -> Tensor:
    return torch.tensor(landmarks.region(region))


def losses(error: Float[Tensor, "b t features"]) -> dict[str, Tensor]:
    """Mean distance in each region (mm), of the head's turn and of the eyes' (degrees, for small errors)."""
    moved = error[..., FEATURES["displacement"]].unflatten(-1, (-1, 3)) * EYES_APART_MM
    apart = (moved.square().sum(-1) + 1e-4).sqrt()
    turned = (error[..., FEATURES["head"]].square().sum(-1) / 2 + 1e-7).sqrt()
    looked = (error[..., FEATURES["gaze"]].unflatten(-1, (2, 2)).square().sum(-1) + 1e-7).sqrt()
    regions = {name: apart[..., _places(name)].mean() for name in REGIONS}
    return regions | {"head": torch.rad2deg(turned).mean(), "gaze": torch.rad2deg(looked).mean()}


def errors(before: Rows, after: Rows) -> dict[str, Float[Tensor, " frames"]]:
    """Per frame: means over all landmarks and over each region's (mm), the head's angle, the eyes' mean (degrees)."""
    apart = _apart(before, after)
    one, other = (rotations.six_to_matrix(rows[:, FEATURES["head"]]) for rows in (before, after))
    turned = rotations.matrix_to_axis_angle(one.mT @ other).norm(dim=-1)
    gaze = (before - after)[:, FEATURES["gaze"]].unflatten(-1, (2, 2)).norm(dim=-1).mean(-1)
    return {
        "landmarks_mm": apart.mean(-1), **{f"{name}_mm": apart[:, _places(name)].mean(-1) for name in REGIONS},
        "head_deg": torch.rad2deg(turned), "gaze_deg": torch.rad2deg(gaze),
    }


def _apart(before: Rows, after: Rows) -> Float[Tensor, "frames landmarks"]:
    """How far landmarks moved apart (mm)."""
    moved = [rows[:, FEATURES["displacement"]].unflatten(-1, (-1, 3)) for rows in (before, after)]
    return (moved[0] - moved[1]).norm(dim=-1) * EYES_APART_MM


def closing(
    model: codec.Codec, data: Data, seed: int, centres: Float[Tensor, "codes components"]
) -> dict[str, dict[str, object]]:
    """What `observe` still finds in held-out performances, errors by their family, blinks found again in all that is
    held out, and whether the heads agree on codes: held-out clips solved onto each and read back from its surface."""
    heads = _heads(data)
    rig = next(iter(heads.values()))
    held_out = {name: list(made) for name, made in clips(data, "test", seed).items()}
    figures = evaluation.kept(model, held_out, rig)
    figures |= evaluation.by_action(model, lambda before, after: errors(before, after)[MAIN], (
        (observing.run(clip, rig).family, torch.from_numpy(codec.rows(model, clip, rig)))
        for clip in held_out.get("performances", [])
    ), centres)
    for name, made in held_out.items():
        agreed = agreement.same_code(model, heads, made[:AGREED])
        figures[f"same_code_across_rigs_{name}"] = agreed["same_code"]
    frames = [figures[f"same_code_across_rigs_{name}"] for name in held_out]
    figures["same_code_across_rigs"] = figure(
        float(np.average([one["value"] for one in frames], weights=[one["n"] for one in frames])), "share of frames",
        n=sum(one["n"] for one in frames),
    )
    return figures


def key(source: str, error: str) -> str:
    """What the report calls an error: bare for GRID, ``performed_`` for performances, else after the source."""
    name, unit = error.rsplit("_", 1)
    part = {"landmarks": "landmark", "lips": "lip", "lids": "lid", "brows": "brow"}.get(name, name)
    before = {"grid": "", "performances": "performed_"}.get(source, f"{source}_")
    return f"{before}{part}_error_{unit}"


def drawn(rows: Rows) -> tuple[Float[np.ndarray, "frames points 2"], Int[np.ndarray, "lines 2"]]:
    """Landmarks seen from the front on the bundled head, turned as the head is, and the curves that they lie on."""
    rig = rigs.load("head")
    rest = measuring.places(torch.zeros(1, len(rig.expressions) + face.POSE_CHANNELS), rig)[0]
    moved = rows[:, FEATURES["displacement"]].unflatten(-1, (-1, 3)).numpy() * measuring.units(rig)[:, None]
    turned = rotations.six_to_matrix(rows[:, FEATURES["head"]]).numpy()
    points = np.einsum("fij,flj->fli", turned, rest - rest.mean(0) + moved)[..., :2]
    curves = [name.rsplit("_", 1) for name in landmarks.NAMES]
    at = {name: place for place, name in enumerate(landmarks.NAMES)}
    edges = [
        (at[f"{curve}_{number}"], at[f"{curve}_{int(number) + 1}"]) for curve, number in curves
        if number.isdigit() and f"{curve}_{int(number) + 1}" in at and not curve.startswith(("cheek", "oval", "chin"))
    ]
    return points, np.array(edges)


def licences(data: Data) -> list[str]:
    """Of what it learns from."""
    known = {"grid": recordings.GRID_LICENCE, "facegood": recordings.FACEGOOD_LICENCE}
    made = ["performances made by tdmm_lm.corpus"] if {"performances", "rare", "posed"} & set(data.shares) else []
    return made + [known[name] for name in data.shares if name in known]
