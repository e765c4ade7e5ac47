"""The arrays of a head in FLAME's file format, and the owners' own files (`.pkl` or `.npz`) as such arrays.

Released FLAME files are pickles with chumpy and scipy objects inside; they are read by `tdmm_lm.unpickle`, which
makes nothing but arrays. Joints: root, neck, jaw, left eye, right eye.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

SHAPES, EXPRESSIONS = 300, 100  # columns of `shapedirs` in released files: identity first
JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")


@dataclass(frozen=True)
class FlameArrays:
    """A head in FLAME's format. Metres, Y up, facing Z+; the person's own left is +X.

    ``posedirs`` columns are the nine numbers of (rotation - identity), row by row, of neck, jaw, left and right eye.
    ``parents`` is (-1, 0, 1, 1, 1) for FLAME: a parent comes before its children.

    Raises:
        ValueError: an array has the wrong shape, holds NaN, or skinning weights do not sum to one.
    """

    v_template: Float[np.ndarray, "vertices 3"]
    shapedirs_identity: Float[np.ndarray, "vertices 3 identities"]
    shapedirs_expression: Float[np.ndarray, "vertices 3 expressions"]
    posedirs: Float[np.ndarray, "vertices 3 36"]
    J_regressor: Float[np.ndarray, "5 vertices"]
    weights: Float[np.ndarray, "vertices 5"]
    parents: Int[np.ndarray, " 5"]
    faces: Int[np.ndarray, "faces 3"]

    def __post_init__(self) -> None:
        for field in fields(self):
            kind = np.int64 if field.name in ("parents", "faces") else np.float32
            array = np.asarray(getattr(self, field.name))
            if array.dtype == object or not np.isfinite(array).all():
                raise ValueError(f"flame.{field.name}: expected finite numbers.")
            object.__setattr__(self, field.name, np.asarray(array, kind))
        count = self.v_template.shape[0]
        for name, got, wanted in (
            ("v_template", self.v_template.shape, (count, 3)),
            ("shapedirs_identity", self.shapedirs_identity.shape[:2], (count, 3)),
            ("shapedirs_expression", self.shapedirs_expression.shape[:2], (count, 3)),
            ("posedirs", self.posedirs.shape, (count, 3, 36)),
            ("J_regressor", self.J_regressor.shape, (5, count)),
            ("weights", self.weights.shape, (count, 5)),
            ("parents", self.parents.shape, (5,)),
            ("faces", self.faces.shape, (len(self.faces), 3)),
        ):
            if got != wanted:
                raise ValueError(f"flame.{name}: expected shape {wanted}, got {got}.")
        if self.shapedirs_identity.ndim != 3 or self.shapedirs_expression.ndim != 3:
            raise ValueError("flame.shapedirs: expected (vertices, 3, coefficients).")
        worst = float(np.abs(self.weights.sum(1) - 1).max())
        if worst > 1e-4:
            raise ValueError(f"flame.weights: expected rows that sum to one, got a row off by {worst:.3g}.")
        if self.faces.min() < 0 or self.faces.max() >= count:
            least, most = self.faces.min(), self.faces.max()
            raise ValueError(f"flame.faces: expected vertex numbers 0..{count - 1}, got {least}..{most}.")
        if self.parents[0] != -1 or any(not 0 <= p < j for j, p in enumerate(self.parents) if j):
            raise ValueError(f"flame.parents: expected -1, then each parent before its children, got {self.parents}.")
