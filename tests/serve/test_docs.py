"""The examples of docs/serving.md and serve/README.md, taken out of them and run against a real `tdmm serve`."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tdmm_lm import bundle

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs" / "serving.md").read_text()
README = (ROOT / "serve" / "README.md").read_text()
WRITTEN = "http://127.0.0.1:8000"  # where the examples think that the server is
START_SECONDS = 120


def blocks(kind, text=DOC):
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "TDMM_API_KEY"}
    said = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "tdmm_lm", "serve", "serve/transformers.yaml", f"port={port}"]
    with said.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                break
        time.sleep(0.1)
    else:
        process.kill()
        pytest.fail(f"the server did not come up: {said.read_text()[-2000:]}")
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert '"level": "error"' not in said.read_text()


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    """Where the examples run: the clip that they speak of lies there."""
    shutil.copy(bundle.path("assets/samples/delighted_nod.npz"), tmp_path / "clip.npz")
    return tmp_path


def test_python(url, folder):
    """All Python blocks in their order, as one reader would try them; LangChain's is one of them."""
    found = [block for block in blocks("python") if "langchain" not in block]
    assert len(found) >= 2
    script = folder / "example.py"
    script.write_text("\n".join(found).replace(WRITTEN, url) + 'print(second.motion["frames"])\n')
    said = run([sys.executable, script], folder).splitlines()
    assert len(said[0].split()) > 2  # a description
    assert url in said[1]
    assert re.fullmatch("motion-[0-9a-f]{32} 125", said[-2])
    assert said[-1] == "125"


def test_langchain(url, folder):
    if importlib.util.find_spec("langchain_openai") is None:
        pytest.skip("needs langchain-openai")
    (block,) = [block for block in blocks("python") if "langchain" in block]
    (folder / "example.py").write_text(block.replace(WRITTEN, url))
    assert f"{url}/v1/motions/motion-" in run([sys.executable, folder / "example.py"], folder)


@pytest.mark.parametrize("text", [*blocks("sh"), *re.findall(r"(?m)^    (curl (?:.*\\\n)*.*)$", README)])
def test_shell(url, folder, text):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (folder / "example.sh").write_text(text.replace(WRITTEN, url))
    said = run(["bash", "-euo", "pipefail", folder / "example.sh"], folder)
    assert '"object":"chat.completion"' in said
    assert '"frames":125' in said


def test_javascript(url, folder):
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    installed = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "openai"], cwd=folder, capture_output=True, timeout=300
    )
    if installed.returncode:
        pytest.skip("needs the openai package of npm")
    found = blocks("js")
    assert found
    (folder / "example.mjs").write_text("\n".join(found).replace(WRITTEN, url))
    said = run(["node", "example.mjs"], folder)
    assert f"{url}/v1/motions/motion-" in said
    assert "sha256" in said


def test_what_the_documents_name_is_there(url):
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    known = {re.sub(r"\{\w+\}", "{id}", path) for path in paths}
    known |= {"/openapi.json", "/v1/motions/{id}.npz", "/v1/rigs/{name}.glb"}
    verbs = r"(?:(?:GET|POST|DELETE)(?:/(?:GET|POST|DELETE))* )?"
    named = set(re.findall(rf"`{verbs}(/(?:v1/)?[\w/]+(?:/\{{id\}}[\w/]*)?)`", DOC))
    assert len(named) > 5
    for path in named - {"/content", "/"}:
        assert path in known, path
    for name in re.findall(r"\b(?:serve|docs|tdmm_lm)/[\w./-]+\.\w+", DOC + README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`([\w-]+\.(?:yaml|service)|Containerfile)`", DOC + README):
        assert (ROOT / "serve" / name).exists(), name
