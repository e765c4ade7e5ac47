"""Codes that rigs confuse become one: fewer codes, more frames that have the same code on every head.

A code's cell ends somewhere, and a motion that passes near an end has one code as one rig reads it and the next code as
another does. Where two codes lie close together and are often confused, little is lost by making them one.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdmm_lm import codec
from tdmm_lm.codec import vq


def check(model: codec.Codec, count: int) -> None:
    """Whether so many codes can go.

    Raises:
        ValueError: a codec without one codebook of free vectors, or with fewer codes than are to go.
    """
    if not isinstance(model.quantizer, vq.Quantizer):
        raise ValueError("merged: expected a codec of one codebook of free vectors (vq); set 0 with others.")
    if not 0 < count < model.codebook_size - 1:
        most = model.codebook_size - 2
        raise ValueError(f"merged: expected 1 to {most} of the codec's {most + 2} codes to go, got {count}.")


@torch.no_grad()
def merge(model: codec.Codec, clips: Iterable[Float[Tensor, "frames readings components"]], count: int) -> codec.Codec:
    """A codec with ``count`` codes less: again and again the two whose confusion weighs most against their distance.

    A pair's confusions among the readings of one frame are divided by the root of what merging it adds to the squared
    error of code vectors (Ward's criterion); the new code lies at the mean of both by use.

    Raises:
        ValueError: as `check`.
    """
    check(model, count)
    size = model.codebook_size
    use, confused = counted(model, clips)
    book, alive = model.codebook()[0].double(), torch.ones(size, dtype=torch.bool)
    for _ in range(count):
        weight = use[:, None] * use / (use[:, None] + use)
        gain = confused / (weight * torch.cdist(book, book).square() + 1e-9).sqrt()
        gain[~alive], gain[:, ~alive] = -1, -1
        gain.fill_diagonal_(-1)
        a, b = divmod(int(gain.argmax()), size)
        book[a] = (use[a] * book[a] + use[b] * book[b]) / (use[a] + use[b])
        use[a] += use[b]
        confused[a] += confused[b]
        confused[:, a] += confused[:, b]
        alive[b] = False
    merged = vq.build({**model.settings.model_dump(), "codebook_size": size - count})
    state = {
        key: value[:, alive] if key.startswith("quantizer.") and value.ndim > 1 else value
        for key, value in model.state_dict().items()
    }
    vectors, uses = book[alive].float(), state["quantizer._codebook.cluster_size"]
    state["quantizer._codebook.embed"] = vectors[None]
    state["quantizer._codebook.embed_avg"] = vectors[None] * uses[..., None]  # what further training goes on from
    merged.load_state_dict(state)
    return merged.eval()


def counted(
    model: codec.Codec, clips: Iterable[Float[Tensor, "frames readings components"]]
) -> tuple[Float[Tensor, " codes"], Float[Tensor, "codes codes"]]:
    """How often each code is a clip's own (and once more), and how often two are codes of one frame read twice."""
    size, device = model.codebook_size, model.codebook().device
    use, confused = torch.ones(size).double(), torch.zeros(size, size).double()
    for clip in clips:
        whole = clip[: len(clip) - len(clip) % model.frames_per_code].transpose(0, 1).to(device)
        codes: Int[Tensor, "readings n"] = model.quantizer.codes(model.encoder(whole))[..., 0].cpu()
        use += torch.bincount(codes[0], minlength=size)
        for i in range(len(codes)):
            for j in range(i):
                pairs = torch.bincount(codes[i] * size + codes[j], minlength=size**2).view(size, size)
                confused += pairs + pairs.T
    return use, confused.fill_diagonal_(0)
