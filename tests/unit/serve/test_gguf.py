"""A GGUF behind the server: llama.cpp answers the official client; what it lacks is named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import llamacpp
import openai
import pytest
import serving
from odd_models import odd, saved
from serving import HELLO, NAME, TOK, wait_until

import yaongi
from yaongi.infer.request import Event, Request
from yaongi.infer.rules import Generation
from yaongi.infer.runner import NO_TOKEN
from yaongi.infer.turns import Turn
from yaongi.interop.gguf import export_gguf
from yaongi.interop.llamacpp import LlamaCpp
from yaongi.serve.limits import Limits
from yaongi.serve.worker import Job

pytest.importorskip("xllamacpp", reason=llamacpp.REASON)

ROWS = 2
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    path = folder / "model.gguf"
    export_gguf(saved(odd("llama", 3), folder / "m"), path, quant="f32", context_len=512)
    return path


@pytest.fixture(scope="module")
def app(file: Path):
    served = yaongi.load(file, max_rows=ROWS)
    return serving.application(served, limits=Limits(prompt_tokens=300))


@pytest.fixture(scope="module")
def url(app) -> Iterator[str]:
    with serving.running(app) as url:
        yield url


@pytest.fixture(scope="module")
def api(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)


@pytest.fixture(scope="module")
def alone(file: Path) -> yaongi.Model:
    """The same file in a llama.cpp of its own."""
    return yaongi.load(file)


def chat(api: openai.OpenAI, **more):
    settings = {"temperature": 0, "max_tokens": 12, "messages": HELLO, **more}
    return api.chat.completions.create(model=NAME, **settings)


def body(**more) -> dict:
    return {"model": NAME, "messages": HELLO, "temperature": 0, "max_tokens": 4, **more}


def test_an_answer_is_that_of_the_model_alone(api, alone) -> None:
    found = chat(api, max_tokens=20)
    assert found.choices[0].message.content == alone.chat(HELLO, max_tokens=20)
    assert found.choices[0].finish_reason == "length"
    assert found.usage.prompt_tokens == len(alone.chat_ids(HELLO))
    stop = alone.chat(HELLO, max_tokens=20)[4:6]
    cut = chat(api, max_tokens=20, stop=stop)
    assert stop not in cut.choices[0].message.content
    assert cut.choices[0].finish_reason == "stop"


def test_every_token_is_counted_also_inside_a_character(api) -> None:
    for seed in range(4):  # of these tokens many are parts of characters
        found = chat(api, temperature=1.5, seed=seed, max_tokens=23)
        if found.choices[0].finish_reason == "length":
            assert found.usage.completion_tokens == 23
        chunks = list(chat(api, temperature=1.5, seed=seed, max_tokens=23, stream=True,
                           stream_options={"include_usage": True}))  # fmt: skip
        assert chunks[-1].usage == found.usage


def test_a_seed_decides_and_several_answers_differ(api) -> None:
    found = chat(api, n=3, temperature=1.5, seed=5, max_tokens=8)
    texts = [c.message.content for c in found.choices]
    again = [chat(api, temperature=1.5, seed=5 + i, max_tokens=8) for i in range(3)]
    assert texts == [one.choices[0].message.content for one in again]
    assert len(set(texts)) > 1


def test_completions_and_ids(api, alone) -> None:
    found = api.completions.create(model=NAME, prompt=["고양이가", TOK.decode(TOK.encode("cat"))],
                                   max_tokens=6, temperature=0)  # fmt: skip
    assert [c.text for c in found.choices] == [
        alone.generate(text, max_tokens=6) for text in ("고양이가", "cat")
    ]
    asked = {"model": NAME, "messages": HELLO}
    ids = api.post("/tokenize", body=asked, cast_to=object)
    assert ids["tokens"] == alone.chat_ids(HELLO) and ids["max_model_len"] == 512


SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
TOOLS = [{"type": "function", "function": {"name": "now"}}]


@pytest.mark.parametrize(
    ("path", "asked", "field"),
    [
        (PATH, {"logprobs": True}, "logprobs"),
        (PATH, {"top_logprobs": 2}, "top_logprobs"),
        (PATH, {"response_format": {"type": "json_object"}}, "response_format"),
        (PATH, {"response_format": SCHEMA}, "response_format"),
        (PATH, {"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
        (PATH, {"tools": TOOLS, "tool_choice": {"function": {"name": "now"}}}, "tool_choice"),
        ("/v1/completions", {"prompt": "가", "logprobs": 0}, "logprobs"),
        ("/v1/completions", {"prompt": "가", "response_format": SCHEMA}, "response_format"),
        ("/v1/embeddings", {"input": "가"}, "model"),
    ],
)
def test_what_llama_cpp_cannot_do_is_refused_by_name(url, path, asked, field) -> None:
    first = body() if path == PATH else {"model": NAME}
    found = httpx.post(f"{url}{path}", json={**first, **asked})
    assert found.status_code == 400, found.text
    error = found.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported", field)
    assert (f"'{field}'" if field != "model" else "embeddings") in error["message"]


def test_what_it_can_do_beside_is_done(api) -> None:
    found = chat(api, tools=TOOLS, tool_choice="auto", response_format={"type": "text"})
    assert found.usage.prompt_tokens > chat(api).usage.prompt_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_row(app, url, monkeypatch, stream) -> None:
    read = LlamaCpp._read
    monkeypatch.setattr(LlamaCpp, "_read", lambda *args: time.sleep(0.02) or read(*args))
    worker = app.state.service.worker
    assert worker.rows == ROWS
    runner = worker.engines["base"]
    asked = body(max_tokens=480, stream=stream)
    for _ in range(ROWS + 1):
        with httpx.Client(base_url=url) as client, pytest.raises(httpx.TimeoutException):
            if stream:
                with client.stream("POST", PATH, json=asked) as answer:
                    next(answer.iter_lines())
                    raise httpx.ReadTimeout("enough")
            client.post(PATH, json=asked, timeout=0.1)
    wait_until(lambda: not (worker.jobs or worker.running or runner.busy), 5)
    assert httpx.post(f"{url}{PATH}", json=body(), timeout=20).is_success


def test_many_at_a_time_and_each_gets_its_own(url, alone) -> None:
    texts = [f"{i}번 질문입니다." for i in range(2 * ROWS + 1)]
    turns = [[{"role": "user", "content": t}] for t in texts]

    def ask(messages):
        asked = body(messages=messages, max_tokens=8)
        return httpx.post(f"{url}{PATH}", json=asked, timeout=60).json()

    with ThreadPoolExecutor(len(turns)) as pool:
        found = list(pool.map(ask, turns))
    said = [one["choices"][0]["message"]["content"] for one in found]
    assert said == [alone.chat(messages, max_tokens=8) for messages in turns]


def test_an_error_of_llama_cpp_ends_its_request_alone(app, api, monkeypatch) -> None:
    runner = app.state.service.worker.engines["base"]
    own = runner._body

    def wrong(job):
        found = own(job)
        return {**found, "top_k": "many"} if job.request.rules.top_k == 7 else found

    monkeypatch.setattr(runner, "_body", wrong)
    with ThreadPoolExecutor() as pool:
        good = pool.submit(chat, api, max_tokens=60)
        with pytest.raises(openai.InternalServerError) as caught:
            chat(api, extra_body={"top_k": 7})
        assert good.result().usage.completion_tokens
    assert caught.value.code == "engine_failed" and "many" not in str(caught.value)
    assert chat(api).choices[0].message.content
    assert app.state.service.worker.alive


def test_limits_and_health_are_those_of_any_model(url) -> None:
    asked = body(messages=[{"role": "user", "content": "가" * 999}])
    found = httpx.post(f"{url}{PATH}", json=asked)
    assert found.json()["error"]["code"] == "context_length_exceeded"
    assert httpx.post(f"{url}/v1/completions", json={"model": NAME, "prompt": [80] * 301}
                      ).status_code == 413  # fmt: skip
    assert httpx.post(f"{url}{PATH}", json=body(model="x")).status_code == 404
    assert httpx.get(f"{url}/health").status_code == 200
    told = httpx.get(f"{url}/metrics").text
    assert "yaongi_generated_tokens_total" in told and "prefix" not in told


def test_an_answer_that_ends_inside_a_character_is_sorted_too() -> None:
    turn = Turn(TOK, [])
    said = [Event(1, TOK.encode("가")[-1], 0.0, "가", tokens=2), Event(1, NO_TOKEN, 0.0, "", None)]
    assert [piece.text for event in said for piece in turn.push(event)] == ["가"]


def test_thinking_is_told_apart_behind_a_character_of_several_tokens() -> None:
    turn = Turn(TOK, [])
    think, end = (TOK.control_id(name) for name in ("<think>", "</think>"))
    b = TOK.encode("b")[-1]
    events = [Event(1, think, 0.0, ""), Event(1, b, 0.0, "\n힣힣b", tokens=6),
              Event(1, end, 0.0, ""), Event(1, b, 0.0, "b")]  # fmt: skip
    found = [(p.channel.value, p.text) for e in events for p in turn.push(e)]
    assert found == [("reasoning_content", "힣힣b"), ("content", "b")]
    assert turn.thinking_tokens == 7


def test_what_still_runs_when_the_server_ends_is_not_waited_for(file, monkeypatch) -> None:
    read = LlamaCpp._read
    monkeypatch.setattr(LlamaCpp, "_read", lambda *args: time.sleep(0.02) or read(*args))
    worker = serving.application(yaongi.load(file)).state.service.worker
    runner = worker.engines["base"]
    job = Job("base", Request(TOK.text_ids("가"), Generation(max_tokens=400)))
    worker._running["base", runner.submit(job.request)] = job
    assert runner.busy
    worker._close()
    wait_until(lambda: not runner.busy)
    began = time.monotonic()
    runner._threads.shutdown()  # as the interpreter does when it ends
    assert time.monotonic() - began < 4  # 400 tokens take 8 s
