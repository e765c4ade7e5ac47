"""How fast the face codec turns features into codes and back on one core, beside real time.

    tdmm bench codec
"""

import time
from typing import Any

import torch

from tdmm_lm import bundle, codec, report

FRAMES = 1500  # a minute
REPEATS = 5


@torch.no_grad()
def run(folder: str | None = None) -> dict[str, dict[str, Any]]:
    """Frames/s of encoding and decoding one clip at a time (``encode_fps``, ``decode_fps``) against the code rate."""
    model = codec.load(folder or bundle.path("tokenizers/face"))
    x = torch.randn(1, FRAMES, model.features, generator=torch.Generator().manual_seed(0)) * 0.02
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        codes = model.encode(x)
        figures = {}
        for name, call in (("encode_fps", lambda: model.encode(x)), ("decode_fps", lambda: model.decode(codes))):
            taken = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                call()
                taken.append(time.perf_counter() - start)
            fps = FRAMES / min(taken)
            figures[name] = report.figure(
                fps, "frames/s", n=FRAMES, peer="real time", peer_value=model.code_fps, ratio=fps / model.code_fps
            )
        return figures
    finally:
        torch.set_num_threads(threads)
