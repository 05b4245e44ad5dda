"""``yaongi serve`` as a process: what SIGTERM leaves to finish, and how it says what is wrong."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import llamacpp
import pytest
import serving
import tiny
from odd_models import odd, saved

from yaongi.core.artifact import draft
from yaongi.interop.gguf import export_gguf
from yaongi.model.io import save_model

CODE = "from yaongi.cli.main import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("served") / "sft"
    with draft(out, "sft", config={"seq_len": 512}) as work:
        save_model(tiny.lm(), work.path)
        tiny.tokenizer().save(work.path)
        work.finish()
    return out


def start(folder, *more, **env):
    kept = {k: v for k, v in os.environ.items() if k != "YAONGI_API_KEY"}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "serve", str(folder), "--port", "0", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**kept, "YAONGI_LANG": "en", "OMP_NUM_THREADS": "1", **env},
    )  # fmt: skip


@pytest.fixture(scope="module")
def gguf(folder):
    pytest.importorskip("xllamacpp", reason=llamacpp.REASON)
    path = folder.parent / "sft.gguf"
    export_gguf(saved(odd("llama", 3), folder.parent / "m"), path, quant="f32", context_len=8192)
    return path


FAST = {"temperature": 0, "max_tokens": 2000}  # llama.cpp is faster


@pytest.mark.parametrize(("kind", "more"), [("folder", {}), ("gguf", FAST)])
def test_sigterm_lets_answers_finish_and_takes_no_more(kind, more, request):
    server = start(request.getfixturevalue(kind), "--name", "sft", "--temperature", "0.5")
    assert server.stdout is not None
    line = server.stdout.readline()
    assert "sft answers at http://127.0.0.1:" in line
    url = line.split()[3]
    [card] = httpx.get(f"{url}/v1/models").json()["data"]
    assert card["default_sampling_params"]["temperature"] == 0.5
    asked = {"model": "sft", "prompt": "고양이가", "max_tokens": 400, "stream": True, "seed": 0}
    asked |= more
    lines: list[str] = []
    begun = threading.Event()

    def read():
        with httpx.stream("POST", f"{url}/v1/completions", json=asked, timeout=60) as answer:
            for one in answer.iter_lines():
                if one:
                    lines.append(one)
                    begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(30)
    server.send_signal(signal.SIGTERM)
    serving.wait_until(lambda: httpx.get(f"{url}/health").status_code == 503)
    assert httpx.get(f"{url}/health").json()["status"] == "draining"
    refused = httpx.post(f"{url}/v1/completions", json={**asked, "stream": False})
    assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
    assert refused.json()["error"]["code"] == "shutting_down"
    assert reader.is_alive()  # it was not over before
    reader.join(60)
    assert server.wait(30) == 0
    assert lines[-1] == "data: [DONE]"
    finishes = [json.loads(x[6:])["choices"][0]["finish_reason"] for x in lines[:-1]]
    assert finishes[-1] in ("stop", "length") and set(finishes[:-1]) == {None}


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_it_at_once_and_in_order(folder, first):
    server = start(folder)
    assert server.stdout is not None
    url = server.stdout.readline().split()[3]
    asked = {"model": "sft", "prompt": "고양이가", "n": 16, "max_tokens": 500, "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=asked, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        server.send_signal(first)
        next(lines)
        time.sleep(0.2)
        server.send_signal(signal.SIGINT)
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    _, told = server.communicate(timeout=30)
    assert (server.returncode, told) == (0, "")


def test_what_is_wrong_is_said_before_anything_is_served(folder, tmp_path):
    open_to_all = start(folder, "--host", "0.0.0.0")
    _, told = open_to_all.communicate(timeout=60)
    assert open_to_all.returncode == 2
    assert "YAONGI_API_KEY" in told
    missing = start(tmp_path / "nothing")
    _, told = missing.communicate(timeout=60)
    assert missing.returncode == 2
    assert "not a model folder" in told
    for wrong in (("--time-s", "nan"), ("--port", "70000"), ("--rows", "0")):
        server = start(folder, *wrong)
        _, told = server.communicate(timeout=60)
        assert server.returncode == 2 and "Traceback" not in told
        assert wrong[0].strip("-").replace("-", "_") in told.replace("-", "_")


def test_a_gguf_that_cannot_be_run_is_told_before_anything_is_served(gguf, tmp_path):
    data = gguf.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: len(data) // 2])
    name = b"\x05\0\0\0\0\0\0\0llam"
    other = data.replace(b"llama.", b"llamx.").replace(name + b"a", name + b"x")
    (tmp_path / "other.gguf").write_bytes(other)
    for file, reason in (("cut", "cut short"), ("other", "'llamx'")):
        server = start(tmp_path / f"{file}.gguf")
        out, told = server.communicate(timeout=60)
        assert server.returncode == 2
        assert out == "" and reason in told and "Traceback" not in told


def test_a_port_that_is_taken_is_told(folder):
    with serving.running(serving.application()) as url:
        port = url.rpartition(":")[2]
        taken = start(folder, "--port", port)
        _, told = taken.communicate(timeout=60)
    assert taken.returncode == 2
    assert port in told and "Traceback" not in told


def test_without_the_packages_it_says_what_to_install(folder):
    code = f"""
import sys
for name in ("fastapi", "starlette", "uvicorn", "prometheus_client", "xgrammar", "transformers"):
    sys.modules[name] = None
from yaongi.cli.main import main
main(["serve", {str(folder)!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "[serve]" in done.stderr and "Traceback" not in done.stderr
