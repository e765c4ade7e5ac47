"""Streamed frames are those of the whole motion, whoever else is decoded at the time, and come early."""

import asyncio

import numpy as np
import pytest

from tdmm_lm import bundle, codec, rigs
from tdmm_lm.serve.decoder import CHUNK, RAMP, Decoder

RIG = "head"


@pytest.fixture(scope="module")
def decoder():
    made = Decoder(codec.load(bundle.path("assets/lm/codec_face")), {RIG: rigs.load(RIG)})
    yield made
    made.close()


def motions(count, seed=0):
    random = np.random.default_rng(seed)
    # codes stay for a while, as a face does
    return [np.repeat(random.integers(0, 512, 40), random.integers(1, 6, 40))[:, None] for _ in range(count)]


async def played(decoder, codes, random, pause=0.0):
    stream, chunks = decoder.open(RIG), []

    async def write():
        at = 0
        while at < len(codes):
            step = int(random.integers(1, 9))
            stream.push(codes[at : at + step])
            at += step
            await asyncio.sleep(pause)
        stream.end()

    writing = asyncio.create_task(write())
    async for chunk in stream:
        chunks.append(chunk)
    await writing
    return chunks


def test_many_streams_at_once_each_equal_their_whole(decoder):
    async def all_of_them():
        random = np.random.default_rng(1)
        return await asyncio.gather(*(played(decoder, codes, random, 0.001) for codes in motions(12)))

    for codes, chunks in zip(motions(12), asyncio.run(all_of_them())):
        whole = codec.detokenize(decoder.codec, codes, decoder.rigs[RIG])
        assert [chunk.start for chunk in chunks] == np.cumsum([0, *(len(c.values) for c in chunks)]).tolist()[:-1]
        assert np.concatenate([chunk.codes for chunk in chunks]).tolist() == codes.tolist()
        got = np.concatenate([chunk.values for chunk in chunks])
        assert got.shape == whole.values.shape
        assert np.abs(got - whole.values).max() < 1e-5


def test_the_first_chunk_is_small_and_needs_only_what_it_sees(decoder):
    ahead = decoder.codec.look_ahead[1]

    async def first():
        stream = decoder.open(RIG)
        chunks = aiter(stream)
        stream.push(np.zeros((RAMP[0] + ahead - 1, 1), np.int64))
        following = asyncio.ensure_future(anext(chunks))
        done, _ = await asyncio.wait({following}, timeout=0.2)
        assert not done
        stream.push(np.zeros((1, 1), np.int64))
        chunk = await asyncio.wait_for(following, 5)
        stream.push(np.zeros((300, 1), np.int64))
        stream.end()
        return [len(chunk.values), *[len(c.values) async for c in chunks]]

    sizes = asyncio.run(first())
    assert sizes[0] == RAMP[0]
    assert sum(sizes) == RAMP[0] + ahead + 300
    assert sizes[1] >= CHUNK  # what came late is not cut up


def test_a_code_that_does_not_exist_ends_its_own_stream_alone(decoder):
    async def both():
        bad, good = decoder.open(RIG), decoder.open(RIG)
        bad.push(np.full((3, 1), 880))
        good.push(np.zeros((40, 1), np.int64))
        bad.end()
        good.end()
        with pytest.raises(ValueError, match="expected 0 to 879"):
            [chunk async for chunk in bad]
        return [len(chunk.values) async for chunk in good]

    assert sum(asyncio.run(both())) == 40


def test_a_closed_stream_is_forgotten(decoder):
    async def close():
        stream = decoder.open(RIG)
        stream.close()
        stream.push(np.zeros((100, 1), np.int64))
        await asyncio.sleep(0.2)
        return stream._made.empty(), len(decoder._waiting)

    assert asyncio.run(close()) == (True, 0)
