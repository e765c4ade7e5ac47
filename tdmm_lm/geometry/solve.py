"""From rig-free geometry back to a clip on a rig: the inverse of `measure`, bounded, causal, chunked == whole.

On ARKit rigs the landmarks are linear in the weights, so each frame is one small bounded quadratic programme, solved
exactly; the previous frame's weights are a weak prior. On FLAME rigs jaw and eyes turn: see `joints`.
"""

import copy
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import landmarks, rigs, rotations
from tdmm_lm.geometry import measure, pivoting
from tdmm_lm.geometry.measure import Geometry
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Rig

# How much a millimetre counts. A lid's or a lip's is seen at once; the outline of the face hardly.
WEIGHTS = {"lids": 2.0, "lips": 1.5, "pupils": 6.0, "jaw": 0.7, "forehead": 0.7}

NOISE = 0.0016  # inter-ocular distances (0.1 mm): what a landmark may be off by
STEP = 0.3  # weight: how far a frame may lie from the one before, at no great cost
RIVALRY = 0.5  # in shares of what either shape of a pair does alone
OPPOSITES = (("eyeBlinkLeft", "eyeWideLeft"), ("eyeBlinkRight", "eyeWideRight"))
SPARSITY = 0.005  # weight: what a shape must reach before it is taken to be there


def landmark_weights() -> Float[np.ndarray, " landmarks"]:
    """One weight a landmark, by its region."""
    weights = np.ones(len(landmarks.NAMES))
    for name, weight in WEIGHTS.items():
        weights[list(landmarks.region(name))] = weight
    return weights


def basis(rig: Rig) -> Float[np.ndarray, "landmarks 3 expressions"]:
    """How far each landmark moves at full weight of each shape, in `measure.units` (on the mean identity)."""
    size = len(rig.expressions)
    rows = torch.zeros(size + 1, size + face.POSE_CHANNELS)
    rows[torch.arange(size), torch.arange(size)] = 1
    places = measure.places(rows, rig).astype(np.float64)
    return np.moveaxis((places[:-1] - places[-1]) / measure.units(rig)[:, None], 0, -1)


_measured: "WeakKeyDictionary[Rig, _Shapes]" = WeakKeyDictionary()  # as long as anybody has the rig


class Solver:
    """Geometry to clip in chunks: what it remembers between two calls is the last frame's weights.

    ``Solver(rig)(geometry)`` is `solve`; two calls with two halves give the same as one with the whole. Making one
    measures the rig; ``again()`` makes more without.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        if rig.authority == "joints":
            from tdmm_lm.geometry import joints

            self._weights: Callable[[Geometry], dict[str, np.ndarray]] = joints.Solver(rig)
        else:
            if rig not in _measured:
                _measured[rig] = _Shapes(rig)
            self._weights = _measured[rig].again()

    def again(self) -> "Solver":
        """Another on the same rig, at its beginning wherever this one is; from any thread, in microseconds."""
        other = copy.copy(self)
        if isinstance(self._weights, _Shapes):  # with joints every frame is solved by itself: nothing is remembered
            other._weights = self._weights.again()
        return other

    def __call__(self, geometry: Geometry) -> MotionClip:
        return self._assembled(self._weights(geometry), geometry)

    def _assembled(self, parts: dict[str, np.ndarray], geometry: Geometry) -> MotionClip:
        head = rotations.six_to_matrix(torch.from_numpy(geometry.head))
        parts["head"] = rotations.matrix_to_axis_angle(head).numpy()
        parts["translation"] = geometry.translation * self.rig.interocular
        return face.assemble(parts, fps=geometry.fps, rig=self.rig.name)


def together(solvers: Sequence[Solver], geometry: Geometry, counts: Sequence[int]) -> list[MotionClip]:
    """Several streams' next frames, which lie behind one another in ``geometry``, ``counts`` of each; what needs no
    memory is computed for all of one rig at once."""
    first, ends = solvers[0], np.cumsum(counts)
    shapes = [solver._weights for solver in solvers if isinstance(solver._weights, _Shapes)]
    if len(shapes) < len(solvers) or not all(each.basis is shapes[0].basis for each in shapes):
        return [solver(_part(geometry, end - count, end)) for solver, count, end in zip(solvers, counts, ends)]
    pull = shapes[0].pull(geometry)
    solved = [each._solved(pull[end - count : end]) for each, count, end in zip(shapes, counts, ends)]
    whole = first._assembled({"expression": np.concatenate(solved).astype(np.float32)}, geometry)
    return [
        MotionClip(whole.values[end - count : end], whole.fps, whole.modality, whole.rig)
        for count, end in zip(counts, ends)
    ]


def _part(geometry: Geometry, start: int, end: int) -> Geometry:
    part = slice(start, end)
    return Geometry(
        geometry.displacement[part], geometry.head[part], geometry.gaze[part], geometry.translation[part], geometry.fps
    )


def solve(geometry: Geometry, rig: Rig) -> MotionClip:
    """The clip on ``rig`` (mean identity) whose geometry is nearest; ``head`` turns it, ``neck`` stays 0."""
    return Solver(rig)(geometry)


def residual_mm(geometry: Geometry, clip: MotionClip, rig: Rig) -> tuple[float, float]:
    """Mean and largest distance in millimetres between the geometry's landmarks and the clip's, on the rig's scale."""
    return _apart_mm(geometry, measure.measure(clip, rig), rig)


def _apart_mm(wanted: Geometry, got: Geometry, rig: Rig) -> tuple[float, float]:
    gaps = np.linalg.norm(got.displacement - wanted.displacement, axis=-1) * 1000 * measure.units(rig)
    return float(gaps.mean()), float(gaps.max())


def retarget(clip: MotionClip, source: Rig, target: Rig) -> tuple[MotionClip, float]:
    """A clip of one rig on another, and how far apart the landmarks of their surfaces move, millimetres mean.

    Between rigs that are calibrated to each other (`Rig.like`) weights are kept, within bounds; else they are solved
    for, and the distance is the mean of `residual_mm`, which gives the largest too.
    """
    calibrated = source.like is not None or target.like is not None
    if calibrated and (source.like or source.name) == (target.like or target.name) and _by_shapes(clip):
        result = _renamed(clip, source, target)
    else:
        result = solve(measure.measure(clip, source), target)
    return result, _apart_mm(measure.surface(clip, source), measure.surface(result, target), target)[0]


def _by_shapes(clip: MotionClip) -> bool:
    return not any(face.part(clip, name).any() for name in ("jaw", "eyes"))


def _renamed(clip: MotionClip, source: Rig, target: Rig) -> MotionClip:
    """The same weights by name, and the head's turn and place."""
    parts = {name: face.part(clip, name) for name in ("neck", "head", "translation")}
    parts["translation"] = parts["translation"] * (target.interocular / source.interocular)
    weights = np.zeros((clip.frames, len(target.expressions)), np.float32)
    for k, name in enumerate(target.expressions):
        if name in source.expressions:
            weights[:, k] = face.part(clip, "expression")[:, source.expressions.index(name)]
    parts["expression"] = weights.clip(target.lower, target.upper)
    return face.assemble(parts, fps=clip.fps, rig=target.name)


class _Shapes:
    """Weights of an ARKit rig: ``minimise |B w - d|² / NOISE² + |w - previous|² / STEP² + sparsity``, within bounds."""

    def __init__(self, rig: Rig) -> None:
        seen = rig if rig.like is None else rigs.load(rig.like)
        self.basis = basis(seen)
        if rig.like is not None:
            self.basis = self.basis[:, :, [seen.expressions.index(name) for name in rig.expressions]]
        size = self.basis.shape[-1]
        scale = (np.sqrt(landmark_weights()) / NOISE)[:, None, None]
        rows = (self.basis * scale).reshape(-1, size)
        self.project = (self.basis * scale**2).reshape(-1, size)
        gram = rows.T @ rows
        self.hessian = gram + np.eye(size) / STEP**2
        # what moves the surface in a way that no other shape explains sets the price of being there at all
        alone = 1 / np.diag(np.linalg.inv(self.hessian))
        self._oppose(alone, rig.expressions)
        self.lower, self.upper = rig.lower.astype(np.float64), rig.upper.astype(np.float64)
        self.price = np.where(self.lower >= 0, SPARSITY * alone, 0.0)
        self.start = self.last = np.clip(np.zeros(size), self.lower, self.upper)
        neutral = torch.zeros(1, len(seen.expressions) + face.POSE_CHANNELS)
        rest = measure.places(neutral, seen)[0, list(measure.PUPILS)]
        self.poles = (rest - seen.eyes).astype(np.float64) / seen.interocular
        self._solved(np.empty((0, size)))  # compiles now if need be, not in the first chunk of a stream

    def again(self) -> "_Shapes":
        other = copy.copy(self)  # arrays are shared, and never written to
        other.last = self.start
        return other

    def _oppose(self, alone: Float[np.ndarray, " n"], names: tuple[str, ...]) -> None:
        """A price on the product of opposites, up to what keeps the programme convex.

        Where one head's lid moves a little unlike another's, half a blink would otherwise come out as more than half a
        blink and a third of wide open eyes.
        """
        inverse = np.linalg.inv(self.hessian)
        for pair in OPPOSITES:
            if set(pair) <= set(names):
                i, j = (names.index(name) for name in pair)
                between = np.linalg.inv(inverse[np.ix_([i, j], [i, j])])[0, 1]  # given all other shapes
                price = max(0.0, min(RIVALRY * np.sqrt(alone[i] * alone[j]), -1.9 * between))
                self.hessian[[i, j], [j, i]] += price
        assert np.linalg.eigvalsh(self.hessian)[0] > 0

    def __call__(self, geometry: Geometry) -> dict[str, np.ndarray]:
        return {"expression": self._solved(self.pull(geometry)).astype(np.float32)}

    def pull(self, geometry: Geometry) -> Float[np.ndarray, "frames n"]:
        """The linear term of every frame's programme, without the previous frame's part."""
        target = geometry.displacement.astype(np.float64)
        pupils = list(measure.PUPILS)
        target[:, pupils] = aim(target[:, pupils], geometry.gaze, self.poles)
        return target.reshape(len(target), -1) @ self.project - self.price

    def _solved(self, pull: Float[np.ndarray, "frames n"]) -> Float[np.ndarray, "frames n"]:
        result = pivoting.follow(self.hessian, pull, self.lower, self.upper, self.last, inertia=1 / STEP**2)
        self.last = result[-1].copy() if len(result) else self.last
        return result


def aim(
    displacement: Float[np.ndarray, "frames 2 3"],
    gaze: Float[np.ndarray, "frames 2 2"],
    poles: Float[np.ndarray, "2 3"],
) -> Float[np.ndarray, "frames 2 3"]:
    """Displacement of the pupils as the gaze wants it on eyes with these neutral ``poles`` (centre to pupil).

    Eyeballs differ in size from head to head, so of the measured displacement only the distance from the centre is kept
    (ARKit shapes move pupils along chords).
    """
    direction = measure.gaze_directions(gaze.astype(np.float64) + measure.gaze_angles(poles))
    return direction * np.linalg.norm(poles + displacement, axis=-1, keepdims=True) - poles
