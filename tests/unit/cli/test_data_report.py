"""``yaongi data report``: where the page goes, what JSON says, whose mix is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from yaongi.cli.main import run
from yaongi.core.artifact import Artifact, draft, open_artifact
from yaongi.core.config import parse
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Artifact:
    rows = [json.dumps({"text": f"문서 {i}번"}) + "\n" for i in range(30)]
    (tmp_path / "ko.jsonl").write_text("".join(rows))
    source = {"path": "ko.jsonl", "domain": "ko", "licence": "MIT"}
    cfg = parse(CorpusConfig, {"root": str(tmp_path), "sources": [source]})
    return build_corpus(cfg, tmp_path / "corpus", Seed(0))


def result(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = run(["data", "report", *map(str, arguments), "--json"])
    return {"code": code, **json.loads(capsys.readouterr().out)}


def base(corpus: Artifact, out: Path, *parents: Artifact) -> Path:
    with draft(out, "base", config={}, parents=parents or [corpus]) as work:
        mix = {"asked": {"ko": 1.0}, "reached": {"ko": 1.0}}
        work.finish(counts={"mix": mix, "epochs": {"ko": 2.5}})
    return out


def test_the_page_lies_beside_the_corpus(
    corpus: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(capsys, corpus.path)
    file = tmp_path / "corpus-report.html"
    assert (found["code"], found["page"], found["documents"]) == (0, str(file), 30)
    assert file.read_text("utf-8").startswith("<!doctype html>")
    again = open_artifact(corpus.path)
    again.verify()
    assert {p.name for p in corpus.path.rglob("*") if p.is_file()} == {
        Path(name).name for name in [*again.manifest.files, "manifest.json"]
    }


def test_out_names_the_page(
    corpus: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "page.html"
    assert run(["data", "report", str(corpus.path), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out and out.is_file()


@pytest.mark.parametrize("out", ["corpus/page.html", "corpus/../corpus/train/x.html", "corpus"])
def test_a_corpus_is_never_edited(
    out: str, corpus: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(capsys, corpus.path, "--out", tmp_path / out)
    assert found["code"] == 2 and found["error"]["slug"] == "config"
    open_artifact(corpus.path).verify()


def test_the_mix_of_a_recipe(
    corpus: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "data: {sources: [ko.jsonl]}\nmix: {ko: 3, en: 1}\n"
        "tokenizer: {vocab_size: 4096}\npretrain: {model: 5m, steps: 1}\n"
    )
    found = result(capsys, corpus.path, "--mix", recipe)
    assert [(row["domain"], row["asked"]) for row in found["mix"]] == [("en", 0.25), ("ko", 0.75)]
    assert "'en'" in found["warnings"][-1]


def test_the_mix_a_model_was_trained_with(
    corpus: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(capsys, corpus.path, "--mix", base(corpus, tmp_path / "base"))
    (row,) = found["mix"]
    assert (row["reached"], row["epochs"]) == (1.0, 2.5)


def test_a_model_of_another_corpus_is_refused(
    corpus: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with draft(tmp_path / "other", "corpus", config={"other": True}) as work:
        other = work.finish()
    found = result(capsys, corpus.path, "--mix", base(corpus, tmp_path / "base", other))
    assert found["code"] == 2
    assert "other" in found["error"]["message"]


def test_another_kind_of_artifact_is_refused(
    corpus: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(capsys, base(corpus, tmp_path / "base"))
    assert found["code"] == 2 and not list(tmp_path.glob("*.html"))
