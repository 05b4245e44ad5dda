"""Load on a real server: many streaming clients at once, every answer compared with its solo run.

    python bench/serve.py MODEL --clients 200 --seconds 120

A server is started in a process of its own. First each question is asked alone; then every client
asks one after another, with the question's seed, and its answer must be the very same text. The
server's memory is read twice a second from the system (Linux).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import torch

NAMES = ["철수", "영희", "민수", "지우", "하늘", "바다", "은결", "선희"]
THINGS = ["사과", "연필", "책", "공", "우산", "모자"]


def questions(count: int) -> list[dict]:
    """Requests that differ in everything; the server's own name of the model is added later."""
    draw = random.Random(0)
    made = []
    for i in range(count):
        a, b = draw.randrange(2, 50), draw.randrange(2, 50)
        who, what = draw.choice(NAMES), draw.choice(THINGS)
        text = f"{who}는 {what}를 {a}개 샀고 {b}개를 더 받았어요. {i}번: 모두 몇 개인가요?"
        made.append(
            {
                "messages": [{"role": "user", "content": text}],
                "seed": i,
                "temperature": (0.0, 0.7, 1.0)[i % 3],
                "max_tokens": draw.randrange(16, 96),
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )
    return made


async def ask(client: httpx.AsyncClient, body: dict) -> dict:
    """One streamed answer: its text, finish, tokens and times; or what went wrong."""
    began = time.monotonic()
    found: dict = {"text": "", "finish": None, "first_s": None, "tokens": 0, "done": False}
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            await answer.aread()
            return {"error": f"{answer.status_code} {answer.text[:200]}"}
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                found["done"] = True
            elif line.startswith("data: "):
                take(json.loads(line[6:]), found, began)
    found["whole_s"] = time.monotonic() - began
    return found


def take(chunk: dict, found: dict, began: float) -> None:
    """Add a chunk to an answer."""
    if "error" in chunk:
        found["error"] = chunk["error"]["message"]
        return
    if chunk.get("usage"):
        found["tokens"] = chunk["usage"]["completion_tokens"]
    for choice in chunk["choices"]:
        piece = choice["delta"].get("content") or choice["delta"].get("reasoning_content") or ""
        if piece and found["first_s"] is None:
            found["first_s"] = time.monotonic() - began
        found["text"] += piece
        found["finish"] = choice["finish_reason"] or found["finish"]


async def load(
    client: httpx.AsyncClient, bodies: list, alone: list, args: argparse.Namespace
) -> dict:
    """All clients until the time is up; what each got."""
    end = time.monotonic() + args.seconds
    told: Counter = Counter()
    wrong: list[str] = []
    firsts: list[float] = []
    wholes: list[float] = []
    tokens = 0

    async def one(number: int) -> None:
        nonlocal tokens
        draw = random.Random(number)
        while time.monotonic() < end:
            at = draw.randrange(len(bodies))
            got = await ask(client, bodies[at])
            if "error" in got or not got["done"]:
                told["lost"] += 1
                wrong.append(str(got.get("error", "cut off")))
                continue
            same = (got["text"], got["finish"]) == (alone[at]["text"], alone[at]["finish"])
            told["equal" if same else "mixed_up"] += 1
            tokens += got["tokens"]
            wholes.append(got["whole_s"])
            if got["first_s"] is not None:
                firsts.append(got["first_s"])

    began = time.monotonic()
    await asyncio.gather(*(one(i) for i in range(args.clients)))
    seconds = time.monotonic() - began
    return {
        "answers": {name: told[name] for name in ("equal", "mixed_up", "lost")},
        "errors": Counter(wrong).most_common(5),
        "seconds": round(seconds, 1),
        "tokens_per_s": round(tokens / seconds, 1),
        "first_token_s": quantiles(firsts),
        "whole_answer_s": quantiles(wholes),
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and largest."""
    ordered = sorted(values) or [float("nan")]
    at = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {
        k: round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3) for k, q in at.items()
    }


async def watch(pid: int, curve: list[tuple[float, int]]) -> None:
    """The server's memory, twice a second."""
    began = time.monotonic()
    while True:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        curve.append((round(time.monotonic() - began, 1), pages * resource.getpagesize() >> 20))
        await asyncio.sleep(0.5)


async def measure(url: str, pid: int, args: argparse.Namespace) -> dict:
    """The solo runs, a warm-up, the load; memory is told from the load on."""
    bodies = questions(args.questions)
    limits = httpx.Limits(max_connections=args.clients + 4)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        name = (await client.get("/v1/models")).json()["data"][0]["id"]
        bodies = [{"model": name, **body} for body in bodies]
        alone = [await ask(client, body) for body in bodies]
        assert all(a["done"] and "error" not in a for a in alone), alone
        curve: list[tuple[float, int]] = []
        watcher = asyncio.create_task(watch(pid, curve))
        found = await load(client, bodies, alone, args)
        watcher.cancel()
        left = (await client.get("/health")).json()
        await asyncio.sleep(1)
    return {**found, "memory_mb": memory(curve), "health_after": left}


def memory(curve: list[tuple[float, int]]) -> dict:
    """Its course, and how much it rose between the first third and the last."""
    sizes = [size for _, size in curve]
    third = max(1, len(sizes) // 3)
    rise = sum(sizes[-third:]) / third - sum(sizes[third : 2 * third] or sizes[:third]) / third
    thin = curve[:: max(1, len(curve) // 60)]
    return {"first": sizes[0], "max": max(sizes), "last": sizes[-1],
            "rise_second_to_last_third": round(rise, 1), "curve": thin}  # fmt: skip


def start(args: argparse.Namespace) -> tuple[subprocess.Popen, str]:
    """The server and its address."""
    code = "from yaongi.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", str(args.model), "--port", "0",
               "--rows", str(args.rows), "--queue", str(args.clients)]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "YAONGI_LANG": "en"}
    env.pop("YAONGI_API_KEY", None)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert server.stdout is not None
    found = re.search(r"http://\S+:\d+", server.stdout.readline())
    assert found, "the server did not start"
    return server, found[0]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    server, url = start(args)
    try:
        result = asyncio.run(measure(url, server.pid, args))
    finally:
        server.terminate()
        code = server.wait(60)
    result |= {
        "server_exit_code": code,
        "clients": args.clients,
        "rows": args.rows,
        "threads": args.threads,
        "torch": torch.__version__,
        "cpu": platform.processor() or platform.machine(),
        "load_average_after": round(os.getloadavg()[0], 1),
    }
    text = json.dumps(result, ensure_ascii=False, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    if result["answers"]["mixed_up"] or result["answers"]["lost"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
