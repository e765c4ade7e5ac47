"""One JSON object a line; of a request who, where and how long, and never what was in it."""

import base64
import io
import json
import logging

import parrot
import pytest
from parrot import SAMPLE, ask, file_part

from tdmm_lm.serve import logs

KEY, WORDS = "ann-key-7f3a", "a secret smile of 4711"


@pytest.fixture
def lines():
    """Everything that is logged at any level, formatted as in a server."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logs.Lines())
    handler.addFilter(lambda record: not record.name.startswith("http"))  # the client of these tests
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in out.getvalue().split("\n") if line]
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
def client(tmp_path, lines):
    with parrot.running(parrot.made(tmp_path, keys=[KEY])) as client:
        yield client


def told(lines):
    return [line for line in lines() if line["logger"] == "tdmm_lm.requests" and line["message"] == "request"]


def test_a_request_is_one_line_that_its_answer_can_be_found_by(client, lines):
    answer = ask(client, WORDS, key=KEY)
    (line,) = told(lines)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert (line["bytes_in"], line["bytes_out"]) == (len(answer.request.content), len(answer.content))
    assert line["ms"] > 0
    assert line["time"].endswith("Z")
    assert line["level"] == "info"
    assert line["owner"].startswith("key-")
    given = client.get("/v1/models", headers={"authorization": f"Bearer {KEY}", "x-request-id": "mine-1"})
    assert (told(lines)[-1]["request_id"], given.headers["x-request-id"]) == ("mine-1", "mine-1")


def test_no_payload_no_key_and_no_link_is_logged(client, lines):
    data = base64.b64encode(SAMPLE.read_bytes()).decode()
    for stream in (False, True):
        for begin in ("", "fail ", "crash ", "late fail ", "late crash "):
            ask(client, begin + WORDS, key=KEY, stream=stream, user="user-4711")
    motion = ask(client, WORDS, key=KEY, motion={"seconds": 1}).json()["choices"][0]["message"]["motion"]
    client.get(motion["files"][0]["url"])
    client.get(f"/v1/motions/{motion['id']}?x={WORDS}", headers={"authorization": f"Bearer {KEY}"})
    ask(client, [file_part(name="secret-name.npz"), {"type": "text", "text": WORDS}], key=KEY)
    ask(client, [file_part(WORDS.encode(), name="secret-name.npz")], key=KEY)
    ask(client, [{"type": "motion_url", "motion_url": {"url": f"http://{WORDS}/"}}], key=KEY)
    ask(client, WORDS, key="wrong-key-4711")
    client.post("/v1/files", files={"file": ("secret-name.npz", WORDS.encode())}, data={"purpose": "user_data"},
                headers={"authorization": f"Bearer {KEY}"})
    text = json.dumps(lines())
    assert len(told(lines)) == 18
    for secret in (WORDS, "4711", KEY, data[:40], "signature=", "secret-name", motion["id"], "Bearer"):
        assert secret not in text, secret


def test_of_a_fault_its_kind_and_place_are_logged(client, lines):
    answer = ask(client, "crash " + WORDS, key=KEY)
    (fault,) = [line for line in lines() if line["level"] == "error"]
    assert fault["request_id"] == answer.headers["x-request-id"]
    assert fault["exception"][0] == "RuntimeError"
    assert any("parrot.py:" in place for place in fault["exception"])


def test_causes_are_told_too_and_end():
    first = ValueError("secret")
    try:
        raise RuntimeError("secret") from first
    except RuntimeError as error:
        first.__cause__ = error  # a circle, which tracebacks may be
        said = logs.told(error)
    assert [word for word in said if word.endswith("Error")] == ["RuntimeError", "ValueError"]
    assert "secret" not in " ".join(said)
    assert logs.told(None) == []


def test_a_line_stays_a_line(lines):
    logging.getLogger("tdmm_lm.x").warning("two\nlines \u2028 and \x1b[2J %s", "more")
    (line,) = lines()
    assert line["message"] == "two\nlines \u2028 and \x1b[2J more"


def test_to_stderr_sets_all_of_it(capsys):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.to_stderr()
        logging.getLogger("tdmm_lm.x").info("hello")
        logging.getLogger("httpx").info("a url with a secret")
    finally:
        root.handlers[:], root.level = before[0], before[1]
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "hello"
