"""A head in FLAME's file format: its arrays, read from the owners' `.pkl` or `.npz` and written for other libraries.

Released FLAME files are pickles with chumpy and scipy objects inside; they are read by `tdmm_lm.unpickle`, which
makes nothing but arrays. Joints: root, neck, jaw, left eye, right eye.
"""

import pickle
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from tdmm_lm import unpickle
from tdmm_lm.files import replacing

SHAPES, EXPRESSIONS = 300, 100  # columns of `shapedirs` in released files: identity first
_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")


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


def read_owner(path: str | Path) -> FlameArrays:
    """FLAME 2020, 2023 or 2023 Open as its owners distribute it, `.pkl` or `.npz`; nothing in the file is executed.

    Columns of zeros at the end of the identity and expression shapes, as `write_pickle` adds them, are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a FLAME head, or a file that names anything but arrays.
    """
    held = unpickle.read(path)
    missing = [key for key in _KEYS if key not in held]
    if missing:
        raise ValueError(f"{path}: expected a FLAME head with {', '.join(_KEYS)}; {', '.join(missing)} not found.")
    wrong = [key for key in _KEYS if not isinstance(held[key], np.ndarray) or held[key].dtype == object]
    if wrong:
        raise ValueError(f"{path}: expected arrays of numbers, got something else for {', '.join(wrong)}.")
    count, shapes = len(held["v_template"]), held["shapedirs"]
    if shapes.ndim != 3 or shapes.shape[2] <= SHAPES:
        raise ValueError(
            f"{path}: shapedirs: expected (vertices, 3, {SHAPES} identity + up to {EXPRESSIONS} expression columns), "
            f"got {shapes.shape}."
        )
    tree = held["kintree_table"]
    if tree.shape != (2, 5):
        raise ValueError(f"{path}: kintree_table: expected a head's five joints, (2, 5), got {tree.shape}.")
    try:
        return FlameArrays(
            v_template=held["v_template"],
            shapedirs_identity=_filled(shapes[:, :, :SHAPES]),
            shapedirs_expression=_filled(shapes[:, :, SHAPES:]),
            posedirs=held["posedirs"].reshape(count, 3, -1),
            J_regressor=held["J_regressor"],
            weights=held["weights"],
            parents=np.concatenate([[-1], tree[0, 1:].astype(np.int64)]),  # the root's parent is 2**32 - 1
            faces=held["f"],
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _filled(shapes: Float[np.ndarray, "vertices 3 columns"]) -> Float[np.ndarray, "vertices 3 some"]:
    """Without the zero columns at the end; one is kept."""
    used = np.flatnonzero(shapes.any((0, 1)))
    return shapes[:, :, : int(used[-1]) + 1 if len(used) else 1]


def write_pickle(arrays: FlameArrays, path: str | Path) -> None:
    """The head as the pickle that `smplx` and `flame-pytorch` load: 300 + 100 shape columns, filled up with zeros.

    It is a pickle because those libraries read nothing else; it holds numpy arrays alone.

    Raises:
        ValueError: more identity or expression shapes than the format has columns.
    """
    shapes = np.zeros((*arrays.v_template.shape, SHAPES + EXPRESSIONS), np.float32)
    for what, columns, start, room in (
        ("identity", arrays.shapedirs_identity, 0, SHAPES),
        ("expression", arrays.shapedirs_expression, SHAPES, EXPRESSIONS),
    ):
        if columns.shape[2] > room:
            raise ValueError(f"{path}: FLAME's format has room for {room} {what} shapes, got {columns.shape[2]}.")
        shapes[:, :, start : start + columns.shape[2]] = columns
    held = {
        "v_template": arrays.v_template, "shapedirs": shapes, "posedirs": arrays.posedirs, "weights": arrays.weights,
        "J_regressor": arrays.J_regressor, "J": arrays.J_regressor @ arrays.v_template,
        "kintree_table": np.stack([arrays.parents, np.arange(5)]), "f": arrays.faces,
        "bs_type": "lrotmin", "bs_style": "lbs",
    }
    with replacing(path) as beside, beside.open("wb") as file:
        pickle.dump(held, file, protocol=2)
