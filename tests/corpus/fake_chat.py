"""A hand-made chat endpoint that answers as it is told, in every way one has seen: run by `runpy` from the tests."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Chat:
    """``answer`` is called with every request's body and returns what comes back: text, or (status, headers, bytes),
    or a number of seconds to say nothing for."""

    def __init__(self, answer):
        self.answer, self.asked, self.keys, self.url = answer, [], [], ""
        self.running = self.most = 0
        self.lock = threading.Lock()


def completion(text, finish="stop", usage=(100, 20)):
    body = {"model": "fake-1", "choices": [{"message": {"content": text}, "finish_reason": finish}]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return 200, {}, json.dumps(body).encode()


def error(status, message="broken", code=None, **headers):
    body = {"error": {"message": message, "code": code}}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()


@contextmanager
def serving(answer):
    chat = Chat(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with chat.lock:
                chat.asked.append(body)
                chat.keys.append(self.headers.get("authorization"))
                chat.running += 1
                chat.most = max(chat.most, chat.running)
            try:
                said = chat.answer(body)
            finally:
                with chat.lock:
                    chat.running -= 1
            if isinstance(said, (int, float)):
                time.sleep(said)
                self.close_connection = True
                return
            status, headers, data = completion(said) if isinstance(said, str) else said
            self.send_response(status)
            for name, value in {"content-length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
