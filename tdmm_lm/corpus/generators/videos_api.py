"""Any server with OpenAI's video jobs: POST /videos, GET /videos/ID until it is completed, GET /videos/ID/content.

The house's own gateway speaks it, and so do gateways in front of other generators. Nothing is paid twice: that a job
will be asked for is noted before, its id as soon as it is known. Where a run was killed or a time-out struck in
between, the server's list of jobs tells whether there is one with this prompt.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tdmm_lm import config
from tdmm_lm.corpus.asking import patience
from tdmm_lm.corpus.asking.patience import Patience
from tdmm_lm.corpus.generators import Failed, Notes, Request

if TYPE_CHECKING:
    import httpx

PAGES, PAGE = 20, 100  # of the list of jobs
CLOCKS_SECONDS = 300.0  # by which a server's clock may differ from ours
NO_ACCESS = (401, 402, 403)
GONE = ("http_404", "http_410")
REFUSED = ("moderation", "policy", "safety")  # in the code of a job that failed: the prompt's fault, not chance


class Settings(config.Settings):
    """``options`` go into every request; a field's name in ``seed`` or ``negative`` sends these too (else they are
    not sent, since servers refuse fields that they do not know)."""

    url: str = "http://127.0.0.1:8000/v1"
    model: str | None = None
    key_variable: str | None = "OPENAI_API_KEY"  # environment variable that holds the key
    seed: str | None = None
    negative: str | None = None
    options: dict[str, Any] = Field(default={})
    lists: bool = True  # false: no GET /videos, so that a request that may have come through is asked again
    poll_seconds: float = Field(default=5, gt=0)
    longest_seconds: float = Field(default=1800, gt=0)  # of one job, from when it is looked at
    patience: Patience = Patience()


def generate(request: Request, settings: Settings, path: Path, notes: Notes) -> None:
    """Ask for a video, or take up the job that was asked for before, and wait for it.

    Raises:
        Failed: refused, failed_job, job_gone, still_running, perhaps_paid, or what a request may fail with.
        Hopeless: no access.
        Interrupted: the run is being stopped.
    """
    with patience.client(settings.url, settings.key_variable, settings.patience.seconds) as client:
        job = notes.known.get("job") or _asked(client, request, settings, notes)
        try:
            _awaited(client, job, settings, notes)
            _downloaded(client, job, settings, path, notes)
        except Failed as failure:
            if failure.reason not in GONE:
                raise
            notes.drop(job)
            raise Failed("job_gone", f"{job}: {failure.detail}", again=True) from None


def _asked(client: "httpx.Client", request: Request, settings: Settings, notes: Notes) -> str:
    """The id of a new job, or of the one that an earlier request began."""
    body: dict[str, Any] = {
        "prompt": request.text, "seconds": f"{round(request.seconds, 3):g}",
        "size": f"{request.size[0]}x{request.size[1]}", **settings.options,
    }
    if settings.model:
        body["model"] = settings.model
    if settings.seed:
        body[settings.seed] = request.seed
    if settings.negative and request.negative:
        body[settings.negative] = request.negative

    failed = len(notes.dropped)  # a server that knows a key hands out the job that it began, also where this failed
    key = f"{request.id}-{failed}" if failed else request.id

    def ask() -> str:
        before = notes.known.get("asked_at")
        found = _found(client, request, settings, notes, before) if before else None
        if found:
            return found
        notes.note(state="asking", asked_at=time.time())
        notes.free = False
        try:
            reply = patience.once(
                client, "POST", "videos", seconds=settings.patience.seconds, body=body,
                headers={"idempotency-key": key},
            )
        except (Failed, patience.Hopeless) as failure:
            if isinstance(failure, patience.Hopeless) or failure.reason in ("unreachable", "busy") or (
                failure.reason.startswith("http_4")
            ):
                notes.note(asked_at=None)
                notes.free = True
            raise
        job = reply.json().get("id")
        if not isinstance(job, str) or not job or "/" in job:
            raise Failed("nonsense", f"expected a job with an id, got {reply.body[:60]!r}", again=True)
        notes.claim(job)
        return job

    return patience.tried(ask, settings.patience, wait=notes.wait)


def _found(
    client: "httpx.Client", request: Request, settings: Settings, notes: Notes, asked_at: float
) -> str | None:
    """The job that this request began, if it did."""
    if not settings.lists:
        return None
    after, dropped = "", notes.dropped
    for _ in range(PAGES):
        try:
            page = _got(client, f"videos?limit={PAGE}&order=desc{after}", settings, notes)
            jobs = page["data"]
            for job in jobs:
                if job["created_at"] < asked_at - CLOCKS_SECONDS:
                    return None
                if job["id"] in dropped or job["prompt"].strip() != request.text.strip():
                    continue
                if notes.claim(job["id"]):
                    return job["id"]
        except (Failed, KeyError, TypeError, AttributeError) as error:
            raise Failed(
                "perhaps_paid", "an earlier request may have begun a job, and the server does not list its jobs "
                f"({error}); set lists: false to ask again",
            ) from None
        if not jobs or not page.get("has_more"):
            return None
        after = f"&after={jobs[-1]['id']}"
    return None


def _got(client: "httpx.Client", path: str, settings: Settings, notes: Notes) -> dict[str, Any]:
    def get() -> dict[str, Any]:
        return patience.once(client, "GET", path, seconds=settings.patience.seconds, hopeless=NO_ACCESS).json()

    return patience.tried(get, settings.patience, wait=notes.wait)


def _awaited(client: "httpx.Client", job: str, settings: Settings, notes: Notes) -> None:
    """Return when the job is completed."""
    end = time.monotonic() + settings.longest_seconds
    while True:
        shown = _got(client, f"videos/{job}", settings, notes)
        status = shown.get("status")
        if status == "completed":
            return
        if status in ("failed", "cancelled", "expired"):
            error = shown.get("error")
            code, said = (error.get("code"), error.get("message")) if isinstance(error, dict) else ("", error)
            notes.drop(job)
            refused = any(word in str(code) for word in REFUSED)
            line = f"{job}: {code or status}: {' '.join(str(said or 'nothing said').split())[:200]}"
            raise Failed("refused" if refused else "failed_job", line, again=not refused)
        if status not in ("queued", "in_progress", "processing"):
            raise Failed("nonsense", f"{job}: expected a status, got {str(status)[:60]!r}")
        if time.monotonic() > end:
            raise Failed("still_running", f"{job}: not completed in {settings.longest_seconds:g} s; the next run asks")
        notes.wait(settings.poll_seconds)


def _downloaded(client: "httpx.Client", job: str, settings: Settings, path: Path, notes: Notes) -> None:
    def get() -> None:
        patience.once(
            client, "GET", f"videos/{job}/content", seconds=settings.patience.seconds, into=path, hopeless=NO_ACCESS
        )

    patience.tried(get, settings.patience, wait=notes.wait)
