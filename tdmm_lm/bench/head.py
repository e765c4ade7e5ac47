"""How fast a FLAME-format head is posed: ours, `smplx` and `flame-pytorch` on the bundled head, one identity.

    tdmm bench head
"""

import contextlib
import importlib.metadata
import io
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm import flame_file, report, rigs
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.motion import face
from tdmm_lm.rigs.flame import FlameRig

FRAMES = 1000
ROUNDS = 9
Poser = Callable[[Float[Tensor, "frames channels"], Float[Tensor, " identity"]], Float[Tensor, "frames vertices 3"]]


def run() -> dict[str, dict[str, Any]]:
    """``head_speedup_smplx``, ``head_speedup_flame_pytorch``, frames a second of all three, and how far they differ.

    Every channel moves in every frame. The three take turns, so that a busy machine slows all alike.

    Raises:
        ModuleNotFoundError: a peer is not installed.
    """
    rig = rigs.load("head")
    assert isinstance(rig, FlameRig)
    random = torch.Generator().manual_seed(0)
    values = 0.2 * torch.randn(FRAMES, len(rig.expressions) + face.POSE_CHANNELS, generator=random)
    shape = torch.randn(rig.identities, generator=random)
    posers = {"ours": rig.vertices, **peers(rig.arrays, FRAMES)}
    with torch.no_grad():
        shown = {name: poser(values, shape) for name, poser in posers.items()}  # warms up, too
        apart = {name: float((points - shown["ours"]).abs().max()) for name, points in shown.items()}
        del shown
        taken = {name: np.empty(ROUNDS) for name in posers}
        for turn in range(ROUNDS):
            for name, poser in posers.items():
                start = time.perf_counter()
                poser(values, shape)
                taken[name][turn] = time.perf_counter() - start
    figures = {"head_fps": report.figure(FRAMES / float(np.median(taken["ours"])), "frames/s", n=ROUNDS)}
    for name in ("smplx", "flame_pytorch"):
        speedup = float(np.median(taken[name]) / np.median(taken["ours"]))
        fps = FRAMES / float(np.median(taken[name]))
        figures[f"head_speedup_{name}"] = report.figure(
            speedup, "times as fast", n=ROUNDS, interval=_interval(taken[name], taken["ours"]), peer=_version(name),
            peer_value=1.0, ratio=speedup,
        )
        figures[f"head_fps_{name}"] = report.figure(fps, "frames/s", n=ROUNDS)
        figures[f"head_apart_{name}"] = report.figure(apart[name], "m, largest", n=FRAMES * len(rig.template))
    return figures


def peers(arrays: FlameArrays, frames: int) -> dict[str, Poser]:
    """The same head in `smplx` and `flame-pytorch`, for batches of ``frames``, with our layout of values."""
    import smplx
    from flame_pytorch import FLAME

    identities, expressions = arrays.shapedirs_identity.shape[2], arrays.shapedirs_expression.shape[2]
    places = {"lmk_face_idx": np.zeros(51, np.int64), "lmk_b_coords": np.full((51, 3), 1 / 3, np.float32)}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        model, embedding = Path(folder) / "FLAME_NEUTRAL.pkl", Path(folder) / "flame_static_embedding.pkl"
        flame_file.write_pickle(arrays, model)
        embedding.write_bytes(pickle.dumps(places, protocol=2))
        ours = smplx.FLAME(folder, num_betas=identities, num_expression_coeffs=expressions, batch_size=frames)
        settings = SimpleNamespace(
            flame_model_path=model, static_landmark_embedding_path=embedding, batch_size=frames, use_face_contour=False,
            use_3D_translation=True, shape_params=identities, expression_params=expressions,
        )
        theirs = FLAME(settings)

    def parts(values: Tensor, shape: Tensor) -> dict[str, Tensor]:
        named = {name: values[:, where] for name, where in face.layout(values.shape[1]).items()}
        return {**named, "shape": torch.nn.functional.pad(shape, (0, identities - len(shape))).expand(frames, -1)}

    def with_smplx(values: Tensor, shape: Tensor) -> Tensor:
        p = parts(values, shape)
        return ours(
            betas=p["shape"], expression=p["expression"], global_orient=p["head"], neck_pose=p["neck"],
            jaw_pose=p["jaw"], leye_pose=p["eyes"][:, :3], reye_pose=p["eyes"][:, 3:], transl=p["translation"],
        ).vertices

    def with_flame_pytorch(values: Tensor, shape: Tensor) -> Tensor:
        p = parts(values, shape)
        pose = torch.cat([p["head"], p["jaw"]], 1)
        return theirs(p["shape"], p["expression"], pose, p["neck"], p["eyes"], p["translation"])[0]

    return {"smplx": with_smplx, "flame_pytorch": with_flame_pytorch}


def _interval(slow: Float[np.ndarray, " rounds"], fast: Float[np.ndarray, " rounds"]) -> tuple[float, float]:
    """95 % bootstrap interval of the ratio of medians."""
    picks = np.random.default_rng(0).integers(0, len(slow), (2000, len(slow)))
    ratios = np.median(slow[picks], 1) / np.median(fast[picks], 1)
    return float(np.quantile(ratios, 0.025)), float(np.quantile(ratios, 0.975))


def _version(name: str) -> str:
    package = name.replace("_", "-")
    return f"{package} {importlib.metadata.version(package)}"
