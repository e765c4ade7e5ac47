"""A hand-made OpenAI-compatible backend that speaks as vLLM does and can be told to fail in every way one has seen."""

import asyncio
import json
import threading
from contextlib import contextmanager

from aiohttp import web

BEGIN, END, FIRST, EOS = 2046, 2047, 2048, 2044


class Backend:
    """Answers with ``tokens`` in chunks of ``interval``; ``fault`` names what goes wrong."""

    def __init__(self):
        self.tokens = [BEGIN, *(FIRST + i % 512 for i in range(60)), END, EOS]
        self.text = "a face smiles"
        self.interval, self.pause, self.fault, self.cut = 5, 0.0, "", 0
        self.asked, self.running, self.most, self.url = [], 0, 0, ""

    async def chat(self, request):
        body = await request.json()
        self.asked.append(body)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._answer(request, body)
        finally:
            self.running -= 1

    async def _answer(self, request, body):
        if self.fault.isdigit():
            error = {"error": {"message": "because", "type": "x", "param": None, "code": int(self.fault)}}
            return web.json_response(error, status=int(self.fault))
        if self.fault == "drop":
            request.transport.close()
        if self.fault == "slow":
            await asyncio.sleep(30)
        motion = "<[" in json.dumps(body.get("structured_outputs", {})) or body.get("max_tokens") == 1
        tokens = self.tokens if motion else [10, 11, 12, EOS]
        if body.get("max_tokens") == 1:
            tokens = tokens[:1]
        usage = {"prompt_tokens": 7, "completion_tokens": len(tokens), "total_tokens": 7 + len(tokens)}
        spelled = "".join(f"<|face_0_{t - FIRST:03d}|>" for t in tokens if t >= FIRST)
        if not body.get("stream"):
            message = {"role": "assistant", "content": spelled if motion else self.text}
            choices = [
                {"index": i, "message": message, "token_ids": tokens, "finish_reason": "stop"}
                for i in range(body.get("n") or 1)
            ]
            return web.json_response({"id": "x", "choices": choices, "usage": usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(event):
            data = f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n".encode()
            for start in range(0, len(data), self.cut or len(data)):
                await response.write(data[start : start + (self.cut or len(data))])
                if self.cut:
                    await asyncio.sleep(0)

        chunks = [tokens[i : i + self.interval] for i in range(0, len(tokens), self.interval)]
        for i in range(body.get("n") or 1):
            delta = {"role": "assistant", "content": ""}
            await send({"choices": [{"index": i, "delta": delta, "finish_reason": None}]})
        for number, part in enumerate(chunks):
            if number == 3 and self.fault == "stall":
                await asyncio.sleep(30)
            if number == 3 and self.fault == "cut":
                await response.write('data: {"choices": [{"index": 0, "delta": {"content": "é'.encode()[:-1])
                request.transport.close()
                return response
            if number == 3 and self.fault == "error":
                await send({"error": {"message": "engine died", "type": "x", "code": 500}})
                return response
            last = number == len(chunks) - 1
            words = self.text if number == 0 and not motion else ""
            words = words or "".join(f"<|face_0_{t - FIRST:03d}|>" for t in part if t >= FIRST)
            for i in range(body.get("n") or 1):
                choice = {
                    "index": i, "delta": {"content": words},
                    "token_ids": None if self.fault == "no ids" else part,
                    "finish_reason": "stop" if last and self.fault != "no end" else None,
                }
                await send({"choices": [choice]})
            await asyncio.sleep(self.pause)
        await send({"choices": [], "usage": usage})
        await send("[DONE]")
        return response

    async def models(self, request):
        return web.json_response({"object": "list", "data": []}, status=503 if self.fault == "down" else 200)

    async def metrics(self, request):
        return web.Response(text=f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running {self.running}\n")


@contextmanager
def running():
    """A backend that listens on loopback, in a thread of its own."""
    backend, ready, loop = Backend(), threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main():
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", backend.chat)
        app.router.add_get("/v1/models", backend.models)
        app.router.add_get("/metrics", backend.metrics)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        backend.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    ready.wait(10)
    yield backend
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
