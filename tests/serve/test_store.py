"""The store: owners, ends, quotas, a full disk, several processes on one folder."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from tdmm_lm.motion import MotionClip
from tdmm_lm.serve import stored_motions, tables
from tdmm_lm.serve.errors import ApiError
from tdmm_lm.serve.settings import Limits, Settings
from tdmm_lm.serve.store import Store
from tdmm_lm.serve.vault import BLOCK, MIB


def opened(folder, database=None, keep_hours=168.0, **limits):
    return Store(database, folder, Settings(keep_hours=keep_hours, limits=Limits(**limits)))


@pytest.fixture
def store(tmp_path):
    made = opened(tmp_path)
    yield made
    made.close()


def upload(store, owner="ann", size=100, **more):
    path = store.disk.fresh()
    path.write_bytes(os.urandom(size))
    return store.files.add(owner, path, name="a.npz", purpose="user_data", **more)


def motion(store, owner="ann", **more):
    given = {"codes": np.arange(10)[:, None], "clip": None, "codec": "face", "rig": "head", "fps": 25.0, "frames": 10}
    return store.motions.add(owner, **(given | {"truncated": False} | more))


def video(store, owner="ann", **more):
    given = {"model": "m", "prompt": "smile", "motion": None, "rig": None, "seed": None, "size": (64, 64)}
    return store.videos.add(owner, **(given | {"seconds": 1.0} | more))


def everything(folder):
    kinds = ("files", "motions", "videos")
    return [path for kind in kinds for path in (folder / kind).rglob("*") if path.is_file()]


def expire(store, *items):
    by_kind = {"file": tables.FILES, "motion": tables.MOTIONS, "video": tables.VIDEOS}
    for item in items:
        table = by_kind[item.id[: item.id.index("-" if "-" in item.id else "_")]]
        with store.vault.database.writing() as connection:
            connection.execute(update(table).where(table.c.id == item.id).values(expires=int(time.time()) - 1))


def test_what_is_stored_is_its_owners_only(store):
    for kind, item in ((store.files, upload(store)), (store.motions, motion(store)), (store.videos, video(store))):
        assert kind.get("ann", item.id).id == item.id
        assert [one.id for one in kind.page("ann", limit=10)[0]] == [item.id]
        for act in (kind.get, kind.delete):
            with pytest.raises(KeyError):
                act("bob", item.id)
        assert kind.page("bob", limit=10) == ([], False)
        with pytest.raises(KeyError):
            kind.page("bob", limit=10, after=item.id)
        kind.delete("ann", item.id)
        with pytest.raises(KeyError):
            kind.get("ann", item.id)
    assert everything(store.disk.folder) == []


@pytest.mark.parametrize("name", ["", "x", "file-\0", "../../etc/passwd", "file-" + "g" * 32, "file-" + "0" * 33])
def test_ids_that_none_of_ours_looks_like_do_not_reach_the_database(store, name):
    with pytest.raises(KeyError):
        store.files.path("ann", name)


def test_motions_come_back_as_they_went_in(store):
    codes = np.array([[0, 511], [7, 3]])
    clip = MotionClip(np.random.default_rng(0).normal(size=(5, 70)), 30.0, "face", "head")
    both = motion(store, codes=codes, clip=clip, frames=5, fps=30.0, truncated=True)
    found = store.motions.get("ann", both.id)
    assert np.array_equal(found.codes, codes)
    assert (found.frames, found.fps, found.truncated, found.clip) == (5, 30.0, True, True)
    assert store.motions.export(found, "npz").bytes == store.motions.export(found, "npz").path.stat().st_size
    given = stored_motions.fresh()
    assert motion(store, name=given).id == given
    with pytest.raises(ValueError, match="expected codes or a clip, got neither"):
        motion(store, codes=None)
    with pytest.raises(ValueError, match="expected whole numbers"):
        motion(store, codes=np.zeros((2, 1)))
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        motion(store, name="../x")


def test_pages_go_both_ways_and_end(store):
    made = [upload(store).id for _ in range(5)]
    first, more = store.files.page("ann", limit=2)
    assert ([one.id for one in first], more) == (made[:2:-1], True)
    second, more = store.files.page("ann", limit=3, after=first[-1].id)
    assert ([one.id for one in second], more) == (made[2::-1], False)
    assert [one.id for one in store.files.page("ann", limit=2, order="asc", after=made[2])[0]] == made[3:]


def test_what_has_expired_is_gone_at_once_and_its_bytes_at_the_next_tidying(store):
    items = upload(store), motion(store, clip=MotionClip(np.zeros((2, 70)), 25, "face", "head")), video(store)
    kept = upload(store)
    expire(store, *items)
    for kind, item in zip((store.files, store.motions, store.videos), items):
        with pytest.raises(KeyError):
            kind.get("ann", item.id)
    assert store.videos.claim() is None
    assert store.tidy() == 3
    assert [path.name for path in everything(store.disk.folder)] == [kept.id]
    assert store.tidy() == 0


def test_files_are_kept_as_long_as_asked_but_never_longer_than_all(store):
    assert upload(store, seconds=3600).expires_at <= time.time() + 3600
    assert upload(store, seconds=10**9).expires_at <= time.time() + 168 * 3600


def test_a_key_has_a_quota_and_all_have_one(tmp_path):
    store = opened(tmp_path, disk_mb=2, disk_total_mb=3)
    upload(store, size=MIB)
    with pytest.raises(ApiError, match="Expected at most 2 MiB stored") as refusal:
        upload(store, size=MIB)
    assert (refusal.value.status, refusal.value.code) == (413, "quota_exceeded")
    with store.vault.growth("ann") as growth, pytest.raises(ApiError, match="2 MiB"):
        growth.by(MIB)
    upload(store, "bob", size=MIB)
    with pytest.raises(ApiError, match="store is full") as refusal:
        upload(store, "cid", size=MIB)
    assert (refusal.value.status, refusal.value.code, refusal.value.retry_after) == (503, "store_full", 300)
    assert len(everything(tmp_path)) == 2
    assert not store.vault.growing
    store.close()


def test_uploads_in_work_count_together(tmp_path):
    store = opened(tmp_path, disk_mb=2)
    with store.vault.growth("ann") as one, store.vault.growth("ann") as two:
        one.by(MIB)
        with pytest.raises(ApiError, match="2 MiB"):
            two.by(MIB)
    store.close()


def test_exports_give_way_to_what_cannot_be_made_again(tmp_path):
    store = opened(tmp_path, disk_mb=2)
    one = motion(store)
    for suffix in ("glb", "mp4"):
        path = store.disk.fresh()
        path.write_bytes(bytes(MIB - 2 * BLOCK))
        store.motions.keep(one, suffix, path, "0")
    upload(store, size=MIB // 2)
    assert [export.format for export in store.motions.exports([one.id])[one.id]] == ["mp4"]
    assert store.motions.export(one, "glb") is None
    assert len(everything(tmp_path)) == 2
    store.close()


def test_an_export_of_a_motion_that_went_leaves_nothing(store):
    one, path = motion(store), store.disk.fresh()
    path.write_bytes(b"x")
    store.motions.delete("ann", one.id)
    with pytest.raises(KeyError):
        store.motions.keep(one, "glb", path, "0")
    assert not list((store.disk.folder / "motions").iterdir())


def test_the_secret_is_made_once_for_all_who_share_the_store(tmp_path):
    stores = [opened(tmp_path) for _ in range(3)]
    assert len({store.secret() for store in stores}) == 1
    assert len(stores[0].secret()) == 32
    for store in stores:
        store.close()


def test_databases_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected sqlite:///\.\.\. or postgresql"):
        opened(tmp_path / "a", "mysql://x/y")
    with pytest.raises(ValueError, match="expected a URL"):
        opened(tmp_path / "a", "nonsense")
    store = opened(tmp_path / "b")
    with store.vault.database.writing() as connection:
        connection.execute(update(tables.SECRETS).where(tables.SECRETS.c.name == "tables").values(value=b"9"))
    store.close()
    with pytest.raises(ValueError, match="expected tables of version 1, got 9"):
        opened(tmp_path / "b")


def test_a_job_is_claimed_once_however_many_want_it(store):
    made = {video(store, "ann").id for _ in range(12)}
    claimed: list[str] = []

    def work():
        while (job := store.videos.claim()) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(made)


def test_a_lost_job_is_tried_twice_and_then_says_why_it_failed(store):
    made = video(store)
    for attempt in (1, 2):
        job = store.videos.claim()
        assert (job.id, job.attempts, job.status) == (made.id, attempt, "in_progress")
        assert store.videos.beat(job, progress=50)
        assert store.videos.recover() == 0
        with store.vault.database.writing() as connection:
            connection.execute(update(tables.VIDEOS).values(lease=time.time() - 1))
        assert store.videos.recover() == 1
        assert not store.videos.beat(job, progress=60)
        assert not store.videos.held(job)
    failed = store.videos.get("ann", made.id)
    assert (failed.status, failed.error[0]) == ("failed", "server_stopped")
    assert "the server was stopped while it rendered" in failed.error[1]
    assert store.videos.claim() is None


def test_what_is_finished_too_late_is_nobodys(store):
    made, path = video(store), store.disk.fresh(".mp4")
    job = store.videos.claim()
    path.write_bytes(b"mp4")
    store.videos.delete("ann", made.id)
    assert not store.videos.finish(job, path, 1.0)
    assert everything(store.disk.folder) == []


def test_a_key_may_queue_so_many_videos(tmp_path):
    store = opened(tmp_path, queued_videos=2)
    first = video(store), video(store)
    with pytest.raises(ApiError, match="at most 2 videos queued") as refusal:
        video(store)
    assert (refusal.value.status, refusal.value.retry_after) == (429, 10)
    video(store, "bob")
    store.videos.delete("ann", first[0].id)
    video(store)
    store.close()


DYING = """
import os, sys
from pathlib import Path
from tdmm_lm.serve.settings import Settings
from tdmm_lm.serve.store import Store
store = Store(None, Path(sys.argv[1]), Settings())
store.videos.add("ann", model="m", prompt="p", motion=None, rig=None, seed=None, size=(64, 64), seconds=1.0)
store.videos.claim()
store.disk.fresh(".mp4").write_bytes(b"half")
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_taken_up_and_what_the_living_write_stays(tmp_path):
    store = opened(tmp_path)
    ours = store.disk.fresh()
    ours.write_bytes(b"in work")
    assert subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], check=False).returncode == -9
    assert len(list(tmp_path.glob("incoming/*/*.mp4"))) == 1
    store.recover()
    assert list(tmp_path.glob("incoming/*/*.mp4")) == []
    assert ours.exists()
    job = store.videos.claim()
    assert job.attempts == 2
    second = opened(tmp_path)
    assert ours.exists()
    assert second.videos.claim() is None
    second.close()
    store.close()


def test_bytes_that_never_got_a_row_go_when_they_are_old(store, monkeypatch):
    for kind in ("files", "motions", "videos"):
        (store.disk.folder / kind).mkdir(exist_ok=True)
    lost = store.disk.folder / "files" / ("file-" + "0" * 32)
    lost.write_bytes(b"x")
    (store.disk.folder / "motions" / ("motion-" + "0" * 32)).mkdir()
    kept = upload(store), motion(store, clip=MotionClip(np.zeros((2, 70)), 25, "face", "head"))
    assert store.tidy() == 0
    monkeypatch.setattr("tdmm_lm.serve.disk.OLD_SECONDS", -1.0)
    assert store.tidy() == 2
    assert {path.name for path in everything(store.disk.folder)} == {kept[0].id, "motion.npz"}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def many(store):
    for _ in range(300):
        motion(store)


def fill(path):
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 14))


def test_a_full_disk_refuses_and_leaves_nothing(small_disk):
    store = opened(small_disk)
    first = upload(store, size=MIB)
    filler = small_disk / "filler"
    fill(filler)
    with pytest.raises(ApiError, match="disk is full") as refusal:
        motion(store, clip=MotionClip(np.random.default_rng(0).normal(size=(999, 70)), 25, "face", "head"))
    assert (refusal.value.status, refusal.value.code, refusal.value.retry_after) == (503, "disk_full", 60)
    assert [path.name for path in everything(small_disk)] == [first.id]
    assert store.motions.page("ann", limit=9) == ([], False)
    with pytest.raises(ApiError, match="disk is full"):
        many(store)  # until the database's own room is used up
    filler.unlink()
    motion(store)
    store.close()


def test_a_motion_of_another_process_is_visible_here(tmp_path):
    one, two = opened(tmp_path), opened(tmp_path)
    made = motion(one)
    assert two.motions.get("ann", made.id).id == made.id
    two.close()
    one.close()
    assert list(Path(tmp_path, "incoming").iterdir()) == []


def test_who_waits_too_long_for_other_writers_is_told_to_come_again(store, monkeypatch):
    monkeypatch.setattr(tables, "BUSY_SECONDS", 0.05)
    writing, done = threading.Event(), threading.Event()

    def slow():
        with store.vault.database.writing():
            writing.set()
            done.wait(10)

    other = threading.Thread(target=slow)
    other.start()
    try:
        assert writing.wait(10)
        with pytest.raises(ApiError) as refused:
            motion(store)
        assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
        assert refused.value.retry_after == 2
    finally:
        done.set()
        other.join()
    assert store.motions.get("ann", motion(store).id).frames == 10
