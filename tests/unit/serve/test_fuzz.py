"""The server's own OpenAPI description, fuzzed: whatever comes, it is answered below 500.

``YAONGI_FUZZ_EXAMPLES`` sets how many requests each route gets.
"""

import os

import llamacpp
import pytest
import schemathesis
import serving
from hypothesis import HealthCheck, Phase, given, settings
from odd_models import odd, saved
from starlette.testclient import TestClient

import yaongi
from yaongi.interop.gguf import export_gguf
from yaongi.serve.limits import Limits

EXAMPLES = int(os.environ.get("YAONGI_FUZZ_EXAMPLES", "8"))
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/tokenize", "/v1/models",
         "/v1/models/{name}", "/health", "/metrics"]  # fmt: skip
LIMITS = Limits(answer_tokens=3, prompt_tokens=200)
APP = serving.application(limits=LIMITS)
SCHEMA = schemathesis.openapi.from_dict(APP.openapi())


def gguf(folder):
    """The same behind a GGUF."""
    pytest.importorskip("xllamacpp", reason=llamacpp.REASON)
    path = folder / "model.gguf"
    export_gguf(saved(odd("llama", 3), folder / "m"), path, quant="f32", context_len=512)
    served = yaongi.load(path, max_rows=4)
    return serving.application(served, limits=LIMITS, overflow="drop_oldest")


@pytest.fixture(scope="module", params=["folder", "gguf"])
def client(request, tmp_path_factory):
    app = APP if request.param == "folder" else gguf(tmp_path_factory.mktemp("fuzz"))
    with serving.client(app) as client:
        yield client


def operations():
    return {found.ok().path: found.ok() for found in SCHEMA.get_all_operations()}


def test_every_route_is_described():
    assert sorted(operations()) == sorted(PATHS)


def sent(client: TestClient, case: schemathesis.Case) -> None:
    """Send a case, the model's name put right so that more than its check is reached."""
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = serving.NAME
    parts = case.as_transport_kwargs(base_url="http://localhost")
    headers = {k: v for k, v in dict(parts.get("headers") or {}).items() if k.lower() != "host"}
    answer = client.request(
        parts["method"],
        parts["url"],
        params=parts.get("params"),
        headers=headers,
        cookies=parts.get("cookies"),
        json=parts.get("json"),
        content=parts.get("data"),
    )
    assert answer.status_code < 500, (case.body, answer.text)
    if answer.status_code >= 400:
        assert answer.json()["error"]["message"]


BOTH = list(schemathesis.GenerationMode)
CASES = [(path, mode) for path in PATHS for mode in (BOTH if path in PATHS[:4] else BOTH[:1])]


@pytest.mark.parametrize(("path", "mode"), CASES)
def test_no_request_makes_the_server_fail(client, path, mode):
    operation = operations()[path]

    @settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        sent(client, case)

    send()
