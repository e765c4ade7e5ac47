"""Least squares of smooth fields against the scanned head."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from tdmm_lm.anatomy import fields, scan, sphere
from tdmm_lm.anatomy.colours import smooth


class Fitter:
    """Least squares on the scan's skin: the weighted basis, whole and folded for symmetric fields."""

    def __init__(self, head: scan.Scan, *, lip_weight: float, lid_weight: float, gap_weight: float) -> None:
        self.control = fields.controls()
        self.gap_weight = gap_weight
        self.places = head.sphere[: scan.OUTSIDE]
        self.basis = fields.basis(self.control, self.places).toarray()
        self.twin = cKDTree(head.neutral[: scan.SKIN]).query(sphere.mirrored(head.neutral[: scan.SKIN]))[1]
        self.weight = np.ones(scan.OUTSIDE)
        for ring in head.lips:
            self.weight[ring] = lip_weight
        for ring in head.lids:
            self.weight[ring] = self.weight[self.twin[ring]] = lid_weight
        self.weight[sphere.below_neck(self.places, -0.05)] = 0
        for nostril in (sphere.NOSTRIL, sphere.NOSTRIL * [-1, 1, 1]):  # what lies deep inside would only disturb
            away = np.linalg.norm(sphere.inward(nostril, self.places), axis=1)
            self.weight *= 0.02 + 0.98 * smooth(away, 0.024, 0.038)
        above, below = np.array([
            (ring[i], ring[-i]) for ring in (*head.lips[2:11], *head.lids[:5]) for i in range(1, len(ring) // 2)
        ]).T
        self.pair = sparse.csr_matrix((
            np.tile([1.0, -1.0], len(above)), (np.repeat(np.arange(len(above)), 2), np.stack([above, below], 1).ravel())
        ), (len(above), scan.OUTSIDE))  # from lower to upper lip, or lid: what must close
        behind = np.arange(self.control.half, len(self.control.places))
        self.folded = {}
        for sign in (1, -1):
            fold = self.basis[:, : self.control.half].copy()
            fold[:, self.control.mirror[behind]] += sign * self.basis[:, behind]
            self.folded[sign] = fold
        self.folded[-1][:, self.control.places[: self.control.half, 0] == 0] = 0

    def symmetric(
        self, target: Float[np.ndarray, "skin 3"], used: Int[np.ndarray, " used"], ridge: float
    ) -> Float[np.ndarray, "used 3"]:
        """Vectors of the left half's control points ``used``."""
        return np.stack([
            self._solve(self.folded[sign][:, used], target[:, axis], ridge) for axis, sign in enumerate((-1, 1, 1))
        ], 1)

    def one_sided(
        self, target: Float[np.ndarray, "skin 3"], used: Int[np.ndarray, " used"], ridge: float
    ) -> Float[np.ndarray, "used 3"]:
        """Vectors of the control points ``used``, wherever they are."""
        return self._solve(self.basis[:, used], target, ridge)

    def _solve(self, columns: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
        left, between = (columns * self.weight[:, None]).T, self.pair @ columns
        squares = left @ columns + self.gap_weight * between.T @ between + ridge * np.eye(columns.shape[1])
        return np.linalg.solve(squares, left @ target + self.gap_weight * between.T @ (self.pair @ target))

    def shape(
        self,
        target: Float[np.ndarray, "skin 3"],
        *,
        one_sided: bool,
        ridge: float,
        counts: Sequence[int],
        good: float,
        least: float,
    ) -> tuple[Int[np.ndarray, " used"], Float[np.ndarray, "used 3"]]:
        """The control points a shape needs most, and their vectors.

        ``counts`` are tried in turn until the mean error is below ``good`` metres. Points whose surroundings move
        less than ``least`` metres on average are out of the question.
        """
        solve: Callable[..., np.ndarray] = self.one_sided if one_sided else self.symmetric
        motion = np.linalg.norm(target, axis=1) * self.weight
        around = (self.basis.T @ motion) / np.maximum(self.basis.T @ self.weight, 1e-9)
        used = np.flatnonzero(around > least)
        if not one_sided:
            used = used[used < self.control.half]
        values = solve(target, used, ridge)
        power = np.linalg.norm(values, axis=1) * np.sqrt((self.basis[:, used] ** 2 * self.weight[:, None]).sum(0))
        ranked = used[np.argsort(-power)]
        for count in counts:
            used = np.sort(ranked[:count])
            values = solve(target, used, ridge)
            if self.error(target, used, values, one_sided=one_sided).mean() < good:
                break
        return used, values

    def error(
        self, target: Float[np.ndarray, "skin 3"], used: np.ndarray, values: np.ndarray, *, one_sided: bool
    ) -> Float[np.ndarray, " moving"]:
        """Distances to the scan of all its vertices that move by half a millimetre or more, metres."""
        vectors = np.zeros((len(self.control.places) if one_sided else self.control.half, 3))
        vectors[used] = values
        field = self.basis @ (vectors if one_sided else fields.symmetric(self.control, vectors))
        moving = (np.linalg.norm(target, axis=1) > 5e-4) & (self.weight > 0.5)
        return np.linalg.norm(field - target, axis=1)[moving]
