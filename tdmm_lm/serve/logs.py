"""Log lines as JSON, one an event: when, how bad, what, and of a request who, where and how long. Never a payload."""

import json
import logging
import sys
import time
import traceback

FIELDS = ("request_id", "owner", "method", "route", "status", "ms", "bytes_in", "bytes_out")
FRAMES = 12  # of a traceback, the innermost


class Lines(logging.Formatter):
    """One JSON object a line; of an exception its kind and place, not the text that a client sent."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
        }
        line |= {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = told(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def told(error: BaseException | None) -> list[str]:
    """An exception and what caused it: kinds and places, without messages, which may quote what a client sent."""
    said: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        said.append(type(error).__name__)
        said += [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-FRAMES:]]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said


def to_stderr(level: int = logging.INFO) -> None:
    """All of this process's logging, as JSON lines on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("httpx", "aiohttp.access", "uvicorn.access", "multipart", "python_multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)
