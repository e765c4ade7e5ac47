"""Who makes the shards: this process, a pool of processes, or Ray. The same bytes come of all three.

Workers are spawned, not forked, since torch's threads do not survive a fork, and compute with one thread each. They
end with the process that started them, however that ends.
"""

import json
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from tdmm_lm.corpus.building import recipe, shards
from tdmm_lm.corpus.building.shards import Made, Shard

ALONE = 2  # shards that are not worth starting a pool for
MISTAKES = (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, PermissionError, ModuleNotFoundError)


def run(left: list[Shard], settings: recipe.Settings, out: Path) -> Iterator[Made]:
    """Make the shards, in any order; yields what came of each as it is finished.

    Raises:
        ValueError: what a shard's making raises; finished shards stay. Or Ray is not to be reached.
        ModuleNotFoundError: Ray is asked for and not installed.
    """
    if not left:
        return
    if settings.runner == "ray":
        yield from _by_ray(left, settings, out)
        return
    workers = min(settings.workers or (1 if len(left) <= ALONE else os.cpu_count() or 1), len(left))
    if workers == 1:
        yield from (shards.make(shard, settings, out) for shard in left)
    else:
        yield from _by_pool(left, settings, out, workers)


def _by_pool(left: Iterable[Shard], settings: recipe.Settings, out: Path, workers: int) -> Iterator[Made]:
    waiting, todo = set[Future[Made]](), iter(left)
    environment = {"OMP_NUM_THREADS": "1"}  # read when a worker imports its libraries
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=_follow, initargs=(os.getpid(),)
        ) as pool:
            try:
                while True:
                    new = islice(todo, 2 * workers - len(waiting))
                    waiting |= {pool.submit(shards.make, shard, settings, out) for shard in new}
                    if not waiting:
                        break
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for one in done:
                        yield one.result()
            except BrokenProcessPool:
                raise ValueError(
                    f"workers: expected {workers} to work to the end, one was ended from outside, as where memory is "
                    "short; start again with fewer, finished shards stay."
                ) from None
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _follow(parent: int) -> None:
    """End with the parent: a pool's worker whose parent was killed would wait for work forever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _by_ray(left: list[Shard], settings: recipe.Settings, out: Path) -> Iterator[Made]:
    """Ray Data over the shards: a task a shard, one core each. What goes through Ray is names and counts."""
    try:
        import ray
        from ray.data import DataContext, TaskPoolStrategy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"runner: expected Ray for `runner: ray`, found no {error.name}; pip install 'tdmm-lm[corpus]'.", name="ray"
        ) from None
    workers = settings.workers or os.cpu_count() or 1
    started = not ray.is_initialized()
    if started:
        start_ray(settings, workers)
    try:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        said = settings.model_dump_json()
        told = [{"settings": said, "shard": shards.to_json(shard), "out": str(out.resolve()), "at": os.getcwd()}
                for shard in left]
        items = ray.data.from_items(told, override_num_blocks=len(told))
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # only now: Ray sets its own when it is first used
        rows = items.map(_remote, num_cpus=1, compute=TaskPoolStrategy(size=workers))
        for row in rows.iter_rows():
            if row["error"]:
                raise ValueError(row["error"])
            yield Made(**json.loads(row["made"]))
    finally:
        if started:
            ray.shutdown()


def start_ray(settings: recipe.Settings, workers: int) -> None:
    """Ray on this machine or on the recipe's cluster, quiet: no dashboard, no statistics sent, no logs of workers.

    Raises:
        ValueError: there is none to be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    seen = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    seen |= {name: os.environ[name] for name in ("TDMM_DATA", "TDMM_CACHE") if name in os.environ}
    given: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if settings.ray.address is None:
        given |= {
            "num_cpus": workers, "include_dashboard": False, "runtime_env": {"env_vars": seen},
            "object_store_memory": settings.ray.object_store_mb * 1_000_000,
        }
    else:  # a cluster's nodes have paths of their own
        given |= {"address": settings.ray.address, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}}
    try:
        ray.init(**given)
    except (ConnectionError, RuntimeError) as error:
        where, reason = settings.ray.address or "this machine", " ".join(str(error).split())
        raise ValueError(f"ray.address: expected a cluster at {where}, got {reason}") from None


def _remote(task: dict[str, str]) -> dict[str, str]:
    """One shard on some node. The user's mistakes come back as text: Ray would wrap them in a page of traceback."""
    try:
        if not Path(task["at"]).is_dir():
            raise FileNotFoundError(f"{task['at']}: expected the build's folder on every node, found none on this.")
        os.chdir(task["at"])  # relative paths of the recipe
        settings = recipe.Settings.model_validate_json(task["settings"])
        made = shards.make(shards.from_json(task["shard"]), settings, Path(task["out"]))
    except MISTAKES as error:
        return {"made": "", "error": str(error) or type(error).__name__}
    return {"made": json.dumps(asdict(made)), "error": ""}
