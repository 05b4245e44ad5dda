"""``yaongi tokenizer extend`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import extended
import foreign_road
import foreign_tokenizers
import pytest

from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact
from yaongi.model.extend import Extension, grow
from yaongi.model.io import load_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An imported model of Llama's kind under Llama's licence, and texts."""

    def make(where: Path, template: str | None) -> None:
        foreign_tokenizers.make(where, template)
        (where / "LICENSE").write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT")
        (where / "generation_config.json").write_text('{"eos_token_id": [1]}')

    foreign_road.imported(tmp_path, make, foreign_tokenizers.LLAMA_LIKE)
    rows = [{"text": f"{text} 번호 {i}번."} for i, text in enumerate(extended.TEXTS * 2)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "texts.jsonl").write_text(lines, "utf-8")
    return tmp_path


def extend(folder: Path, *more: str) -> int:
    words = ["tokenizer", "extend", str(folder / "model"), "--data", str(folder / "texts.jsonl")]
    return run([*words, "--out", str(folder / "longer"), *more])


def test_from_a_model_to_a_larger_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extend(folder, "--add", "30", "--licence", "CC BY 4.0", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["vocab_size"] == said["old_size"] + 30
    assert said["unchanged"] == {"english": 1.0, "code": 1.0}
    assert said["tokens_per_syllable_after"] < said["tokens_per_syllable_before"]
    assert said["licences"] == ["llama3.1"]
    assert any("begins with “Llama”" in duty for duty in said["terms"])
    made = open_artifact(folder / "longer", "tokenizer")
    assert [p.kind for p in made.manifest.parents] == ["base", "corpus"]
    assert {"llama3.1", "CC BY 4.0"} == set(made.manifest.licences)
    assert (made.path / "LICENSE").is_file() and (made.path / "generation_config.json").is_file()
    model = load_model(folder / "model")
    assert grow(model, Extension.read(made.path)).cfg.vocab_size == said["padded_size"]

    assert extend(folder, "--add", "30", "--licence", "CC BY 4.0") == 0  # made already
    text = capsys.readouterr().out
    assert "words of a code sample that keep their ids: 100.00%" in text
    assert "Licence: llama3.1" in text and "tokens per Korean syllable" in text


def test_a_folder_as_it_was_downloaded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model").rename(folder / "imported")
    (folder / "theirs").rename(folder / "model")
    assert extend(folder, "--add", "30", "--json") == 0
    assert json.loads(capsys.readouterr().out)["licences"] == ["llama3.1"]
    parents = open_artifact(folder / "longer").manifest.parents
    assert [p.kind for p in parents] == ["corpus"]


def test_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extend(folder, "--add", "99999") == 2
    assert "99999 were asked for" in capsys.readouterr().err
    plain = folder / "plain"
    foreign_tokenizers.make_sentencepiece(plain)
    (plain / "manifest.json").unlink(missing_ok=True)
    words = ["--data", str(folder / "texts.jsonl"), "--out", str(folder / "x")]
    assert run(["tokenizer", "extend", str(plain), *words]) == 2
    assert "Only byte-level BPE can" in capsys.readouterr().err
    assert run(["tokenizer", "extend", str(folder / "nothing"), *words]) == 2
    assert "tokenizer.json is missing" in capsys.readouterr().err
    foreign_tokenizers.make(folder / "large", None)
    (folder / "large/config.json").write_text('{"vocab_size": 12}')
    assert run(["tokenizer", "extend", str(folder / "large"), *words]) == 2
    assert "ids but the model only 12" in capsys.readouterr().err
    assert not (folder / "x").exists()
