"""The gateway's shapes, with a hand-made engine; the real one is met in tests/e2e."""

import base64
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tdmm_lm.lm.generate import Codes, Finish, Text
from tdmm_lm.motion import MotionClip
from tdmm_lm.serve import files, gateway
from tdmm_lm.serve.engine import Engine
from tdmm_lm.serve.motions import Motions


class Parrot(Engine):
    """Says what it was told, or performs ten frames of code 7 where motion is asked for."""

    name = "parrot"

    def __init__(self):
        self.heard = []

    def spell(self, codes):
        return f"<motion {len(codes)}>"

    def answer(self, messages, options, stop):
        self.heard.append((messages, options))
        if messages[-1]["content"] == "fail":
            raise ValueError("conversation: too long")
        if options.form == "motion":
            frames = options.frames or 10
            yield Codes(np.full((frames - 4, 1), 7))
            yield Codes(np.full((4, 1), 8))
            yield Finish("stop", 5, frames + 2, frames)
        else:
            yield Text("you said ")
            yield Text(messages[-1]["content"])
            yield Finish("stop", 3, 4, 0)


@pytest.fixture
def engine():
    return Parrot()


@pytest.fixture
def client(engine, tmp_path):
    def write(clip, path):
        np.save(path.with_suffix(".npy"), clip.values)
        path.with_suffix(".npy").rename(path)

    motions = Motions(tmp_path / "store", write, lambda path: MotionClip(np.load(path), 25, "face", "head"), most=3)
    app = gateway.create(
        engine,
        motions,
        make=lambda codes: MotionClip(np.repeat(codes, 70, 1), 25, "face", "head"),
        read=lambda clip: np.zeros((clip.frames, 1), np.int64),
    )
    return TestClient(app, raise_server_exceptions=False)


def ask(client, content="hello", **more):
    return client.post(
        "/v1/chat/completions", json={"model": "parrot", "messages": [{"role": "user", "content": content}], **more}
    )


def test_models_are_listed_and_named(client):
    listed = client.get("/v1/models").json()
    assert [m["id"] for m in listed["data"]] == ["parrot"]
    assert client.get("/v1/models/parrot").json()["object"] == "model"
    assert client.get("/v1/models/other").json()["error"]["code"] == "model_not_found"


def test_text_answers_have_openais_shape(client):
    answer = ask(client).json()
    assert answer["choices"][0]["message"]["content"] == "you said hello"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "completion_tokens_details": {"motion_tokens": 0},
    }


def test_motion_comes_as_links_and_as_data_and_its_files_can_be_fetched(client):
    message = ask(client, motion={"seconds": 2}).json()["choices"][0]["message"]
    motion = message["motion"]
    assert motion["frames"] == 50
    assert motion["seconds"] == 2
    assert motion["files"]["glb"] in message["content"]
    assert len(client.get(motion["files"]["npz"]).content) > 50 * 70 * 4
    assert client.get(f"/v1/motions/{motion['id']}").json()["frames"] == 50
    assert client.get(f"/v1/motions/{motion['id']}.exe").status_code == 404
    assert client.get("/v1/motions/motion-0123.npz").status_code == 404
    assert client.get("/v1/motions/..%2f..%2fetc.npz").status_code == 404


def test_an_earlier_turns_motion_is_spelled_out_once(client, engine):
    content = ask(client, motion={"frames": 20}).json()["choices"][0]["message"]["content"]
    turns = [
        {"role": "user", "content": "smile"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "angrier"},
    ]
    client.post("/v1/chat/completions", json={"model": "parrot", "messages": turns})
    assert engine.heard[-1][0][1]["content"] == "<motion 20>"
    turns[1]["content"] = "http://testserver/v1/motions/motion-" + "0" * 24 + ".npz"
    refused = client.post("/v1/chat/completions", json={"model": "parrot", "messages": turns})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "motion_not_found")


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_streams_have_openais_chunks(client):
    chunks = events(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "you said hello"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 7


def test_streamed_motion_arrives_in_order_and_ends_with_its_files(client):
    deltas = [c["choices"][0]["delta"] for c in events(ask(client, stream=True, modalities=["motion"]))]
    pieces = [d["motion"] for d in deltas if "motion" in d]
    assert [p["start"] for p in pieces[:-1]] == [0, 6]
    assert [code for p in pieces[:-1] for code in p["codes"]] == pieces[-1]["codes"]
    assert pieces[-1]["files"]["mp4"] in deltas[-2]["content"]


def test_a_failing_stream_says_so_in_an_event(client):
    text = ask(client, "fail", stream=True).text
    assert "conversation: too long" in text
    assert "[DONE]" not in text
    assert ask(client, "fail").status_code == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "parrot"}, "messages"),
        ({"model": "parrot", "messages": []}, "messages"),
        ({"model": "parrot", "messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"model": "parrot", "messages": [{"role": "user", "content": "  "}]}, "messages"),
        (
            {"model": "parrot", "messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
            "messages.0.content.0.type",
        ),
        ({"model": "parrot", "messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        (
            {"model": "parrot", "messages": [{"role": "user", "content": "x"}], "motion": {"seconds": -1}},
            "motion.seconds",
        ),
        (
            {"model": "parrot", "messages": [{"role": "user", "content": "x"}], "motion": {"seconds": 1000}},
            "motion.seconds",
        ),
        ({"model": "parrot", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, "max_tokens"),
    ],
)
def test_bad_requests_are_400_with_the_place(client, body, param):
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://example.org/a.npz", "url_not_allowed"),
        ("data:application/octet-stream;base64,###", "invalid_base64"),
        ("data:application/octet-stream;base64,", "empty_file"),
        ("data:application/octet-stream;base64," + base64.b64encode(b"no motion at all").decode(), "unreadable_motion"),
    ],
)
def test_bad_motion_is_400_and_names_the_part(client, url, code):
    answer = ask(client, [{"type": "motion_url", "motion_url": {"url": url}}, {"type": "text", "text": "what?"}])
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["param"].startswith("messages.0.content.0")


def test_unknown_models_wrong_routes_and_bodies(client):
    assert (
        client.post(
            "/v1/chat/completions", json={"model": "x", "messages": [{"role": "user", "content": "x"}]}
        ).status_code
        == 404
    )
    assert client.get("/v1/nothing").json()["error"]["type"] == "not_found_error"
    torn = client.post("/v1/chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert (torn.status_code, torn.json()["error"]["type"]) == (400, "invalid_request_error")


def test_keys_guard_v1(engine, tmp_path):
    motions = Motions(tmp_path, lambda clip, path: None, lambda path: None)
    app = gateway.create(engine, motions, make=lambda codes: None, read=lambda clip: None, api_key="secret")
    client = TestClient(app)
    assert client.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
    assert client.get("/v1/models", headers={"authorization": "Bearer secre"}).status_code == 401
    assert client.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
    assert client.get("/health").status_code == 200


def test_large_bodies_are_refused(client, monkeypatch):
    answer = client.post("/v1/chat/completions", content=b" " * (gateway.BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    part = {"type": "file", "file": {"file_data": "A" * 400, "filename": "a.npz"}}
    with pytest.raises(files.ApiError, match="at most 100 bytes"):
        files.clip(part, "messages.0", most=100)


def test_the_store_keeps_the_newest(client):
    names = [ask(client, modalities=["motion"]).json()["choices"][0]["message"]["motion"]["id"] for _ in range(5)]
    found = [client.get(f"/v1/motions/{name}").status_code for name in names]
    assert found.count(200) == 3
    assert found[-1] == 200
