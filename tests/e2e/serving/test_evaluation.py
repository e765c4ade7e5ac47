"""One command to a report: the bundled model behind the gateway on a real vLLM, judged by another real vLLM.

The judge is the nano model itself, forced into JSON: it knows nothing of grading, and the report says so. Tested
is the way of a run from the first question to the page.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tdmm_lm import bundle

pytestmark = pytest.mark.vllm
ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
FILES = (
    "results.json", "samples.jsonl", "table.md", "table.tex", "report.html", "calls.jsonl", "run.json", "settings.json",
    "figs/figures.pdf", "figs/figures.png", "figs/confusion.pdf", "figs/judges.png",
)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a vLLM without our gateway."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("judge") / "log"
    environment = os.environ | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }
    command = [
        str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(bundle.path("assets/lm")),
        "--served-model-name", "nano-judge", "--port", str(port), "--dtype", "float32", "--enforce-eager",
        "--max-model-len", "2048", "--max-num-seqs", "16", "--distributed-executor-backend", "uni",
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        until = time.monotonic() + 240
        while True:
            try:
                if httpx.get(f"{url}/models", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize(("suite", "changes"), [("m2l", ["data.n=12"]), ("l2m", ["data.n=10", "data.swaps=2"])])
def test_one_command_ends_with_all_report_files(service, judge, tmp_path, suite, changes):
    command = [
        sys.executable, "-m", "tdmm_lm", "eval", "run", str(ROOT / "eval" / "suites" / f"{suite}.yaml"), *changes,
        "--endpoint", f"{service.url}/v1", "--judge", judge, "-o", str(tmp_path),
    ]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "judge not validated" in told
    for name in FILES:
        assert (tmp_path / name).stat().st_size > 100, name
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["faults"] == {}
    assert results["model"] == "tdmm-nano"
    assert results["judges"]["judge1"]["model"] == "nano-judge"
    graded = results["judges"]["judge1"]
    assert graded["graded"] + sum(graded["faults"].values()) == results["n"]
    right = results["columns"]["gesture"]
    assert right["value"] > 0.5  # the bundled model sees and performs head gestures
    before = (tmp_path / "results.json").read_bytes()
    subprocess.run([*command, "--offline"], check=True, capture_output=True)
    assert (tmp_path / "results.json").read_bytes() == before
