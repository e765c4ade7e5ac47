"""The engine over HTTP against a hand-made backend: motion from token ids, and every way a backend can fail."""

import asyncio
import runpy
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import bundle
from tdmm_lm.serve.engine import Begun, Ended, Moved, Options, Said, Used
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.openai_engine import Backend, OpenAIEngine

FAKE = runpy.run_path(str(Path(__file__).with_name("backend.py")))
TALK = [{"role": "user", "content": "smile"}]
MOTION = Options(form="motion", frames=60)


@pytest.fixture
def backend():
    with FAKE["running"]() as made:
        yield made


def asked(options, *urls, wait=5.0, talk=TALK):
    async def ask():
        engine = OpenAIEngine("m", bundle.path("assets/lm"), [Backend(url) for url in urls], wait_seconds=wait)
        try:
            async with aclosing(engine.answer(talk, options)) as pieces:
                return [piece async for piece in pieces], [each.healthy for each in engine.backends]
        finally:
            await engine.close()

    return asyncio.run(ask())


def codes(pieces, index=0):
    return np.concatenate([p.codes for p in pieces if isinstance(p, Moved) and p.index == index])[:, 0].tolist()


@pytest.mark.parametrize("cut", [0, 1, 7, 100])
def test_motion_comes_from_token_ids_however_the_bytes_are_cut(backend, cut):
    backend.cut = cut
    pieces, _ = asked(MOTION, backend.url)
    assert codes(pieces) == list(range(60))
    assert not [p for p in pieces if isinstance(p, Said)]
    assert pieces[0] == Begun()
    assert pieces[-2:] == [Ended(0, "stop"), Used(7, 63, 60)]


def test_what_the_backend_is_asked(backend):
    options = Options(
        form="motion", frames=60, seed=4, max_tokens=9, temperature=0.5, salt="me", more={"stop": ["x"]}
    )
    asked(options, backend.url)
    body = backend.asked[0]
    assert body["structured_outputs"]["grammar"].startswith("start: <[2046]> f{60} <[2047]>")
    assert (body["seed"], body["max_tokens"], body["temperature"], body["cache_salt"]) == (4, 9, 0.5, "me")
    assert body["stop"] == ["x"]
    assert body["return_token_ids"] is True
    asked(Options(form="text"), backend.url)
    assert "[^<]" in backend.asked[1]["structured_outputs"]["grammar"]  # words hold no motion token
    assert backend.asked[1]["temperature"] == 0


def test_several_answers_stay_apart_streamed_and_not(backend):
    for stream in (True, False):
        pieces, _ = asked(Options(form="motion", frames=60, n=3, stream=stream), backend.url)
        assert [codes(pieces, index) for index in range(3)] == [list(range(60))] * 3
        assert pieces[-1].motion_tokens == 180


def test_the_model_itself_chooses_where_nobody_does(backend):
    pieces, _ = asked(Options(), backend.url)
    assert codes(pieces) == list(range(60))
    assert backend.asked[0]["max_tokens"] == 1
    backend.tokens = [10, 44]
    pieces, _ = asked(Options(), backend.url)
    assert [p.text for p in pieces if isinstance(p, Said)] == ["a face smiles"]


def test_a_motion_that_the_limit_cut_says_so(backend):
    backend.tokens = backend.tokens[:30]
    pieces, _ = asked(MOTION, backend.url)
    assert Ended(0, "stop", cut=True) in pieces
    assert len(codes(pieces)) == 29


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("400", 400, "invalid_request"), ("401", 503, "engine_refused"), ("404", 503, "engine_refused"),
        ("429", 503, "engine_refused"), ("500", 503, "engine_refused"), ("503", 503, "engine_refused"),
        ("drop", 503, "engine_down"), ("stall", 503, "engine_gone"), ("slow", 503, "engine_gone"),
        ("cut", 503, "engine_gone"), ("error", 503, "engine_refused"), ("no end", 503, "engine_gone"),
    ],
)
def test_faults_are_openais_errors_with_a_time_to_come_again(backend, fault, status, code):
    backend.fault = fault
    with pytest.raises(ApiError) as caught:
        asked(MOTION, backend.url, wait=0.5)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert (caught.value.retry_after is not None) == (status == 503)


def test_a_broken_grammar_and_missing_ids_are_ours_and_not_guessed_at(backend):
    backend.tokens = [2046, 2048, 10, 2047, 2044]
    with pytest.raises(ApiError) as caught:
        asked(MOTION, backend.url)
    assert caught.value.status == 500
    backend.fault = "no ids"
    with pytest.raises(ApiError, match="token ids"):
        asked(MOTION, backend.url)


def test_another_server_takes_over_before_anything_was_said(backend):
    pieces, healthy = asked(MOTION, "http://127.0.0.1:9/v1", backend.url)
    assert codes(pieces) == list(range(60))
    assert healthy == [False, True]
    with pytest.raises(ApiError) as caught:
        asked(MOTION, "http://127.0.0.1:9/v1")
    assert (caught.value.status, caught.value.code) == (503, "engine_down")


def test_the_server_with_less_to_do_is_asked(backend):
    async def ask():
        with FAKE["running"]() as other:
            backend.pause = other.pause = 0.02
            engine = OpenAIEngine("m", bundle.path("assets/lm"), [Backend(backend.url), Backend(other.url)])

            async def one():
                async for _ in engine.answer(TALK, MOTION):
                    pass

            await asyncio.gather(*(one() for _ in range(8)))
            await engine.close()
            return len(backend.asked), len(other.asked)

    assert asyncio.run(ask()) == (4, 4)


def test_who_stops_listening_stops_the_backend(backend):
    backend.pause = 0.1

    async def leave():
        engine = OpenAIEngine("m", bundle.path("assets/lm"), [Backend(backend.url)])
        async with aclosing(engine.answer(TALK, MOTION)) as pieces:
            await anext(pieces)
        for _ in range(20):
            if not backend.running:
                break
            await asyncio.sleep(0.05)
        await engine.close()
        return backend.running, engine.backends[0].running

    assert asyncio.run(leave()) == (0, 0)
