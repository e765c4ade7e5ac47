"""However the work is shared out, and however often it is killed, the same bytes come of it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tdmm_lm.corpus import build, table
from tdmm_lm.corpus.building import checking, running, shards

HERE = Path(__file__).parent
BUILD = """
import sys
from pathlib import Path
from tdmm_lm.corpus import build
if __name__ == "__main__":
    sources = {"made_up.tape": {"count": 160, "pause_seconds": 0.02}}
    settings = build.Settings(sources=sources, shard=8, workers=int(sys.argv[2]), runner=sys.argv[3])
    try:
        print(build.build(settings, Path(sys.argv[1])))
    except ValueError as error:
        sys.exit(f"error: {error}")
"""


def start(script, out, workers, runner="local"):
    paths = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, str(script), str(out), str(workers), runner], env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def all_bytes(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "go.py"
    path.write_text(BUILD)
    return path


@pytest.fixture(scope="module")
def undisturbed(script, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    told, wrong = start(script, out, 1).communicate(timeout=120)
    assert "rejected 22: hiss 22" in told, wrong
    return out


@pytest.mark.slow
def test_killed_five_times_it_ends_as_if_nothing_had_been(script, undisturbed, tmp_path):
    chance, out, finished = random.Random(0), tmp_path / "out", {}
    for turn in range(5):
        process = start(script, out, 2)
        until = time.time() + 60
        while len(list(out.glob("*.parquet"))) <= len(finished) and time.time() < until:  # at work, past the start
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        assert process.poll() is None, f"ended before it was killed the {turn + 1}. time"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
        assert len(kept) > len(finished)  # every turn gets further
        assert all(kept[name] == when for name, when in finished.items())  # and repeats nothing
        finished = kept
    told, wrong = start(script, out, 2).communicate(timeout=120)
    assert "20 shards, 138 rows" in told, wrong
    assert all((out / name).stat().st_mtime_ns == when for name, when in finished.items())
    assert all_bytes(out) == all_bytes(undisturbed)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_was_killed_alone(script, tmp_path):
    process = start(script, tmp_path / "out", 2)
    until = time.time() + 60
    while not list((tmp_path / "out").glob("*.parquet")) and time.time() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    until = time.time() + 20
    while time.time() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError("workers outlived their parent")


@pytest.mark.slow
def test_ray_makes_the_same_bytes_and_says_mistakes_in_a_line(script, undisturbed, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    told, wrong = start(script, tmp_path / "out", 2, "ray").communicate(timeout=180)
    assert "20 shards, 138 rows" in told, wrong
    assert all_bytes(tmp_path / "out") == all_bytes(undisturbed)
    monkeypatch.syspath_prepend(HERE)
    assert "138 rows" in checking.check(tmp_path / "out")
    told, wrong = start(script, tmp_path / "out", 2, "ray").communicate(timeout=180)  # nothing is left to do
    assert "20 shards, 138 rows" in told, wrong


def test_rows_refused_by_workers_are_counted(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    settings = build.Settings(sources={"made_up.tape": {"licence": ""}}, shard=4, workers=2)
    with pytest.raises(ValueError, match=r"none: expected a row .*; rejected 40: no_licence 35, hiss 5; the"):
        build.build(settings, tmp_path / "none")  # every row refused, and said so
    assert not list(table.rows(tmp_path / "none"))


@pytest.mark.slow
def test_a_worker_that_is_ended_from_outside_is_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    settings = build.Settings(sources={"made_up.tape": {"dies": True}}, shard=4, workers=2)
    with pytest.raises(ValueError, match="workers: expected 2 to work to the end, one was ended from outside"):
        build.build(settings, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_node_works_in_the_folder_where_the_build_was_begun(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # given back at the end
    settings = build.Settings(sources={"performed": {"clips": {"train": 1}}}, workers=1)
    (shard,) = shards.plan(settings)
    task = {"settings": settings.model_dump_json(), "shard": shards.to_json(shard), "out": str(tmp_path / "out")}
    (tmp_path / "begun").mkdir()
    (tmp_path / "out" / "rejected").mkdir(parents=True)
    assert json.loads(running._remote({**task, "at": str(tmp_path / "begun")})["made"])["rows"] == 1
    assert Path.cwd() == tmp_path / "begun"
    told = running._remote({**task, "at": str(tmp_path / "gone")})["error"]
    assert told == f"{tmp_path / 'gone'}: expected the build's folder on every node, found none on this."
