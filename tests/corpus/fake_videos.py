"""A hand-made server of video jobs in OpenAI's shape that can be told to fail: run by `runpy` from the tests."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Films:
    """``faults`` is called with (what, count, prompt) before each answer, what being create, poll, content or list, and
    count how often that was asked of this prompt; it returns None or what to do instead."""

    def __init__(self, film, faults=lambda what, count, prompt: None):
        self.film, self.faults, self.url = film, faults, ""
        self.jobs, self.counts, self.bodies, self.keys = {}, {}, [], []
        self.polls = 1  # that a job is in progress for
        self.failing = ()  # names of jobs that fail
        self.by_key = None  # a dictionary: a key that came before is answered with the job that it began
        self.lock = threading.Lock()

    def paid(self):
        return len(self.jobs)


def handled(films, method, path, query, body, headers):
    """(status, headers, bytes), a number of seconds to say nothing for, or "cut": half of the bytes."""
    parts = path.removeprefix("/v1/videos").strip("/").split("/")
    name = parts[0]
    job = films.jobs.get(name)
    what = "create" if method == "POST" else "list" if not name else "content" if parts[1:] else "poll"
    prompt = body["prompt"] if body else job["prompt"] if job else ""
    with films.lock:
        films.counts[what, prompt] = count = films.counts.get((what, prompt), 0) + 1
        fault = films.faults(what, count, prompt)
        if what == "create" and (fault is None or fault == "silent but made"):
            films.bodies.append(body)
            films.keys.append(key := headers.get("idempotency-key"))
            job = (films.by_key or {}).get(key)
            if job is None:
                name = f"video_{len(films.jobs)}"
                films.jobs[name] = job = {
                    "id": name, "object": "video", "status": "queued", "prompt": prompt,
                    "created_at": int(time.time()), "polls": 0,
                }
            if films.by_key is not None:
                films.by_key[key] = job
    if fault == "silent but made":
        return 3.0
    if fault is not None and fault != "cut":
        return fault
    if what == "list":
        listed = sorted(films.jobs.values(), key=lambda one: int(one["id"][6:]), reverse=True)
        after = query.get("after", [None])[0]
        names = [one["id"] for one in listed]
        start = names.index(after) + 1 if after else 0
        page = listed[start : start + 2]  # smaller pages than asked for
        return answer({"data": page, "has_more": start + 2 < len(listed)})
    if job is None:
        return answer({"error": {"message": "no such video", "code": "video_not_found"}}, 404)
    if what == "content":
        return (200, {}, films.film) if fault is None else "cut"
    if what == "poll":
        job["polls"] += 1
        ended = "failed" if name in films.failing else "completed"
        job["status"] = ended if job["polls"] > films.polls else "in_progress"
    return answer(job)


def answer(data, status=200, **headers):
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(data).encode()


@contextmanager
def serving(film, faults=lambda what, count, prompt: None):
    films = Films(film, faults)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.do(None)

        def do_POST(self):
            self.do(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def do(self, body):
            split = urlsplit(self.path)
            said = handled(films, self.command, split.path, parse_qs(split.query), body, self.headers)
            if isinstance(said, float):
                time.sleep(said)
                self.close_connection = True
                return
            cut = said == "cut"
            status, headers, data = (200, {}, films.film) if cut else said
            self.send_response(status)
            for name, value in {"content-length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.close_connection = cut

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    films.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield films
    finally:
        server.shutdown()
        server.server_close()
