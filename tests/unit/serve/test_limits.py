"""What a busy, a failing and an ending server says; and that clients who leave free their place."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import serving
import torch
from serving import HELLO, NAME, wait_until

from yaongi.api import Model
from yaongi.core.errors import ArtifactError, ConfigError
from yaongi.infer.engine import Engine
from yaongi.model.adapted import BASE
from yaongi.serve.limits import Limits

PATH = "/v1/chat/completions"


def body(**more):
    return {"model": NAME, "messages": HELLO, "temperature": 0, "max_tokens": 4, **more}


@pytest.fixture
def gate(monkeypatch):
    """Steps wait until it is set."""
    gate, step = threading.Event(), Engine.step

    def slow(engine):
        gate.wait(20)
        return step(engine)

    monkeypatch.setattr(Engine, "step", slow)
    yield gate
    gate.set()


@pytest.fixture
def slow(monkeypatch):
    """Steps take a while."""
    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda engine: time.sleep(0.02) or step(engine))


def test_a_full_queue_refuses_and_says_when_to_come_again(gate):
    app = serving.application(limits=Limits(rows=1, queue=1))
    with serving.client(app) as client, ThreadPoolExecutor() as pool:
        worker = app.state.service.worker
        going = [pool.submit(client.post, PATH, json=body()) for _ in range(2)]
        wait_until(lambda: worker.running == 1 and worker.waiting == 1)
        refused = client.post(PATH, json=body())
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/health").json() == {
            "status": "ok", "running": 1, "waiting": 1, "engine_failures": 0
        }  # fmt: skip
        gate.set()
        assert [f.result().status_code for f in going] == [200, 200]
        assert client.post(PATH, json=body()).status_code == 200
        assert client.post(PATH, json=body(n=3)).status_code == 503  # more than there is room for


def test_one_other_machine_may_not_take_everything(gate):
    app = serving.application(limits=Limits(per_client=1))
    with serving.client(app, client=("203.0.113.9", 1)) as client, ThreadPoolExecutor() as pool:
        going = pool.submit(client.post, PATH, json=body())
        wait_until(lambda: app.state.service.worker.running == 1)
        refused = client.post(PATH, json=body())
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        for other in ("203.0.113.10", "127.0.0.1"):
            with app.state.service.admitted(1, other):
                pass
        gate.set()
        assert going.result().status_code == 200
        assert client.post(PATH, json=body()).status_code == 200


def test_this_machine_may_be_a_proxy_so_it_is_not_counted():
    app = serving.application(limits=Limits(per_client=1))
    with serving.client(app, client=("127.0.0.1", 1)) as client:
        assert client.post(PATH, json=body(n=3)).status_code == 200


def test_an_answer_that_takes_too_long_ends(slow):
    app = serving.application(limits=Limits(time_s=0.15))
    with serving.client(app) as client:
        late = client.post(PATH, json=body(max_tokens=200))
        assert late.status_code == 503
        assert late.json()["error"]["code"] == "timeout"
        with client.stream("POST", PATH, json=body(max_tokens=200, stream=True)) as streamed:
            lines = [line for line in streamed.iter_lines() if line]
        assert streamed.status_code == 200
        assert '"code":"timeout"' in lines[-2]
        assert lines[-1] == "data: [DONE]"
        wait_until(lambda: not app.state.service.worker.running)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_client_that_leaves_frees_its_place(slow, stream, path):
    app = serving.application(limits=Limits(rows=1, queue=0))
    asked = {"model": NAME, "max_tokens": 300, "stream": stream, "temperature": 0}
    asked |= {"prompt": "가"} if path == "/v1/completions" else {"messages": HELLO}
    with serving.running(app) as url:
        worker = app.state.service.worker
        with httpx.Client(base_url=url) as client, pytest.raises(httpx.TimeoutException):
            if stream:
                with client.stream("POST", path, json=asked) as answer:
                    next(answer.iter_lines())
                    raise httpx.ReadTimeout("enough")
            client.post(path, json=asked, timeout=0.2)
        wait_until(lambda: not worker.jobs and not worker.running, 3)
        assert httpx.post(
            f"{url}{path}", json={**asked, "max_tokens": 1, "stream": False}
        ).is_success


def test_a_client_that_leaves_while_it_waits_is_forgotten(gate):
    app = serving.application(limits=Limits(rows=1, queue=2))
    with serving.running(app) as url, ThreadPoolExecutor() as pool:
        worker = app.state.service.worker
        going = pool.submit(httpx.post, f"{url}{PATH}", json=body(), timeout=20)
        wait_until(lambda: worker.running == 1)
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{url}{PATH}", json=body(), timeout=0.2)
        wait_until(lambda: len(worker.jobs) == 1)
        gate.set()
        assert going.result().status_code == 200


def test_an_exception_of_the_engine_fails_its_requests_and_shows_in_health(monkeypatch, caplog):
    app = serving.application()
    step, failing = Engine.step, []

    def breaks(engine):
        if engine.running and failing:
            raise RuntimeError("something about /home/somebody")
        return step(engine)

    monkeypatch.setattr(Engine, "step", breaks)
    with serving.client(app) as client:
        expected = client.post(PATH, json=body()).json()["choices"]
        failing.append(True)
        found = client.post(PATH, json=body())
        assert found.status_code == 500
        assert found.json()["error"]["type"] == "server_error"
        assert "somebody" not in found.text
        assert "something about" in caplog.text
        with client.stream("POST", PATH, json=body(stream=True)) as streamed:
            lines = list(streamed.iter_lines())
        assert streamed.status_code == 200
        assert "server_error" in "".join(lines)
        failing.clear()
        health = client.get("/health")
        assert health.status_code == 200
        assert health.json()["status"] == "degraded"
        assert health.json()["last_failure"]["error"] == "RuntimeError"
        assert client.post(PATH, json=body()).json()["choices"] == expected


def test_an_engine_that_cannot_begin_again_is_said_to_have_failed(monkeypatch):
    app = serving.application()
    with serving.client(app) as client:
        worker = app.state.service.worker
        wait_until(lambda: BASE in worker.engines)

        def broken(*_args, **_more):
            raise RuntimeError("broken")

        monkeypatch.setattr(Engine, "step", broken)
        monkeypatch.setattr(Engine, "__init__", broken)
        assert client.post(PATH, json=body()).status_code == 500
        wait_until(lambda: not worker.alive)
        assert client.post(PATH, json=body()).status_code == 503
        embedded = client.post("/v1/embeddings", json={"model": NAME, "input": "x"})
        assert embedded.status_code == 503
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")


def test_an_embedding_that_takes_too_long_or_fails_is_told(monkeypatch):
    app = serving.application(limits=Limits(time_s=1))
    asked = {"model": NAME, "input": ["가"] * 20}
    with serving.client(app) as client:
        monkeypatch.setattr(Model, "embed", lambda *_a, **_k: time.sleep(0.2))
        assert client.post("/v1/embeddings", json=asked).json()["error"]["code"] == "timeout"

        def broken(*_args, **_more):
            raise RuntimeError("broken")

        monkeypatch.setattr(Model, "embed", broken)
        found = client.post("/v1/embeddings", json=asked)
        assert (found.status_code, found.json()["error"]["code"]) == (500, "engine_failed")
        assert client.post(PATH, json=body()).status_code == 200


def test_answers_go_on_beside_many_embeddings_and_who_left_costs_nothing(monkeypatch):
    app, embedded = serving.application(), []
    served = app.state.service.model
    monkeypatch.setattr(served, "embed", lambda ids, **_: time.sleep(0.04) or embedded.append(ids))
    asked = {"model": NAME, "input": ["가"] * 30}
    with serving.running(app) as url, ThreadPoolExecutor(4) as pool:

        def leave():
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/embeddings", json=asked, timeout=0.5)

        leaving = [pool.submit(leave) for _ in range(4)]
        wait_until(lambda: embedded)
        found = httpx.post(f"{url}{PATH}", json=body(max_tokens=3), timeout=20)
        assert found.status_code == 200 and len(embedded) < 30
        for one in leaving:
            one.result()
        wait_until(lambda: app.state.service.worker.load == 0)
        assert len(embedded) < 60


def test_embeddings_find_a_full_queue_as_answers_do(monkeypatch):
    app, gate = serving.application(limits=Limits(rows=1, queue=1)), threading.Event()
    monkeypatch.setattr(
        app.state.service.model, "embed", lambda *_a, **_k: gate.wait(20) and torch.ones(2)
    )
    asked = {"model": NAME, "input": "가"}
    with serving.running(app) as url, ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(httpx.post, f"{url}/v1/embeddings", json=asked, timeout=20)
        wait_until(lambda: app.state.service.worker.load == 2)
        for path, one in (("/v1/embeddings", asked), (PATH, body())):
            found = httpx.post(f"{url}{path}", json=one)
            assert (found.status_code, found.json()["error"]["code"]) == (503, "overloaded")
        gate.set()


def test_a_server_that_ends_takes_no_more():
    app = serving.application()
    with serving.client(app) as client:
        app.state.service.draining = True
        found = client.post(PATH, json=body())
        assert found.status_code == 503
        assert found.json()["error"]["code"] == "shutting_down"
        assert client.get("/health").json()["status"] == "draining"


def test_answers_side_by_side_are_those_of_each_alone():
    app = serving.application(limits=Limits(rows=5))
    texts = [f"{i}번 질문입니다." for i in range(12)]
    asked = [
        body(max_tokens=5 + i, temperature=1.0, seed=i, messages=[{"role": "user", "content": t}])
        for i, t in enumerate(texts)
    ]  # fmt: skip
    with serving.client(app) as client, ThreadPoolExecutor(12) as pool:
        alone = [client.post(PATH, json=one).json()["choices"] for one in asked]
        together = list(pool.map(lambda one: client.post(PATH, json=one).json()["choices"], asked))
    assert together == alone


def test_metrics_tell_what_happened():
    app = serving.application()
    with serving.client(app) as client:
        client.post(PATH, json=body())
        client.post(PATH, json=body(model="other"))
        client.get("/whatever/somebody/typed")
        text = client.get("/metrics").text
    assert f'yaongi_generated_tokens_total{{model="{NAME}"}} 4.0' in text
    assert f'yaongi_http_requests_total{{route="{PATH}",status="200"}} 1.0' in text
    assert f'yaongi_http_requests_total{{route="{PATH}",status="404"}} 1.0' in text
    assert "yaongi_first_token_seconds_count 1.0" in text
    assert "typed" not in text and 'other"' not in text.replace('route="other"', "")


def long_talk(turns):
    said = [{"role": "user", "content": "가나다라 마바사 질문"},
            {"role": "assistant", "content": "대답입니다."}] * turns  # fmt: skip
    return [{"role": "system", "content": "너는 고양이다."}, *said, HELLO[0]]


def test_the_oldest_turns_go_where_the_operator_wants_it_and_the_answer_says_so():
    talk = long_talk(30)
    served = serving.model()
    fit = served.fit(talk, max_tokens=4, overflow="drop_oldest")
    assert fit.dropped > 0
    asked = body(messages=talk)
    with serving.client(serving.application(served, overflow="drop_oldest")) as client:
        found = client.post(PATH, json=asked).json()
        assert found["dropped_messages"] == fit.dropped
        assert found["usage"]["prompt_tokens"] == len(fit.ids)
        assert found["choices"][0]["message"]["content"] == served.chat(fit.messages, max_tokens=4)
        with client.stream("POST", PATH, json={**asked, "stream": True}) as streamed:
            first = next(streamed.iter_lines())
        assert f'"dropped_messages":{fit.dropped}' in first
        assert "dropped_messages" not in client.post(PATH, json=body()).json()
        alone = [talk[0], {"role": "user", "content": "가" * 999}]
        refused = client.post(PATH, json=body(messages=alone))
        assert refused.json()["error"]["code"] == "context_length_exceeded"
    with serving.client(serving.application(served)) as client:
        refused = client.post(PATH, json=asked)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_settings_a_request_leaves_out_are_the_models_own(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"temperature": 0.7, "top_k": 3}')
    served = serving.model(path=tmp_path)
    given = {"seed": 1, "max_tokens": 8}
    with serving.client(serving.application(served)) as client:
        [card] = client.get("/v1/models").json()["data"]
        assert card["default_sampling_params"] == {
            "temperature": 0.7, "top_p": 1.0, "top_k": 3, "min_p": 0.0, "repetition_penalty": 1.0
        }  # fmt: skip

        def said(**more):
            asked = {"model": NAME, "messages": HELLO, **given, **more}
            return client.post(PATH, json=asked).json()["choices"][0]["message"]["content"]

        own = served.chat(HELLO, temperature=0.7, top_k=3, **given)
        assert said() == said(temperature=None) == own
        assert said(temperature=0) == served.chat(HELLO, **given) != own
    app = serving.application(served, sampling={"temperature": 0.0})  # before the model's own
    with serving.client(app) as client:
        [card] = client.get("/v1/models").json()["data"]
        assert card["default_sampling_params"]["temperature"] == 0
        assert card["chosen_sampling_params"] == ["temperature", "top_k"]
        assert said() == served.chat(HELLO, **given)
        assert said(temperature=0.7) == own
    with serving.client(serving.application()) as client:  # OpenAI's, where it has none
        assert client.get("/v1/models").json()["data"][0]["chosen_sampling_params"] == []
        assert said() == served.chat(HELLO, temperature=1.0, **given) != own


def test_settings_of_a_model_that_are_out_of_range_are_told_before_anything_is_served(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"temperature": -1}')
    with pytest.raises(ArtifactError, match="generation_config"):
        serving.application(serving.model(path=tmp_path))
    with pytest.raises(ConfigError, match="temperature"):
        serving.application(sampling={"temperature": float("nan")})  # which passes any range
