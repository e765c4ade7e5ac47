"""Unmodified clients against the gateway on a real vLLM: describe, prompt exactly, edit; their own types as judges."""

import asyncio
import base64
import json
import shutil
import subprocess
from pathlib import Path

import httpx
import openai
import pytest
from openai.types import FileObject, Model, Video
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tdmm_lm import bundle, formats, rigs
from tdmm_lm.formats.video import landmarker
from tdmm_lm.render import mesh

pytestmark = pytest.mark.vllm
MODEL = "tdmm-nano"
JS = Path(__file__).resolve().parent / "js"


@pytest.fixture
def client(service):
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def sample():
    return bundle.path("assets/samples") / "delighted_nod.npz"


@pytest.fixture(scope="module")
def video(sample, tmp_path_factory):
    try:
        landmarker()
    except FileNotFoundError as error:
        pytest.skip(f"needs MediaPipe's model: {error}")
    path = tmp_path_factory.mktemp("video") / "face.mp4"
    mesh.write(formats.read(sample), path, rigs.load("head"), size=(320, 320))
    return path


def asked(part):
    return [{"role": "user", "content": [part, {"type": "text", "text": "Describe this motion."}]}]


def strict(kind, data):
    """The client's own type takes the answer as it is, nothing coerced."""
    return kind.model_validate_json(json.dumps(data), strict=True)


def chunks(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line and not line.startswith(":")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_clip_is_described_by_id_and_inline_streamed_and_not(client, sample):
    file = client.files.create(file=sample, purpose="user_data")
    inline = {"filename": sample.name, "file_data": base64.b64encode(sample.read_bytes()).decode()}
    said = []
    for part in ({"file_id": file.id}, inline):
        messages = asked({"type": "file", "file": part})
        answer = client.chat.completions.create(model=MODEL, messages=messages)
        said.append(answer.choices[0].message.content)
        assert answer.choices[0].finish_reason == "stop"
        stream = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream).strip() == said[-1]
    assert said[0] == said[1]
    assert "nod" in said[0]


def test_a_video_is_described(client, video):
    file = client.files.create(file=video, purpose="user_data")
    answer = client.chat.completions.create(model=MODEL, messages=asked({"type": "file", "file": {"file_id": file.id}}))
    assert len(answer.choices[0].message.content.split()) >= 4
    url = "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode()
    again = client.chat.completions.create(
        model=MODEL, messages=asked({"type": "video_url", "video_url": {"url": url}})
    )
    assert again.choices[0].message.content == answer.choices[0].message.content


def test_a_motion_is_exactly_as_long_as_asked_and_is_edited_in_a_second_turn(client):
    turns = [{"role": "user", "content": "a woman smiles broadly, then nods twice"}]
    ask = {"model": MODEL, "seed": 1, "extra_body": {"motion": {"seconds": 5}}}
    first = client.chat.completions.create(messages=turns, **ask).choices[0].message
    assert first.motion["frames"] == len(first.motion["codes"]) == 125
    again = client.chat.completions.create(messages=turns, **ask).choices[0].message
    assert again.motion["codes"] == first.motion["codes"]  # a seed repeats
    turns += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "now make it angrier"}]
    second = client.chat.completions.create(messages=turns, **ask)
    assert second.choices[0].message.motion["frames"] == 125
    assert second.choices[0].message.motion["codes"] != first.motion["codes"]
    assert second.usage.prompt_tokens > 125  # the first motion was shown to the model
    turns[1] = {"role": "assistant", "content": None, "motion": {"id": first.motion["id"]}}
    by_id = client.chat.completions.create(messages=turns, **ask)
    assert by_id.choices[0].message.motion["codes"] == second.choices[0].message.motion["codes"]


def test_every_answer_is_of_the_clients_own_type(service, sample):
    api = httpx.Client(base_url=f"{service.url}/v1", timeout=120)
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "a man frowns"}], "seed": 2}
    words = {"modalities": ["text"], "logprobs": True, "top_logprobs": 2}
    for more in ({}, {"motion": {"frames": 30}}, words, {"n": 2}):
        answer = strict(ChatCompletion, api.post("/chat/completions", json={**ask, **more}).json())
        assert len(answer.choices) == more.get("n", 1)
        if more is words:
            assert answer.choices[0].logprobs.content[0].top_logprobs
        counting = {"stream": True, "stream_options": {"include_usage": True}}
        streamed = chunks(api.post("/chat/completions", json={**ask, **more, **counting}))
        for chunk in streamed:
            strict(ChatCompletionChunk, chunk)
        assert streamed[0]["choices"][0]["delta"]["role"] == "assistant"
        assert streamed[-1]["choices"] == []
        assert streamed[-1]["usage"]["total_tokens"] > 0
    for model in api.get("/models").json()["data"]:
        strict(Model, model)
    file = api.post("/files", files={"file": sample.open("rb")}, data={"purpose": "user_data"}).json()
    strict(FileObject, file)
    strict(FileObject, api.get(f"/files/{file['id']}").json())
    video = api.post("/videos", json={"prompt": "a man smiles", "seconds": "1"}).json()
    strict(Video, video)
    api.delete(f"/videos/{video['id']}")


def test_limits_and_stops(client):
    messages = [{"role": "user", "content": "a woman smiles"}]
    cut = client.chat.completions.create(
        model=MODEL, messages=messages, max_tokens=41, extra_body={"motion": {"frames": 125}}
    ).choices[0]
    assert cut.finish_reason == "length"
    assert cut.message.motion["truncated"] is True
    assert cut.message.motion["frames"] == 40
    assert "Cut at 40 frames" in cut.message.content
    words = {"model": MODEL, "messages": messages, "extra_body": {"modalities": ["text"]}}
    whole = client.chat.completions.create(**words).choices[0].message.content
    word = whole.split()[1]
    stopped = client.chat.completions.create(**words, stop=[word]).choices[0].message.content
    assert word not in stopped.split()
    short = client.chat.completions.create(**words, max_completion_tokens=2)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 2)


def test_async_clients_side_by_side(service):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:

            async def one(seed):
                stream = await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "a girl laughs"}], seed=seed, stream=True,
                    extra_body={"motion": {"seconds": 5}},
                )
                return [chunk async for chunk in stream][-2].choices[0].delta.motion["frames"]

            return await asyncio.gather(*(one(seed) for seed in range(4)))

    assert asyncio.run(ask()) == [125] * 4


def test_langchain(service, sample):
    from langchain_openai import ChatOpenAI

    known = {"model": MODEL, "base_url": f"{service.url}/v1", "api_key": "none"}
    answer = ChatOpenAI(**known, seed=1, extra_body={"motion": {"seconds": 5}}).invoke("a woman smiles broadly")
    links = answer.text.replace("(", " ").replace(")", " ").split()
    assert len(httpx.get(next(link for link in links if link.endswith(".npz")), timeout=60).content) > 1000
    data = base64.b64encode(sample.read_bytes()).decode()
    message = asked({"type": "file", "file": {"filename": sample.name, "file_data": data}})
    assert "nod" in "".join(chunk.text for chunk in ChatOpenAI(**known).stream(message))


def test_curl(service, sample):
    def curl(*arguments):
        command = ["curl", "-sS", "--fail-with-body", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    file = curl(f"{service.url}/v1/files", "-F", f"file=@{sample}", "-F", "purpose=user_data")
    ask = {"model": MODEL, "messages": asked({"type": "file", "file": {"file_id": file["id"]}})}
    url, header = f"{service.url}/v1/chat/completions", ["-H", "content-type: application/json"]
    assert "nod" in curl(url, *header, "-d", json.dumps(ask))["choices"][0]["message"]["content"]
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "smile"}], "motion": {"seconds": 5}}
    assert curl(url, *header, "-d", json.dumps(ask))["choices"][0]["message"]["motion"]["frames"] == 125


def test_javascript(service, sample):
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm")
    if not (JS / "node_modules" / "openai").is_dir():
        done = subprocess.run([npm, "install"], cwd=JS, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"npm install failed, which needs the network: {done.stderr.strip().splitlines()[-1:]}")
    command = [node, "client.mjs", f"{service.url}/v1", str(sample)]
    done = subprocess.run(command, cwd=JS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert "nod" in said["described"]
    assert (said["frames"], said["edited"], said["streamed"]) == (125, 125, 125)
