"""What a rig shows, as codes read it: measured on its surface, and put right where the rig can only come near.

A smile of the bundled head's, solved onto another head, comes out as that head's smile. How every head answers to the
bundled head's shapes is measured once; a reading is taken for the mixture of answers that is nearest to it, and what
those answers lack is added. What no mixture explains stays as it was measured.
"""

from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float

from tdmm_lm import rigs
from tdmm_lm.geometry import measure, pivoting, solve
from tdmm_lm.geometry.measure import Geometry
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Rig

REFERENCE = "head"  # the rig whose readings stay as they are
LEVEL = 0.2  # weight at which answers are measured: they are nearly straight lines
SETTLED = 4  # frames until a solved face rests
SIZE = 1.0  # weight: a mixture should not take far larger ones
SPARSITY = 0.002  # weight: below this a shape is taken not to be there


def read(clip: MotionClip, rig: Rig) -> Geometry:
    """The geometry of a clip on its rig as codes read it; frame by frame, so that chunks and wholes agree.

    Raises:
        ValueError: the clip's channels are not this rig's.
    """
    seen = measure.measure(clip, rig)
    if REFERENCE in (rig.name, rig.like):
        return seen
    own = rig if rig.like is None else rigs.load(rig.like)
    if own not in _known:
        _known[own] = _Answers(own)
    moved = seen.displacement.reshape(seen.frames, -1)
    righted = moved + _known[own].lacking(moved)
    return Geometry(righted.reshape(seen.displacement.shape), seen.head, seen.gaze, seen.translation, seen.fps)


class _Answers:
    """How a rig answers to the reference's shapes: K where the reference moves by B, both (3 landmarks, shapes)."""

    def __init__(self, rig: Rig) -> None:
        head = rigs.load(REFERENCE)
        asked = solve.basis(head).reshape(-1, len(head.expressions))
        answers = _answers(rig, head)
        self.lack = asked - answers
        scale = np.sqrt(solve.landmark_weights()).repeat(3)[:, None] / solve.NOISE
        self.project = answers * scale**2
        self.hessian = answers.T @ self.project + np.eye(answers.shape[1]) / SIZE**2
        self.lower, self.upper = head.lower.astype(np.float64), head.upper.astype(np.float64)
        self.price = SPARSITY / np.diag(np.linalg.inv(self.hessian))

    def lacking(self, moved: Float[np.ndarray, "frames axes"]) -> Float[np.ndarray, "frames axes"]:
        pull = moved.astype(np.float64) @ self.project - self.price
        start = np.clip(np.zeros(pull.shape[1]), self.lower, self.upper)
        mixture = pivoting.follow(self.hessian, pull, self.lower, self.upper, start)
        return (mixture @ self.lack.T).astype(np.float32)


_known: WeakKeyDictionary[Rig, _Answers] = WeakKeyDictionary()  # of the rigs in memory: they are large, keep none


def _answers(rig: Rig, head: Rig) -> Float[np.ndarray, "axes shapes"]:
    """Each shape of ``head`` alone, solved onto ``rig`` and measured there, for a whole unit of weight."""
    count = len(head.expressions)
    shapes = np.zeros((count, 2, SETTLED, count), np.float32)  # each after a rest
    shapes[np.arange(count), 1, :, np.arange(count)] = LEVEL
    asked = face.assemble({"expression": shapes.reshape(-1, count)}, fps=face.CODE_FPS, rig=head.name)
    answer = measure.measure(solve.solve(measure.measure(asked, head), rig), rig)
    last = answer.displacement.reshape(count, 2, SETTLED, -1)[:, 1, -1]
    return last.T.astype(np.float64) / LEVEL
