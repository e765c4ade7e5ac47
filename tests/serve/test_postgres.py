"""The store on a real PostgreSQL, started in a folder of its own; skipped where none is installed."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import sqlalchemy
import store_app
from fastapi.testclient import TestClient
from test_files import until
from test_store import expire, motion, opened, upload, video
from test_videos import done

from tdmm_lm.motion import MotionClip
from tdmm_lm.serve import tables
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.vault import MIB

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]


def command(name):
    found = shutil.which(name) or next((str(path / name) for path in BINARIES if (path / name).exists()), None)
    if found is None:
        pytest.skip(f"PostgreSQL is not installed here: no {name}")
    return str(Path(found).resolve())


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The URL of a fresh server, which no longer is when the tests end."""
    pytest.importorskip("psycopg", reason="psycopg is not installed here")
    initdb, server = command("initdb"), command("postgres")
    folder = tmp_path_factory.mktemp("postgres")
    data, user = folder / "data", []
    data.mkdir()
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = ["runuser", "-u", "nobody", "--"]
        shutil.chown(data, "nobody")
        for path in (folder, *folder.parents):
            if path.stat().st_uid == 0 and path.is_relative_to("/tmp") and path != Path("/tmp"):
                path.chmod(path.stat().st_mode | 0o011)
    made = subprocess.run(
        [*user, initdb, "-D", str(data), "-U", "tdmm", "-A", "trust", "-E", "UTF8", "--no-sync"], cwd="/",
        capture_output=True, check=False,
    )
    if made.returncode:
        pytest.skip(f"PostgreSQL cannot be started here: {made.stderr.decode().strip()[-200:]}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-p", str(port)]
    process = subprocess.Popen([*user, server, "-D", str(data), *options], cwd="/", stderr=subprocess.DEVNULL)
    url = f"postgresql://tdmm@127.0.0.1:{port}/postgres"
    try:
        until(lambda: _answers(url))
        yield url
    finally:
        # the pid in the file is the server's own, also where it was started through runuser
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), 2)
        process.wait(30)


def _answers(url):
    try:
        tables.Database(url).close()
    except ApiError:
        return False
    return True


@pytest.fixture
def database(postgres):
    """The URL of the server with nothing in it."""
    engine = sqlalchemy.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        tables.METADATA.drop_all(connection)
    engine.dispose()
    return postgres


def test_everything_comes_back_and_is_its_owners_only(database, tmp_path):
    store = opened(tmp_path, database)
    codes = np.array([[0, 511], [7, 3]])
    clip = MotionClip(np.zeros((2, 70)), 25, "face", "head")
    made = motion(store, codes=codes, clip=clip, frames=2)
    assert np.array_equal(store.motions.get("ann", made.id).codes, codes)
    for kind, item in ((store.files, upload(store)), (store.motions, made), (store.videos, video(store, seed=2**31))):
        assert [one.id for one in kind.page("ann", limit=5)[0]] == [kind.get("ann", item.id).id]
        with pytest.raises(KeyError):
            kind.delete("bob", item.id)
        for name in ("x\0", "x"):
            with pytest.raises(KeyError):
                kind.get("ann", name)
    ids = [upload(store).id for _ in range(3)]
    assert [one.id for one in store.files.page("ann", limit=2, after=ids[2])[0]] == ids[1::-1]
    path = store.disk.fresh()
    path.write_bytes(b"glb")
    store.motions.delete("ann", made.id)
    with pytest.raises(KeyError):
        store.motions.keep(made, "glb", path, "0")
    expire(store, store.files.get("ann", ids[0]))
    assert store.tidy() == 1
    store.close()


def test_stores_that_start_at_once_make_their_tables_once(database, tmp_path):
    stores, faults = [], []

    def work():
        try:
            stores.append(opened(tmp_path, database))
        except Exception as error:
            faults.append(error)

    together(work, 6)
    assert faults == []
    assert len({store.secret() for store in stores}) == 1
    for store in stores:
        store.close()


def together(work, count):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_room_is_given_away_once(database, tmp_path):
    store = opened(tmp_path, database, disk_mb=4)
    kept, refused = [], []

    def work():
        try:
            kept.append(upload(store, size=MIB))
        except ApiError as error:
            refused.append(error.code)

    together(work, 8)
    assert (len(kept), set(refused)) == (3, {"quota_exceeded"})
    store.close()


def test_a_job_is_claimed_once_and_a_lost_one_is_tried_twice(database, tmp_path):
    stores = [opened(tmp_path, database) for _ in range(2)]
    made = sorted(video(stores[0]).id for _ in range(10))
    claimed: list[str] = []
    turn = iter(stores * 3)

    def work():
        store = next(turn)
        while (job := store.videos.claim()) is not None:
            claimed.append(job.id)

    together(work, 6)
    assert sorted(claimed) == made
    for attempt in (2, 3):
        with stores[0].vault.database.writing() as connection:
            connection.execute(sqlalchemy.update(tables.VIDEOS).values(lease=time.time() - 1))
        assert stores[1].videos.recover() == 10
        if attempt == 2:
            assert len([stores[0].videos.claim() for _ in range(10)]) == 10
    failed = stores[0].videos.get("ann", made[0])
    assert (failed.status, failed.error[0]) == ("failed", "server_stopped")
    for store in stores:
        store.close()


@pytest.mark.slow
def test_two_servers_share_a_database_and_one_that_is_killed_loses_no_job(database, tmp_path):
    body = {"prompt": "x", "seconds": 0.2, "size": "64x64"}
    one = store_app.Process(tmp_path, database=database, stuck=True).wait()
    try:
        kept = httpx.post(f"{one.url}/v1/files", files={"file": b"x"}, data={"purpose": "user_data"}).json()["id"]
        names = [httpx.post(f"{one.url}/v1/videos", json=body).json()["id"] for _ in range(3)]
        until(lambda: list(tmp_path.glob("incoming/*/*.mp4")), 60)
    finally:
        one.kill()
    both = [store_app.Process(tmp_path, database=database) for _ in range(2)]
    try:
        for two in both:
            two.wait()
        shown = [done(both[0].url, name) for name in names]
        assert {video["status"] for video in shown} == {"completed"}
        assert len(httpx.get(f"{both[1].url}/v1/motions").json()["data"]) == 3  # each performed once
        assert httpx.get(f"{both[1].url}/v1/files/{kept}/content").content == b"x"
        assert list(tmp_path.glob("incoming/*/*.mp4")) == []
    finally:
        for two in both:
            two.stop()


def test_a_database_that_is_away_is_told_as_such(tmp_path):
    pytest.importorskip("psycopg", reason="psycopg is not installed here")
    with pytest.raises(ApiError, match="not reachable") as refusal:
        opened(tmp_path, "postgresql://tdmm@127.0.0.1:1/x")
    assert (refusal.value.status, refusal.value.retry_after) == (503, 2)


def test_the_routes_run_on_it(database, tmp_path):
    server = store_app.server(tmp_path, database=database, workers=store_app.Inside())
    with TestClient(store_app.app(server, jobs=False)) as client:
        made = client.post("/v1/files", files={"file": ("é\u202e.npz", b"x")}, data={"purpose": "user_data"}).json()
        assert client.get(f"/v1/files/{made['id']}").json() == made
        assert client.get("/v1/files/%00").status_code == 404
        assert client.post("/v1/videos", json={"prompt": "a\0"}).status_code == 400
        assert client.post("/v1/videos", content=b'{"prompt": "\\ud800"}', headers={
            "content-type": "application/json"}).status_code == 400


def test_without_its_driver_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"install tdmm-lm\[postgres\]"):
        opened(tmp_path, "postgresql://x@127.0.0.1/y")
