"""A hundred streamed motions, sixteen at once: each equals the offline decode of its codes; nobody gets another's."""

import asyncio
import base64

import numpy as np
import openai
import pytest

from tdmm_lm import bundle, codec, rigs

pytestmark = pytest.mark.vllm
REQUESTS, AT_ONCE = 100, 16
PROMPTS = ("a woman smiles broadly", "a man frowns and shakes his head", "a girl looks surprised", "someone nods twice")


async def streamed(client, number, turn):
    """What request ``number`` got: its frames as they were streamed, its codes and its motion's id."""
    async with turn:
        stream = await client.chat.completions.create(
            model="tdmm-nano", messages=[{"role": "user", "content": PROMPTS[number % len(PROMPTS)]}], seed=number,
            stream=True, extra_body={"motion": {"frames": 60 + number}},
        )
        deltas = [chunk.choices[0].delta async for chunk in stream if chunk.choices]
    motions = [delta.motion for delta in deltas if (delta.model_extra or {}).get("motion")]
    opening, *pieces, whole = motions
    width = len(opening["channels"])
    assert {piece["id"] for piece in motions} == {opening["id"]}
    assert [piece["seq"] for piece in pieces] == list(range(1, len(pieces) + 1))
    assert [p["frame_start"] for p in pieces] == [0, *np.cumsum([p["frames"] for p in pieces]).tolist()[:-1]]
    values = [np.frombuffer(base64.b64decode(p["data"]), "<f4").reshape(-1, width) for p in pieces]
    assert [code for p in pieces for code in p["codes"]] == whole["codes"]
    return np.concatenate(values), np.asarray(whole["codes"]), whole["id"]


def test_streamed_frames_are_those_of_the_offline_decode(service):
    async def ask():
        url = f"{service.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=300) as client:
            turn = asyncio.Semaphore(AT_ONCE)
            together = await asyncio.gather(*(streamed(client, number, turn) for number in range(REQUESTS)))
            alone = [await streamed(client, number, turn) for number in range(0, REQUESTS, 10)]
        return together, alone

    together, alone = asyncio.run(ask())
    model, rig = codec.load(bundle.path("assets/lm/codec_face")), rigs.load("head")
    for number, (values, codes, _) in enumerate(together):
        assert len(codes) == 60 + number
        whole = codec.detokenize(model, codes, rig)
        assert values.shape == whole.values.shape
        assert np.abs(values - whole.values).max() < 1e-5
    assert len({name for _, _, name in together}) == REQUESTS
    # what a token is computed beside changes its rounding, and now and then a choice: most motions come again, not all
    assert sum(np.array_equal(codes, together[10 * i][1]) for i, (_, codes, _) in enumerate(alone)) >= 5
