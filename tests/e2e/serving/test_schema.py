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
MOST_TROUBLES = 20  # after which it is told
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
    while counted.total() < CASES and len(troubles) < MOST_TROUBLES:
        each = max(1, (CASES - counted.total()) // (len(operations) * len(MODES)))
        for operation in operations:
            for mode in MODES:
                _sent(operation, mode, each, turn, there, counted, troubles)
        turn += 1
    assert not troubles, "\n".join(troubles.values())
    for method, path in answers.ANSWERS:
        if path.startswith("/v1/") and method != "delete":
            assert counted[f"{method} {path}", 200], f"{method} {path} never had anything to say"


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
        except Exception as error:  # whatever it is, it is told with its case
            told = " ".join(str(error).split())[:900]
            troubles.setdefault((name, response.status_code, told[:60]), f"{name} -> {response.status_code}: {told}")

    with suppress(Unsatisfiable):  # where nothing can be wrong with an operation
        one()


def _aimed(case, there):
    """Every other case gets what only this server knows, so that not all end as unknown: a name, a model, a talk."""
    draw = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode())
    kind, method = case.operation.path.strip("/").split("/")[1:2], case.operation.method.lower()
    named = isinstance(case.path_parameters, dict) and "name" in case.path_parameters
    if named and draw % 2 and method != "delete":  # the next cases want to find something too
        known = there[kind[0]]
        case.path_parameters["name"] = known[draw // 2 % len(known)]
    if not isinstance(case.body, dict):
        return
    if case.operation.path == "/v1/chat/completions":
        case.body |= {"max_tokens": MOST_TOKENS, "max_completion_tokens": None}
        if draw % 2:
            case.body |= {"model": "tdmm-nano"}
        if draw % 8 == 1:
            case.body |= {"messages": [{"role": "user", "content": "a woman smiles"}]}
        if draw % 16 == 1:
            case.body = {key: case.body[key] for key in ("model", "messages", "max_tokens")}
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
