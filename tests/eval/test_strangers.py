"""Motion files that an endpoint offers, as a stranger may write them."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import verbs
from tdmm_lm.formats import npz

SUITES = Path(__file__).resolve().parents[2] / "eval" / "suites"


def performed(values, *, modality="face", rig="head", fps=25.0):
    """The bytes of an npz as a stranger may write it."""
    buffer = io.BytesIO()
    np.savez(
        buffer, format_version=np.int64(npz.FORMAT_VERSION), values=values, fps=np.float64(fps),
        modality=np.str_(modality), rig=np.str_(rig), shape=np.zeros(0, np.float32),
    )
    return buffer.getvalue()


GOOD = np.zeros((50, 70), np.float32)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (performed(GOOD), ""),
        (b"", "broken_motion"),
        (b"PK\x03\x04 cut", "broken_motion"),
        (performed(GOOD)[:-40], "broken_motion"),
        (performed(np.full((5, 70), np.nan, np.float32)), "broken_motion"),
        (performed(GOOD[:, :9]), "broken_motion"),
        (performed(GOOD, fps=0.0), "broken_motion"),
        (performed(GOOD, modality="body", rig="skeleton"), "strange_rig"),
        (performed(GOOD, rig="antigravity.x"), "strange_rig"),  # a dotted name would be imported
        (performed(GOOD, rig="/etc"), "strange_rig"),
        (performed(np.zeros((2000, 70), np.float32)), "too_long"),
        (404, "http_404"),
    ],
)
def test_a_motion_of_a_stranger(tmp_path, data, fault):
    """One that is no face of ours, or is gone, is one sample's fault; the run ends with its report."""
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            link = "http://somewhere.else/v1/motions/motion-1.npz"  # of which the path alone counts
            motion = {"id": "motion-1", "codes": None, "files": [{"format": "npz", "url": link}]}
            message = {"role": "assistant", "content": "", "motion": motion}
            self.reply(200, json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode())

        def do_GET(self):
            self.reply(*((data, b"gone") if isinstance(data, int) else (200, data)))

        def reply(self, status, body):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        told, _ = verbs.evaluate(
            SUITES / "l2m.yaml", tmp_path, ["data.n=2", "data.swaps=0", "endpoint.patience={tries: 1, seconds: 5}"],
            endpoint=f"{url}#fake",
        )
    finally:
        server.shutdown()
        server.server_close()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["faults"] == ({fault: 2} if fault else {})
    assert results["columns"]["answered"]["value"] == (0 if fault else 1)
    assert (f"Not answered: 2 {fault}" in told) if fault else ("Not answered" not in told)
    assert (tmp_path / "report.html").is_file()
