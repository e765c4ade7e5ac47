"""Heads in FLAME's format: blend shapes, pose correctives and five joints with linear blend skinning (Li et al. 2017).

Any head given as `FlameArrays` becomes a `FlameRig`. The owners' files are read once, `read_owner` and `save`, into a
folder of safetensors, which `load` reads. FLAME itself is not bundled: its owners give it to people with an account.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tdmm_lm import bundle, rotations
from tdmm_lm.files import replacing
from tdmm_lm.flame_file import FlameArrays, read_owner
from tdmm_lm.motion import face
from tdmm_lm.rigs import Embedding, Rig

NAME = "flame"  # of imported rigs, and of the clips that public FLAME files become
FORMAT_VERSION = 1
BOUND = 3.0  # of expression weights, which FLAME counts in standard deviations
SKIN, SCLERA, IRIS, PUPIL = (0.86, 0.67, 0.57), (0.93, 0.92, 0.90), (0.36, 0.48, 0.50), (0.03, 0.03, 0.04)

_CHUNK_FLOATS = 1 << 18  # coordinates posed at once: a megabyte stays in a core's cache


@dataclass(frozen=True)
class _Follower:
    """A run of vertices that a joint other than the bulk joint pulls along."""

    joint: int
    between: tuple[int, ...]  # joints whose local rotation sets it apart from the bulk joint
    run: slice
    weights: Float[Tensor, " run"]


@dataclass(frozen=True)
class _Folded:
    """What stays the same from frame to frame: one identity, one subset of vertices.

    Coordinates are planar (all x, all y, all z) and vertices sorted so that every follower's lie in one run: rotations
    are then products with long rows, seven times as fast as on (vertices, 3). ``back`` undoes both.
    """

    base: Float[Tensor, " coordinates"]  # the identity's neutral
    shapes: Float[Tensor, "expressions coordinates"]
    correctives: Float[Tensor, "36 coordinates"] | None  # None where all are zero
    joints: Float[Tensor, "5 3"]
    joint_shapes: Float[Tensor, "expressions 15"]
    bulk: int  # the joint that carries most of the surface
    followers: tuple[_Follower, ...]
    back: Int[Tensor, " coordinates"]


class FlameRig(Rig):
    """A head in FLAME's format; ``arrays`` is the model, the rest is what `Rig` says.

    Where joints are authoritative, rows may have fewer expression weights than the rig: the others are zero.

    Raises:
        ValueError: names, bounds, colours, texture coordinates or eyes do not fit the arrays.
    """

    def __init__(
        self,
        arrays: FlameArrays,
        *,
        name: str,
        expressions: Sequence[str],
        authority: Literal["shapes", "joints"],
        lower: Float[np.ndarray, " expressions"],
        upper: Float[np.ndarray, " expressions"],
        uv: Float[np.ndarray, "vertices 2"] | None,
        colours: Float[np.ndarray, "vertices 3"],
        landmarks: Embedding,
        eyes: Float[np.ndarray, "2 3"],
    ) -> None:
        count, width = len(arrays.v_template), arrays.shapedirs_expression.shape[2]
        for what, got, wanted in (
            ("expressions", (len(expressions),), (width,)),
            ("lower", np.shape(lower), (width,)),
            ("upper", np.shape(upper), (width,)),
            ("uv", (count, 2) if uv is None else np.shape(uv), (count, 2)),
            ("colours", np.shape(colours), (count, 3)),
            ("eyes", np.shape(eyes), (2, 3)),
        ):
            if got != wanted:
                raise ValueError(f"rig {name}: expected {what} of shape {wanted}, got {got}.")
        self.arrays = arrays
        self.name = name
        self.expressions = tuple(expressions)
        self.authority = authority
        self.lower, self.upper = np.asarray(lower, np.float32), np.asarray(upper, np.float32)
        self.template = arrays.v_template
        self.faces = arrays.faces
        self.uv = None if uv is None else np.asarray(uv, np.float32)
        self.colours = np.asarray(colours, np.float32)
        self.landmarks = landmarks
        self.eyes = np.asarray(eyes, np.float32)
        self.identities = arrays.shapedirs_identity.shape[2]
        self._parents = arrays.parents.tolist()
        moved = np.einsum("jv,vce->ejc", arrays.J_regressor, arrays.shapedirs_expression)  # expressions shift joints
        self._joint_shapes = moved.reshape(width, 15)
        self._last: tuple[Tensor | None, Tensor | None, _Folded] | None = None

    def identity(self, shape: Float[np.ndarray, " identity"] | None = None) -> Float[np.ndarray, "vertices 3"]:
        """Neutral vertices of one identity in the rest pose, metres; fewer numbers than ``identities`` mean zeros."""
        if shape is None or not len(shape):
            return self.arrays.v_template
        if len(shape) > self.identities:
            raise ValueError(f"rig {self.name}: expected at most {self.identities} identity numbers, got {len(shape)}.")
        directions = self.arrays.shapedirs_identity[:, :, : len(shape)]
        return self.arrays.v_template + directions @ np.asarray(shape, np.float32)

    def joints(self, shape: Float[np.ndarray, " identity"] | None = None) -> Float[np.ndarray, "5 3"]:
        """Rest positions of root, neck, jaw, left and right eye for one identity, metres."""
        return self.arrays.J_regressor @ self.identity(shape)

    def vertices(
        self,
        values: Float[Tensor, "frames channels"],
        shape: Float[Tensor, " identity"] | None = None,
        subset: Int[Tensor, " some"] | None = None,
    ) -> Float[Tensor, "frames some 3"]:
        width, most = values.shape[-1] - face.POSE_CHANNELS, len(self.expressions)
        least = 1 if self.authority == "joints" else most  # FLAME files give any number of leading coefficients
        if values.ndim != 2 or not least <= width <= most:
            wanted, got = f"(frames, {most} + {face.POSE_CHANNELS})", tuple(values.shape)
            raise ValueError(f"rig {self.name}: expected values of shape {wanted}, got {got}.")
        folded = self._fold(values, shape, subset)
        parts = {name: values[:, channels] for name, channels in face.layout(values.shape[1]).items()}
        turns = torch.cat([parts["head"], parts["neck"], parts["jaw"], parts["eyes"]], 1).unflatten(1, (5, 3))
        tracked = values.requires_grad and torch.is_grad_enabled()  # zeros are skipped where no gradient is wanted
        moves = [True] * 5 if tracked else turns.abs().sum((0, 2)).gt(0).tolist()

        local = rotations.axis_angle_to_matrix(turns)
        rest = folded.joints + (parts["expression"] @ folded.joint_shapes[:width]).unflatten(1, (5, 3))
        rotation, offset = self._chain(local, rest, parts["translation"])
        drivers, directions = parts["expression"], folded.shapes[:width]
        if folded.correctives is not None and any(moves[1:]):
            features = (local[:, 1:] - torch.eye(3, dtype=values.dtype, device=values.device)).flatten(1)
            drivers, directions = torch.cat([drivers, features], 1), torch.cat([directions, folded.correctives])
        followers = [f for f in folded.followers if any(moves[joint] for joint in f.between)]

        def pose(rows: slice) -> Tensor:  # planar
            points = torch.addmm(folded.base, drivers[rows], directions).unflatten(1, (3, -1))
            turn, shift = rotation[rows], offset[rows, :, :, None]
            posed = torch.baddbmm(shift[:, folded.bulk], turn[:, folded.bulk], points)
            for f in followers:
                turned = turn[:, f.joint] - turn[:, folded.bulk]
                shifted = shift[:, f.joint] - shift[:, folded.bulk]
                posed[:, :, f.run].addcmul_(torch.baddbmm(shifted, turned, points[:, :, f.run]), f.weights)
            return posed.flatten(1)

        frames, coordinates = len(values), len(folded.base)
        if tracked or frames * coordinates <= _CHUNK_FLOATS:
            return pose(slice(None)).index_select(1, folded.back).unflatten(1, (-1, 3))
        result = values.new_empty(frames, coordinates)
        step = max(16, _CHUNK_FLOATS // coordinates)  # fewer rows would read all directions for little work
        for start in range(0, frames, step):
            rows = slice(start, start + step)
            torch.index_select(pose(rows), 1, folded.back, out=result[rows])
        return result.unflatten(1, (-1, 3))

    def _chain(
        self,
        local: Float[Tensor, "frames 5 3 3"],
        rest: Float[Tensor, "frames 5 3"],
        translation: Float[Tensor, "frames 3"],
    ) -> tuple[Float[Tensor, "frames 5 3 3"], Float[Tensor, "frames 5 3"]]:
        """World rotation of every joint and the offset that takes a rest point p to ``rotation @ p + offset``."""
        turns, places = [local[:, 0]], [rest[:, 0] + translation]
        for joint in range(1, 5):
            parent = self._parents[joint]
            step = rest[:, joint] - rest[:, parent]
            places.append(places[parent] + (turns[parent] @ step[..., None])[..., 0])
            turns.append(turns[parent] @ local[:, joint])
        rotation, place = torch.stack(turns, 1), torch.stack(places, 1)
        return rotation, place - (rotation @ rest[..., None])[..., 0]

    def _fold(self, values: Tensor, shape: Tensor | None, subset: Tensor | None) -> _Folded:
        """Identity and subset applied to the model; the last result is kept, since calls come in series."""
        last = self._last
        if last is not None:
            old_shape, old_subset, folded = last
            same = folded.base.dtype == values.dtype and folded.base.device == values.device
            if same and _equal(old_shape, shape) and _equal(old_subset, subset):
                return folded
        arrays = self.arrays
        chosen = np.arange(len(arrays.v_template)) if subset is None else subset.cpu().numpy()
        neutral = self.identity(None if shape is None else shape.detach().cpu().numpy())
        bulk = int(arrays.weights.sum(0).argmax())
        others = [joint for joint in range(5) if joint != bulk and arrays.weights[chosen, joint].any()]
        sort = np.argsort(_gray(arrays.weights[chosen][:, others] > 0), kind="stable")
        order, places = chosen[sort], np.argsort(sort)  # sorted vertices; where each wanted one went

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(values.device, values.dtype)

        def planar(directions: np.ndarray) -> Tensor:  # (vertices, 3, k) -> (k, 3 * vertices)
            return tensor(directions[order].transpose(2, 1, 0).reshape(directions.shape[2], -1))

        followers = []
        for joint in others:
            pulled = np.flatnonzero(arrays.weights[order, joint])
            run = slice(int(pulled[0]), int(pulled[-1]) + 1)
            between = tuple(sorted(set(self._ancestry(joint)) ^ set(self._ancestry(bulk))))
            followers.append(_Follower(joint, between, run, tensor(arrays.weights[order[run], joint])))
        folded = _Folded(
            base=planar(neutral[:, :, None])[0],
            shapes=planar(arrays.shapedirs_expression),
            correctives=planar(arrays.posedirs) if arrays.posedirs.any() else None,
            joints=tensor(arrays.J_regressor @ neutral),
            joint_shapes=tensor(self._joint_shapes),
            bulk=bulk,
            followers=tuple(followers),
            back=torch.from_numpy((places[:, None] + np.arange(3) * len(order)).reshape(-1)).to(values.device),
        )
        kept = None if shape is None else shape.detach().clone(), None if subset is None else subset.clone()
        self._last = (*kept, folded)
        return folded

    def _ancestry(self, joint: int) -> tuple[int, ...]:
        """The joint and all above it."""
        return () if joint < 0 else (joint, *self._ancestry(self._parents[joint]))


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.shape == second.shape and torch.equal(first, second.to(first.device, first.dtype))


def _gray(pulled: np.ndarray) -> np.ndarray:
    """Rank of each row of flags in Gray's order, in which the rows that share a flag stay (nearly) together."""
    code = pulled @ (1 << np.arange(pulled.shape[1])[::-1]) if pulled.shape[1] else np.zeros(len(pulled), int)
    for shift in (1, 2):  # prefix-xor of up to four bits
        code = code ^ (code >> shift)
    return code


def save(arrays: FlameArrays, folder: str | Path, *, landmarks: Embedding) -> None:
    """Write a head as a folder that `load` and ``--rig`` take: ``config.json`` and ``model.safetensors``."""
    config = {
        "format_version": FORMAT_VERSION, "name": NAME, "kind": "flame", "authority": "joints",
        "expressions": [f"exp_{i:03d}" for i in range(arrays.shapedirs_expression.shape[2])], "bound": BOUND,
        "licence": "as the owner of the imported file says; FLAME 2020 and 2023 are for non-commercial use",
    }
    tensors = {name: np.ascontiguousarray(getattr(arrays, name)) for name in FlameArrays.__dataclass_fields__}
    tensors |= {
        "landmark_vertices": np.ascontiguousarray(landmarks.vertices, np.int64),
        "landmark_weights": np.ascontiguousarray(landmarks.weights, np.float32),
    }
    with replacing(folder) as beside:
        beside.mkdir()
        (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(tensors, beside / "model.safetensors")


def import_flame(path: str | Path, folder: str | Path, *, landmarks: Embedding) -> FlameArrays:
    """`read_owner`, then `save`."""
    arrays = read_owner(path)
    save(arrays, folder, landmarks=landmarks)
    return arrays


def load(folder: str | Path | None = None) -> FlameRig:
    """An imported head; without a folder the one that ``$TDMM_FLAME`` names, or ``flame`` in the cache.

    Raises:
        FileNotFoundError: there is none; the message says how to get one.
        ValueError: the folder was not written by `save`, or is damaged.
    """
    place = Path(folder or os.environ.get("TDMM_FLAME") or bundle.cache() / "flame")
    if not (place / "config.json").is_file() or not (place / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"rig flame: expected config.json and model.safetensors in {place}, found none; get FLAME from its owners "
            f"(https://flame.is.tue.mpg.de) and run `tdmm import FILE -o {place}`, or point TDMM_FLAME at its folder."
        )
    try:
        config, tensors = json.loads((place / "config.json").read_text()), load_file(place / "model.safetensors")
        expressions, bound, version = config["expressions"], float(config["bound"]), config["format_version"]
        landmarks = Embedding(tensors.pop("landmark_vertices"), tensors.pop("landmark_weights"))
        arrays = FlameArrays(**tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{place}: expected a rig written by `tdmm import`, got a damaged one: {error}.") from None
    if version != FORMAT_VERSION or config["kind"] != "flame":
        raise ValueError(f"{place}: expected a flame rig of format {FORMAT_VERSION}, got {config['kind']} {version}.")
    eyes = (arrays.J_regressor @ arrays.v_template)[3:]
    return FlameRig(
        arrays, name=NAME, expressions=expressions, authority="joints", lower=np.full(len(expressions), -bound),
        upper=np.full(len(expressions), bound), uv=None, colours=_painted(arrays, eyes), landmarks=landmarks, eyes=eyes,
    )


def _painted(arrays: FlameArrays, eyes: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "vertices 3"]:
    """Skin, and eyeballs (what hangs on the eye joints) with irises by their angle from straight ahead."""
    colours = np.tile(np.array(SKIN, np.float32), (len(arrays.v_template), 1))
    for joint, centre in zip((3, 4), eyes):
        ball = np.flatnonzero(arrays.weights[:, joint] > 0.5)
        away = arrays.v_template[ball] - centre
        angle = np.degrees(np.arccos(np.clip(away[:, 2] / np.maximum(np.linalg.norm(away, axis=1), 1e-9), -1, 1)))
        colours[ball] = np.where(angle[:, None] < 9, PUPIL, np.where(angle[:, None] < 24, IRIS, SCLERA))
    return colours
