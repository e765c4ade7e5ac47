"""Curves over time that performances are built of: soft steps, rise-hold-fall, many steps, smooth chance."""

import numpy as np
from jaxtyping import Float

Curve = Float[np.ndarray, " frames"]


def smoothstep(x: Curve) -> Curve:
    """0 up to x = 0, 1 from x = 1 on, with no slope at either."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def pulse(t: Curve, *, onset: float, attack: float, offset: float, release: float) -> Curve:
    """0..1: up for ``attack`` seconds from ``onset``, down again for ``release`` seconds until ``offset``."""
    return smoothstep((t - onset) / attack) * (1 - smoothstep((t - offset + release) / release))


def stairs(
    t: Curve, *, moments: Float[np.ndarray, " steps"], last: Float[np.ndarray, " steps"],
    places: Float[np.ndarray, "steps axes"],
) -> Float[np.ndarray, "frames axes"]:
    """From place to place: at each moment a step that takes ``last`` seconds; zero before the first."""
    moves = np.diff(places, axis=0, prepend=np.zeros((1, places.shape[1])))
    return smoothstep((t[:, None] - moments) / last) @ moves


def noise(
    rng: np.random.Generator, t: Curve, channels: int, *, low: float, high: float
) -> Float[np.ndarray, "frames channels"]:
    """Smooth chance of standard deviation one: four sines a channel, ``low`` to ``high`` Hz."""
    hertz = rng.uniform(low, high, (4, 1, channels))
    phase = rng.uniform(0, 2 * np.pi, (4, 1, channels))
    return np.sin(2 * np.pi * hertz * t[:, None] + phase).sum(0) / np.sqrt(2)
