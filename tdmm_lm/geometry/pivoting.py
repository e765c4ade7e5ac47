"""Small bounded quadratic programmes, one a frame, by block principal pivoting (Júdice and Pires 1994), compiled.

A frame of fifty unknowns takes a few microseconds, without Python's lock. numba compiles at the first call on a machine
(seconds) and keeps what it made in $NUMBA_CACHE_DIR, beside this file or in the user's cache folder, the first that can
be written; later processes load it in a fraction of a second.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float

PIVOTS = 100  # linear solves a frame at most; in practice fewer than ten


def bounded(
    hessian: Float[np.ndarray, "n n"],
    pull: Float[np.ndarray, " n"],
    lower: Float[np.ndarray, " n"],
    upper: Float[np.ndarray, " n"],
    start: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """The minimiser of ``w H w / 2 - pull w`` within bounds.

    H must be symmetric and positive definite; then the minimiser is unique, and ``start`` (whose free set is tried
    first) only saves time.

    Raises:
        ValueError: shapes that do not fit each other, or H is not positive definite.
    """
    return follow(hessian, pull[None], lower, upper, start)[0]


def follow(
    hessian: Float[np.ndarray, "n n"],
    pull: Float[np.ndarray, "frames n"],
    lower: Float[np.ndarray, " n"],
    upper: Float[np.ndarray, " n"],
    start: Float[np.ndarray, " n"],
    *,
    inertia: float = 0.0,
) -> Float[np.ndarray, "frames n"]:
    """`bounded` for every row, from the row before (the first from ``start``), which adds ``inertia`` times itself to
    the pull. With an inertia, ``hessian`` must hold its share of the diagonal already.

    Raises:
        ValueError: shapes that do not fit each other, or H is not positive definite.
    """
    n = pull.shape[-1]
    given = {"hessian": hessian, "pull": pull, "lower": lower, "upper": upper, "start": start}
    shapes = {"hessian": (n, n), "pull": (len(pull), n)}
    for name, array in given.items():  # compiled code would read past an array's end
        if array.shape != shapes.get(name, (n,)):
            raise ValueError(f"{name}: expected shape {shapes.get(name, (n,))}, got {array.shape}.")
    # One type for each argument, or numba would quietly compile once more for every new combination.
    plain = (np.require(array, np.float64, ["C", "W"]) for array in given.values())
    result, sound = _compiled()(*plain, float(inertia), PIVOTS)
    if not sound:
        raise ValueError("hessian: expected a positive definite matrix, got one that is not.")
    return result


@cache
def _compiled() -> Callable[..., tuple[np.ndarray, bool]]:
    """`_follow`, compiled at its first call; kept for later processes where any cache folder can be written."""
    import numba  # here: a tenth of a second and more, which those who solve nothing need not wait

    try:
        return numba.njit(_follow, nogil=True, cache=True)
    except RuntimeError:  # "no locator available": neither this folder nor the user's can be written
        return numba.njit(_follow, nogil=True)


def _follow(
    hessian: np.ndarray, pull: np.ndarray, lower: np.ndarray, upper: np.ndarray, start: np.ndarray, inertia: float,
    pivots: int,
) -> tuple[np.ndarray, bool]:
    """Plain loops: numba makes vector instructions of those that run along rows.

    H of the free variables is U'U. Column j of U rests on the columns before it alone, so that of the factor at hand
    (of the step before, or the frame before) all columns stay up to the first variable that came or went:

        free before  0 2 3 7 8 9        a stay, b are made anew; nothing at all where the free set is the same
        free now     0 2 3 5 8 9
                     a a a b b b

    What stays is what would be made, bit for bit: chunks and wholes agree.
    """
    frames, n = pull.shape
    result = np.empty((frames, n))
    side = np.empty(n, np.int8)  # -1 at the lower bound, 1 at the upper, 0 free
    turn = np.empty(n, np.int8)  # the side it should be on
    factor, mirror, inverse, column = np.empty((n, n)), np.empty((n, n)), np.empty(n), np.empty(n)
    order, made = np.empty(n, np.int64), 0  # the variables that `factor` is of
    wanted, slope = np.empty(n), np.empty(n)
    last = start
    for frame in range(frames):
        w = result[frame]
        for i in range(n):
            wanted[i] = pull[frame, i] + inertia * last[i]
            side[i] = -1 if last[i] <= lower[i] else (1 if last[i] >= upper[i] else 0)
        best, tries = n + 1, 3
        for _ in range(pivots):
            for i in range(n):
                slope[i] = -wanted[i]
            free, same = 0, True
            for i in range(n):
                if side[i] == 0:
                    if same and not (free < made and order[free] == i):
                        same, made = False, free
                    order[free] = i
                    free += 1
                    continue
                w[i] = lower[i] if side[i] < 0 else upper[i]
                if w[i] != 0:
                    value, along = w[i], hessian[i]
                    for k in range(n):
                        slope[k] += value * along[k]
            made = min(made, free)
            for j in range(made, free):
                row = hessian[order[j]]
                diagonal = row[order[j]]
                for k in range(j):
                    column[k] = row[order[k]]
                for k in range(j):
                    value = column[k] * inverse[k]
                    ahead, along = column[k + 1 : j], factor[k, k + 1 : j]
                    for i in range(len(ahead)):
                        ahead[i] -= value * along[i]
                    diagonal -= value * value
                    factor[k, j] = mirror[j, k] = value
                if not diagonal > 0:
                    return result, False
                inverse[j] = 1 / np.sqrt(diagonal)
            made = free
            for k in range(free):  # U' y = -slope
                column[k] = -slope[order[k]]
            for k in range(free):
                value = column[k] * inverse[k]
                ahead, along = column[k + 1 : free], factor[k, k + 1 : free]
                for i in range(len(ahead)):
                    ahead[i] -= value * along[i]
                column[k] = value
            for k in range(free - 1, -1, -1):  # U w = y
                value = column[k] * inverse[k]
                along = mirror[k]
                for i in range(k):
                    column[i] -= value * along[i]
                column[k] = value
            for k in range(free):
                value, along = column[k], hessian[order[k]]
                w[order[k]] = value
                for i in range(n):
                    slope[i] += value * along[i]
            count, final = 0, -1
            for i in range(n):
                turn[i] = side[i]
                if side[i] == 0:
                    turn[i] = -1 if w[i] < lower[i] else (1 if w[i] > upper[i] else 0)
                elif side[i] * slope[i] > 0:
                    turn[i] = 0
                if turn[i] != side[i]:
                    count, final = count + 1, i
            if count == 0:
                break
            if count < best:
                best, tries = count, 3
            elif tries > 0:
                tries -= 1
            else:  # Murty's rule, one at a time: slow, but never cycles
                side[final] = turn[final]
                continue
            side[:] = turn
        for i in range(n):
            if w[i] < lower[i]:  # only where the pivots ran out
                w[i] = lower[i]
            elif w[i] > upper[i]:
                w[i] = upper[i]
        last = w
    return result, True
