"""The guard by itself, around an application made by hand: keys, allowances, bodies as they arrive, ids, draining."""

import ast
import asyncio
import inspect
import json
import textwrap

import pytest

from tdmm_lm.serve import guard, links
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.guard import Allowance, Guard, Keys
from tdmm_lm.serve.metrics import Metrics
from tdmm_lm.serve.settings import Limits

SECRET = b"s" * 32


class Clock:
    """`time` as the guard uses it, moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(guard, "time", made)
    return made


async def whole(scope, receive, send):
    """An application that reads its body and says who asked and how much came."""
    count, more = 0, True
    while more:
        message = await receive()
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
    said = json.dumps({"owner": scope["state"]["owner"], "bytes": count}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": said})


def made(app=whole, keys=(), **limits):
    return Guard(app, keys=Keys(keys), limits=Limits(**limits), metrics=Metrics("m"), secret=SECRET)


def asked(around, path="/v1/x", *, method="POST", headers=None, pieces=(b"",), query=b"", pulled=None):
    """(status, headers, body) of one request whose body comes in pieces; ``pulled`` counts those that were taken."""
    waiting = [
        {"type": "http.request", "body": piece, "more_body": number + 1 < len(pieces)}
        for number, piece in enumerate(pieces)
    ]
    sent = []

    async def receive():
        if not waiting:
            return {"type": "http.disconnect"}
        if pulled is not None:
            pulled.append(1)
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "query_string": query,
        "headers": [(key.encode(), value.encode("latin-1")) for key, value in (headers or {}).items()],
    }
    asyncio.run(around(scope, receive, send))
    start = sent[0]
    return start["status"], dict(start["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


def test_each_key_is_an_owner_and_no_key_is_kept():
    keys = Keys(["one", "two"])
    assert len({keys.owner("one"), keys.owner("two")}) == 2
    assert keys.owner("three") is keys.owner("") is keys.owner("one ") is keys.owner("\udcffö") is None
    assert keys.known(keys.owner("one"))
    assert not keys.known(None)
    assert not keys.known("key-0")
    assert "one" not in repr(vars(keys))
    assert "one" not in keys.owner("one")
    assert not Keys([])


def test_keys_are_compared_in_constant_time():
    """By structure: digests of one length, compared by hmac, every one of them, with no way out of the loop."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(Keys.owner)))
    loop = next(node for node in ast.walk(tree) if isinstance(node, ast.For))
    ways_out = ast.Break | ast.Return | ast.Continue | ast.Compare
    assert not [node for node in ast.walk(loop) if isinstance(node, ways_out)]
    called = {ast.unparse(node.func) for node in ast.walk(loop) if isinstance(node, ast.Call)}
    assert "hmac.compare_digest" in called
    assert "hmac.compare_digest" in inspect.getsource(links.owner_of)


def test_a_key_is_wanted_where_there_are_keys():
    around = made(keys=["one", "two"])
    for headers in ({}, {"authorization": "Bearer three"}, {"authorization": "Basic one"}, {"authorization": "one"},
                    {"authorization": "Bearer"}, {"x-api-key": "one"}, {"authorization": "Bearer \xff"}):
        status, _, body = asked(around, headers=headers)
        assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")
        assert json.loads(body)["error"]["type"] == "authentication_error"
    owners = set()
    for key in ("one", "two"):
        status, _, body = asked(around, headers={"authorization": f"bearer {key}"})
        assert status == 200
        owners.add(json.loads(body)["owner"])
    assert len(owners) == 2
    accented = {"authorization": "Bearer clé".encode().decode("latin-1")}
    assert asked(made(keys=["clé"]), headers=accented)[0] == 200
    for path in ("/health", "/ready", "/version", "/metrics", "/studio/"):
        assert asked(around, path)[0] == 200
    closed = Guard(
        whole, keys=Keys(["one"]), limits=Limits(), metrics=Metrics("m"), secret=SECRET, open_metrics=False
    )
    assert asked(closed, "/metrics")[0] == 401


def test_a_refused_key_costs_no_body():
    pulled = []
    assert asked(made(keys=["one"]), pieces=[b"x" * 1000] * 5, pulled=pulled)[0] == 401
    assert not pulled


def test_signed_links_open_their_own_path_alone_until_they_end(clock, monkeypatch):
    around, path = made(keys=["one"]), "/v1/motions/motion-0.npz"
    owner = around.keys.owner("one")
    monkeypatch.setattr(links.time, "time", lambda: 5000.0)
    query = links.signed(SECRET, path, owner, 60).partition("?")[2].encode()

    def opened(path=path, query=query, method="GET"):
        return asked(around, path, method=method, query=query)[0]

    assert opened() == 200
    assert opened(method="HEAD") == 200
    assert opened(method="POST") == opened(method="DELETE") == 401
    for other in ("/v1/motions/motion-1.npz", "/v1/motions/motion-0.glb", "/v1/motions/motion-0", "/v1/models"):
        assert opened(other) == 401
    fields = dict(pair.split("=") for pair in query.decode().split("&"))
    for name, value in (
        ("owner", "key-other"), ("expires", "99999999999"), ("expires", "5061"), ("expires", "-1"), ("expires", "x"),
        ("signature", "0" * 64), ("signature", ""), ("owner", ""), ("signature", "%F0%9F%98%80"),
    ):
        changed = "&".join(f"{key}={of}" for key, of in (fields | {name: value}).items()).encode()
        assert opened(query=changed) == 401, (name, value)
    monkeypatch.setattr(links.time, "time", lambda: 5061.0)
    assert opened() == 401
    monkeypatch.setattr(links.time, "time", lambda: 5000.0)
    around.keys = Keys(["another"])  # the key was withdrawn
    assert opened() == 401


def test_a_key_may_ask_so_often_a_minute(clock):
    allowance = Allowance(Limits(requests_per_minute=3))
    for _ in range(3):
        allowance.enter("a")
        allowance.leave("a")
    with pytest.raises(ApiError, match="3 requests a minute; try again in 20 s") as refused:
        allowance.enter("a")
    assert (refused.value.status, refused.value.retry_after, refused.value.code) == (429, 20, "rate_limit_exceeded")
    allowance.enter("b")  # another key's own
    clock.now += 20
    allowance.enter("a")
    with pytest.raises(ApiError):
        allowance.enter("a")


def test_a_key_may_have_so_many_in_work(clock):
    allowance = Allowance(Limits(concurrent=2))
    allowance.enter("a")
    allowance.enter("a")
    with pytest.raises(ApiError, match="at most 2 in work") as refused:
        allowance.enter("a")
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    allowance.enter("b")
    allowance.leave("a")
    allowance.enter("a")


def test_what_is_refused_or_fails_is_in_work_no_longer(clock):
    async def fails(scope, receive, send):
        raise RuntimeError("no")

    around = made(fails, concurrent=1)
    for _ in range(3):
        assert asked(around)[0] == 500
    assert (around.working, around.allowance._working, around.buffered) == (0, {}, 0)


def test_refusals_of_too_much_have_openais_shape(clock):
    around = made(requests_per_minute=1)
    assert asked(around)[0] == 200
    status, headers, body = asked(around)
    assert (status, headers[b"retry-after"]) == (429, b"60")
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert json.loads(body)["error"]["type"] == "rate_limit_error"
    assert asked(around, "/health")[0] == 200  # probes are not counted


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
@pytest.mark.parametrize("declared", [None, "10", "0", "x", "-5", str(2**80)])
def test_a_body_is_cut_off_while_it_arrives_whatever_its_length_says(path, declared):
    pulled = []
    headers = {} if declared is None else {"content-length": declared}
    around = made(body_mb=1, file_mb=1)
    status, _, body = asked(around, path, headers=headers, pieces=[b"x" * (1 << 18)] * 40, pulled=pulled)
    assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")
    assert len(pulled) <= 9  # of forty: 1 MiB and the one too many, or 2 MiB for an upload
    assert around.buffered == 0


def test_a_declared_length_that_is_too_large_is_refused_before_anything_is_read():
    pulled = []
    headers = {"content-length": str(2 << 20)}
    status, _, body = asked(made(body_mb=1), headers=headers, pieces=[b"x"], pulled=pulled)
    assert (status, pulled) == (413, [])
    assert "at most 1 MiB, got 2.0" in json.loads(body)["error"]["message"]


def test_bodies_that_arrive_share_a_limit():
    around = made(body_mb=4, bodies_mb=1)
    status, headers, _ = asked(around, pieces=[b"x" * (1 << 20), b"x"])
    assert (status, headers[b"retry-after"]) == (503, b"5")
    assert around.buffered == 0
    assert asked(around, pieces=[b"x" * 1000])[0] == 200


def test_what_takes_no_body_takes_no_large_one():
    assert asked(made(keys=["one"]), "/health", pieces=[b"x" * (1 << 20), b"x"])[0] == 413


def test_a_body_that_stalls_is_given_up(monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    sent = []

    async def stalls():
        await asyncio.sleep(10)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/x", "query_string": b"", "headers": []}
    asyncio.run(made()(scope, stalls, send))
    assert sent[0]["status"] == 408


def test_an_upload_is_handed_on_as_it_comes_and_other_bodies_whole():
    seen = []

    async def counting(scope, receive, send):
        more = True
        while more:
            message = await receive()
            seen.append(len(message["body"]))
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert asked(made(counting), "/v1/files", pieces=[b"ab", b"c", b""])[0] == 200
    assert asked(made(counting), "/v1/x", pieces=[b"ab", b"c", b""])[0] == 200
    assert seen == [2, 1, 0, 3]


def test_every_answer_has_an_id_and_nosniff():
    around = made(keys=["one"])
    for given, kept in (("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("a\r\nset-cookie: x", False)):
        _, headers, _ = asked(around, headers={"x-request-id": given})
        assert (headers[b"x-request-id"].decode() == given) is kept
        assert headers[b"x-content-type-options"] == b"nosniff"
    assert asked(around)[1][b"x-request-id"].startswith(b"req_")


def test_draining_refuses_what_is_new_but_answers_probes():
    around = made()
    around.draining = True
    status, headers, body = asked(around)
    assert (status, headers[b"retry-after"]) == (503, b"5")
    assert json.loads(body)["error"]["code"] == "shutting_down"
    assert asked(around, "/health")[0] == 200


def test_a_fault_after_the_first_byte_breaks_the_connection():
    async def late(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("no")

    with pytest.raises(ConnectionError):
        asked(made(late))


def test_what_clients_choose_makes_no_new_figures():
    around = made()
    for number in range(20):
        asked(around, f"/v1/{number}", method=f"M{number}")
    assert around.metrics.text("").count("tdmm:http_requests_total{") == 1


def test_a_client_that_went_counts_as_no_fault_of_ours():
    async def gone(scope, receive, send):
        raise ConnectionError("gone")

    around = made(gone)
    with pytest.raises(ConnectionError):
        asked(around)
    assert 'status="499"' in around.metrics.text("")


def test_readiness_falls_before_anything_is_refused():
    around = made()
    around.leaving = True
    assert asked(around)[0] == 200
