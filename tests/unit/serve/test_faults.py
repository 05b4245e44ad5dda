"""What is wrong with a request is told in words: the field, and what is expected there."""

import json

import pytest
import serving
from serving import HELLO, NAME

from yaongi.serve.refusals import as_json

IMAGE = {"type": "image_url", "image_url": {"url": "x"}}
BAD_CHATS = [
    ({"temperature": 99}, "temperature: must be 2 or less."),
    ({"temperature": "hot"}, "temperature: must be a number."),
    ({"n": 1.5}, "n: must be a whole number."),
    ({"n": 0}, "n: must be 1 or more."),
    ({"stop": 5}, "stop: must be one of string, array."),
    ({"stop": ["x"] * 99}, "stop: takes at most 16 entries."),
    ({"stop": "x" * 999}, "stop: must have at most 256 characters."),
    ({"messages": []}, "messages: must not be empty."),
    ({"messages": [*HELLO, {}]}, "'messages.1.role' is missing."),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content: must be one of "),
    ({"messages": [{"role": "user", "content": [IMAGE]}]},
     "messages.0.content.0.type: only 'text' is read here; no images"),
    ({"messages": [{"role": "cat"}]}, "messages.0.role: must be one of 'system', 'developer', "),
    ({"response_format": {"type": "xml"}}, "response_format.type: must be one of 'text', 'json_"),
    ({"response_format": {}}, "'response_format.type' is missing."),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
     "'response_format.json_schema.schema' is missing."),
    ({"tool_choice": {"type": "function", "function": {}}},
     "'tool_choice.function.name' is missing."),
    ({"tools": [5]}, "tools.0: must be an object."),
    ({"stream": "yes"}, "stream: must be true or false."),
    ({"metadata": {"cat": 5}}, "metadata.cat: must be a text."),
    ({"logit_bias": {"5": 1}}, "What 'logit_bias' asks for is not supported here"),
    ({"presence_penalty": 1.0}, "What 'presence_penalty' asks for is not supported here"),
    ({"temprature": 1}, "There is no field 'temprature'. Did you mean 'temperature'?"),
]  # fmt: skip
PATHS = [
    ("POST", "/v1/responses", 404, "There is no /v1/responses."),
    ("GET", "/v1/chat/completions", 405, "/v1/chat/completions takes POST, not GET."),
    ("DELETE", f"/v1/models/{NAME}", 405, f"/v1/models/{NAME} takes GET, not DELETE."),
    ("PUT", "/v1/nothing/at/all", 404, "There is no /v1/nothing/at/all."),
]


@pytest.fixture(scope="module")
def web():
    with serving.client(serving.application()) as client:
        yield client


@pytest.mark.parametrize(("fields", "told"), BAD_CHATS)
def test_a_field_is_told_with_what_is_expected(web, fields, told):
    found = web.post("/v1/chat/completions", json={"model": NAME, "messages": HELLO, **fields})
    error = found.json()["error"]
    assert found.status_code == 400
    assert told in error["message"]
    assert error["param"] in error["message"] or error["code"] == "unsupported"
    assert error["param"].startswith(next(iter(fields)))


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (5, "prompt: must be one of string, array."),
        ([[]], "prompt.0: must not be empty."),
        ([["a"]], "prompt.0.0: must be a whole number."),
    ],
)
def test_of_several_kinds_the_nearest_counts(web, prompt, told):
    found = web.post("/v1/completions", json={"model": NAME, "prompt": prompt})
    assert found.json()["error"]["message"] == told


def test_a_body_that_is_no_object(web):
    def told(content, kind="application/json"):
        found = web.post("/v1/completions", content=content, headers={"Content-Type": kind})
        assert found.status_code == 400 and found.json()["error"]["param"] is None
        return found.json()["error"]["message"]

    assert told(b'{"a":') == "The body is not JSON: it goes wrong at character 5."
    for content, kind in ((b"{}", "application/x-www-form-urlencoded"), (b"[]", "text/json")):
        assert "the header 'Content-Type: application/json'" in told(content, kind)
    assert told(b"\xff") == "The body cannot be read: JSON in UTF-8 is expected."


@pytest.mark.parametrize(("method", "path", "status", "told"), PATHS)
def test_what_is_not_there_is_told_in_openais_form(web, method, path, status, told):
    found = web.request(method, path)
    assert found.status_code == status
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].startswith(told)
    assert ("Allow" in found.headers) == (status == 405)


def test_korean_is_sent_as_it_is_read(web):
    asked = {"model": "고양이", "prompt": "x"}
    found = web.post("/v1/completions", json=asked)
    assert "고양이" in found.content.decode("utf-8")
    half = '"\ud800 고양이"'  # of a surrogate pair, which UTF-8 has not
    assert as_json(half) == b'"\\"\\ud800 ' + "고양이".encode() + b'\\""'
    assert json.loads(as_json(half)) == half
    broken = json.dumps({**asked, "\ud800": 1})
    found = web.post(
        "/v1/completions", content=broken, headers={"Content-Type": "application/json"}
    )
    assert found.json()["error"]["message"] == "body: must be text in valid Unicode."


def test_tokenizing_needs_no_name(web):
    named = web.post("/v1/tokenize", json={"model": NAME, "prompt": "야옹"}).json()
    assert web.post("/v1/tokenize", json={"prompt": "야옹"}).json() == named
    assert web.post("/v1/tokenize", json={"prompt": "x", "model": "no"}).status_code == 404
