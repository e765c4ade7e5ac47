"""Log lines as JSON, one an event: when, how bad, what, and of a request who, where and how long. Never a payload."""

import json
import logging
import sys
import time

FIELDS = ("request_id", "owner", "method", "route", "status", "ms", "bytes_in", "bytes_out")


class Lines(logging.Formatter):
    """One JSON object a line; of an exception its kind and place, not the text that a client sent."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
        }
        line |= {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def to_stderr(level: int = logging.INFO) -> None:
    """All of this process's logging, as JSON lines on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("httpx", "aiohttp.access", "uvicorn.access", "multipart", "python_multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)
