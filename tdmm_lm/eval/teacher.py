"""Tok (TDMM-LM, T19): how many of a true motion's codes a model would have said, each told all codes before it.

It needs the weights, not an endpoint: chat completions do not say what a model would have answered. Teacher forcing
makes it high where neighbouring frames are alike: read it beside what a model says by itself.
"""

from functools import cache

import torch

from tdmm_lm import bundle, codec, rigs
from tdmm_lm.lm import data, generate, tasks, vocab
from tdmm_lm.motion import MotionClip


@cache
def loaded(folder: str) -> tuple[generate.LM, codec.Codec]:
    """The model and its face codec, read once.

    Raises:
        FileNotFoundError, ValueError: no model with its codec in ``folder`` (a path, or a bundled name).
    """
    lm = generate.load(bundle.either(folder))
    return lm, lm.codec()


@torch.no_grad()
def token_accuracy(folder: str, prompt: str, clip: MotionClip) -> float:
    """The share of a face clip's codes that are the model's first choice after the prompt and the codes before.

    Raises:
        FileNotFoundError, ValueError: as `loaded`.
    """
    lm, network = loaded(folder)
    codes = codec.tokenize(network, clip, rigs.load(clip.rig))
    asked = tasks.timed(prompt, len(codes) / network.code_fps)
    talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": vocab.text(codes)}]
    encoded = data.encode(talk, lm.tokenizer, lm.vocab)
    ids = torch.from_numpy(encoded.ids)
    kind = lm.vocab["face"]
    spoken = torch.from_numpy(encoded.answers).bool() & (ids >= kind.first_id) & (ids < kind.first_id + kind.codes)
    logits = lm.model(ids[None]).logits[0, :-1]
    return float((logits.argmax(-1) == ids[1:])[spoken[1:]].float().mean())
