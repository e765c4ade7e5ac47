"""Places on the unit sphere that stands for a head: where eyes, mouth, nostrils and ears lie, and how wide they are.

The sphere looks along Z+, Y is up, the person's own left is X+. Mouth and eyes are drawn wide open, so that upper and
lower lip, or lid, lie far apart on it and a smooth field can move one without the other. All lengths are radians.
"""

import numpy as np
from jaxtyping import Bool, Float


def direction(azimuth: float, elevation: float) -> Float[np.ndarray, "3"]:
    """Unit vector; degrees, azimuth from Z+ towards X+ (the person's left), elevation upwards."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


MOUTH = direction(0, -25.5)
EYE = direction(19.3, 11.6)  # the person's left one; the right one is its mirror image, here and below
NOSTRIL, NOSTRIL_HOLE = direction(4.7, -9.4), 0.034
EAR = direction(86, -8)
NECK = direction(180, -88)  # the middle of the hole below which the head ends
# Its radius by angle, from the front (-90 degrees) over the side to the back.
NECK_RIM = ((-90, 0.27), (-60, 0.285), (-30, 0.35), (0, 0.417), (30, 0.42), (60, 0.40), (90, 0.38))

# Half-widths (across, up) of nested loops: the hole in the skin, where both sides touch, the outer edge of the lips.
MOUTH_HOLE, MOUTH_CONTACT, MOUTH_EDGE = (0.165, 0.050), (0.205, 0.090), (0.262, 0.155)
EYE_HOLE, EYE_MARGIN = (0.105, 0.050), (0.130, 0.080)


def frame(centre: Float[np.ndarray, "3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Unit tangents at a place: towards the person's left, and upwards."""
    across = np.cross([0.0, 1.0, 0.0], centre)
    across /= np.linalg.norm(across)
    return across, np.cross(centre, across)


def outward(centre: Float[np.ndarray, "3"], plane: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Points of the sphere from tangent-plane coordinates (across, up); lengths along the ray are arc lengths."""
    across, up = frame(centre)
    length = np.linalg.norm(plane, axis=1, keepdims=True)
    tangent = (plane[:, :1] * across + plane[:, 1:] * up) / np.maximum(length, 1e-12)
    return np.cos(length) * centre + np.sin(length) * tangent


def inward(centre: Float[np.ndarray, "3"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Inverse of `outward`."""
    across, up = frame(centre)
    cosine = points @ centre
    rest = points - cosine[:, None] * centre
    sine = np.linalg.norm(rest, axis=1)
    length = np.arctan2(sine, cosine) / np.maximum(sine, 1e-12)
    return np.stack([rest @ across * length, rest @ up * length], 1)


def ellipse(size: tuple[float, float], count: int, start: float = 0.0) -> Float[np.ndarray, "count 2"]:
    """A loop of points, counter-clockwise from its left corner (across > 0); ``start`` in steps."""
    angle = (np.arange(count) + start) * (2 * np.pi / count)
    return np.stack([size[0] * np.cos(angle), size[1] * np.sin(angle)], 1)


def below_neck(points: Float[np.ndarray, "n 3"], margin: float = 0.0) -> Bool[np.ndarray, " n"]:
    """Whether places lie in the hole below the neck, widened by ``margin``."""
    flat = inward(NECK, points)
    angle = np.degrees(np.arctan2(flat[:, 1], abs(flat[:, 0])))
    return np.linalg.norm(flat, axis=1) < np.interp(angle, *np.transpose(NECK_RIM)) + margin


def neck_rim(count: int) -> Float[np.ndarray, "count 3"]:
    """The edge of that hole on the person's left, front to back, both ends on the middle line."""
    angle = np.linspace(-90, 90, count)
    radius, angle = np.interp(angle, *np.transpose(NECK_RIM)), np.radians(angle)
    points = outward(NECK, np.stack([-radius * np.cos(angle), radius * np.sin(angle)], 1))
    points[[0, -1], 0] = 0
    return points


def mirrored(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The same on the other side of the face."""
    return points * np.array([-1.0, 1.0, 1.0])
