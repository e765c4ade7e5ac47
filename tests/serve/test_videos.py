"""/v1/videos: OpenAI's SDK against it, and a queue that outlives kills, restarts and deletions."""

import re
import time

import httpx
import numpy as np
import openai
import pytest
import store_app
from fastapi.testclient import TestClient
from test_files import until
from test_motions import face, standing_body

from tdmm_lm import video

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    server = store_app.server(tmp_path_factory.mktemp("store"), videos=2)
    with TestClient(store_app.app(server), raise_server_exceptions=False) as client:
        yield server, client


@pytest.fixture
def idle(tmp_path):
    """Nobody renders."""
    server = store_app.server(tmp_path, workers=store_app.Inside(), queued_videos=30, video_seconds=1.0)
    with TestClient(store_app.app(server, jobs=False), raise_server_exceptions=False) as client:
        yield server, client


def sdk_of(client, key="ann"):
    return openai.OpenAI(api_key=key, base_url="http://testserver/v1", http_client=client, max_retries=0)


def done(url, name, seconds=60):
    def look():
        shown = httpx.get(f"{url}/v1/videos/{name}").json()
        return shown if shown["status"] in ("completed", "failed") else None

    return until(look, seconds)


def test_openais_sdk_creates_polls_downloads_lists_and_deletes(real, tmp_path):
    _, client = real
    sdk = sdk_of(client)
    made = sdk.videos.create_and_poll(prompt="she smiles", seconds="0.4", size="96x64", poll_interval_ms=100)
    assert re.fullmatch("video_[0-9a-f]{32}", made.id)
    assert (made.status, made.progress, made.error, made.object) == ("completed", 100, None, "video")
    assert (made.seconds, made.size, made.prompt) == ("0.4", "96x64", "she smiles")
    assert made.created_at <= made.completed_at <= made.expires_at
    content = sdk.videos.download_content(made.id)
    content.write_to_file(tmp_path / "v.mp4")
    assert video.info(tmp_path / "v.mp4").size == (96, 64)
    assert len(list(video.read(tmp_path / "v.mp4"))) == 10
    assert sdk.videos.retrieve(made.id) == made
    assert [one.id for one in sdk.videos.list(limit=1)] == [made.id]
    assert sdk.videos.delete(made.id).deleted
    for call in (sdk.videos.retrieve, sdk.videos.download_content, sdk.videos.delete):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    failed = sdk.videos.create_and_poll(prompt="fail", poll_interval_ms=100)
    assert (failed.status, failed.error.code) == ("failed", "refused")
    assert "this one cannot be performed" in failed.error.message
    with pytest.raises(openai.NotFoundError, match="this one cannot be performed"):
        sdk.videos.download_content(failed.id)


def test_stored_motions_are_shown_faces_and_bodies(real, tmp_path):
    server, client = real
    for motion, frames in ((face(server), 12), (standing_body(server), 6)):
        name = client.post("/v1/videos", json={"motion": motion.id, "size": "64x64"}).json()["id"]
        shown = until(lambda name=name: _ended(client, name))
        assert (shown["status"], shown["motion"]) == ("completed", motion.id), shown
        (tmp_path / "v.mp4").write_bytes(client.get(f"/v1/videos/{name}/content").content)
        assert len(list(video.read(tmp_path / "v.mp4"))) == frames


def _ended(client, name):
    shown = client.get(f"/v1/videos/{name}").json()
    return shown if shown["status"] in ("completed", "failed") else None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"), ({"prompt": " "}, "prompt"), ({"prompt": 3}, "prompt"), ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt"), ({"prompt": "x", "size": "65x64"}, "size"),
        ({"prompt": "x", "size": "1920x1080"}, "size"), ({"prompt": "x", "size": "64"}, "size"),
        ({"prompt": "x", "size": "62x64"}, "size"), ({"prompt": "x", "seconds": "12"}, "seconds"),
        ({"prompt": "x", "seconds": "nan"}, "seconds"), ({"prompt": "x", "seconds": True}, "seconds"),
        ({"prompt": "x", "seed": -1}, "seed"), ({"prompt": "x", "seed": 1.5}, "seed"),
        ({"prompt": "x", "rig": "/etc"}, "rig"), ({"prompt": "x", "model": "sora-2"}, "model"),
        ({"motion": "motion-0"}, "motion"), ({"prompt": "x", "input_reference": "y"}, "input_reference"),
    ],
)
def test_wrong_fields_are_named(idle, fields, param):
    server, client = idle
    answer = client.post("/v1/videos", json=fields)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"] == param
    assert server.store.videos.page("anyone", limit=9) == ([], False)


def test_bodies_that_are_neither_form_nor_json_are_refused(idle):
    _, client = idle
    headers = {"content-type": "application/json"}
    assert client.post("/v1/videos", content=b"{", headers=headers).status_code == 400
    assert client.post("/v1/videos", content=b"[1]", headers=headers).status_code == 400
    assert client.post("/v1/videos", content=b"[" * 50000, headers=headers).status_code == 400
    assert client.post("/v1/videos", content=b" " * 70000, headers=headers).status_code == 413
    assert client.post("/v1/videos", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/v1/videos", files={"file": ("a", b"x")}).status_code == 400
    assert client.post("/v1/videos", data={"prompt": "x"}, files={"input_reference": ("a", b"x")}).status_code == 400


def test_motions_that_cannot_be_shown_are_refused_at_once(idle):
    server, client = idle
    long = face(server, codes=np.zeros((50, 1), int), frames=50)
    ask = [
        ({"motion": long.id}, "motion_too_long"), ({"motion": face(server, "bob").id}, "motion_not_found"),
        ({"motion": face(server).id, "seconds": 4}, "invalid_request"),
        ({"motion": standing_body(server).id, "rig": "head"}, "invalid_request"),
    ]
    for fields, code in ask:
        assert client.post("/v1/videos", json=fields).json()["error"]["code"] == code


def test_waiting_videos_are_their_owners_only_and_paged(idle):
    _, client = idle
    ann, bob = {"authorization": "Bearer ann"}, {"authorization": "Bearer bob"}
    ids = [client.post("/v1/videos", json={"prompt": "x"}, headers=ann).json()["id"] for _ in range(3)]
    shown = client.get(f"/v1/videos/{ids[0]}", headers=ann)
    assert shown.headers["openai-poll-after-ms"] == "500"
    assert shown.json() == {
        "id": ids[0], "object": "video", "model": "tdmm-nano", "status": "queued", "progress": 0,
        "created_at": shown.json()["created_at"], "completed_at": None, "expires_at": shown.json()["expires_at"],
        "seconds": "4", "size": "720x1280", "prompt": "x", "motion": None, "remixed_from_video_id": None, "error": None,
    }
    answer = client.get(f"/v1/videos/{ids[0]}/content", headers=ann)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_not_ready")
    answer = client.get(f"/v1/videos/{ids[0]}/content?variant=thumbnail", headers=ann)
    assert answer.json()["error"]["code"] == "variant_not_found"
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert client.request(method, f"/v1/videos/{ids[0]}{path}", headers=bob).status_code == 404
    assert client.get("/v1/videos", headers=bob).json()["data"] == []
    assert [one.id for one in sdk_of(client).videos.list(limit=2)] == ids[::-1]
    page = client.get("/v1/videos?limit=2&order=asc", headers=ann).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[1], True)


def test_too_many_are_told_when_to_come_again(tmp_path):
    server = store_app.server(tmp_path, workers=store_app.Inside(), queued_videos=1)
    with TestClient(store_app.app(server, jobs=False)) as client:
        assert client.post("/v1/videos", json={"prompt": "x"}).status_code == 200
        answer = client.post("/v1/videos", json={"prompt": "x"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")
        assert answer.headers["retry-after"] == "10"


def test_a_motion_that_went_before_it_was_drawn_fails_its_video(tmp_path):
    server = store_app.server(tmp_path, workers=store_app.Inside())
    motion = face(server)
    with TestClient(store_app.app(server, jobs=False)) as client:
        name = client.post("/v1/videos", json={"motion": motion.id}).json()["id"]
        client.delete(f"/v1/motions/{motion.id}")
    server = store_app.server(tmp_path, workers=store_app.Inside())  # the queue is still there after a restart
    with TestClient(store_app.app(server)) as client:
        shown = until(lambda: _ended(client, name))
    assert (shown["status"], shown["error"]["code"]) == ("failed", "motion_not_found")


def test_deleting_a_video_in_work_ends_its_child_within_a_second(tmp_path):
    one = store_app.Process(tmp_path, stuck=True).wait()
    try:
        name = httpx.post(f"{one.url}/v1/videos", json={"prompt": "x"}).json()["id"]
        half = until(lambda: list(tmp_path.glob("incoming/*/*.mp4")), 60)[0]
        until(lambda: httpx.get(f"{one.url}/v1/videos/{name}").json()["progress"] > 0)
        assert httpx.get(f"{one.url}/v1/videos/{name}").json()["status"] == "in_progress"
        assert httpx.delete(f"{one.url}/v1/videos/{name}").json()["deleted"]
        began = time.monotonic()
        until(lambda: not half.exists())  # removed only when the child is no more
        assert time.monotonic() - began < 1.5
        assert httpx.get(f"{one.url}/v1/videos/{name}").status_code == 404
    finally:
        one.stop()


def test_kills_while_rendering_leave_no_half_and_the_second_is_told(tmp_path):
    server = store_app.server(tmp_path, workers=store_app.Inside())
    with TestClient(store_app.app(server)) as client:
        kept = client.post("/v1/videos", json={"prompt": "x", "seconds": 0.2, "size": "64x64"}).json()["id"]
        assert until(lambda: _ended(client, kept))["status"] == "completed"
        content = client.get(f"/v1/videos/{kept}/content").content
    name = None
    for _ in range(2):
        one = store_app.Process(tmp_path, stuck=True).wait()
        try:
            if name is None:
                name = httpx.post(f"{one.url}/v1/videos", json={"prompt": "x"}).json()["id"]
            until(lambda: list(tmp_path.glob("incoming/*/*.mp4")), 60)
            assert httpx.get(f"{one.url}/v1/videos/{name}/content").status_code == 404
        finally:
            one.kill()
    two = store_app.Process(tmp_path).wait()
    try:
        failed = done(two.url, name)
        assert (failed["status"], failed["error"]["code"]) == ("failed", "server_stopped")
        assert "the server was stopped while it rendered" in failed["error"]["message"]
        assert httpx.get(f"{two.url}/v1/videos/{kept}/content").content == content
        assert [path.name for path in tmp_path.glob("videos/*")] == [f"{kept}.mp4"]
        assert list(tmp_path.glob("incoming/*/*.mp4")) == []
    finally:
        two.stop()


def test_two_servers_on_one_store_do_each_job_once_and_a_stop_in_good_order_costs_none(tmp_path):
    both = [store_app.Process(tmp_path, slow=0.2) for _ in range(2)]
    try:
        for one in both:
            one.wait()
        body = {"prompt": "x", "seconds": 0.2, "size": "64x64"}
        names = [httpx.post(f"{both[k % 2].url}/v1/videos", json=body).json()["id"] for k in range(6)]
        shown = [done(both[0].url, name) for name in names]
        assert {one["status"] for one in shown} == {"completed"}
        made = httpx.get(f"{both[1].url}/v1/motions").json()["data"]
        assert sorted(one["id"] for one in made) == sorted(one["motion"] for one in shown)  # each performed once
        assert len(list(tmp_path.glob("videos/*.mp4"))) == 6
        names = [httpx.post(f"{both[0].url}/v1/videos", json=body).json()["id"] for k in range(4)]
        until(lambda: httpx.get(f"{both[0].url}/v1/videos/{names[0]}").json()["status"] != "queued")
        both[0].stop()
        assert {done(both[1].url, name)["status"] for name in names} == {"completed"}
    finally:
        for one in both:
            if one.process.poll() is None:
                one.stop()
