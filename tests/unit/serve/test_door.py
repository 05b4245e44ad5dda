"""Who may come in: names, origins, keys, sizes; and files of the page, no others."""

import asyncio
import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import serving
from fastapi import FastAPI
from serving import HELLO, NAME

from yaongi.core.errors import ConfigError
from yaongi.serve import app as application
from yaongi.serve import run
from yaongi.serve.door import Door
from yaongi.serve.hosts import host_name
from yaongi.serve.limits import Limits

CHAT = {"model": NAME, "messages": HELLO, "max_tokens": 2}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret.txt").write_text("geheim")
    (folder / "web").mkdir()
    (folder / "web" / "index.html").write_text("<h1>야옹</h1>", encoding="utf-8")
    (folder / "web" / "chat.js").write_text("1")
    (folder / "web" / "out").symlink_to(folder / "secret.txt")
    return folder / "web"


@pytest.fixture(scope="module")
def web(page):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application, "WEB", page)
        limits = Limits(body_bytes=2000, prompt_tokens=300)
        with serving.client(serving.application(limits=limits)) as client:
            yield client


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[", "@"]
)
def test_other_names_are_turned_away(web, host):
    found = web.get("/health", headers={"Host": host})
    assert found.status_code == 421
    assert found.json()["error"]["code"] == "wrong_host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_this_machine_goes_by_its_names(web, host):
    assert web.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999", "["])
def test_pages_of_others_may_not_ask(web, origin):
    found = web.post("/v1/chat/completions", json=CHAT, headers={"Origin": origin})
    assert found.status_code == 403
    assert not [name for name in found.headers if name.startswith("access-control")]


def test_its_own_page_may_ask(web):
    assert web.post(
        "/v1/chat/completions", json=CHAT, headers={"Origin": "http://localhost"}
    ).is_success


def test_there_is_no_preflight_to_pass(web):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    found = web.options("/v1/chat/completions", headers=asked)
    assert found.status_code == 403


def test_a_form_of_another_page_is_no_request(web):
    found = web.post(
        "/v1/chat/completions", content=json.dumps(CHAT), headers={"Content-Type": "text/plain"}
    )
    assert found.status_code in (400, 415)


def test_the_page_is_served_with_a_strict_policy(web):
    found = web.get("/")
    assert "야옹" in found.text
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert "unsafe" not in found.headers["content-security-policy"]
    assert found.headers["x-content-type-options"] == "nosniff"
    assert web.get("/chat.js").text == "1"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%5csecret.txt",
        "//etc/passwd", "/out", "/web/../../secret.txt", "/%00", "/" + "a" * 5000, "/%ff%fe",
        "/v1/models/..%2f..%2fsecret.txt", "/....//secret.txt", "/chat.js%00.html",
    ],
)  # fmt: skip
def test_no_trick_of_paths_reaches_another_file(web, path):
    found = web.get(path)
    assert found.status_code == 404
    assert "geheim" not in found.text and "root:" not in found.text


def test_a_long_body_is_refused_while_it_comes(web):
    found = web.post("/v1/chat/completions", json={**CHAT, "user": "x" * 3000})
    assert found.status_code == 413
    assert found.json()["error"]["type"] == "invalid_request_error"


def through(receive, **limits):
    """The statuses of a request whose body comes from ``receive``; no application is behind."""
    sent = []

    async def send(message):
        sent.append(message)

    door = Door(None, host="localhost", limits=Limits(**limits))  # pyright: ignore
    scope = {"type": "http", "method": "POST", "path": "/v1/completions",
             "headers": [(b"host", b"localhost")]}  # fmt: skip
    with ThreadPoolExecutor(1) as pool:  # this thread may have a loop, of a browser's driver
        pool.submit(asyncio.run, door(scope, receive, send)).result()  # pyright: ignore
    return [message["status"] for message in sent if "status" in message]


def test_a_body_without_end_is_refused():
    async def receive():
        return {"type": "http.request", "body": b" " * 500, "more_body": True}

    assert through(receive, body_bytes=2000) == [413]


def test_a_body_that_does_not_arrive_is_not_waited_for():
    async def receive():
        await asyncio.sleep(60)

    assert through(receive, body_s=0.01) == [408]


def test_a_body_that_breaks_off_is_no_request():
    """What came may be valid JSON: the beginning of a chunked body, for instance."""
    messages = [{"type": "http.request", "body": json.dumps(CHAT).encode(), "more_body": True},
                {"type": "http.disconnect"}]  # fmt: skip

    async def receive():
        return messages.pop(0)

    assert through(receive) == []


def answers(url, *parts):
    """What a socket hears until it is closed, and how long that took."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as s:
        for part in parts:
            s.sendall(part)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := s.recv(1 << 16):
                heard += piece
    return heard, time.monotonic() - begun


def test_a_connection_that_asks_nothing_is_closed():
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    refused = b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    with serving.running(serving.application(), head_s=0.3) as url:
        for parts, statuses in (
            ([], 0), ([b"GET /health HT"], 0), ([b"GET /health HTTP/1.1\r\nX-a: 1\r\n"], 0),
            ([health, b"GET /health HT"], 1), ([refused, b"1"], 1),
        ):  # fmt: skip
            heard, took = answers(url, *parts)
            assert heard.count(b"HTTP/1.1 ") == statuses
            assert 0.2 < took < 5


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
def test_a_client_that_reads_nothing_is_not_kept(monkeypatch):
    monkeypatch.setattr(run, "UNREAD_MS", 500)
    with run.listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):  # reads nothing
            server, _ = listener.accept()
            with server, pytest.raises(OSError, match="timed out"):
                server.setblocking(False)
                end = time.monotonic() + 20
                while time.monotonic() < end:
                    with contextlib.suppress(BlockingIOError):
                        server.send(b"x" * (1 << 20))
                    time.sleep(0.05)


def test_a_head_without_end_is_refused():
    with serving.running(serving.application()) as url:
        heard, _ = answers(url, b"GET / HTTP/1.1\r\nX: ", b"x" * 70_000)
    assert heard.startswith(b"HTTP/1.1 400")


def test_an_answer_may_take_longer_than_its_head():
    app = FastAPI()
    app.add_api_route("/", lambda: time.sleep(0.8))
    with serving.running(app, head_s=0.4) as url:
        assert httpx.get(url).status_code == 200


def test_nothing_is_nested_so_deeply_that_the_server_fails():
    tool = '{"function": {"name": "f", "parameters": %s}}'
    with serving.client(serving.application()) as client:
        for depth in range(930, 980):
            tools = tool % ('{"a":' * depth + "1" + "}" * depth)
            found = client.post(
                "/v1/chat/completions",
                content=json.dumps(CHAT)[:-1] + f', "tools": [{tools}]}}',
                headers={"Content-Type": "application/json"},
            )
            assert found.status_code == 400, depth


def test_a_long_prompt_is_refused(web):
    found = web.post("/v1/completions", json={"model": NAME, "prompt": [80] * 301})
    assert found.status_code == 413
    assert found.json()["error"]["code"] == "prompt_too_long"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b"\xff\xfe{}", b'{"model": "\xed\xa0\x80"}', b"[" * 1900,
        b'{"model": 1e999}', b'{"seed": ' + b"9" * 1900 + b"}", b'{"temperature": NaN}',
        json.dumps({**CHAT, "user": "\ud800"}).encode(),
        json.dumps({**CHAT, "model": "\ud800"}).encode(),
        json.dumps({**CHAT, "\ud800": 1}).encode(),
        json.dumps({"model": NAME, "messages": [{"role": "user", "content": "\udfff"}]}).encode(),
        json.dumps({**CHAT, "tools": [{"function": {"name": "f", "parameters": {"a": "\ud800"}}}]})
        .encode(),
        json.dumps({**CHAT, "response_format": {"type": "json_schema", "json_schema":
                    {"name": "x", "schema": {"const": "\ud800"}}}}).encode(),
    ],
)  # fmt: skip
def test_bodies_that_are_none(web, content):
    found = web.post(
        "/v1/chat/completions", content=content, headers={"Content-Type": "application/json"}
    )
    assert found.status_code == 400
    assert found.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", -1), ("n", 0), ("n", 10**6), ("max_tokens", -5), ("max_tokens", 0), ("top_k", -1),
        ("temperature", -0.1), ("temperature", 99), ("top_p", 0), ("seed", 2**70), ("seed", "7"),
        ("logprobs", 3), ("top_logprobs", -1), ("top_logprobs", 10**9), ("stop", ["x"] * 99),
        ("stop", "x" * 999), ("messages", []), ("messages", "안녕"), ("messages", [{}]),
        ("messages", [{"role": "root", "content": "x"}]),
        ("messages", [{"role": "assistant", "content": "x"}]),
        ("messages", [{"role": "tool", "content": "x"}]),
        ("messages", [{"role": "user", "content": ""}]),
        ("messages", [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]),
        ("tools", [{"type": "function", "function": {"name": "a b"}}]), ("tool_choice", "required"),
        ("presence_penalty", 1.0), ("logit_bias", {"5": 1}), ("temprature", 1), ("stream", "yes"),
    ],
)  # fmt: skip
def test_fields_out_of_range(web, field, value):
    found = web.post("/v1/chat/completions", json={**CHAT, field: value})
    assert found.status_code == 400, found.text
    assert found.json()["error"]["type"] == "invalid_request_error"


def test_an_unknown_field_is_told_the_nearest(web):
    found = web.post("/v1/chat/completions", json={**CHAT, "temprature": 1}).json()["error"]
    assert found["param"] == "temprature" and "Did you mean 'temperature'?" in found["message"]
    found = web.post("/v1/chat/completions", json={**CHAT, "qqqq": 1}).json()["error"]
    assert found["param"] == "qqqq" and found["message"]


def test_an_unknown_path_is_told_the_nearest():
    with serving.client(serving.application()) as client:
        message = client.get("/v1/chat/completion").json()["error"]["message"]
    assert "/v1/chat/completions" in message


def test_the_key_is_asked_for_everywhere_but_at_health_and_the_page():
    with serving.client(serving.application(key="비밀")) as client:
        for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/nothing"):
            assert client.get(path).status_code == 401
        for said in ("Bearer nope", "비밀".encode(), "Bearer", "Basic x", b"Bearer \xff"):
            assert client.get("/v1/models", headers={"Authorization": said}).status_code == 401
        sent = {"Authorization": "Bearer 비밀".encode()}
        assert client.get("/v1/models", headers=sent).status_code == 200
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("key", [None, "", " \n"])
def test_other_machines_need_a_key(monkeypatch, key):
    monkeypatch.delenv(run.KEY, raising=False)
    if key is not None:
        monkeypatch.setenv(run.KEY, key)
    for host in ("0.0.0.0", "192.168.0.2", "example.org", "::"):
        with pytest.raises(ConfigError, match=run.KEY):
            run.serve(None, "x", host=host)


@pytest.mark.parametrize("key", ["비밀키", "two words", "tab\there"])
def test_a_key_no_client_can_send_is_refused_at_the_start(monkeypatch, key):
    monkeypatch.setenv(run.KEY, key)
    with pytest.raises(ConfigError, match="cannot send in a header") as refused:
        run.serve(None, "x")
    assert key not in str(refused.value)


def test_where_every_interface_is_open_addresses_are_names():
    app = serving.application(host="0.0.0.0", host_names=["cat.example"], key="k")
    with serving.client(app) as client:
        for host, status in (("192.168.0.9:80", 200), ("cat.example", 200), ("dog.example", 421)):
            assert client.get("/health", headers={"Host": host}).status_code == status


def test_host_names():
    assert [host_name(h) for h in ("A.b:1", "[::1]:2", "::1", "[x", "")] == [
        "a.b",
        "::1",
        "",
        "",
        "",
    ]
