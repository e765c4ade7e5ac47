"""The skin's colours, vertex by vertex: lips, cheeks, lids, the mouth's inside, nostrils and short hair."""

import numpy as np
from jaxtyping import Float

from tdmm_lm.anatomy import parts, sphere, topology

BLUSH, LIP, INSIDE, SHADE = (0.83, 0.55, 0.47), (0.70, 0.38, 0.36), (0.30, 0.09, 0.09), (0.30, 0.16, 0.12)


def smooth(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at ``low``, 1 at ``high`` (which may be the smaller one), without kinks."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def hair(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """How much hair grows at each place, 0..1."""
    return smooth(topology.hair_border(places), -3, 5)


def skin(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """RGB 0..1 of the skin at places of the unit sphere."""
    left = places * np.where(places[:, :1] < 0, [-1.0, 1, 1], 1.0)
    colour = np.tile(parts.SKIN, (len(places), 1))

    def blend(amount: np.ndarray, towards: tuple[float, float, float]) -> None:
        colour[:] = colour + amount[:, None] * (np.array(towards) - colour)

    def around(centre: np.ndarray, size: tuple[float, float]) -> np.ndarray:
        return np.linalg.norm(sphere.inward(centre, left) / np.array(size), axis=1)

    blend(0.35 * smooth(around(sphere.direction(30, -10), (0.30, 0.24)), 1, 0), BLUSH)
    blend(0.30 * smooth(around(sphere.direction(0, -6), (0.10, 0.12)), 1, 0), BLUSH)
    blend(0.45 * smooth(around(sphere.EYE, (0.20, 0.16)), 1, 0.5), BLUSH)
    lips = sphere.inward(sphere.MOUTH, left) / np.array(sphere.MOUTH_EDGE)
    reach = np.where(lips[:, 1] > 0, 1.07 - 0.06 * np.exp(-((lips[:, 0] / 0.16) ** 2)), 1.0)  # with Cupid's bow
    blend(smooth(np.linalg.norm(lips, axis=1) / reach, 1.02, 0.94), LIP)
    blend(smooth(around(sphere.MOUTH, sphere.MOUTH_CONTACT), 1.0, 0.88), INSIDE)
    blend(smooth(around(sphere.NOSTRIL, (0.05, 0.05)), 1.0, 0.5), SHADE)
    blend(0.8 * smooth(around(sphere.EYE, sphere.EYE_HOLE), 1.1, 0.9), LIP)
    blend(0.95 * hair(places), parts.HAIR)
    return colour
