"""/v1/files: OpenAI's SDK against it, hostile uploads, a process killed in the middle of one."""

import contextlib
import re
import socket
import time

import httpx
import openai
import pytest
import store_app
from fastapi.testclient import TestClient

MIB = 1 << 20


@pytest.fixture
def server(tmp_path):
    return store_app.server(tmp_path, workers=store_app.Inside(), file_mb=2, disk_mb=5)


@pytest.fixture
def client(server):
    with TestClient(store_app.app(server, jobs=False), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def sdk(client):
    return openai.OpenAI(api_key="ann", base_url="http://testserver/v1", http_client=client, max_retries=0)


def post(client, content=b"x" * 10, name="a.npz", **fields):
    return client.post("/v1/files", files={"file": (name, content)}, data={"purpose": "user_data"} | fields)


def left(server):
    """Everything that the store holds or has half written."""
    files = list((server.store.disk.folder / "files").glob("*"))
    return files + [path for path in server.store.disk.incoming.iterdir() if path.name != "lock"]


def test_openais_sdk_stores_lists_reads_and_deletes(sdk, server):
    content = bytes(range(256)) * 5000
    made = sdk.files.create(
        file=("smile.npz", content), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert re.fullmatch("file-[0-9a-f]{32}", made.id)
    assert (made.bytes, made.filename, made.purpose, made.object) == (len(content), "smile.npz", "user_data", "file")
    assert made.expires_at == made.created_at + 3600
    assert sdk.files.retrieve(made.id) == made
    assert sdk.files.content(made.id).read() == content
    others = [sdk.files.create(file=b"x", purpose="vision").id for _ in range(3)]
    assert [file.id for file in sdk.files.list(limit=2)] == [*others[::-1], made.id]  # the SDK asks for the next page
    assert [file.id for file in sdk.files.list(purpose="user_data")] == [made.id]
    assert sdk.files.list(limit=2, order="asc").has_more
    assert sdk.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(made.id)
    assert len(left(server)) == 3


def test_a_page_says_its_ends(client):
    ids = [post(client).json()["id"] for _ in range(3)]
    page = client.get("/v1/files?limit=2&order=asc").json()
    assert page["object"] == "list"
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[1], True)
    assert client.get(f"/v1/files?after={ids[0]}").json()["data"] == []
    assert client.get("/v1/files?limit=0").status_code == 400
    assert client.get("/v1/files?after=file-x").json()["error"]["code"] == "file_not_found"
    assert client.get("/v1/files?purpose=%00").json()["data"] == []


def test_a_file_is_its_owners_only(client):
    name = client.post(
        "/v1/files", files={"file": ("a", b"x")}, data={"purpose": "user_data"}, headers={"authorization": "Bearer ann"}
    ).json()["id"]
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answer = client.request(method, f"/v1/files/{name}{path}", headers={"authorization": "Bearer bob"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")
    assert client.get(f"/v1/files/{name}", headers={"authorization": "Bearer ann"}).status_code == 200
    assert client.get("/v1/files/..%2f..%2fetc%2fpasswd/content").status_code == 404
    assert client.get("/v1/files/%00").status_code == 404


def test_content_is_never_a_page_of_ours_and_can_be_had_in_parts(client):
    name = post(client, b"<script>alert(1)</script>", name='x"\r\n.html').json()["id"]
    answer = client.get(f"/v1/files/{name}/content")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/octet-stream"
    part = client.get(f"/v1/files/{name}/content", headers={"range": "bytes=1-6"})
    assert (part.status_code, part.content) == (206, b"script")


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\x\\y.npz", "y.npz"), ("a\u202eb.npz", "ab.npz"), ("é 漢.npz", "é 漢.npz"),
     ("z" * 400 + ".npz", "z" * 251 + ".npz"), ("..", "..")],
)
def test_names_are_text_to_show_and_nothing_else(client, server, name, kept):
    answer = post(client, name=name)
    assert answer.json()["filename"] == kept
    assert [path.name for path in left(server)] == [answer.json()["id"]]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "anything"}, "purpose"), ({"expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "3600"}, "expires_after[anchor]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "10"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "²"}, "expires_after[seconds]"),
    ],
)
def test_wrong_fields_are_named(client, server, fields, param):
    answer = post(client, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert left(server) == []


def test_bodies_that_are_no_upload_are_refused(client, server):
    def sent(content, kind='multipart/form-data; boundary="b"'):
        answer = client.post("/v1/files", content=content, headers={"content-type": kind})
        return answer.status_code, answer.json()["error"]["code"]

    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n'
    assert sent(b"{}", "application/json") == (415, "unsupported_media_type")
    assert sent(b"", "multipart/form-data") == (415, "unsupported_media_type")
    assert sent(b"nonsense") == (400, "invalid_request")
    assert sent(part) == (400, "invalid_request")  # cut off before its end
    assert sent(part + part + b"--b--\r\n") == (400, "invalid_request")  # two files
    assert sent(b"--b\r\n\r\nx\r\n--b--\r\n") == (400, "invalid_request")  # a part without a name
    assert sent(b'--b\r\nContent-Disposition: form-data; name="p"\r\n\r\n' * 40 + b"--b--\r\n")[0] == 400
    assert sent(b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + bytes(70000))[0] == 413
    assert sent(b"--b\r\nContent-Disposition: " + b"a" * 100000 + b"\r\n\r\n")[0] == 400
    assert sent(b"x", f"multipart/form-data; boundary={'b' * 300}")[0] == 400
    assert post(client, b"").json()["error"]["code"] == "empty_file"
    assert client.post("/v1/files", files={"other": ("a", b"x")}).json()["error"]["param"] == "file"
    assert left(server) == []


def test_limits_hold_while_it_streams(client, server):
    taken = 0

    def endless():
        nonlocal taken
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while taken < 64 * MIB:
            taken += 1 << 16
            yield bytes(1 << 16)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/files", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "file_too_large")
    assert [post(client, bytes(2 * MIB - 100)).status_code for _ in range(3)] == [200, 200, 413]
    assert post(client, bytes(MIB)).json()["error"]["code"] == "quota_exceeded"
    assert post(client, b"x").status_code == 200
    assert len(left(server)) == 3
    assert not server.store.vault.growing


def test_a_full_disk_is_told_and_leaves_nothing(client, server, monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr("pathlib.Path.open", lambda *_, **__: Full())
    answer = post(client)
    monkeypatch.undo()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "disk_full")
    assert answer.headers["retry-after"] == "60"
    assert left(server) == []
    assert client.get("/v1/files").json()["data"] == []


def test_a_large_upload_takes_constant_memory_and_a_killed_one_leaves_nothing(tmp_path):
    options = {"jobs": False, "file_mb": 256}
    one = store_app.Process(tmp_path, **options).wait()
    try:
        kept = post(httpx.Client(base_url=one.url), b"kept").json()["id"]
        before = rss(one.process.pid)
        start = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n' + (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
        pieces = [start, *([bytes(MIB)] * 200), b"\r\n--b--\r\n"]
        headers = {"content-type": "multipart/form-data; boundary=b"}
        answer = httpx.post(f"{one.url}/v1/files", content=iter(pieces), headers=headers, timeout=60)
        assert answer.json()["bytes"] == 200 * MIB
        assert rss(one.process.pid) - before < 60 * MIB
        httpx.delete(f"{one.url}/v1/files/{answer.json()['id']}")
        with socket.create_connection(("127.0.0.1", one.port)) as slow:
            slow.sendall(
                b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                b"Content-Length: 99999999\r\n\r\n" + start + bytes(3 * MIB)
            )
            until(lambda: [path for path in tmp_path.glob("incoming/*/*") if path.stat().st_size > MIB])
            one.kill()
    finally:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
    two = store_app.Process(tmp_path, **options).wait()
    try:
        assert [file["id"] for file in httpx.get(f"{two.url}/v1/files").json()["data"]] == [kept]
        assert httpx.get(f"{two.url}/v1/files/{kept}/content").content == b"kept"
        assert [path.name for path in tmp_path.glob("files/*")] == [kept]
        assert [path for path in tmp_path.glob("incoming/*/*") if path.name != "lock"] == []
    finally:
        two.stop()


def rss(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def until(what, seconds=20):
    for _ in range(seconds * 20):
        if found := what():
            return found
        time.sleep(0.05)
    raise TimeoutError("it did not come about")
