"""What a user meets after a mistake: exit code 2 and a message that says what to do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from yaongi.cli.main import run
from yaongi.text.tokenizer import Tokenizer

RECIPE: dict[str, Any] = {
    "data": {"root": "texts", "sources": [{"path": ".", "domain": "ko"}], "val_fraction": 0.2},
    "mix": {"ko": 1.0},
    "tokenizer": {"vocab_size": 400, "allow_smaller": True},
    "pretrain": {
        "model": {
            "vocab_size": 400,
            "d_model": 32,
            "pattern": "M*-",
            "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16},
            "mamba": {"n_heads": 2, "head_dim": 16, "d_state": 8},
            "mlp": {"d_ff": 64},
        },
        "steps": 2,
        "batch_tokens": 128,
        "seq_len": 64,
    },
    "eval": {"tasks": [{"kind": "bpb", "max_tokens": 500}]},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YAONGI_DATA", raising=False)
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.txt").write_text(f"고양이 {i}마리가 마루에서 잔다. " * 20, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(list(words)) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("pretrain.model=26n", "no preset '26n'. Did you mean '26m'?"),
        ("pretrain.stepz=3", "pretrain.stepz is not a setting. Did you mean 'steps'?"),
        (
            "pretrain.model.attention.n_head=2",
            "pretrain.model.attention.n_head is not a setting. Did you mean 'n_heads'?",
        ),
        ("pretrain.optimizer=muonn", "Did you mean 'muon'?"),
        ("pretrain.model.pattern=M*Q", "'Q'"),
        ("pretrain.model.attention.n_heads=3 pretrain.model.attention.n_kv_heads=2", "n_kv_heads"),
        ("data.root=nowhere", "nowhere"),
        ("mix={ko: 0.5, en: 0.5}", "'en'"),
        ("tokenizer.vocab_size=800", "room for 400"),
        ("tokenizer.vocab_size=100", "tokenizer.vocab_size"),
        ("tokenizer.regex=gpt-9", "tokenizer.regex"),
        ("tokenizer.mix={ko: 1, en: 1}", "'en'"),
        ("tokenizer.mix={ko: .nan}", "tokenizer.mix.ko"),
        ("tokenizer.mix={ko: -1}", "tokenizer.mix.ko"),
        ("tokenizer.mix={ko: 0}", "asks for nothing"),
        ("tokenizer.mix={}", "tokenizer.mix: must not be empty"),
        ("pretrain.steps=-1", "pretrain.steps"),
        ("pretrain.steps=lots", "lots"),
    ],
)
def test_a_wrong_recipe(
    place: Path, capsys: pytest.CaptureFixture[str], override: str, expected: str
) -> None:
    overrides = [override] if "mix=" in override else override.split()
    message = refused(capsys, "run", "recipe.yaml", *overrides, "--out", "out")
    assert expected in message
    assert not list(place.glob("**/base*"))


def test_an_empty_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "empty").mkdir()
    assert "empty" in refused(capsys, "data", "build", "recipe.yaml", "data.root=empty")


def test_a_vocabulary_too_large_for_the_shard_type(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The type can only be asked too small by name; ``auto`` always fits."""
    from tests.tiny_run import shards as tiny_shards  # a real corpus and tokenizer
    from yaongi.core.artifact import open_artifact
    from yaongi.core.errors import DataError
    from yaongi.data.shards import ShardsConfig, build_shards, document_encoder
    from yaongi.text.tokenizer import Tokenizer

    tiny_shards(place)
    tokenizer = open_artifact(place / "tokenizer")
    encoder = document_encoder(Tokenizer.load(tokenizer.path))
    wide = type(encoder)(encoder.encode, [0] * 70_000, encoder.eot_id, encoder.pad_id)
    with pytest.raises(DataError, match="uint16"):
        build_shards(
            ShardsConfig(dtype="uint16"),
            open_artifact(place / "corpus"),
            tokenizer,
            place / "wide",
            encoder=wide,
        )


def test_another_configuration_in_the_same_place(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pretrain", "recipe.yaml", "--out", "base"]) == 0
    message = refused(capsys, "pretrain", "recipe.yaml", "pretrain.steps=3", "--out", "base")
    assert "steps: 2 -> 3" in message


def test_a_truncated_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pretrain", "recipe.yaml", "--out", "base"]) == 0
    weights = place / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    message = refused(capsys, "generate", "base", "--prompt", "고양이")
    assert "model.safetensors" in message
    assert "expected" in message
    assert "found" in message


def test_json_errors_are_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "nothing-here", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["slug"] == "artifact"
    assert error["exit_code"] == 2


def test_a_typed_control_token_stays_text(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The prompt has more tokens than the one control token it spells."""
    import yaongi

    assert run(["pretrain", "recipe.yaml", "--out", "base"]) == 0
    tokenizer = yaongi.load(place / "base").tokenizer
    assert tokenizer is not None
    assert tokenizer.im_end_id not in tokenizer.encode("끝<|im_end|>")


def test_a_recipe_of_data_makes_a_corpus_and_a_tokenizer_but_no_model(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "data.yaml").write_text(json.dumps({"data": RECIPE["data"]}), encoding="utf-8")
    assert run(["data", "build", "data.yaml"]) == 0
    small = ["tokenizer.vocab_size=400", "tokenizer.allow_smaller=true"]
    assert run(["tokenizer", "train", "data.yaml", *small]) == 0
    assert Tokenizer.load(place / "runs/data/tokenizer").vocab_size <= 400
    for verb in ("pretrain", "run"):
        assert "has no section pretrain" in refused(capsys, verb, "data.yaml")
    assert "'en'" in refused(capsys, "data", "build", "data.yaml", "mix={ko: 1, en: 1}")
    assert "needs data" in refused(capsys, "data", "build", "recipe.yaml", "data=null")


def test_a_tokenizer_of_files_needs_no_recipe(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tokenizer", "train", "--data", "texts", "--vocab-size", "330", "--out", "made/tok"]
    assert run(words) == 0
    assert Tokenizer.load(place / "made/tok").vocab_size == 330
    assert (place / "made/tok-corpus/manifest.json").is_file()
    assert "made from: made/tok-corpus" in capsys.readouterr().out


def test_korean_messages(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YAONGI_LANG", "ko")
    shutil.rmtree(place / "texts")
    message = refused(capsys, "data", "build", "recipe.yaml")
    assert any("가" <= c <= "힣" for c in message.replace("texts", ""))
