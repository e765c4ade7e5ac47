"""The bundled head: this project's own, made by `tdmm_lm.anatomy` from the fitted numbers in ``assets/head``.

It was fitted by ``tdmm train recipes/head.yaml``; its report stands beside the numbers.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tdmm_lm import bundle, landmarks
from tdmm_lm.anatomy import assemble, fields, places
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.rigs import Embedding
from tdmm_lm.rigs.flame import FlameRig

FORMAT = 1


@cache
def load() -> FlameRig:
    """The bundled head, built once a process.

    Raises:
        FileNotFoundError: its numbers are not in the package.
    """
    return read(bundle.path("assets/head"))


def read(folder: Path) -> FlameRig:
    """A head from a folder of `write`; raises what `numbers` raises."""
    stored = numbers(folder)
    return rig(assemble.build(stored), stored)


def assembled(folder: Path) -> assemble.Head:
    """The same before it becomes a rig: with its regions and loops. Raises what `numbers` raises."""
    return assemble.build(numbers(folder))


def numbers(folder: Path) -> assemble.Numbers:
    """The fitted numbers in a folder of `write`.

    Raises:
        ValueError: the folder's format or its arrays are not what this version of the code expects.
    """
    config = json.loads((folder / "config.json").read_text())
    if config.get("format") != FORMAT:
        got = config.get("format")
        raise ValueError(f"{folder}: expected head format {FORMAT}, got {got}; run tdmm train recipes/head.yaml.")
    points = len(fields.controls().places)
    if config["controls"] != points:
        raise ValueError(f"{folder}: expected numbers for {points} control points, got {config['controls']}.")
    stored = load_file(folder / "model.safetensors")
    ends = np.cumsum(stored["used_counts"].astype(int))[:-1]
    used, values = np.split(stored["used"].astype(int), ends), np.split(stored["values"].astype(float), ends)
    return assemble.Numbers(
        neutral=stored["neutral"].astype(float), shapes=dict(zip(config["shapes"], zip(used, values))),
        identities=stored["identities"].astype(float), jaw=dict(zip(config["jaw"], stored["jaw"].astype(float))),
        landmarks=stored["landmarks"].astype(float),
    )


def rig(head: assemble.Head, stored: assemble.Numbers) -> FlameRig:
    """The assembled head as something that clips can drive."""
    azimuth, elevation = stored.landmarks.T
    spots = np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], 1)
    vertices, weights = np.zeros((len(landmarks.NAMES), 3), int), np.zeros((len(landmarks.NAMES), 3))
    on_skin = [landmarks.NAMES.index(name) for name in places.ON_SKIN]
    vertices[on_skin], weights[on_skin] = places.locate(head.skin, spots)
    for name, (region, vertex) in places.SOLID.items():
        run = head.regions[region]
        vertices[landmarks.NAMES.index(name)] = range(run.start, run.stop)[vertex]
        weights[landmarks.NAMES.index(name)] = (1, 0, 0)
    return FlameRig(
        head.arrays, name="head", expressions=ARKIT, authority="shapes", lower=np.zeros(len(ARKIT)),
        upper=np.ones(len(ARKIT)), uv=head.uv, colours=head.colours,
        landmarks=Embedding(vertices, weights.astype(np.float32)), eyes=head.eyes,
    )


def write(stored: assemble.Numbers, folder: Path) -> None:
    """``config.json`` and ``model.safetensors`` into a new folder."""
    folder.mkdir()
    names = list(stored.shapes)
    tensors = {
        "neutral": stored.neutral.astype(np.float32), "identities": stored.identities.astype(np.float32),
        "used": np.concatenate([stored.shapes[name][0] for name in names]).astype(np.int16),
        "used_counts": np.array([len(stored.shapes[name][0]) for name in names], np.int16),
        "values": np.concatenate([stored.shapes[name][1] for name in names]).astype(np.float32),
        "jaw": np.stack(list(stored.jaw.values())).astype(np.float32),
        "landmarks": stored.landmarks.astype(np.float32),
    }
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / "model.safetensors")
    config = {"format": FORMAT, "shapes": names, "jaw": list(stored.jaw), "controls": len(fields.controls().places)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
