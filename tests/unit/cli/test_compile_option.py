"""``--compile`` of generate, chat and serve: it reaches the engine, or says why not."""

from __future__ import annotations

import io
import signal

import pytest
import tiny
import torch

import yaongi
from yaongi import opening
from yaongi.cli.main import run
from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.infer import engine
from yaongi.model.io import save_model
from yaongi.serve.app import build_app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("m")
    save_model(tiny.lm("*-"), path)
    tiny.tokenizer().save(path)
    return path


@pytest.fixture
def asked(monkeypatch):
    """The models that were to be compiled; the model itself takes the compiled one's place."""
    found = []

    def compiled(model):
        found.append(model)
        return engine.twin(model)[0]

    monkeypatch.setattr(engine, "compiled", compiled)
    return found


def test_every_verb_reaches_the_engine(folder, asked, monkeypatch, capsys):
    said = ["generate", str(folder), "--prompt", "가", "--max-tokens", "3"]
    assert run(said) == 0
    plain = capsys.readouterr().out
    assert asked == []
    assert run([*said, "--compile"]) == 0
    assert len(asked) == 1 and capsys.readouterr().out == plain
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    assert run(["chat", str(folder), "--compile"]) == 0
    assert len(asked) == 2  # before anything was asked
    build_app(yaongi.load(folder, compile=True), "x")
    assert len(asked) == 3


def test_where_it_would_do_nothing_it_is_refused(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert run(["serve", str(tmp_path / "x.gguf"), "--compile"]) == 2
    assert "leave --compile out" in capsys.readouterr().err
    monkeypatch.setattr(opening, "choose_device", lambda _name: torch.device("cuda"))
    with pytest.raises(CapabilityError, match=r"CPU only.*cuda"):
        yaongi.load(folder, compile=True)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="merge"):
        yaongi.load(folder, compile=True, adapter=tmp_path)


def test_ctrl_c_while_it_compiles_leaves(folder, monkeypatch, capsys):
    monkeypatch.setattr(engine, "compiled", lambda *_: signal.raise_signal(signal.SIGINT))
    for verb in (["chat"], ["generate", "--prompt", "가"], ["serve", "--port", "0"]):
        assert run([*verb, str(folder), "--compile"]) == 130
        assert "Traceback" not in capsys.readouterr().err
