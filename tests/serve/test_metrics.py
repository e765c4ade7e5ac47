"""What is counted: under vLLM's names what vLLM counts too, each figure once, no more labels than there are routes."""

import runpy
from pathlib import Path

import parrot
import pytest
from parrot import ask, events
from prometheus_client.parser import text_string_to_metric_families

from tdmm_lm.serve.engine import Used
from tdmm_lm.serve.metrics import Metrics
from tdmm_lm.serve.openai_engine import Backend, OpenAIEngine

VLLM = runpy.run_path(str(Path(__file__).with_name("backend.py")))


@pytest.fixture
def client(tmp_path):
    with parrot.running(parrot.made(tmp_path, requests_per_minute=100_000)) as client:
        yield client


def figures(text):
    """Samples by name and labels; no family may come twice."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def figure(client, name, **labels):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = figures(answer.text)
    chosen = [value for key, value in found.items() if key[0] == name and set(labels.items()) <= set(key[1:])]
    return sum(chosen)


def test_requests_tokens_and_motion_are_counted(client):
    ask(client)
    ask(client, motion={"seconds": 2})
    events(ask(client, motion={"frames": 75}, stream=True))
    ask(client, "cut", motion={"seconds": 1})
    ask(client, "fail")
    route = "/v1/chat/completions"
    assert figure(client, "tdmm:http_requests_total", route=route, status="200", method="POST") == 4
    assert figure(client, "tdmm:http_requests_total", route=route, status="400") == 1
    assert figure(client, "tdmm:http_request_seconds_count", route=route) == 5
    assert figure(client, "tdmm:motion_tokens_total") == 50 + 75 + 25
    assert figure(client, "tdmm:motion_seconds_total") == 2 + 3 + 1
    assert figure(client, "vllm:prompt_tokens_total", model_name="parrot") == 4 * 3
    assert figure(client, "vllm:generation_tokens_total") == 4 * 4 + 150
    assert figure(client, "vllm:request_success_total", finished_reason="stop") == 3
    assert figure(client, "vllm:request_success_total", finished_reason="length") == 1
    assert figure(client, "vllm:num_requests_running") == 0
    assert figure(client, "vllm:time_to_first_token_seconds_count") == 4
    assert figure(client, "tdmm:first_motion_lag_seconds_count") == 1
    assert figure(client, "tdmm:engine_ready") == 1


def test_an_engine_that_is_down_shows(tmp_path):
    server = parrot.made(tmp_path)
    with parrot.running(server) as client:
        server.engine.up = False
        assert figure(client, "tdmm:engine_ready") == 0


def test_an_engines_own_figures_come_first_and_once(tmp_path):
    with VLLM["running"]() as backend:
        engine = OpenAIEngine("parrot", parrot.LM, [Backend(backend.url)], wait_seconds=5)
        with parrot.running(parrot.made(tmp_path, engine=engine)) as client:
            assert ask(client, motion={"seconds": 2}).status_code == 200
            text = client.get("/metrics").text
    assert text.startswith("# TYPE vllm:num_requests_running gauge\n")
    found = figures(text)
    assert found[("vllm:num_requests_running",)] == 0  # the engine's, without our label
    assert [key for key in found if key[0] == "vllm:num_requests_running"] == [("vllm:num_requests_running",)]
    assert ("tdmm:motion_tokens_total",) in found


def test_families_of_the_engines_name_are_left_to_it():
    metrics = Metrics("m")
    metrics.used(Used(3, 4, 2))
    name = "vllm:prompt_tokens_total"
    theirs = f"# HELP {name} x\n# TYPE {name} counter\n{name} 9.0\n"
    found = figures(metrics.text(theirs))
    assert [value for key, value in found.items() if key[0] == name] == [9]
    assert sum(value for key, value in found.items() if key[0] == "vllm:generation_tokens_total") == 4


def test_clients_choose_no_labels(client):
    before = client.get("/metrics").text.count("\n")
    for number in range(30):
        client.get(f"/v1/motions/motion-{number:032x}")
        client.get(f"/{number}")
        client.request(f"M{number}", "/v1/models")
        ask(client, f"word {number}", user=f"u{number}")
    text = client.get("/metrics").text
    assert text.count("\n") - before < 200  # of a few routes, not of 120 requests
    for part in ("motion-0", "M7", "word", "u7"):
        assert part not in text


def test_with_keys_figures_may_be_closed(tmp_path):
    server = parrot.made(tmp_path, keys=["ann-key"], settings={"open_metrics": False})
    with parrot.running(server) as client:
        assert client.get("/metrics").status_code == 401
        opened = client.get("/metrics", headers={"authorization": "Bearer ann-key"})
        assert opened.status_code == 200
        assert "ann" not in opened.text


def test_restarts_of_the_engine_are_told(tmp_path):
    server = parrot.made(tmp_path)
    server.engine.restarts = 3
    with parrot.running(server) as client:
        assert figure(client, "tdmm:engine_restarts") == 3
