"""A source for tests: noise on a face and in the ear, every seventh item refused, each item after a pause."""

import os
import signal
import time

import numpy as np

from tdmm_lm import config
from tdmm_lm.corpus.sources import Item, Rejected
from tdmm_lm.motion import face
from tdmm_lm.sample import Sample


class Settings(config.Settings):
    count: int = 40
    pause_seconds: float = 0.0
    licence: str = "CC0"
    dies: bool = False  # the process, as where memory is short


def items(settings, seed):
    for number in range(settings.count):
        yield Item(f"tape/{number}", "test" if number % 4 == 3 else "train", {"number": number, "seed": seed})


def samples(item, settings):
    time.sleep(settings.pause_seconds)
    if settings.dies:
        os.kill(os.getpid(), signal.SIGKILL)
    number = item.what["number"]
    rng = np.random.default_rng([item.what["seed"], number])
    if number % 7 == 6:
        yield Rejected(item.id, "a tape", "hiss", f"expected a face, got {number}.", {"level": float(rng.random())})
        return
    moved = np.abs(rng.normal(0, 0.01, (25, 52)))
    clip = face.assemble({"expression": moved, "head": rng.normal(0, 0.01, (25, 3))}, fps=25.0, rig="head")
    yield Sample(
        item.id, ("Somebody on a tape.",), {"face": clip}, item.split, "a tape", settings.licence,
        {"mood": "blue"}, rng.uniform(-0.1, 0.1, 16_000).astype(np.float32), f"{item.split}-talker",
        {"file": "tape.wav", "figures": {"box_share": 0.3, "sharpness": 0.09, "overall": 9.0}},
    )
