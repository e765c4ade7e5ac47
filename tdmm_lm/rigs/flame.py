"""Heads in FLAME's format: blend shapes, pose correctives and five joints with linear blend skinning (Li et al. 2017).

Any head given as `FlameArrays` becomes a `FlameRig`; `import_flame` reads the owners' files once into a folder of
safetensors, and `load` reads that folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdmm_lm import rotations
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.motion import face
from tdmm_lm.rigs import Embedding, Rig

_CHUNK_FLOATS = 1 << 18  # coordinates posed at once: a megabyte stays in a core's cache


@dataclass(frozen=True)
class _Follower:
    """Vertices that a joint other than the bulk joint pulls along."""

    joint: int
    between: tuple[int, ...]  # joints whose local rotation sets it apart from the bulk joint
    vertices: Int[Tensor, " some"]
    weights: Float[Tensor, "some 1"]


@dataclass(frozen=True)
class _Folded:
    """What stays the same from frame to frame: one identity, one subset of vertices."""

    base: Float[Tensor, " coordinates"]  # the identity's neutral, flat (vertices * 3)
    shapes: Float[Tensor, "expressions coordinates"]
    correctives: Float[Tensor, "36 coordinates"] | None  # None where all are zero
    joints: Float[Tensor, "5 3"]
    joint_shapes: Float[Tensor, "expressions 15"]
    bulk: int  # the joint that carries most of the surface
    followers: tuple[_Follower, ...]


class FlameRig(Rig):
    """A head in FLAME's format; ``arrays`` is the model, the rest is what `Rig` says.

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
        self._joint_shapes = np.einsum("jv,vce->ejc", arrays.J_regressor, arrays.shapedirs_expression).reshape(width, 15)
        self._last: tuple[Tensor | None, Tensor | None, _Folded] | None = None

    def identity(self, shape: Float[np.ndarray, " identity"] | None = None) -> Float[np.ndarray, "vertices 3"]:
        """Neutral vertices of one identity in the rest pose, metres; fewer numbers than ``identities`` mean zeros."""
        if shape is None or not len(shape):
            return self.arrays.v_template
        if len(shape) > self.identities:
            raise ValueError(f"rig {self.name}: expected at most {self.identities} identity numbers, got {len(shape)}.")
        return self.arrays.v_template + self.arrays.shapedirs_identity[:, :, : len(shape)] @ np.asarray(shape, np.float32)

    def joints(self, shape: Float[np.ndarray, " identity"] | None = None) -> Float[np.ndarray, "5 3"]:
        """Rest positions of root, neck, jaw, left and right eye for one identity, metres."""
        return self.arrays.J_regressor @ self.identity(shape)

    def vertices(
        self,
        values: Float[Tensor, "frames channels"],
        shape: Float[Tensor, " identity"] | None = None,
        subset: Int[Tensor, " some"] | None = None,
    ) -> Float[Tensor, "frames some 3"]:
        width = len(self.expressions) + face.POSE_CHANNELS
        if values.ndim != 2 or values.shape[1] != width:
            raise ValueError(f"rig {self.name}: expected values of shape (frames, {width}), got {tuple(values.shape)}.")
        folded = self._fold(values, shape, subset)
        where = face.layout(width)
        drivers, directions = values[:, where["expression"]], folded.shapes
        turns = values[:, [*range(*where["head"].indices(width)), *range(*where["neck"].indices(width)),
                           *range(*where["jaw"].indices(width)), *range(*where["eyes"].indices(width))]].unflatten(1, (5, 3))
        tracked = values.requires_grad and torch.is_grad_enabled()  # zeros may be skipped only where no gradient is wanted
        moves = [tracked or bool(turns[:, joint].any()) for joint in range(5)]

        local = rotations.axis_angle_to_matrix(turns)
        rest = folded.joints + (drivers @ folded.joint_shapes).unflatten(1, (5, 3))
        rotation, offset = self._chain(local, rest, values[:, where["translation"]])
        if folded.correctives is not None and any(moves[1:]):
            features = (local[:, 1:] - torch.eye(3, dtype=values.dtype, device=values.device)).flatten(1)
            drivers, directions = torch.cat([drivers, features], 1), torch.cat([directions, folded.correctives])
        followers = [f for f in folded.followers if any(moves[joint] for joint in f.between)]

        def pose(rows: slice) -> Tensor:
            points = torch.addmm(folded.base, drivers[rows], directions).unflatten(1, (-1, 3))
            turn, shift = rotation[rows], offset[rows]
            if any(moves):
                posed = torch.baddbmm(shift[:, folded.bulk, None], points, turn[:, folded.bulk].mT)
            else:
                posed = points + shift[:, folded.bulk, None]
            for f in followers:
                apart = (turn[:, f.joint] - turn[:, folded.bulk]).mT, (shift[:, f.joint] - shift[:, folded.bulk])[:, None]
                posed.index_add_(1, f.vertices, torch.baddbmm(apart[1], points[:, f.vertices], apart[0]) * f.weights)
            return posed

        frames, coordinates = len(values), len(folded.base)
        if tracked or frames * coordinates <= _CHUNK_FLOATS:
            return pose(slice(None))
        result = values.new_empty(frames, coordinates // 3, 3)
        step = max(1, _CHUNK_FLOATS // coordinates)
        for start in range(0, frames, step):
            rows = slice(start, start + step)
            result[rows] = pose(rows)
        return result

    def _chain(
        self, local: Float[Tensor, "frames 5 3 3"], rest: Float[Tensor, "frames 5 3"], translation: Float[Tensor, "frames 3"]
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
        if self._last is not None:
            old_shape, old_subset, folded = self._last
            same = folded.base.dtype == values.dtype and folded.base.device == values.device
            if same and _equal(old_shape, shape) and _equal(old_subset, subset):
                return folded
        arrays, chosen = self.arrays, slice(None) if subset is None else subset.cpu().numpy()
        neutral = self.identity(None if shape is None else shape.detach().cpu().numpy())
        weights = arrays.weights[chosen]
        bulk = int(arrays.weights.sum(0).argmax())

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(values.device, values.dtype)

        def flat(directions: np.ndarray) -> Tensor:  # (vertices, 3, k) -> (k, vertices * 3)
            return tensor(directions[chosen].reshape(-1, directions.shape[2]).T)

        followers = []
        for joint in range(5):
            pulled = np.flatnonzero(weights[:, joint])
            if joint != bulk and len(pulled):
                between = tuple(sorted(set(self._ancestry(joint)) ^ set(self._ancestry(bulk))))
                index = torch.from_numpy(pulled).to(values.device)
                followers.append(_Follower(joint, between, index, tensor(weights[pulled, joint, None])))
        folded = _Folded(
            base=tensor(neutral[chosen].reshape(-1)),
            shapes=flat(arrays.shapedirs_expression),
            correctives=flat(arrays.posedirs) if arrays.posedirs.any() else None,
            joints=tensor(arrays.J_regressor @ neutral),
            joint_shapes=tensor(self._joint_shapes),
            bulk=bulk,
            followers=tuple(followers),
        )
        self._last = (None if shape is None else shape.detach().clone(), None if subset is None else subset.clone(), folded)
        return folded

    def _ancestry(self, joint: int) -> tuple[int, ...]:
        """The joint and all above it."""
        return () if joint < 0 else (joint, *self._ancestry(self._parents[joint]))


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.shape == second.shape and torch.equal(first, second.to(first.device, first.dtype))
