"""Whether the gateway lasts: twenty minutes of mixed requests at 80 % of what it can do, its memory and its open files.

    tdmm bench soak

Prompts, edits in a second turn, descriptions of uploaded files, files, exports; streamed and not. First as many as can
be are sent for a while, which gives the capacity; then they come by chance at 80 % of it. Where `MOST` are in work
already the next one waits.
"""

import asyncio
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import uvloop

from tdmm_lm import report
from tdmm_lm.bench.codec import talking
from tdmm_lm.bench.traffic import Stack, prompt, say, started
from tdmm_lm.formats import npz

MINUTES = 20.0
SHARE = 0.8  # of the capacity
MOST = 64  # in work at once
EVERY = 5.0  # seconds between two looks at the gateway's process
MB = 1 << 20


def run(minutes: float = MINUTES) -> dict[str, dict[str, Any]]:
    """``soak_failed``: requests that did not end as they should; ``soak_rss_growth_mb``: what the gateway's process
    holds in the last minute beyond what it held in the second (medians), ``soak_pss_growth_mb`` with shared memory
    divided; ``soak_open_files_growth`` likewise, each also ``_late``: beyond what it held in the middle of the time;
    ``soak_left_running``: chat requests in work after all were answered.
    """
    with started() as stack, tempfile.TemporaryDirectory(prefix="tdmm-soak-") as folder:
        path = Path(folder) / "talking.npz"
        npz.write(talking(3.0), path)
        return uvloop.run(_soaked(stack, path.read_bytes(), 60 * minutes))


class Soak:
    """A client, made in the loop that it runs in, and what has come of its requests."""

    def __init__(self, stack: Stack, file: bytes) -> None:
        self.stack, self.file = stack, file
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=300), connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
        )
        self.number = self.asked = 0
        self.failed = Counter[str]()
        self.random = random.Random(0)
        self.kinds: list[tuple[Callable[[int], Awaitable[None]], int]] = [
            (self._prompt, 8), (self._edit, 4), (self._describe, 3), (self._files, 3), (self._export, 2),
        ]

    async def one(self) -> None:
        """A conversation, or whatever else a user does, drawn by chance; its failure is counted, not raised."""
        kinds, weights = zip(*self.kinds)
        self.number += 1
        with suppress(Failure):
            await self.random.choices(kinds, weights)[0](self.number)

    async def _ask(self, method: str, path: str, done: bytes = b"", **more: Any) -> bytes:
        """The answer's body, which is to hold ``done``."""
        self.asked += 1
        try:
            async with self.session.request(method, self.stack.gateway + path, **more) as response:
                body = await response.read()
            told = f"{response.status} {body[:200].decode('utf-8', 'replace')}"
            good = response.status == 200 and done in body
        except (aiohttp.ClientError, TimeoutError) as error:
            good, told = False, type(error).__name__
        if not good:
            kind = f"{method} {re.sub(r'[0-9a-f]{32}', '*', path)}: {re.sub(r'[0-9a-f]{32}', '*', told)}"
            self.failed[kind] += 1
            raise Failure(kind)
        return body

    async def _chat(self, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The answer's message; streamed: what its pieces make."""
        data = orjson.dumps({"model": "tdmm-nano", "messages": messages, **more})
        headers = {"content-type": "application/json"}
        done = b"data: [DONE]" if more.get("stream") else b'"finish_reason"'
        body = await self._ask("POST", "/chat/completions", done, data=data, headers=headers)
        if not more.get("stream"):
            return dict(orjson.loads(body)["choices"][0]["message"])
        said: dict[str, Any] = {"content": ""}
        for line in body.split(b"\n\n"):
            if line.startswith(b"data: {"):
                for choice in orjson.loads(line[6:])["choices"]:
                    said["content"] += choice["delta"].get("content") or ""
                    said |= {name: choice["delta"][name] for name in ("motion",) if name in choice["delta"]}
        return said

    def _perform(self, number: int, **more: Any) -> Awaitable[dict[str, Any]]:
        motion = {"frames": self.random.randrange(25, 150), "stream_frames": self.random.random() < 0.8}
        return self._chat([_user(prompt(number))], seed=number, motion=motion, **more)

    async def _prompt(self, number: int) -> None:
        await self._perform(number, stream=self.random.random() < 0.7)

    async def _edit(self, number: int) -> None:
        stream = self.random.random() < 0.5
        said = await self._perform(number, stream=stream)
        turns = [_user(prompt(number)), {"role": "assistant", "content": said["content"]}, _user("make it angry")]
        await self._chat(turns, seed=number, stream=stream, modalities=["motion"])

    async def _uploaded(self) -> str:
        form = aiohttp.FormData()
        form.add_field("purpose", "user_data")
        form.add_field("file", self.file, filename="talking.npz", content_type="application/octet-stream")
        return str(orjson.loads(await self._ask("POST", "/files", data=form))["id"])

    async def _describe(self, number: int) -> None:
        name = await self._uploaded()
        content = [{"type": "file", "file": {"file_id": name}}, {"type": "text", "text": "Describe this motion."}]
        await self._chat([{"role": "user", "content": content}], stream=number % 2 == 0, modalities=["text"])
        await self._ask("DELETE", f"/files/{name}")

    async def _files(self, number: int) -> None:
        name = await self._uploaded()
        await self._ask("GET", "/files?limit=20")
        if await self._ask("GET", f"/files/{name}/content") != self.file:
            self.failed["a file came back changed"] += 1
        await self._ask("DELETE", f"/files/{name}")

    async def _export(self, number: int) -> None:
        motion = (await self._perform(number))["motion"]["id"]
        await self._ask("GET", f"/motions/{motion}.npz", b"PK")
        if number % 2:
            await self._ask("GET", f"/motions/{motion}.glb", b"glTF")
        await self._ask("DELETE", f"/motions/{motion}")


class Failure(Exception):
    """A request that did not end as it should; it has been counted."""


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def _soaked(stack: Stack, file: bytes, seconds: float) -> dict[str, dict[str, Any]]:
    soak = Soak(stack, file)
    async with soak.session:
        capacity = await _most(soak, min(30.0, seconds / 4))
        rate = SHARE * capacity
        say(f"{capacity:.1f} conversations/s at most; {rate:.1f}/s for {seconds / 60:.1f} min")
        looks: list[tuple[float, ...]] = []
        looking = asyncio.create_task(_looks(soak, looks, seconds))
        waited, before = await _sent(soak, rate, seconds), soak.asked
        await looking
        await asyncio.sleep(min(10.0, seconds / 4))  # what nobody waits for any more may end
        left = re.search(r"(?m)^vllm:num_requests_running\S* (\S+)$", soak.stack.metrics())
    for kind, count in soak.failed.most_common(20):
        say(f"failed {count} times: {kind}")
    when, rss, pss, files = (np.array(column) for column in zip(*looks))
    rows = {"rss_growth_mb": (rss, "MB"), "pss_growth_mb": (pss, "MB"), "open_files_growth": (files, "files")}
    figures = {"soak_failed": report.figure(soak.failed.total(), "requests", n=before)}
    for name, (column, unit) in rows.items():
        first, middle, last = marks(when, column, seconds)
        told = f"{unit}, from {first:.0f} in the second minute to {last:.0f} in the last one"
        figures[f"soak_{name}"] = report.figure(last - first, told, n=len(when))
        told = f"{unit}, from {middle:.0f} in the middle minute to {last:.0f} in the last one"
        figures[f"soak_{name}_late"] = report.figure(last - middle, told, n=len(when))
    return figures | {
        "soak_rss_slope_mb_per_hour": report.figure(slope(when, rss, seconds), "MB an hour", n=len(when)),
        "soak_minutes": report.figure(seconds / 60, "minutes"),
        "soak_conversations_per_second": report.figure(rate, f"a second, {SHARE:.0%} of the capacity"),
        "soak_waited": report.figure(waited, f"conversations that waited since {MOST} were in work", n=soak.number),
        "soak_left_running": report.figure(float(left[1]) if left else None, "chat requests"),
    }


async def _most(soak: Soak, seconds: float) -> float:
    """Conversations a second, as many at once as keep the gateway busy."""
    until, before = time.monotonic() + seconds, soak.number

    async def on() -> None:
        while time.monotonic() < until:
            await soak.one()

    begun = time.monotonic()
    await asyncio.gather(*(on() for _ in range(16)))
    return (soak.number - before) / (time.monotonic() - begun)


async def _sent(soak: Soak, rate: float, seconds: float) -> int:
    """Conversations at their times; how many waited for room."""
    room, waited, due = asyncio.Semaphore(MOST), 0, time.monotonic()
    until, tasks = due + seconds, set[asyncio.Task[None]]()

    async def one() -> None:
        try:
            await soak.one()
        finally:
            room.release()

    while (due := due + soak.random.expovariate(rate)) < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        waited += room.locked()
        await room.acquire()
        if time.monotonic() > until:
            room.release()
            break
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return waited


async def _looks(soak: Soak, looks: list[tuple[float, ...]], seconds: float) -> None:
    begun, told = time.monotonic(), -60.0
    while (since := time.monotonic() - begun) < seconds:
        looks.append((since, *held(soak.stack.gateway_id)))
        if since - told >= min(60.0, seconds / 10):
            told = since
            _, rss, pss, files = looks[-1]
            say(f"{since / 60:.1f} min, {soak.asked} requests, {soak.failed.total()} failed, rss {rss:.0f} MB, "
                f"pss {pss:.0f} MB, {files:.0f} files")
        await asyncio.sleep(min(EVERY, seconds / 50))


def held(process: int) -> tuple[float, float, float]:
    """Megabytes resident, megabytes with what is shared divided, and open files of a process."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    rss, pss = (int(found[1]) * 1024 / MB for found in (re.search(rf"(?m)^{k}:\s+(\d+)", text) for k in ("Rss", "Pss"))
                if found)
    return rss, pss, float(len(list(Path(f"/proc/{process}/fd").iterdir())))


def marks(when: np.ndarray, values: np.ndarray, seconds: float) -> tuple[float, float, float]:
    """Medians in the second minute, in the middle one and in the last one; fifths of what is shorter than five."""
    span = min(60.0, seconds / 5)
    starts = (span, (seconds - span) / 2, seconds - span)
    first, middle, last = (float(np.median(values[(when >= start) & (when < start + span)])) for start in starts)
    return first, middle, last


def slope(when: np.ndarray, values: np.ndarray, seconds: float) -> float:
    """What the values gain in an hour, by a straight line through all but the first minute."""
    late = when >= min(60.0, seconds / 5)
    return float(np.polyfit(when[late] / 3600, values[late], 1)[0])
