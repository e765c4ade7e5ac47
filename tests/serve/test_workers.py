"""Functions in limited children: what they give back, and what becomes of those that misbehave."""

import asyncio
import contextlib
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm.motion import MotionClip
from tdmm_lm.serve import children, workers
from tdmm_lm.serve.settings import Limits

ROOT = Path(__file__).resolve().parent.parent.parent


# What children run ----------------------------------------------------------------------------------------------------


def back(*values):
    return list(values)


def missing():
    raise FileNotFoundError("there: expected a file,\nfound none.")


def broken():
    raise KeyError("no\x1b[2Jname")


def counting(report):
    for k in range(5):
        report(k / 4)
    return 5


def state():
    return {
        "threads": __import__("torch").get_num_threads(), "folder": tempfile.gettempdir(), "pid": os.getpid(),
        "group": os.getpgid(0), "environment": sorted(os.environ),
        "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
        "open": len(os.listdir("/proc/self/fd")), "tasks": len(os.listdir("/proc/self/task")),
    }


def littering(folder):
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(bytes(1000))
    Path(folder, "pid").write_text(str(os.getpid()))
    time.sleep(60)


def having_children(folder):
    child = subprocess.Popen(["sleep", "60"])
    Path(folder, "pid").write_text(str(child.pid))
    time.sleep(60)


def spinning():
    while True:
        pass


def killed(number):
    os.kill(os.getpid(), number)


def leaving():
    os._exit(0)


def writing(path, size):
    Path(path).write_bytes(bytes(size))


def lying(kind, data):
    """Says to the server what no child of ours would, through whichever socket it finds."""
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            socket.socket(fileno=os.dup(number)).sendall(children.FRAME.pack(kind, len(data)) + data)
    time.sleep(60)


def drawing(path):
    from tdmm_lm import rigs
    from tdmm_lm.motion import face
    from tdmm_lm.render import mesh

    values = np.zeros((2, len(rigs.load("head").expressions) + face.POSE_CHANNELS), np.float32)
    mesh.write(MotionClip(values, 25, "face", "head"), path, rigs.load("head"), size=(64, 64))
    return path.stat().st_size


# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def pool(loop):
    sys.path.insert(0, str(ROOT))
    made = workers.Workers(Limits(readers=2, read_seconds=20, read_memory_mb=2048, file_mb=4))
    yield made
    loop.run(made.close())
    sys.path.remove(str(ROOT))


@pytest.fixture
def call(loop, pool):
    yield lambda function, *arguments, **options: loop.run(pool.call(function, *arguments, **options))
    assert not list(Path(pool._folder).iterdir()), "a folder is left"


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def ends(pid: int) -> bool:
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_values_go_over_and_come_back(call):
    values = [None, True, 3, 0.5, "ö\n", b"\0x", Path("/a"), (1, [2.0]), {"a": {"array": 1}}]
    assert call(back, *values) == values
    array = np.arange(6, dtype=np.uint16).reshape(2, 3)
    clip = MotionClip(np.ones((4, 70), np.float32), 30, "face", "head", np.ones(3, np.float32))
    got_array, got_clip, empty, scalar = call(back, array, clip, np.zeros((0, 3)), np.float32(2))
    assert (got_array == array).all()
    assert got_array.dtype == array.dtype
    assert (got_clip.values == clip.values).all()
    assert (got_clip.fps, got_clip.rig, got_clip.shape.tolist()) == (30, "head", [1, 1, 1])
    assert empty.shape == (0, 3)
    assert scalar == 2
    with pytest.raises(TypeError, match="got object"):
        call(back, object())
    with pytest.raises(RuntimeError, match=r"got ellipsis|got set"):
        call(set, [1])


def test_errors_come_back_in_one_line(call, caplog):
    with pytest.raises(ValueError, match=r"^math domain error$"):
        call(math.sqrt, -1.0)
    with pytest.raises(ValueError, match=r"^there: expected a file, found none\.$"):
        call(missing)
    with pytest.raises(RuntimeError, match="broken: KeyError") as caught:
        call(broken)
    assert "\x1b" not in str(caught.value) + caplog.text
    assert "Traceback" in caplog.text


def test_a_child_is_alone_and_bounded(call):
    first, second = call(state), call(state)
    assert first["threads"] == 1
    assert first["tasks"] == 1
    assert first["core"] == [0, 0]
    assert first["group"] == first["pid"] != second["pid"]
    assert first["folder"] != second["folder"]
    assert not Path(first["folder"]).exists()
    assert first["open"] == second["open"] <= 6
    assert not any("KEY" in name or "SECRET" in name for name in first["environment"])
    assert set(first["environment"]) <= {
        *workers.PASSED, "PYTHONPATH", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES", "PYTHONWARNINGS", "TMPDIR",
    } | {name for name in first["environment"] if name.startswith(("KMP_", "VTK", "LC_", "QT_", "TORCH", "GLOG_"))}


def test_progress_is_told(call):
    heard = []
    assert call(counting, progress=heard.append) == 5
    assert heard == [0, 0.25, 0.5, 0.75, 1]


def test_time_is_up_for_sleepers_and_spinners(call, tmp_path):
    for function, arguments in ((spinning, ()), (littering, (tmp_path,))):
        start = time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0.3 s, took longer\.$"):
            call(function, *arguments, seconds=0.3)
        assert time.monotonic() - start < 3
    assert ends(int((tmp_path / "pid").read_text()))


def test_what_a_child_has_started_goes_with_it(call, tmp_path):
    with pytest.raises(TimeoutError):
        call(having_children, tmp_path, seconds=1)
    assert ends(int((tmp_path / "pid").read_text()))


def test_memory_and_files_are_bounded(call, tmp_path):
    with pytest.raises(MemoryError, match="within 200 MB, needed more"):
        call(bytearray, 300 << 20, memory_mb=200)
    with pytest.raises(MemoryError, match="within 200 MB, needed more"):
        call(np.zeros, 10**12, memory_mb=200)
    with pytest.raises(RuntimeError, match="File too large"):
        call(writing, str(tmp_path / "a"), 5 << 20)
    assert (tmp_path / "a").stat().st_size <= 4 << 20


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_a_crash_is_an_error_of_that_call_alone(call, number):
    with pytest.raises(MemoryError, match=rf"was killed \(signal {int(number)}\)"):
        call(killed, number)
    with pytest.raises(MemoryError, match="was killed"):
        call(leaving)
    assert call(math.sqrt, 4.0) == 2


@pytest.mark.parametrize(("kind", "data"), [
    (b"r", b""), (b"r", b"\xff" * 100), (b"r", (5).to_bytes(8, "little") + b"[1, 2"), (b"x", b"hello"),
    (b"r", (2).to_bytes(8, "little") + b"{}"), (b"e", (4).to_bytes(8, "little") + b"null"), (b"p", b"short"),
    (b"r", (34).to_bytes(8, "little") + b'{"array": ["|O", [1]], "x":"' + b" " * 6),
    (b"r", (31).to_bytes(8, "little") + b'{"array": ["<f8", [999999999]]}'),
    (b"r", (28).to_bytes(8, "little") + b'{"array": ["|O8", [1, 1, 1]]}'),
    (b"r", (4000).to_bytes(8, "little") + b"[" * 2000 + b"]" * 2000), (b"b", b"x" * 10), (b"\x80", b"\x80\x04."),
])
def test_a_child_that_lies_is_not_believed(call, kind, data):
    with pytest.raises((RuntimeError, MemoryError), match=r"something else|killed"):
        call(lying, kind, data, seconds=10)
    assert call(math.sqrt, 4.0) == 2


def test_cancelling_kills_and_frees_the_place(loop, pool, tmp_path):
    async def run():
        tasks = [asyncio.create_task(pool.call(littering, tmp_path)) for _ in range(2)]
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.05)
        waiting = asyncio.create_task(pool.call(math.sqrt, 4.0))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert await waiting == 2

    loop.run(run())
    assert ends(int((tmp_path / "pid").read_text()))


def test_calls_wait_in_order_and_two_run_at_once(loop, pool):
    done = []

    async def one(k):
        await pool.call(time.sleep, 0.3)
        done.append(k)

    async def run():
        start = time.monotonic()
        await asyncio.gather(*(one(k) for k in range(6)))
        return time.monotonic() - start

    assert 0.85 < loop.run(run()) < 3
    assert [sorted(done[k : k + 2]) for k in (0, 2, 4)] == [[0, 1], [2, 3], [4, 5]]


def test_rendering_and_torch_work(call, tmp_path):
    assert call(drawing, tmp_path / "a.mp4") > 500
    assert (tmp_path / "a.mp4").is_file()


def test_a_template_that_dies_is_made_anew(call, pool):
    first = pool._template
    first.kill()
    first.wait()
    assert call(math.sqrt, 4.0) == 2
    assert pool._template is not first


def test_children_go_when_the_server_goes(tmp_path):
    program = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1])\n"
        "from tdmm_lm.serve.settings import Limits; from tdmm_lm.serve.workers import Workers\n"
        "from tests.serve.test_workers import littering\n"
        "asyncio.run(Workers(Limits()).call(littering, sys.argv[2]))\n"
    )
    mine = tmp_path / "tmp"
    mine.mkdir()
    server = subprocess.Popen(
        [sys.executable, "-c", program, str(ROOT), str(tmp_path)], cwd=tmp_path, env={**os.environ, "TMPDIR": str(mine)}
    )
    for _ in range(600):
        if (tmp_path / "pid").exists():
            break
        time.sleep(0.1)
    time.sleep(0.1)
    child = int((tmp_path / "pid").read_text())
    parent = int(Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1])
    assert alive(child)
    assert list(mine.glob("tdmm-workers-*/*/tmp*"))
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert ends(child)
    assert ends(parent)
    assert not list(mine.iterdir())


def test_nothing_is_left_open(call):
    call(math.sqrt, 4.0)
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(10):
        call(math.sqrt, 4.0)
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads
