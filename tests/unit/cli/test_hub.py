"""``yaongi push`` and ``yaongi pull`` as people meet them."""

from __future__ import annotations

import json

import pytest
import tiny_hub

from yaongi.cli.main import run
from yaongi.core.config import parse_yaml
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource
from yaongi.data.sources.hf import HFSource

SOURCES_OF = {"hf": HFSource, "files": FilesSource}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_hub.artifacts(tmp_path_factory.mktemp("made"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with tiny_hub.local_hub(monkeypatch) as found:
        yield found


def test_a_dry_run_shows_everything_and_asks_nothing(made, hub, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert run(["push", str(made["base"]), "me/small", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "(private)" in out and "model.safetensors" in out and "# small" in out
    assert out.splitlines()[-1].endswith("Only you would see it.")
    assert hub.log == []
    assert hub.repos == {}
    assert run(["push", str(made["base"]), "me/small", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"]["model.safetensors"] > 100_000
    assert told["public"] is False
    assert told["kept_back"] == []


def test_there_and_back_and_where_it_came_from(made, hub, capsys, tmp_path):
    assert run(["push", str(made["base"]), "me/small", "--json"]) == 0
    pushed = json.loads(capsys.readouterr().out)
    assert run(["pull", "me/small", "--dry-run"]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert run(["pull", "me/small", "--json"]) == 0
    pulled = json.loads(capsys.readouterr().out)
    assert pulled["revision"] == pushed["commit"]
    assert (pulled["out"], pulled["kind"]) == ("small", "base")
    assert run(["pull", "me/small"]) == 0
    assert "small holds all of hf://me/small" in capsys.readouterr().out
    assert run(["trace", "small", "--verify"]) == 0
    assert f"(from hf://me/small@{pushed['commit']})" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "code"), [("n\n", 130), ("y\n", 0)])
def test_before_something_is_public_it_asks(answer, code, made, hub, monkeypatch):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    command = ["push", str(made["base"]), "me/small", "--public", "--licence", "apache-2.0"]
    assert run(command) == code
    assert [repo.private for repo in hub.repos.values()] == ([False] if code == 0 else [])


def test_a_program_says_yes_beforehand(made, hub):
    options = ["--public", "--licence", "apache-2.0", "--yes"]
    assert run(["push", str(made["base"]), "me/small", *options]) == 0
    assert not hub.repos["model", "me/small"].private


def test_somebody_elses_model_comes_with_the_next_command(made, hub, capsys):
    files = {p.name: p.read_bytes() for p in made["hf"].iterdir() if p.name != "manifest.json"}
    hub.add("other/model", {**files, "pytorch_model.bin": b"x", "LICENSE": b"MIT License"})
    assert run(["pull", "other/model"]) == 0
    out = capsys.readouterr().out
    assert "Next: yaongi import model --out model-imported" in out
    assert "pytorch_model.bin (can hide a program)" in out
    assert "Licence: mit" in out
    assert run(["import", "model", "--out", "model-imported"]) == 0


@pytest.mark.parametrize(
    ("kind", "following"),
    [("base", "yaongi trace got"), ("hf", "yaongi import got"), ("corpus", "yaongi trace got")],
)
def test_what_comes_next(kind, following, made, hub, capsys):
    assert run(["push", str(made[kind]), "me/small"]) == 0
    assert run(["pull", "me/small", "--out", "got"]) == 0
    assert f"Next: {following}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"train.jsonl": "hello", "test.jsonl": "no"}, "hf"),
        ({"a.jsonl": "hello", "b.jsonl": "there"}, "files"),
    ],
)
def test_a_foreign_data_set_becomes_a_source(files, kind, hub, capsys, tmp_path):
    rows = {name: json.dumps({"text": text}).encode() + b"\n" for name, text in files.items()}
    hub.add("other/data", {**rows, "x.pkl": b"x", "README.md": b"# hi\n"}, kind="dataset")
    assert run(["pull", "datasets/other/data", "--out", "got"]) == 0
    written = capsys.readouterr().out.split("source: ")[1]
    source = SOURCES_OF[kind].model_validate(parse_yaml(written, "x"))
    texts = [d.text for d in source.read(Reading(root=tmp_path))]
    assert texts == [text for text in files.values() if text != "no"]


def test_a_gguf_file_alone_says_what_is_missing(made, hub, capsys):
    assert run(["push", str(made["gguf"]), "me/small", "--dry-run"]) == 0
    assert "--made-from" in capsys.readouterr().out
    assert run(["push", str(made["gguf"]), "me/small", "--public", "--licence", "mit"]) == 2
    assert "model.gguf" not in hub.repos


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["push", "nowhere", "me/small"], 2, "no such folder"),
        (["push", ".", "me/small"], 2, "manifest.json"),
        (["pull", "small"], 2, "owner/name"),
        (["pull", "me/nothing"], 1, "There is no me/nothing"),
        (["push", "x", "me/small@main"], 2, "@revision"),
        (["push", "x", "me/small", "--base-model", "nonsense"], 2, "owner/name"),
    ],
)
def test_what_is_wrong_is_said(arguments, code, told, hub, capsys):
    assert run(arguments) == code
    assert told in capsys.readouterr().err
