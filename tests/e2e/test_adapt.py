"""A model of others takes in Korean: import, longer vocabulary, continual pretraining, generate;
and what a user meets after a mistake on that way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign_road
import foreign_tokenizers
import pytest
import tiny

import yaongi
from yaongi.cli.main import run
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.interop.hf import import_hf
from yaongi.model.io import load_model
from yaongi.text.extend import ExtendConfig
from yaongi.text.extend import stage as extend

RECIPE: dict[str, Any] = {
    "data": {
        "root": "texts",
        "sources": [
            {"path": "ko.jsonl", "domain": "ko", "licence": "CC0-1.0"},
            {"path": "en.jsonl", "domain": "en", "licence": "CC0-1.0"},
        ],
        "val_fraction": 0.2,
    },
    "mix": {"ko": 0.75, "en": 0.25},
    "continual": {
        "model": "theirs",
        "train": {
            "replay": ["en"],
            "steps": 6,
            "batch_tokens": 256,
            "seq_len": 64,
            "eval_every": 2,
            "optimizer": {"kind": "adamw", "lr": 5e-3},
            "stages": [
                {"share": 0.5, "train": ["new-in", "new-out"]},
                {"share": 0.5, "train": ["all"]},
            ],
        },
    },
    "eval": {"tasks": [{"kind": "bpb", "max_tokens": 500, "xz_prime_bytes": 0}]},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A random model of Llama's kind under Llama's licence, and its tokenizer with more Korean."""
    folder = tmp_path_factory.mktemp("made")
    foreign_road.imported(folder, foreign_tokenizers.make, foreign_tokenizers.LLAMA_LIKE)
    (folder / "theirs/LICENSE").write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "utf-8")
    model = import_hf(folder / "theirs", folder / "base")
    texts = [f"{text} {i}번째 고양이와 강아지" for i, text in enumerate(tiny.TEXTS * 4)]
    longer = extend(ExtendConfig(add=24), model.path, texts, folder / "longer", parents=[model])
    return {"model": model, "longer": longer}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: dict[str, Artifact]) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YAONGI_DATA", raising=False)
    (tmp_path / "texts").mkdir()
    rows = {
        "ko": [f"{tiny.TEXTS[i % 3]} {i}번째 고양이와 강아지" for i in range(60)],
        "en": [f"{tiny.TEXTS[5]} Number {i}." for i in range(60)],
    }
    for name, texts in rows.items():
        lines = "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts)
        (tmp_path / f"texts/{name}.jsonl").write_text(lines, "utf-8")
    folders = {"model": str(made["model"].path), "vocabulary": str(made["longer"].path)}
    recipe = {**RECIPE, "continual": {**RECIPE["continual"], **folders}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe), "utf-8")
    return tmp_path


def test_the_whole_way(
    place: Path, made: dict[str, Artifact], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["continue", "recipe.yaml", "--out", "korean", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "base" and told["licences"] == ["CC0-1.0", "llama3.1"]
    assert any("begins with “Llama”" in duty for duty in told["terms"])
    assert told["metrics"]["before/val_bpb/ko"] > told["metrics"]["val_bpb/ko"]
    assert {p.kind for p in open_artifact("korean").manifest.parents} == {
        "base", "shards", "tokenizer",
    }  # fmt: skip
    old, new = load_model(made["model"].path), load_model(Path("korean"), verify=True)
    assert len(new.embeddings.weight) > len(old.embeddings.weight) - 1
    loaded = yaongi.load("korean")
    assert loaded.tokenizer is not None and loaded.tokenizer.vocab_size <= loaded.config.vocab_size
    assert isinstance(loaded.generate("고양이와", max_tokens=8), str)
    assert loaded.chat([{"role": "user", "content": "안녕?"}], max_tokens=4) is not None
    capsys.readouterr()
    assert run(["continue", "recipe.yaml", "--out", "korean"]) == 0  # done already
    said = capsys.readouterr().out
    assert "bits per byte" in said and "Licence: llama3.1" in said


def test_the_report_of_such_a_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "recipe.yaml", "continual.train.steps=2", "--out", "out", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"bpb/ko", "bpb/en"} <= set(told["metrics"])


def test_with_its_own_tokenizer(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["continual.vocabulary=null", "continual.train.stages=[]", "continual.train.steps=2"]
    assert run(["continue", "recipe.yaml", *settings, "--out", "korean", "--json"]) == 0
    again = ["--model", "korean", "--out", "more", "--json"]
    assert run(["continue", "recipe.yaml", *settings, *again]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[1]["licences"] == ["CC0-1.0", "llama3.1"]
    assert told[1]["metrics"]["before/val_bpb/en"] == pytest.approx(
        told[0]["metrics"]["val_bpb/en"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["--model", "nowhere"], "nowhere is not a yaongi artifact: there is no such folder"),
        (["continual.model=null"], "give --model DIR, or continual.model"),
        (["--model", "texts"], "it has no manifest.json"),
        (["continual.vocabulary=nowhere"], "nowhere is not a yaongi artifact"),
        (["mix={ko: 0.5, en: 0.2, code: 0.3}", "continual.train.replay=[code]"],
         "domains of which there is no data"),
        (["continual.train.replay=[code]"], "replay names 'code', which has no share"),
        (["continual.train.replay=[ko, en]"], "nothing to learn"),
        (["continual.vocabulary=null"], "trains 'new-in', but no tokens are new"),
        (["continual.train.stages=[{share: 0.5, train: [all]}]"], "add up to 0.5"),
        (["continual.train.steps=null"], "give a budget"),
        (["continual.train.forgetting.tolerence=0.1"], "Did you mean 'tolerance'?"),
        (["pretrain={model: 5m, steps: 1}"], "one of the sections pretrain"),
    ],
)  # fmt: skip
def test_a_wrong_setting(
    place: Path, capsys: pytest.CaptureFixture[str], settings: list[str], expected: str
) -> None:
    overrides = [s for s in settings if "=" in s]
    options = [s for s in settings if "=" not in s]
    assert run(["continue", "recipe.yaml", *overrides, *options, "--out", "out"]) == 2
    message = capsys.readouterr().err
    assert expected in message and "Traceback" not in message
    assert not list(place.glob("out*/model*"))


def test_a_vocabulary_that_extends_another_model(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tiny.road(tmp_path / "other")
    ours = tiny.base(tmp_path / "ours", other["tokenizer"])
    assert run(["continue", "recipe.yaml", "--model", str(ours.path), "--out", "out"]) == 2
    assert "extends the tokenizer" in capsys.readouterr().err
    assert not (place / "runs").exists()  # seen before any text is read


def test_pretraining_verbs_need_a_recipe_of_pretraining(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "recipe.yaml", "--device", "h100"]) == 2
    assert "has no section pretrain" in capsys.readouterr().err
    assert run(["pretrain", "recipe.yaml", "--dry-run"]) == 2
    assert "--dry-run is of pretraining" in capsys.readouterr().err
