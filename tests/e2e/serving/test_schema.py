"""Whatever /openapi.json allows and forbids, sent by schemathesis: no fault of ours, no status and no shape that the
page does not tell of. $TDMM_SCHEMA_CASES says how many cases. Run by `make test-serving`."""

import os
import time
import zlib
from collections import Counter
from contextlib import suppress

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tdmm_lm.serve import answers

pytestmark = pytest.mark.vllm

CASES = int(os.environ.get("TDMM_SCHEMA_CASES", "300"))
MOST_TOKENS = 16  # of an answer, so that cases and not the model take the time
CHECKS = [
    not_a_server_error, content_type_conformance, response_headers_conformance, response_schema_conformance,
    status_code_conformance,
]
MOST_TROUBLES, MOST_TURNS = 20, 40
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


@pytest.fixture(scope="module")
def page(service):
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


@pytest.fixture(scope="module")
def there(service, sample):
    """Ids of things that exist, by the first part of their route."""
    motion = service.chat("a woman smiles", motion={"seconds": 1}).json()["choices"][0]["message"]["motion"]["id"]
    job = httpx.post(f"{service.url}/v1/videos", json={"motion": motion, "size": "64x64"}, timeout=60).json()
    video, until = job["id"], time.monotonic() + 120
    while service.get(f"/v1/videos/{video}").json()["status"] != "completed":
        assert time.monotonic() < until
        time.sleep(0.2)
    return {
        "files": [service.upload("sample.npz", sample.read_bytes()).json()["id"]],
        "motions": [motion, *(f"{motion}.{form}" for form in ("npz", "csv", "glb", "bvh", "exe"))],
        "videos": [video], "models": ["tdmm-nano"], "rigs": ["head", "ict"],
    }


def test_the_page_tells_of_every_route(page):
    told = {
        (operation.ok().method.lower(), operation.ok().path) for operation in page.get_all_operations()
    }
    assert told - set(answers.ANSWERS) == {("get", "/metrics")}
    assert set(answers.ANSWERS) <= told


def test_nothing_undocumented_is_answered(page, there):
    operations = [found.ok() for found in page.get_all_operations()]
    counted, troubles, turn = Counter(), {}, 0
    silent = {f"{method} {path}" for method, path in answers.ANSWERS if path.startswith("/v1/") and method != "delete"}
    # for as long as it takes that each of them has had something to say, whatever chance has in mind
    while (counted.total() < CASES or (silent and turn < MOST_TURNS)) and len(troubles) < MOST_TROUBLES:
        each = max(4, (CASES - counted.total()) // (len(operations) * len(MODES)))
        for operation in operations:
            for mode in MODES:
                _sent(operation, mode, each, turn, there, counted, troubles)
        silent -= {name for name, status in counted if status == 200}
        turn += 1
    assert not troubles, "\n".join(troubles.values())
    assert not silent, "expected each of these to answer with 200 once"


def _sent(operation, mode, cases, turn, there, counted, troubles):
    """So many cases of one operation; the troubles of each kind once."""
    name = f"{operation.method.lower()} {operation.path}"

    @seed(turn)
    @settings(
        max_examples=cases, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case):
        _aimed(case, there)
        response = case.call(timeout=120)
        counted[name, response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except (Exception, FailureGroup) as error:  # whatever it is, it is told with its case
            told = " ".join(f"{error} {getattr(error, 'exceptions', '')} {response.text[:300]}".split())[:2000]
            troubles.setdefault((name, response.status_code, told[:60]), f"{name} -> {response.status_code}: {told}")

    with suppress(Unsatisfiable):  # where nothing can be wrong with an operation
        one()


def _aimed(case, there):
    """Every other case gets what only this server knows, so that not all end as unknown: a name, a model, a talk."""
    draw = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode())
    kind, method = case.operation.path.strip("/").split("/")[1:2], case.operation.method.lower()
    named = isinstance(case.path_parameters, dict) and "name" in case.path_parameters
    if named and draw % 2 and method != "delete":  # the next cases want to find something too
        known = there[kind[0]] if case.operation.path.endswith(("{name}", ".glb")) else there[kind[0]][:1]
        case.path_parameters["name"] = known[draw // 2 % len(known)]
    if not isinstance(case.body, dict):
        return
    if case.operation.path == "/v1/chat/completions":
        case.body |= {"max_tokens": MOST_TOKENS, "max_completion_tokens": None}
        if draw % 2:
            case.body |= {"model": "tdmm-nano"}
        if draw % 4 == 1:
            case.body |= {"messages": [{"role": "user", "content": "a woman smiles"}]}
        if draw % 8 in (1, 3):
            kept = {key: case.body[key] for key in ("model", "max_tokens")}
            case.body = {**kept, "messages": [{"role": "user", "content": "a woman smiles"}]}
    elif case.operation.path == "/v1/videos" and draw % 2:
        case.body = {**case.body, "model": "tdmm-nano", "size": "64x64", "seconds": "1"}
        if draw % 4 == 1:
            case.body = {"prompt": "a man nods", "seconds": "0.2", "size": "64x64"}
    elif case.operation.path == "/v1/motions" and draw % 2:
        case.body |= {"file_id": there["files"][0]}
    elif case.operation.path == "/v1/files" and draw % 2:
        case.body |= {"file": b"some bytes", "purpose": "user_data"}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/motions", "/v1/videos", "/v1/chat/completions"])
def test_methods_that_a_route_does_not_have_are_refused_in_openais_shape(service, checks, path):
    _, error_of = checks
    for method in ("PATCH", "PUT", "TRACE"):
        answer = httpx.request(method, service.url + path, timeout=60)
        assert answer.status_code == 405
        assert answer.headers["allow"]
        error_of(answer.json())


def test_a_path_that_is_none_is_refused_in_openais_shape(service, checks):
    _, error_of = checks
    answer = service.get("/v1/nothing")
    assert answer.status_code == 404
    error_of(answer.json())


@pytest.mark.parametrize("value", ["1315524013488470102949888", "-1e999", r'"\ud800"', "1e400"])
@pytest.mark.parametrize("stream", ["true", "false"])
def test_json_that_only_python_reads_is_refused_or_answered_but_no_fault(service, checks, value, stream):
    _, error_of = checks
    tools = f'[{{"type": "function", "function": {{"name": "f", "parameters": {{"x": {value}}}}}}}]'
    for field, content in (
        (f'"tools": {tools}', '"x"'), ('"max_tokens": 4', f'[{{"type": "text", "text": {value}}}]'),
    ):
        turns = f'[{{"role": "user", "content": {content}}}]'
        body = f'{{"model": "tdmm-nano", "stream": {stream}, {field}, "messages": {turns}}}'
        answer = httpx.post(
            f"{service.url}/v1/chat/completions", content=body, headers={"content-type": "application/json"}, timeout=60
        )
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            error_of(answer.json())
