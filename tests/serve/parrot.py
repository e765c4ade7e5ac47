"""A gateway around an engine made by hand: it says what it was told, or performs codes that count upwards."""

import asyncio
import base64
import json
from contextlib import contextmanager

import numpy as np
from fastapi.testclient import TestClient

from tdmm_lm import bundle, codec, rigs
from tdmm_lm.lm import vocab
from tdmm_lm.serve import gateway
from tdmm_lm.serve.decoder import Decoder
from tdmm_lm.serve.engine import Begun, Ended, Engine, Moved, Said, Used
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.guard import Keys
from tdmm_lm.serve.metrics import Metrics
from tdmm_lm.serve.server import Server
from tdmm_lm.serve.settings import Limits, Settings
from tdmm_lm.serve.store import Store
from tdmm_lm.serve.workers import Workers

LM = bundle.path("assets/lm")
CODEC = LM / "codec_face"
SAMPLE = sorted(bundle.path("assets/samples").glob("*.npz"))[0]


class Parrot(Engine):
    """What the last user's turn begins with decides: `fail` refuses, `crash` is a fault, `late fail` comes after a
    word, `taken` fails before one, `slow` says a word every .05 s until it is closed, `cut` leaves a motion open."""

    name, folder = "parrot", LM
    extras = frozenset(("stop", "tools", "response_format", "logit_bias", "logprobs", "top_logprobs"))

    def __init__(self):
        self.vocab = vocab.load(LM)
        self.heard, self.up, self.working, self.closed = [], True, 0, 0

    async def ready(self):
        return self.up

    async def answer(self, messages, options):
        self.heard.append((messages, options))
        content = messages[-1]["content"]
        self.working += 1
        try:
            async for piece in self._said(content, options):
                yield piece
        finally:
            self.working -= 1
            self.closed += 1

    async def _said(self, content, options):
        if content.startswith("fail"):
            raise ApiError(400, "conversation: too long", param="messages", code="context_length_exceeded")
        if content.startswith("crash"):
            raise RuntimeError(f"a fault with {content} in it")
        if content.startswith("taken"):
            yield Begun()
            raise ApiError(503, "The engine stopped.", code="engine_gone", retry_after=2)
        frames = options.frames or 30
        for index in range(options.n):
            if options.form == "motion":
                codes = np.arange(frames)[:, None] % 512
                for start in range(0, frames, 7):
                    yield Moved(index, codes[start : start + 7])
                yield Ended(index, "length" if content.startswith("cut") else "stop", content.startswith("cut"))
                continue
            yield Said(index, "you said ")
            if content.startswith("late fail"):
                raise ApiError(503, "The engine stopped.", code="engine_gone", retry_after=2)
            if content.startswith("late crash"):
                raise RuntimeError(f"a fault with {content} in it")
            while content.startswith("slow"):
                await asyncio.sleep(0.05)
                yield Said(index, ".")
            yield Said(index, content)
            yield Ended(index, "stop")
        moved = frames * options.n if options.form == "motion" else 0
        yield Used(3, 4 + moved, moved)


def made(folder, *, keys=(), engine=None, settings=None, **limits):
    """A server as `launch.assemble` makes it, but for the engine."""
    settings = Settings(model_name="parrot", web=False, limits=Limits(**limits), **(settings or {}))
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    return Server(
        settings=settings, store=Store(settings.database, folder, settings), workers=Workers(settings.limits),
        engine=engine or Parrot(), decoder=Decoder(codec.load(CODEC), {"head": rigs.load("head")}),
        codec_folder=CODEC, scratch=folder / "scratch", keys=Keys(keys), metrics=Metrics("parrot"),
        weights=codec.weights_sha256(CODEC),
    )


@contextmanager
def running(server):
    """A client of the server's gateway."""
    with TestClient(gateway.create(server), raise_server_exceptions=False) as client:
        yield client
    server.store.close()


def chat(content="hello", **more):
    return {"model": "parrot", "messages": [{"role": "user", "content": content}], **more}


def ask(client, content="hello", *, key=None, **more):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return client.post("/v1/chat/completions", json=chat(content, **more), headers=headers)


def events(response):
    """A streamed answer's chunks; it must have ended well."""
    blocks = [block for block in response.text.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") for block in blocks)
    assert blocks[-1] == "data: [DONE]", blocks[-1]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


def file_part(data=None, name="clip.npz"):
    data = SAMPLE.read_bytes() if data is None else data
    return {"type": "file", "file": {"filename": name, "file_data": base64.b64encode(data).decode()}}
