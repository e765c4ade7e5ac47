"""Samples of every kind that metrics take, clean and spoiled by a known amount, and options for all of them."""

from typing import Any

import numpy as np

from tdmm_lm import metrics

SAMPLES, FRAMES, POINTS, WIDTH = 40, 50, 6, 16
FPS = 20.0
OPTIONS: dict[str, Any] = {
    "fps": FPS, "lips": [0, 1, 2], "lids": [3, 4], "upper": [3, 4, 5], "template": np.zeros((POINTS, 3)), "pairs": 9,
}
AMOUNTS = (0.0, 0.3, 1.0, 3.0)  # of spoiling; 1 is about as much as there is to spoil
WORDS = [
    "a", "person", "walks", "runs", "forward", "slowly", "turns", "left", "right", "jumps", "waves", "the", "hand",
]


def pairs(takes: str, random: np.random.Generator) -> tuple[list[Any], list[Any]]:
    """Perfect predictions and their references."""
    clean = [_one(metrics.KINDS[takes][0], random, i) for i in range(SAMPLES if takes != "captions" else 12)]
    if takes == "captions":
        return clean, [[text, _one("text", random, 0), _one("text", random, 0)] for text in clean]
    if takes == "beats":  # `_one` makes points that stop at every whole second
        return clean, [np.arange(1.0, FRAMES / FPS) for _ in clean]
    return clean, list(clean)


def _one(shape: Any, random: np.random.Generator, i: int) -> Any:
    frames = FRAMES + i % 3
    if shape == "text":
        return " ".join(random.choice(WORDS, 8))
    if shape == ("codes",):
        return random.integers(0, 64, frames)
    seconds = np.arange(frames) / FPS
    if shape == ("frames",):  # syllables
        return np.abs(np.sin(2 * np.pi * (1.7 * seconds + random.random()))) * random.uniform(0.5, 1, frames)
    if shape == metrics.JOINTS:  # a body that sways above the floor, its feet still on it
        body = random.normal((0, 1, 0), 0.3, (22, 3))
        sway = np.sin(2 * np.pi * 0.5 * seconds)[:, None] * random.normal(0, 0.1, (22, 1, 3))
        body[[10, 11], 1], sway[[10, 11]] = 0.02, 0
        return body + sway.transpose(1, 0, 2)
    if shape == metrics.POINTS:
        return 0.01 * (1 - np.cos(np.pi * seconds))[:, None, None] * random.normal(0, 1, (1, POINTS, 3))
    sizes = {"frames": frames, "channels": 5, "width": WIDTH, "generations": 12}
    return random.normal(0, 1, [sizes[size] for size in shape])


def spoiled(takes: str, clean: list[Any], amount: float, random: np.random.Generator) -> list[Any]:
    """The same, worse by so much: noise; other words and codes; texts and motions that repeat themselves."""
    if not amount:
        return clean
    share = min(1.0, amount / 3)
    if takes == "captions":
        return [" ".join(word if random.random() > share else "xyz" for word in text.split()) for text in clean]
    if takes == "text":
        return [clean[0] if random.random() < share else text for text in clean]
    if takes == "codes":
        return [np.where(random.random(len(codes)) < share, 99, codes) for codes in clean]
    if takes == "generations":
        return [one.mean(0) + (1 - share) * (one - one.mean(0)) for one in clean]
    size = {"points": 0.05, "beats": 0.01, "joints": 0.015, "rows": 1, "curve": 1, "vector": 1}[takes]
    return [one + amount * size * random.normal(0, 1, one.shape) for one in clean]
