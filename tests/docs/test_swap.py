"""docs/swap.md does what it says: its blocks are run, word by word, on a small folder."""

import re
import shlex
from pathlib import Path

import pytest

from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/swap.md").read_text(encoding="utf-8")
SMALL = [
    "tokenizer.vocab_size=400",
    "tokenizer.allow_smaller=true",
    "pretrain.model.vocab_size=400",
    "pretrain.model.d_model=32",
    "pretrain.steps=2",
    "pretrain.batch_tokens=128",
    "pretrain.seq_len=64",
    "data.val_fraction=0.2",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    texts = tmp_path / "my_texts"
    texts.mkdir()
    for i in range(12):
        (texts / f"{i}.txt").write_text(f"고양이 {i}마리가 마루에서 잔다. " * 20, encoding="utf-8")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "lion.py").write_text(blocks("python")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def go(command: str, *more: str) -> None:
    words = shlex.split(command)
    assert words[0] == "yaongi"
    assert run([*words[1:], *more, *SMALL]) == 0


def base(folder: Path, name: str) -> dict:
    return open_artifact(folder / "runs" / name / "5m" / "base", "base").manifest.config


def test_the_data(folder: Path) -> None:
    go(blocks("bash")[0])
    corpus = open_artifact(folder / "runs/my-data/corpus", "corpus")
    assert corpus.manifest.counts["domains"]["text"]["train"]["documents"] > 0
    assert (folder / "runs/my-data/5m/report/report.md").is_file()


def test_the_pattern(folder: Path) -> None:
    go(blocks("bash")[1])
    assert base(folder, "my-pattern")["model"]["pattern"] == "(*-)x4"


def test_settings_of_a_letter(folder: Path) -> None:
    extra = folder / "extra.yaml"
    extra.write_text(
        (ROOT / "recipes/from-folder.yaml")
        .read_text(encoding="utf-8")
        .replace('  model: {preset: 5m, pattern: "M-M-M*-M-M-M-"}\n', "")
        .replace("pretrain:\n", blocks("yaml")[0]),
        encoding="utf-8",
    )
    go("yaongi run extra.yaml data.root=my_texts --out runs/letters")
    assert base(folder, "letters")["model"]["pattern"] == "M*E"


def test_the_optimizer(folder: Path) -> None:
    go(blocks("bash")[2])
    assert base(folder, "my-optimizer")["optimizer"] == {"kind": "lion:Lion", "lr": 1e-4}
    assert len([x for x in blocks("python")[0].splitlines() if x.strip()]) <= 16
