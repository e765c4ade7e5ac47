"""What the bundled head's fields should do: the scan's neutral face and shapes, put right where it gapes or ends badly.

All in metres, for the vertices of the scan's skin.
"""

import numpy as np
from jaxtyping import Float

from tdmm_lm.anatomy import assemble, scan, sphere


def neutral(head: scan.Scan, *, lip_seal: float) -> Float[np.ndarray, "skin 3"]:
    """The neutral face: lips pressed together by ``lip_seal`` each, a neck without shoulders."""
    return _without_shoulders(head.neutral[: scan.OUTSIDE] / 100 + _sealed(head, lip_seal))


def shape(head: scan.Scan, name: str, *, lid_overlap: float) -> Float[np.ndarray, "skin 3"]:
    """The motion of one of `assemble.fitted`; the upper lid of a blink goes ``lid_overlap`` past the lower one."""
    stem = name.removesuffix("Left")
    if f"{name}_L" in head.shapes:  # the scan splits two symmetric shapes into sides
        field = head.shapes[f"{name}_L"] + head.shapes[f"{name}_R"]
    else:
        field = head.shapes[f"{stem}_L" if f"{stem}_L" in head.shapes else name]
    motion = field[: scan.OUTSIDE] / 100
    if name == "eyeBlinkLeft":
        return _shut(head, motion, lid_overlap)
    return _met(head, motion) if name == "mouthClose" else motion


def _sealed(head: scan.Scan, depth: float) -> Float[np.ndarray, "skin 3"]:
    """A correction that closes the lips of the neutral face, largest where they touch."""
    result = np.zeros((scan.OUTSIDE, 3))
    for i, ring in enumerate(head.lips):
        share = np.exp(-(((i - 6.5) / 1.8) ** 2))
        height = sphere.inward(sphere.MOUTH, head.sphere[ring])[:, 1] / sphere.MOUTH_CONTACT[1]
        result[ring, 1] = -np.clip(height, -1, 1) * depth * share
    return result


def _shut(head: scan.Scan, blink: Float[np.ndarray, "skin 3"], overlap: float) -> Float[np.ndarray, "skin 3"]:
    """A blink that closes: the scan's leaves a slit, which its upper lid crosses here."""
    result, closed = blink.copy(), head.neutral[: scan.OUTSIDE] / 100 + blink
    for ring in head.lids:
        for i in range(1, len(ring) // 2):
            slit = closed[ring[i]] - closed[ring[-i]]
            result[ring[i]] -= slit * (slit[1] > 0) + [0, overlap, 0]
    return result


def _met(head: scan.Scan, close: Float[np.ndarray, "skin 3"]) -> Float[np.ndarray, "skin 3"]:
    """A mouthClose that, on an open jaw, brings the lips as near as at rest; the scan's drives them into each other."""
    result, rest = close.copy(), head.neutral[: scan.OUTSIDE] / 100
    closed = rest + close + head.shapes["jawOpen"][: scan.OUTSIDE] / 100
    for number, ring in enumerate(head.lips):
        share = np.clip((16 - number) / 8, 0, 1)
        for i in range(1, len(ring) // 2):
            upper, lower = ring[i], ring[-i]
            excess = share * ((closed[upper] - closed[lower]) - (rest[upper] - rest[lower]))
            result[upper] -= excess / 2
            result[lower] += excess / 2
    return result


def _without_shoulders(surface: Float[np.ndarray, "skin 3"]) -> Float[np.ndarray, "skin 3"]:
    """The neck goes on straight below a slanting plane, where the scan widens into shoulders."""
    low = surface[:, 1] < assemble.CUT[0] + assemble.CUT[1] * surface[:, 2] + 0.006
    flat = surface[:, [0, 2]] - [0, -0.015]
    shrink = np.minimum(1, 0.064 / np.maximum(np.linalg.norm(flat, axis=1), 1e-6))
    result = surface.copy()
    result[low] = np.stack([flat[:, 0] * shrink, surface[:, 1], flat[:, 1] * shrink - 0.015], 1)[low]
    return result


def jaw(head: scan.Scan, name: str) -> Float[np.ndarray, "3 4"]:
    """The affine motion of the lower teeth in a jaw shape."""
    run = slice(*scan.TEETH)
    moved = np.abs(head.shapes["jawOpen"][run]).max(1) > 0.05
    rows = np.concatenate([head.neutral[run][moved] / 100, np.ones((moved.sum(), 1))], 1)
    return np.linalg.lstsq(rows, head.shapes[name][run][moved] / 100, rcond=1e-4)[0].T
