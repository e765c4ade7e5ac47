"""The unmodified openai client against the bundled model: describe, prompt, edit in a second turn, streamed and not."""

import base64
import socket
import threading
import time

import numpy as np
import openai
import pytest
import uvicorn

from tdmm_lm import bundle, formats
from tdmm_lm.serve import launch
from tdmm_lm.serve.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = launch.create(Settings(store=str(tmp_path_factory.mktemp("motions"))))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def sample():
    return sorted(bundle.path("assets/samples").glob("*.npz"))[0]


def parts(sample, text="Describe this motion."):
    data = base64.b64encode(sample.read_bytes()).decode()
    return [{"type": "file", "file": {"filename": sample.name, "file_data": data}}, {"type": "text", "text": text}]


def test_the_model_is_listed(client):
    assert [model.id for model in client.models.list()] == ["tdmm-nano"]


def test_a_clip_is_described_streamed_and_not_with_the_same_words(client, sample):
    messages = [{"role": "user", "content": parts(sample)}]
    whole = client.chat.completions.create(model="tdmm-nano", messages=messages)
    text = whole.choices[0].message.content
    assert len(text.split()) >= 3
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.prompt_tokens > formats.read(sample).frames
    pieces = client.chat.completions.create(model="tdmm-nano", messages=messages, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces).strip() == text


def test_a_motion_url_does_the_same_as_a_file(client, sample):
    url = "data:application/octet-stream;base64," + base64.b64encode(sample.read_bytes()).decode()
    by_url = [{"type": "motion_url", "motion_url": {"url": url}}, {"type": "text", "text": "Describe this motion."}]
    answers = [
        client.chat.completions.create(model="tdmm-nano", messages=[{"role": "user", "content": content}])
        for content in (by_url, parts(sample))
    ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


def test_a_prompt_becomes_a_motion_of_the_asked_length_and_is_edited_in_a_second_turn(client, tmp_path):
    turns = [{"role": "user", "content": "a woman smiles broadly, then nods twice"}]
    ask = {"model": "tdmm-nano", "seed": 1, "extra_body": {"motion": {"seconds": 4}}}
    first = client.chat.completions.create(messages=turns, **ask).choices[0].message
    assert first.motion["frames"] == 100
    urls = {file["format"]: file["url"] for file in first.motion["files"]}
    assert urls["glb"] in first.content
    again = client.chat.completions.create(messages=turns, **ask).choices[0].message
    assert again.motion["codes"] == first.motion["codes"]

    npz = tmp_path / "first.npz"
    npz.write_bytes(client.get(urls["npz"], cast_to=openai.HttpxBinaryResponseContent).content)
    assert formats.read(npz).frames == 100

    turns += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "now make it angrier"}]
    second = client.chat.completions.create(messages=turns, **ask).choices[0].message
    assert second.motion["frames"] == 100
    assert second.motion["codes"] != first.motion["codes"]


def test_streamed_motion_is_the_same_motion(client):
    ask = {
        "model": "tdmm-nano",
        "seed": 3,
        "messages": [{"role": "user", "content": "a man looks surprised"}],
        "extra_body": {"motion": {"seconds": 2}},
    }
    whole = client.chat.completions.create(**ask).choices[0].message.motion
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**ask, stream=True)]
    motions = [delta.motion for delta in deltas if "motion" in (delta.model_extra or {})]
    assert motions[-1]["codes"] == whole["codes"]
    assert np.concatenate([m["codes"] for m in motions[1:-1]]).tolist() == whole["codes"]


def test_without_being_told_the_model_answers_a_prompt_with_a_motion_of_its_own_length(client):
    messages = [{"role": "user", "content": "a girl frowns and shakes her head"}]
    answer = client.chat.completions.create(model="tdmm-nano", messages=messages, seed=5)
    motion = answer.choices[0].message.motion
    assert 25 <= motion["frames"] <= 250
    assert answer.usage.completion_tokens_details.model_extra["motion_tokens"] == motion["frames"]


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="seconds"):
        client.chat.completions.create(
            model="tdmm-nano", messages=[{"role": "user", "content": "x"}], extra_body={"motion": {"seconds": 0}}
        )
