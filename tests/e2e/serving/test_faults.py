"""What breaks, and what the clients see of it: killed processes, clients that go or read nothing, a full disk, an end
under load. Real processes, real signals. Run by `make test-serving`."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import av
import httpx
import psutil
import pytest

pytestmark = pytest.mark.vllm

LONG = {"motion": {"seconds": 10}, "n": 4}
PROMPT = "a man talks and nods again and again"
RSS_MB = 150  # that clients who read nothing may cost
CANCEL_SECONDS = 1.0
WIDE = ("limits.requests_per_minute=1000000", "limits.concurrent=256")


class Load:
    """Clients that ask again and again, streamed and not, until `stop`; what each of their requests met."""

    def __init__(self, service, error_of, streams=6, wholes=4):
        self.service, self._error_of, self._over = service, error_of, threading.Event()
        self.outcomes, self.strange, self.flowing = [], [], threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._stream) for _ in range(streams)]
        self._threads += [threading.Thread(target=self._whole) for _ in range(wholes)]
        for thread in self._threads:
            thread.start()
        for _ in range(2 * streams):
            assert self.flowing.acquire(timeout=120), "expected streams to flow"

    def stop(self):
        """Ask no more; returns when all that were in work have ended."""
        self._over.set()
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), "expected every request to end"
        assert not self.strange, self.strange[:3]
        return self.outcomes

    def end(self):
        self._over.set()

    def _stream(self):
        while not self._over.is_set():
            begun, last = time.monotonic(), None
            try:
                for k, event in enumerate(self.service.events(PROMPT, **LONG)):
                    last = event
                    if k in (2, 3):
                        self.flowing.release()
                    if isinstance(event, dict) and "error" in event:
                        break
                if last == "[DONE]":
                    how = "whole"
                elif isinstance(last, dict) and "error" in last:
                    how = f"event {self._error_of(last)['code']}"
                else:
                    how = "cut without a word"
                self.outcomes.append((begun, time.monotonic(), how))
            except httpx.HTTPStatusError as error:
                self._refused(begun, error.response)
            except httpx.TransportError as error:
                self.outcomes.append((begun, time.monotonic(), f"transport {type(error).__name__}"))
            except Exception as error:
                self.strange.append(repr(error))

    def _whole(self):
        while not self._over.is_set():
            begun = time.monotonic()
            try:
                answer = self.service.chat(PROMPT, **LONG)
                if answer.status_code == 200:
                    self.outcomes.append((begun, time.monotonic(), "whole"))
                else:
                    self._refused(begun, answer)
            except httpx.TransportError as error:
                self.outcomes.append((begun, time.monotonic(), f"transport {type(error).__name__}"))
            except Exception as error:
                self.strange.append(repr(error))

    def _refused(self, begun, response):
        try:
            code = self._error_of(response.json())["code"]
        except (AssertionError, ValueError) as error:
            self.strange.append(f"{response.status_code} {response.text[:300]} {error!r}")
            return
        if response.status_code == 503 and not response.headers.get("retry-after", "").isdecimal():
            self.strange.append(f"503 without Retry-After: {response.text[:200]}")
        self.outcomes.append((begun, time.monotonic(), f"{response.status_code} {code}"))
        time.sleep(0.2)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A small disk of its own for a store, or None where this machine lets nobody mount one."""
    folder = tmp_path_factory.mktemp("disk")
    options = ["-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(["mount", *options], capture_output=True).returncode == 0
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def broken(made, disk):
    """The server that the tests of this file break, in the order in which they stand here."""
    server = made("drain_seconds=60", *WIDE, store=None if disk is None else disk / "store")
    yield server.start()
    server.stop()


def until(true, seconds, what):
    """Waits until ``true()`` is; how long it took."""
    begun = time.monotonic()
    while not (value := true()):
        assert time.monotonic() - begun < seconds, f"expected {what} within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - begun, value


def files_in(service):
    """What lies half-written in the store's folder."""
    return [path for path in (service.store / "incoming").rglob("*") if path.is_file() and path.name != "lock"]


# clients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_the_engine_stops_within_a_second_of_a_clients_going(service, stream):
    until(lambda: service.figure("vllm:num_requests_running") == 0, 60, "an idle engine")
    finished = service.figure("vllm:request_success_total")
    body = json.dumps({
        "model": "tdmm-nano", "messages": [{"role": "user", "content": PROMPT}], "motion": {"seconds": 10}, "n": 8,
        "stream": stream,
    }).encode()
    client = socket.create_connection(("127.0.0.1", service.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" \
           f"content-length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    until(lambda: service.figure("vllm:num_requests_running") >= 8, 60, "eight answers in work")
    client.close()
    left = time.monotonic()
    until(lambda: service.figure("vllm:num_requests_running") == 0, CANCEL_SECONDS, "no request to run")
    assert time.monotonic() - left < CANCEL_SECONDS
    aborted = service.figure("vllm:request_success_total", finished_reason="abort")
    assert service.figure("vllm:request_success_total") - aborted <= finished, "they were stopped, not finished"


def test_clients_that_read_nothing_cost_little_and_disturb_nobody(service):
    body = json.dumps({
        "model": "tdmm-nano", "messages": [{"role": "user", "content": PROMPT}], "motion": {"seconds": 10}, "n": 4,
        "stream": True,
    }).encode()
    service.chat("a woman smiles", motion={"seconds": 1})
    gateway = psutil.Process(service.pid)
    before, slow = gateway.memory_info().rss, []
    for _ in range(16):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", service.port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" \
               f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        slow.append(client)
    begun, most = time.monotonic(), 0
    while time.monotonic() - begun < 12:
        answer = service.chat("a woman smiles", motion={"seconds": 2})
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["motion"]["frames"] == 50
        assert list(service.events("a man nods", motion={"seconds": 1}))[-1] == "[DONE]"
        most = max(most, gateway.memory_info().rss - before)
    assert most < RSS_MB << 20, f"{most >> 20} MB"
    for client in slow[:8]:
        client.close()
    for client in slow[8:]:  # and whoever reads after all gets all of it
        client.settimeout(120)
        data = bytearray()
        while got := client.recv(1 << 16):
            data += got
        client.close()
        assert data.startswith(b"HTTP/1.1 200")
        assert b"data: [DONE]\n\n" in data
        assert data.count(b'"object":"motion"') == 4
    until(lambda: service.figure("vllm:num_requests_running") == 0, 30, "an idle engine")


# a full disk --------------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_what_it_cannot_keep_and_words_still_come(broken, disk, checks, sample):
    if disk is None:
        pytest.skip("needs root and leave to mount a tmpfs")
    _, error_of = checks
    kept = broken.upload("kept.npz", sample.read_bytes()).json()
    refused = broken.upload("large.bin", bytes(60 << 20))  # fills it while it arrives
    assert refused.status_code in (413, 503)
    error_of(refused.json())
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0")
    try:
        for refused in (
            broken.upload("small.bin", b"x" * 9000),
            httpx.post(f"{broken.url}/v1/videos", json={"prompt": "a man nods", "seconds": 1}, timeout=60),
            broken.chat("a woman smiles", motion={"seconds": 1}),
        ):
            if refused.status_code != 200:  # a row may still have found room in a page of the database
                assert refused.status_code in (413, 503), refused.text
                error_of(refused.json())
        assert broken.upload("small.bin", b"x" * 9000).status_code in (413, 503)
        events = list(broken.events("a woman smiles", motion={"seconds": 1}))
        assert events[-1] == "[DONE]" or error_of(events[-1])
        said = broken.chat(sample_parts(kept["id"]))
        assert said.status_code == 200, said.text
        assert len(said.json()["choices"][0]["message"]["content"].split()) >= 3
        inline = broken.chat([{"type": "motion_url", "motion_url": {"url": data_url(sample)}}, text("Describe it.")])
        if inline.status_code != 200:
            assert inline.status_code in (413, 503), inline.text
            error_of(inline.json())
        assert broken.get("/ready").status_code == 200
        assert broken.get(f"/v1/files/{kept['id']}/content").content == sample.read_bytes()
        assert files_in(broken) == []
        assert [file["id"] for file in broken.get("/v1/files").json()["data"]] == [kept["id"]]
    finally:
        filler.unlink()
    assert broken.upload("again.bin", b"x" * 9000).status_code == 200
    assert broken.chat("a woman smiles", motion={"seconds": 1}).status_code == 200


def text(words):
    return {"type": "text", "text": words}


def sample_parts(file_id):
    return [{"type": "file", "file": {"file_id": file_id}}, text("Describe this motion.")]


def data_url(path):
    return "data:application/octet-stream;base64," + base64.b64encode(path.read_bytes()).decode()


# the engine killed --------------------------------------------------------------------------------------------------


def test_a_killed_engine_ends_what_was_in_work_with_an_error_and_comes_back_by_itself(broken, checks, sample):
    gone, error_of = checks
    file = broken.upload("sample.npz", sample.read_bytes()).json()["id"]
    motion = broken.chat("a woman smiles", motion={"seconds": 2}).json()["choices"][0]["message"]["motion"]
    npz = broken.get(f"/v1/motions/{motion['id']}.npz").content
    engine, load = broken.vllm(), Load(broken, error_of)
    members = [engine, *engine.children(recursive=True)]
    try:
        os.killpg(engine.pid, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: broken.get("/ready").status_code == 503, 5, "/ready to fall")
        assert broken.get("/health").status_code == 200
        refused = broken.chat("a woman smiles")
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["retry-after"]) > 0
        error_of(refused.json())
    finally:
        outcomes = load.stop()
    hit = [how for begun, ended, how in outcomes if begun < killed < ended]
    assert len(hit) >= 6
    bad = [how for how in hit if how != "whole" and not how.startswith(("event ", "503 "))]
    assert not bad, bad
    assert any(how.startswith("event ") for how in hit)
    assert all(how.startswith(("503 ", "whole", "event ")) for _, _, how in outcomes), {how for _, _, how in outcomes}
    assert not gone(members, 10), "expected nothing of the killed engine to live on"
    assert broken.get(f"/v1/files/{file}/content").content == sample.read_bytes()
    broken.until_ready()
    again = broken.chat("a woman smiles", motion={"seconds": 2})
    assert again.json()["choices"][0]["message"]["motion"]["frames"] == 50
    assert broken.get(f"/v1/motions/{motion['id']}").json()["codes"] == motion["codes"]
    assert broken.get(f"/v1/motions/{motion['id']}.npz").content == npz
    assert broken.vllm().pid != engine.pid


# an end under load --------------------------------------------------------------------------------------------------


def test_sigterm_lets_what_is_in_work_finish_and_ends_with_nothing_left(broken, checks):
    gone, error_of = checks
    family, load = broken.family(), Load(broken, error_of)
    broken.process.send_signal(signal.SIGTERM)
    told = time.monotonic()
    load.end()
    until(lambda: broken.get("/ready").status_code == 503, 5, "/ready to fall")
    assert broken.process.poll() is None
    answered = []
    until(lambda: answered.append(broken.chat("a woman smiles")) or answered[-1].status_code != 200, 30, "a refusal")
    refused = answered[-1]
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert error_of(refused.json())["code"] == "shutting_down"
    outcomes = load.stop()
    hit = [how for begun, ended, how in outcomes if begun < told < ended]
    assert len(hit) >= 6
    assert set(hit) == {"whole"}
    assert broken.process.wait(90) == 0
    assert not gone(family, 5)
    assert files_in(broken) == []


# the gateway killed -------------------------------------------------------------------------------------------------


def test_a_killed_gateway_leaves_no_process_no_half_file_and_no_lost_job(made, checks, sample):
    gone, _ = checks
    server = made("drain_seconds=5", *WIDE).start()
    small = video(server, prompt="a man nods", seconds="0.4", size="64x64")
    _, done = until(lambda: finished(server, small), 180, "a small video")
    assert done["status"] == "completed", done
    picture = server.get(f"/v1/videos/{small}/content").content
    file = server.upload("sample.npz", sample.read_bytes()).json()["id"]
    motion = server.chat("a woman smiles", motion={"seconds": 2}).json()["choices"][0]["message"]["motion"]
    long = video(server, prompt="a man talks", seconds="10", size="512x512")
    until(lambda: server.get(f"/v1/videos/{long}").json()["status"] == "in_progress", 60, "the job to begin")

    stalled = half_upload(server.port, 4 << 20)
    streams = ThreadPoolExecutor(4)
    talking = [streams.submit(drained, server) for _ in range(4)]
    until(lambda: sum(path.stat().st_size for path in files_in(server)) >= 1 << 20, 30, "half an upload on the disk")
    family = server.family()
    assert len(family) > 3
    server.kill()
    assert not gone(family, 20), "expected no process to outlive the gateway"
    stalled.close()
    for each in talking:
        assert each.result(60) in ("whole", "cut")

    server.start()
    assert files_in(server) == [], "expected the half upload to be gone"
    listed = server.get("/v1/files").json()["data"]
    assert [one["id"] for one in listed] == [file]
    assert server.get(f"/v1/files/{file}/content").content == sample.read_bytes()
    assert server.get(f"/v1/motions/{motion['id']}").json()["codes"] == motion["codes"]
    assert server.get(f"/v1/videos/{small}").json()["status"] == "completed"
    assert server.get(f"/v1/videos/{small}/content").content == picture
    _, job = until(lambda: finished(server, long), 240, "the interrupted job to end")
    if job["status"] == "completed":
        content = server.get(f"/v1/videos/{long}/content").content
        assert length(content) == pytest.approx(10, abs=0.1)
    else:
        assert job["error"]["message"]
    assert server.stop() == 0


def video(server, **body):
    answer = httpx.post(f"{server.url}/v1/videos", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def finished(server, name):
    job = server.get(f"/v1/videos/{name}").json()
    return job if job["status"] in ("completed", "failed") else None


def half_upload(port, size):
    """A connection on which an upload has stopped half way."""
    head = b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n' \
           b'--x\r\ncontent-disposition: form-data; name="file"; filename="half.bin"\r\n\r\n'
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        + f"content-length: {2 * size}\r\n\r\n".encode() + head + bytes(size)
    )
    return client


def drained(server):
    try:
        return "whole" if list(server.events(PROMPT, **LONG))[-1] == "[DONE]" else "cut"
    except httpx.TransportError:
        return "cut"


def length(mp4):
    with av.open(io.BytesIO(mp4)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        return frames / float(container.streams.video[0].average_rate)


def test_a_gateway_killed_while_its_engine_starts_leaves_no_process(made, checks):
    gone, _ = checks
    server = made("drain_seconds=5")
    starting = threading.Thread(target=lambda: _swallowed(server.start), daemon=True)
    starting.start()
    until(lambda: server.process is not None and server.vllm() is not None, 60, "the engine's process")
    time.sleep(3)  # in the middle of its imports
    family = server.family()
    server.kill()
    assert not gone(family, 20)
    starting.join(30)


def _swallowed(start):
    with suppress(BaseException):
        start()
