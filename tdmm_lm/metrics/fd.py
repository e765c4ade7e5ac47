"""Fréchet distance of features: between the Gaussians that two sets have as mean and covariance (ddof 1).

    |m1 - m2|² + tr C1 + tr C2 - 2 tr (C1 C2)^½

It shrinks with the size of the sets (its bias falls as 1/n): state n and what the features are.
"""

import numpy as np

from tdmm_lm.metrics import Vectors

BETTER = "lower"
UNIT = "squared distance"
TAKES = "vector"
REFERENCE = "set"
LEAST = {"samples": 2}
each = weights = None

FLAT = 1e-8  # least eigenvalue of the product against its largest, below which its root has lost too many digits


def frechet(predicted: Vectors, reference: Vectors) -> float:
    """The published scripts take the root by `scipy.linalg.sqrtm`, drop the small imaginary part that rounding leaves,
    and add 1e-6 to both diagonals where the root is not finite. The trace alone is the same number several times as
    fast, and needs neither repair: also of sets smaller than their features are wide, where most of sqrtm's root is
    rounding.
    """
    means = predicted.mean(0), reference.mean(0)
    one, other = predicted - means[0], reference - means[1]
    spread = np.vdot(one, one) / (len(one) - 1) + np.vdot(other, other) / (len(other) - 1)
    shift = means[0] - means[1]
    return float(shift @ shift + spread - 2 * trace_of_root(one, other))


whole = frechet


def trace_of_root(one: Vectors, other: Vectors) -> float:
    """tr (C1 C2)^½ of C1 = XᵀX / (n - 1) and C2 = YᵀY / (m - 1), of vectors about their means.

    With C1 = L Lᵀ the product has the eigenvalues of Lᵀ C2 L, whose roots are summed. Where some are so small that
    their root would be of rounding, the roots are found as singular values: of X Yᵀ, or of R Sᵀ if X = QR, Y = PS.
    """
    width, scale = one.shape[1], np.sqrt((len(one) - 1) * (len(other) - 1))
    if min(len(one), len(other)) > width:
        try:
            lower = np.linalg.cholesky(one.T @ one)
        except np.linalg.LinAlgError:
            pass
        else:
            values = np.linalg.eigvalsh(lower.T @ (other.T @ other) @ lower)
            if values[0] > FLAT * values[-1]:
                return float(np.sqrt(values).sum() / scale)
    one, other = (np.asarray(np.linalg.qr(x, mode="r")) if len(x) > width else x for x in (one, other))
    return float(np.linalg.svd(one @ other.T, compute_uv=False).sum() / scale)
