"""Bodies for a codec: CMU motion capture in HumanML3D's features; mirrored, warped in time, bent, limbs exchanged.

Split by subject: 05 and 08 are the test, 03 is for development.
"""

import math
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from tdmm_lm import codec, config, material, rotations
from tdmm_lm.corpus import mocap
from tdmm_lm.eval import codec as evaluation
from tdmm_lm.formats import bvh
from tdmm_lm.geometry import humanml3d
from tdmm_lm.geometry.humanml3d import FEATURES
from tdmm_lm.material import Rows
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.report import figure
from tdmm_lm.rigs import skeleton

MODALITY: codec.Modality = "body"
GROUPS = {"motion": 263}
LOSSES = ("joints", "contacts", "foot_velocity", "heading")
UNITS = {"mpjpe_mm": "mm mean", "world_mpjpe_mm": "mm mean", "heading_deg": "degrees mean", "root_mm": "mm mean"}
MAIN = "mpjpe_mm"
SOURCES = ("cmu",)
WINDOW = 196  # frames, the longest clip of the standard evaluation: world errors are of pieces so long
IDEAL = 32  # frames, 1.6 s, of windows that an ideal code would take as one
FEET = tuple(body.JOINTS.index(name) for name in ("left_ankle", "left_foot", "right_ankle", "right_foot"))
ARMS = {
    side: tuple(body.JOINTS.index(f"{side}_{part}") for part in ("collar", "shoulder", "elbow", "wrist"))
    for side in ("left", "right")
}
UPPER = (*ARMS["left"], *ARMS["right"], *map(body.JOINTS.index, ("spine1", "spine2", "spine3", "neck", "head")))
EXCHANGED = (ARMS["left"], ARMS["right"], ARMS["left"] + ARMS["right"], UPPER)
_OTHER = {"left": "right", "right": "left"}
_MIRROR = [body.JOINTS.index("_".join(_OTHER.get(word, word) for word in name.split("_"))) for name in body.JOINTS]


class Metric(config.Settings):
    """What an error weighs, in millimetres of a joint, all of them moving. Decides what the codes hold."""

    step: float = 3.0  # a millimetre a frame of the root: errors add up
    turn: float = 1.5  # a tenth of a degree a frame of the root's heading
    rotation: float = 0.3  # a degree of a joint
    velocity: float = 1.0  # a millimetre a frame of a joint
    contact: float = 20.0  # a foot that stands and should not


class Data(material.Data):
    """Examples and what an error weighs."""

    shares: dict[str, float] = Field(default={"cmu": 1.0}, min_length=1)
    warps: tuple[float, ...] = Field((0.82, 0.9, 1.0, 1.1, 1.23), min_length=1)  # speeds of each clip for training
    mirrored: bool = True  # and each the other way round
    bent: int = Field(2, ge=0)  # so many copies of each with their joints held otherwise (`bent`)
    bend_degrees: dict[str, float] = Field(
        default={"shoulder": 25, "elbow": 20, "hip": 12, "knee": 10, "spine1": 8, "spine3": 6, "neck": 8}
    )
    exchanged: int = Field(1, ge=0)  # so many more times, arms or upper body from other clips
    metric: Metric = Metric()


def examples(data: Data, split: str, seed: int) -> dict[str, Iterator[Rows]]:
    """Rows at 20 fps; the test by subject.

    Raises:
        ValueError: an unknown source, or recordings without $TDMM_DATA.
    """
    found = {name: list(made) for name, made in clips(data, split, seed).items()}
    if split != "train":
        return {name: (humanml3d.clip_rows(clip) for clip in made) for name, made in found.items()}
    return {name: iter(_augmented(made, data, seed)) for name, made in found.items()}


def clips(data: Data, split: str, seed: int) -> dict[str, Iterator[MotionClip]]:
    """The same as clips, as they are."""
    material.check_shares(data.shares, SOURCES)
    found: dict[str, Iterator[MotionClip]] = {}
    for name in data.shares:
        if name != "cmu":
            found[name] = material.folder(name, "body", split)
        elif split == "test":
            for subject in sorted(key for key, value in mocap.CMU_HELD_OUT.items() if value == "test"):
                found[subject] = _cmu(split, subject)
        else:
            found[name] = _cmu(split, "")
    return found


def _cmu(split: str, subject: str) -> Iterator[MotionClip]:
    found = mocap.cmu(material.real_data("cmu"), split)
    return (sample.clips["body"] for sample in found if sample.id.startswith(f"cmu/{subject}"))


def _augmented(made: list[MotionClip], data: Data, seed: int) -> list[Rows]:
    """Every clip at every speed, mirrored, and with bent joints; then copies of all with others' arms or upper body."""
    rows = []
    for number, clip in enumerate(made):
        for place, warp in enumerate(data.warps):
            faster = MotionClip(clip.values, clip.fps * warp, clip.modality, clip.rig, clip.shape)
            faster = body.resample(faster, body.CODE_FPS)
            if faster.frames > 2:
                rng = np.random.default_rng([seed, number, place])
                shown = [faster, *(bent(faster, rng, data.bend_degrees) for _ in range(data.bent))]
                shown += [mirrored(one) for one in shown] if data.mirrored else []
                rows += [humanml3d.clip_rows(one) for one in shown]
    plain = list(rows)
    for copy in range(data.exchanged):
        for number, one in enumerate(plain):
            rng = np.random.default_rng([seed, copy, number])
            other = plain[rng.integers(len(plain))]
            start = int(rng.integers(max(1, len(other) - len(one) + 1)))
            length = min(len(one), len(other) - start)
            columns = _columns(EXCHANGED[rng.integers(len(EXCHANGED))])
            mixed = one[:length].clone()
            mixed[:, columns] = other[start : start + length][:, columns]
            rows.append(mixed)
    return rows


def mirrored(clip: MotionClip) -> MotionClip:
    """The same motion with left and right exchanged, skeleton included."""
    flip = torch.tensor([-1.0, 1.0, 1.0])
    turns = body.local_rotations(clip)[:, _MIRROR] * flip[:, None] * flip
    shape = (skeleton.of(clip).offsets[_MIRROR] * flip.numpy()).reshape(-1).astype(np.float32)
    return body.assemble(body.translation(clip) * flip.numpy(), turns, fps=clip.fps, shape=shape)


def bent(clip: MotionClip, rng: np.random.Generator, degrees: dict[str, float]) -> MotionClip:
    """The same motion by someone who holds the joints otherwise: each turned by an angle that drifts about a mean.

    ``degrees`` (standard deviations) name joints without their sides. A body that no one has captured, but one that the
    same motion may belong to: poses lie closer together than in a few subjects' clips.
    """
    turns, seconds = body.local_rotations(clip).clone(), torch.arange(clip.frames) / clip.fps
    for name, spread in degrees.items():
        for joint, known in enumerate(body.JOINTS):
            if known.removeprefix("left_").removeprefix("right_") == name:
                mean, swing = (torch.from_numpy(rng.normal(0, spread, 3)).float() * (torch.pi / 180) for _ in range(2))
                phase = 2 * torch.pi * (rng.uniform(0.05, 0.5) * seconds + rng.random())
                angle = mean + 0.7 * swing * phase.sin()[:, None]
                turns[:, joint] = turns[:, joint] @ rotations.axis_angle_to_matrix(angle)
    return body.assemble(body.translation(clip), turns, fps=clip.fps, shape=clip.shape)


def _columns(joints: tuple[int, ...]) -> Int[Tensor, " some"]:
    """Where places, rotations and velocities of these joints stand in a row."""
    every = torch.arange(humanml3d.WIDTH)
    places, turns = (every[FEATURES[name]].unflatten(0, (21, -1)) for name in ("places", "rotations"))
    moved = every[FEATURES["velocities"]].unflatten(0, (22, 3))
    at = torch.tensor(joints)
    return torch.cat([places[at - 1].flatten(), turns[at - 1].flatten(), moved[at].flatten()])


def fitting(data: Data, counts: dict[str, int], seed: int) -> tuple[Rows, list[Rows]]:
    """Rows of every source as they are; there is one way to read them."""
    made = clips(data, "train", seed)
    return torch.cat([humanml3d.clip_rows(c) for name in made for c in islice(made[name], max(1, counts[name]))]), []


def elsewhere(data: Data, rows: Rows) -> list[Rows]:
    """There is one way to read a body."""
    return []


def metrics(data: Data) -> dict[str, Float[Tensor, "rows group"]]:
    """The matrix whose product with an error is what the error weighs (mm)."""
    metric, weights = data.metric, torch.zeros(humanml3d.WIDTH)
    weights[FEATURES["yaw"]] = metric.turn * 20 * 180 / torch.pi  # of half angles: .1 degree is .05 of them
    weights[FEATURES["step"]] = metric.step * 1000
    weights[FEATURES["height"]] = 1000
    weights[FEATURES["places"]] = 1000 / 21**0.5
    weights[FEATURES["rotations"]] = metric.rotation * 180 / torch.pi / 2**0.5 / 21**0.5
    weights[FEATURES["velocities"]] = metric.velocity * 1000 / 22**0.5
    weights[FEATURES["contacts"]] = metric.contact
    return {"motion": torch.diag(weights)}


def _about_root(rows: Float[Tensor, "*b features"]) -> Float[Tensor, "*b joints 3"]:
    """Places of all 22 joints seen from the root, in the frame that it faces; linear in the rows."""
    places = rows[..., FEATURES["places"]].unflatten(-1, (21, 3))
    height = torch.nn.functional.pad(rows[..., FEATURES["height"]], (1, 1))
    return torch.nn.functional.pad(places - height[..., None, :], (0, 0, 1, 0))


def losses(error: Float[Tensor, "b t features"]) -> dict[str, Tensor]:
    """Mean distance of joints seen from the root (mm), contacts, feet's velocities (mm a frame), heading (degrees)."""
    apart = (_about_root(error) * 1000).square().sum(-1)
    feet = error[..., FEATURES["velocities"]].unflatten(-1, (22, 3))[..., list(FEET), :] * 1000
    return {
        "joints": (apart[..., 1:] + 1e-2).sqrt().mean(), "contacts": error[..., FEATURES["contacts"]].abs().mean(),
        "foot_velocity": (feet.square().sum(-1) + 1e-2).sqrt().mean(),
        "heading": torch.rad2deg(2 * error[..., FEATURES["yaw"]].abs().mean()),
    }


def errors(before: Rows, after: Rows) -> dict[str, Float[Tensor, " frames"]]:
    """Per frame: distance of the 22 joints, root on root and facing alike (mm); the same with the headings as they went
    astray in pieces of `WINDOW` frames, by how many degrees, and by how far the root went astray (mm)."""
    found: dict[str, list[Tensor]] = {key: [] for key in UNITS}
    for one, other in zip(before.split(WINDOW), after.split(WINDOW)):
        found["mpjpe_mm"].append((_about_root(one) - _about_root(other)).norm(dim=-1).mean(-1) * 1000)
        seen = [humanml3d.recover_joints(rows) for rows in (one, other)]
        roots = [joints[:, :1] for joints in seen]
        astray = (seen[0] - roots[0]) - (seen[1] - roots[1])
        found["world_mpjpe_mm"].append(astray.norm(dim=-1).mean(-1) * 1000)
        found["root_mm"].append((roots[0] - roots[1]).norm(dim=-1)[:, 0] * 1000)
        turned = torch.cumsum(one[:, 0] - other[:, 0], 0)  # half angles of the steps so far
        found["heading_deg"].append(torch.rad2deg(2 * torch.cat([turned.new_zeros(1), turned[:-1]])).abs())
    return {key: torch.cat(values) for key, values in found.items()}


def key(source: str, error: str) -> str:
    """What the report calls an error: by subject."""
    return f"{error}_{source}"


def drawn(rows: Rows) -> tuple[Float[np.ndarray, "frames points 2"], Int[np.ndarray, "lines 2"]]:
    """Points seen from the front, root in the middle, and the bones between them."""
    bones = [(parent, joint) for joint, parent in enumerate(body.PARENTS) if parent >= 0]
    return _about_root(rows)[..., :2].numpy(), np.array(bones)


def closing(
    model: codec.Codec, data: Data, seed: int, centres: Float[Tensor, "codes components"]
) -> dict[str, dict[str, Any]]:
    """How feet slide after codes, beside how they slid before; how far joints are off in BVH files of what the codes
    lead to; errors by CMU's description of the clip; what an ideal Gaussian code of this rate, and of six times it,
    would lose of each source."""
    slid: list[tuple[float, float, int]] = []
    for made in examples(data, "test", seed).values():
        for rows in made:
            if len(rows) > 10:
                with torch.no_grad():
                    again = model.decode(model.encode(rows[None]))[0][: len(rows)]
                one, other = (_skate(seen) for seen in (rows, again))
                slid.append((one, other, len(rows)))
    frames = np.array([n for *_, n in slid])
    before, after = (float(np.average([pair[i] for pair in slid], weights=frames)) for i in (0, 1))
    labelled = (
        (sample.texts[0].partition(" - ")[0], humanml3d.clip_rows(sample.clips["body"]))
        for sample in (mocap.cmu(material.real_data("cmu"), "test") if "cmu" in data.shares else ())
    )
    unit = "share of steps"
    written = [_written(model, clip) for made in clips(data, "test", seed).values() for clip in made]
    off = figure(max(written), "mm, of the joint farthest off in any frame", n=len(written))
    known = _windows([humanml3d.clip_rows(clip) for made in clips(data, "train", seed).values() for clip in made])
    bounds = {}
    for source, made in examples(data, "test", seed).items():
        seen = _windows(list(made))
        for times in (1, 6) if len(known) and len(seen) else ():
            bits = times * model.books * math.log2(model.codebook_size) * IDEAL / model.frames_per_code
            lost = gaussian_bound(known, seen, bits) * 3**0.5  # of a place, which is three numbers
            bounds[f"gaussian_bound{times}_mm_{source}"] = figure(lost, f"mm rms, {times} x the bits", n=len(seen))
    return evaluation.by_action(model, lambda a, b: errors(a, b)[MAIN], labelled, centres) | {
        "foot_skate": figure(after, unit, n=int(frames.sum()), peer="the original", peer_value=before),
        "foot_skate_delta": figure(after - before, unit, n=int(frames.sum())),
        "bvh_roundtrip_mm": off,
    } | bounds


def _windows(rows: list[Rows]) -> Float[Tensor, "windows axes"]:
    """Places of joints about the root in pieces of `IDEAL` frames (mm)."""
    places = [_about_root(one).flatten(1).unfold(0, IDEAL, 4).flatten(1) for one in rows if len(one) >= IDEAL]
    return torch.cat(places).double() * 1000 if places else torch.zeros(0, IDEAL * 3 * len(body.JOINTS)).double()


def gaussian_bound(known: Float[Tensor, "n d"], seen: Float[Tensor, "m d"], bits: float) -> float:
    """Root mean square error of a number, in its unit, that the best code of so many bits for d of them has where they
    are Gaussian, independent along the principal directions of ``known`` and as large as ``seen`` is along those
    (reverse water-filling: Cover and Thomas 2006, section 10.3.3). Motion is no such thing, and a codec may do better.
    """
    away = known - known.mean(0)
    _, directions = torch.linalg.eigh(away.mT @ away / len(away))
    variances = ((seen - known.mean(0)) @ directions).square().mean(0)
    low, high = 0.0, float(variances.max())
    for _ in range(100):
        level = (low + high) / 2
        spent = 0.5 * float((variances / level).clamp_min(1).log2().sum())
        low, high = (level, high) if spent > bits else (low, level)
    return float(variances.clamp_max(high).mean().sqrt())


def _written(model: codec.Codec, clip: MotionClip) -> float:
    """A clip out of its codes, written as BVH and read again: how far its joints went (mm)."""
    again = codec.detokenize(model, codec.tokenize(model, clip))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.bvh"
        bvh.write(again, path)
        read = bvh.read(path, units=0.01)
    return float((skeleton.joints(read) - skeleton.joints(again)).norm(dim=-1).max()) * 1000


def _skate(rows: Rows) -> float:
    joints = humanml3d.recover_joints(rows)
    floor = joints.new_zeros(3)
    floor[1] = joints[..., 1].min()
    return humanml3d.foot_skate(joints - floor, body.CODE_FPS)


def licences(data: Data) -> list[str]:
    """Of what it learns from."""
    return [mocap.CMU_LICENCE] if "cmu" in data.shares else []
