"""What verbs print about artifacts: the tree of ``trace``, what ``export`` wrote, licences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny

from yaongi.cli.main import run
from yaongi.core.artifact import Artifact, draft
from yaongi.model.io import save_model


def make(out: Path, kind: str, *parents: Artifact) -> Artifact:
    with draft(out, kind, config={"out": out.name}, parents=parents) as work:
        return work.finish(licences=["cc0-1.0"])


def test_a_shared_ancestor_has_one_branch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(tmp_path / "s", "source")
    corpus = make(tmp_path / "c", "corpus", source)
    tokenizer = make(tmp_path / "t", "tokenizer", corpus)
    shards = make(tmp_path / "h", "shards", corpus, tokenizer)
    base = make(tmp_path / "b", "base", shards, tokenizer)

    def line(branch: str, made: Artifact, *, again: bool = False) -> str:
        about = "(see above)" if again else f"{made.path}  [cc0-1.0]"
        return f"{branch}{made.manifest.kind}  {made.hash[:12]}  {about}"

    assert run(["trace", str(base.path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        line("", base),
        line("├─ ", shards),
        line("│  ├─ ", corpus),
        line("│  │  └─ ", source),
        line("│  └─ ", tokenizer),
        line("│     └─ ", corpus, again=True),
        line("└─ ", tokenizer, again=True),
    ]


def test_an_export_counts_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tiny.lm(), tmp_path / "model")
    out = tmp_path / "hf"
    asked = ["export", str(tmp_path / "model"), "--to", "hf", "--out", str(out), "--custom-code"]
    assert run([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    assert (found["files"], found["bytes"]) == (len(sizes), sum(sizes))


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("apache-2.0", ["Licence: apache-2.0"]),
        ("odd", ["Licence: odd", "  • Read its terms before you pass the model on."]),
        ("", ["Licence: not stated", "  • Ask the model's authors before you pass it on."]),
    ],
)
def test_an_import_names_the_licence_once(
    licence: str, told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tiny.lm(), tmp_path / "model")
    export = ["export", str(tmp_path / "model"), "--to", "hf", "--out", str(tmp_path / "hf")]
    assert run([*export, "--custom-code"]) == 0
    (tmp_path / "hf/manifest.json").unlink()  # as others' folders are
    (tmp_path / "hf/README.md").write_text(f"---\nlicense: {licence}\n---\n")
    capsys.readouterr()
    assert run(["import", str(tmp_path / "hf"), "--out", str(tmp_path / "back")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == told
