"""Chat completions through the whole gateway with a hand-made engine: OpenAI's shapes, motion in and out of them."""

import base64
import re
import threading
import time

import httpx
import numpy as np
import parrot
import pytest
import uvicorn
from parrot import SAMPLE, ask, chat, events, file_part

from tdmm_lm import codec, formats, rigs
from tdmm_lm.formats import npz
from tdmm_lm.lm import vocab
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.serve import gateway

MOTION = re.compile("motion-[0-9a-f]{32}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return parrot.made(tmp_path_factory.mktemp("store"), body_mb=2, file_mb=2)


@pytest.fixture(scope="module")
def client(server):
    with parrot.running(server) as client:
        yield client


def last_heard(server):
    return server.engine.heard[-1]


def test_models_are_listed_and_named(client):
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["parrot"]
    assert client.get("/v1/models/parrot").json()["object"] == "model"
    for answer in (client.get("/v1/models/other"), client.get("/v1/models/"), client.get("/v1/models/a/b")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_text_answers_have_openais_shape(client):
    answer = ask(client).json()
    assert re.fullmatch("chatcmpl-[0-9a-f]{24}", answer["id"])
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0] == {
        "index": 0, "message": {"role": "assistant", "content": "you said hello", "refusal": None}, "logprobs": None,
        "finish_reason": "stop",
    }
    assert answer["usage"] == {
        "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
        "completion_tokens_details": {"motion_tokens": 0},
    }


def test_several_choices(client):
    answer = ask(client, n=3).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    chunks = events(ask(client, n=2, stream=True, modalities=["motion"]))
    whole = {c["index"]: c["delta"]["motion"] for chunk in chunks for c in chunk["choices"]
             if "files" in c["delta"].get("motion", {})}
    assert set(whole) == {0, 1}
    assert whole[0]["id"] != whole[1]["id"]
    assert whole[0]["codes"] == whole[1]["codes"]


def test_motion_comes_as_links_and_as_data_and_its_files_can_be_fetched(client):
    message = ask(client, motion={"seconds": 2, "formats": ["npz", "csv"]}).json()["choices"][0]["message"]
    motion = message["motion"]
    assert MOTION.fullmatch(motion["id"])
    assert (motion["frames"], motion["seconds"], motion["truncated"], motion["rig"]) == (50, 2, False, "head")
    assert motion["codes"] == [[i] for i in range(50)]
    files = {file["format"]: file["url"] for file in motion["files"]}
    assert set(files) == {"npz", "glb", "csv", "mp4"}
    assert message["content"] == f"[npz]({files['npz']}) [csv]({files['csv']})"
    fetched = client.get(files["npz"])
    assert fetched.headers["content-disposition"].startswith("attachment")
    assert client.get(f"/v1/motions/{motion['id']}").json()["files"][0]["bytes"] == len(fetched.content)
    assert client.get(f"/v1/motions/{motion['id']}.exe").status_code == 404


def test_the_length_is_said_to_the_model_and_kept(client, server):
    ask(client, "smile", motion={"frames": 40})
    messages, options = last_heard(server)
    assert (options.frames, options.form) == (40, "motion")
    assert messages[-1]["content"] == "smile [1.6 s]"
    ask(client, "smile", modalities=["text"])
    assert last_heard(server)[1].form == "text"
    ask(client, "smile", modalities=["text", "motion"])
    assert last_heard(server)[1].form == "motion"
    ask(client, "smile", seed=7, motion={"seconds": 1, "seed": 5}, temperature=0.5, top_p=0.9, max_completion_tokens=9)
    options = last_heard(server)[1]
    assert (options.seed, options.temperature, options.top_p, options.max_tokens) == (5, 0.5, 0.9, 9)


def test_an_earlier_turns_motion_is_spelled_out_once(client, server):
    content = ask(client, motion={"frames": 20}).json()["choices"][0]["message"]["content"]
    assert content.count("motion-") == 4
    turns = [
        {"role": "user", "content": "smile"}, {"role": "assistant", "content": content},
        {"role": "user", "content": "angrier"},
    ]
    assert client.post("/v1/chat/completions", json={"model": "parrot", "messages": turns}).status_code == 200
    assert last_heard(server)[0][1]["content"] == vocab.text(np.arange(20)[:, None])
    turns[1]["content"] = f"as [you asked]({MOTION.search(content)[0]})"  # an id alone is no link
    client.post("/v1/chat/completions", json={"model": "parrot", "messages": turns})
    assert last_heard(server)[0][1]["content"] == turns[1]["content"]
    turns[1]["content"] = "http://testserver/v1/motions/motion-" + "0" * 32 + ".npz"
    refused = client.post("/v1/chat/completions", json={"model": "parrot", "messages": turns})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "motion_not_found")


def test_a_message_object_may_be_given_back_as_it_came(client, server):
    """As clients do that keep the assistant's whole message: extra fields and all."""
    message = ask(client, motion={"frames": 20}).json()["choices"][0]["message"]
    turns = [{"role": "user", "content": "smile"}, message, {"role": "user", "content": "angrier"}]
    assert client.post("/v1/chat/completions", json={"model": "parrot", "messages": turns}).status_code == 200
    assert last_heard(server)[0][1]["content"].count("<|face|>") == 1
    turns[1] = {**message, "content": None}
    assert client.post("/v1/chat/completions", json={"model": "parrot", "messages": turns}).status_code == 200
    assert last_heard(server)[0][1]["content"].count("<|face|>") == 1


def test_a_motion_may_be_a_file_a_url_a_stored_file_or_a_stored_motion(client, server):
    wanted = vocab.text(codec.tokenize(server.codec, formats.read(SAMPLE), rigs.load("head")))
    data = base64.b64encode(SAMPLE.read_bytes()).decode()
    stored = client.post("/v1/files", files={"file": ("a.npz", SAMPLE.read_bytes())}, data={"purpose": "user_data"})
    motion = client.post("/v1/motions", json={"file_id": stored.json()["id"]}).json()["id"]
    for part in (
        file_part(), {"type": "file", "file": {"file_data": f"data:application/octet-stream;base64,{data}"}},
        {"type": "motion_url", "motion_url": {"url": f"data:;base64,{data}"}},
        {"type": "motion_url", "motion_url": f"data:;base64,{data}"},
        {"type": "file", "file": {"file_id": stored.json()["id"]}}, {"type": "file", "file": {"file_id": motion}},
        {"type": "motion_url", "motion_url": {"url": f"motion://{motion}"}},
        {"type": "motion_url", "motion_url": {"url": f"http://testserver/v1/motions/{motion}.npz"}},
    ):
        answer = ask(client, [part, {"type": "text", "text": "Describe."}])
        assert answer.status_code == 200, answer.text
        assert last_heard(server)[0][-1]["content"] == f"{wanted} Describe."


@pytest.mark.parametrize(("url", "code"), [
    ("http://example.org/a.npz", "url_not_allowed"), ("ftp://example.org/a.npz", "url_not_allowed"),
    ("file:///etc/passwd", "url_not_allowed"), ("data:application/octet-stream;base64,###", "invalid_base64"),
    ("data:application/octet-stream,abc", "invalid_base64"), ("data:application/octet-stream;base64,", "empty_file"),
    ("data:application/octet-stream;base64," + base64.b64encode(b"no motion at all").decode(), "unreadable_motion"),
])
def test_bad_motion_is_400_and_names_the_part(client, url, code):
    answer = ask(client, [{"type": "motion_url", "motion_url": {"url": url}}, {"type": "text", "text": "what?"}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert answer.json()["error"]["param"].startswith("messages.0.content.0")
    assert "\n" not in answer.json()["error"]["message"]


def test_a_body_is_refused_by_a_model_of_faces(client, tmp_path):
    values = np.zeros((6, body.CHANNELS), np.float32)
    values[:, 3:] = np.tile([1, 0, 0, 0, 1, 0], 22)
    npz.write(MotionClip(values, 20.0, "body", "skeleton"), tmp_path / "b.npz")
    answer = ask(client, [file_part((tmp_path / "b.npz").read_bytes()), {"type": "text", "text": "Describe."}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_modality"), answer.text


def test_streams_have_openais_chunks(client):
    response = ask(client, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    chunks = events(response)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "you said hello"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 7
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert all("usage" not in chunk for chunk in events(ask(client, stream=True)))


def test_streamed_motion_arrives_in_order_with_frames_and_ends_with_its_files(client, server):
    deltas = [c["choices"][0]["delta"] for c in events(ask(client, stream=True, motion={"frames": 100}))]
    pieces = [delta["motion"] for delta in deltas if "motion" in delta]
    opening, *frames, whole = pieces
    assert (opening["seq"], opening["codec"], opening["rig"], opening["fps"]) == (0, "face", "head", 25.0)
    assert [piece["seq"] for piece in frames] == list(range(1, len(frames) + 1))
    assert {piece["id"] for piece in pieces} == {whole["id"]}
    assert [code for piece in frames for code in piece["codes"]] == whole["codes"] == [[i] for i in range(100)]
    assert [piece["frame_start"] for piece in frames] == np.cumsum([0, *(p["frames"] for p in frames)])[:-1].tolist()
    values = np.concatenate([
        np.frombuffer(base64.b64decode(piece["data"]), "<f4").reshape(piece["frames"], -1) for piece in frames
    ])
    assert values.shape == (100, len(opening["channels"]))
    offline = codec.detokenize(server.codec, np.arange(100)[:, None], rigs.load("head"))
    assert np.abs(values - offline.values).max() < 1e-5
    last = next(delta for delta in deltas if "files" in delta.get("motion", {}))
    assert all(file["url"] in last["content"] for file in whole["files"])


def test_streamed_channels_are_named_as_stored_ones(client):
    chunks = events(ask(client, stream=True, motion={"frames": 10}))
    pieces = [c["choices"][0]["delta"]["motion"] for c in chunks if "motion" in c["choices"][0]["delta"]]
    assert client.get(f"/v1/motions/{pieces[-1]['id']}/frames").json()["channels"] == pieces[0]["channels"]


def test_codes_alone_may_be_streamed(client):
    asked = ask(client, stream=True, motion={"frames": 50, "stream_frames": False})
    pieces = [c["choices"][0]["delta"]["motion"] for c in events(asked) if "motion" in c["choices"][0]["delta"]]
    opening, *codes, whole = pieces
    assert "channels" not in opening
    assert all("data" not in piece for piece in codes)
    assert [code for piece in codes for code in piece["codes"]] == whole["codes"]
    assert [piece["frame_start"] for piece in codes][:3] == [0, 7, 14]


def test_a_cut_motion_says_so(client):
    answer = ask(client, "cut", motion={"seconds": 1}).json()["choices"][0]
    assert answer["finish_reason"] == "length"
    assert answer["message"]["motion"]["truncated"]
    assert "Cut at 25 frames, 1.00 s" in answer["message"]["content"]


def test_failures_have_a_status_before_and_an_event_after_the_first_byte(client):
    assert ask(client, "fail").status_code == 400
    streamed = ask(client, "fail", stream=True)  # nothing had been said
    assert (streamed.status_code, streamed.json()["error"]["code"]) == (400, "context_length_exceeded")
    late = ask(client, "late fail", stream=True)
    assert late.status_code == 200
    assert '"engine_gone"' in late.text
    assert "[DONE]" not in late.text
    taken = ask(client, "taken", stream=True)  # the answer begins with the engine's yes, not with its first word
    assert taken.status_code == 200
    assert taken.text.index('"role":"assistant"') < taken.text.index('"engine_gone"')
    assert ask(client, "taken").status_code == 503
    whole = ask(client, "late fail")
    assert (whole.status_code, whole.headers["retry-after"]) == (503, "2")
    for answer in (ask(client, "crash"), ask(client, "crash", stream=True)):
        assert answer.status_code == 500
        assert answer.json()["error"] == {
            "message": "The server had an error; it was logged.", "type": "server_error", "param": None,
            "code": "internal_error",
        }
    assert "a fault with" not in ask(client, "late crash", stream=True).text


def test_what_an_engine_does_not_have_is_refused_and_unknown_fields_are_not(client):
    refused = ask(client, presence_penalty=1.0)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "presence_penalty")
    assert ask(client, presence_penalty=None, store=True, metadata={"a": "b"}, something_new=[1]).status_code == 200
    assert ask(client, logprobs=False).status_code == 200


def test_roles(client, server):
    turns = [
        {"role": "developer", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "4", "tool_call_id": "x"},
    ]
    assert client.post("/v1/chat/completions", json={"model": "parrot", "messages": turns}).status_code == 200
    assert [message["role"] for message in last_heard(server)[0]] == ["system", "user", "assistant", "tool"]


@pytest.fixture(scope="module")
def listening(server, client):
    """The same gateway behind a real socket, for clients that go away."""
    del client  # the engine and the workers are started
    app = gateway.create(server)
    live = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    while not live.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{live.servers[0].sockets[0].getsockname()[1]}"
    live.should_exit = True
    thread.join(10)


def test_a_client_that_goes_ends_its_work(server, listening):
    before = server.engine.closed
    with httpx.stream("POST", f"{listening}/v1/chat/completions", json=chat("slow", stream=True)) as response:
        next(response.iter_bytes())
    ended(server, before + 1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{listening}/v1/chat/completions", json=chat("slow"), timeout=0.5)
    ended(server, before + 2)


def ended(server, count):
    until = time.monotonic() + 5
    while server.engine.closed < count and time.monotonic() < until:
        time.sleep(0.02)
    assert server.engine.closed == count
    assert server.engine.working == 0


def test_torn_json_is_told_of_as_the_body(client):
    answer = client.post("/v1/chat/completions", content=b'{"model"', headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] is None
    assert answer.json()["error"]["message"].startswith("body: ")


def test_errors_are_one_line(client):
    message = client.get("/v1/files/a%0ab%0dc").json()["error"]["message"]
    assert message.split() == ["No", "such", "File", "object:", "a", "b", "c"]
    assert len(message.splitlines()) == 1
