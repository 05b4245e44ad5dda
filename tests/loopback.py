"""A teacher on this machine: an OpenAI-compatible server that misbehaves as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


def completion(text: str, finish: str = "stop") -> Answer:
    """What a server sends for an answer."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return 200, {"id": "x", "object": "chat.completion", "choices": [choice]}


def error(status: int, message: str, **headers: str) -> Answer:
    """What a server sends instead."""
    return status, {"error": {"message": message, "type": "x"}}, headers


class Teacher:
    """Answers by ``say(question, times)``, ``times`` counting how often it was asked before.

    Attributes:
        asked: (time, question, headers) of every request.
    """

    def __init__(self, say: Callable[[str, int], Answer]) -> None:
        self.say = say
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.url = ""

    def questions(self) -> list[str]:
        """What it was asked, repetitions included."""
        return [question for _, question, _ in self.asked]


@contextmanager
def serve(say: Callable[[str, int], Answer]) -> Iterator[Teacher]:
    """A teacher on a free port of the loopback interface."""
    teacher = Teacher(say)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][-1]["content"]
            with teacher.lock:
                times = teacher.questions().count(question)
                headers = {name.lower(): value for name, value in self.headers.items()}
                teacher.asked.append((time.monotonic(), question, headers))
                teacher.bodies.append(body)
            status, content, *headers = teacher.say(question, times)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    teacher.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield teacher
    finally:
        server.shutdown()
        server.server_close()
