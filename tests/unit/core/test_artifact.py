"""Artifacts: complete or absent, never edited, and traceable to their sources."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from yaongi.core import artifact
from yaongi.core.artifact import (
    Ancestor,
    Artifact,
    differences,
    draft,
    existing,
    is_written,
    open_artifact,
    trace,
)
from yaongi.core.errors import ArtifactError, CheckpointError, DataError, StorageError

CONFIG = {"vocab_size": 100, "train": {"steps": 5, "name": "작은"}}


def make(
    out: Path,
    kind: str = "corpus",
    config: dict | None = None,
    parents: tuple[Artifact, ...] = (),
    seed: int | None = 1,
    text: str = "가나다",
    **finish: object,
) -> Artifact:
    with draft(
        out, kind, config=CONFIG if config is None else config, parents=parents, seed=seed
    ) as work:
        (work.path / "sub").mkdir()
        (work.path / "sub" / "data.txt").write_text(text, encoding="utf-8")
        return work.finish(**finish)  # pyright: ignore[reportArgumentType]


def message(path: Path, kind: str | tuple[str, ...] | None = None) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(path, kind)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_round_trip(tmp_path: Path) -> None:
    made = make(tmp_path / "a", counts={"rows": np.int64(3)}, licences=["cc0", "mit", "cc0"])
    found = open_artifact(tmp_path / "a", ("tokenizer", "corpus"))
    assert found.hash == made.hash
    assert found.manifest.config == CONFIG and found.manifest.seed == 1
    assert found.manifest.counts == {"rows": 3}
    assert found.manifest.licences == ["cc0", "mit"]
    assert list(found.manifest.files) == ["sub/data.txt"]
    assert found.manifest.hardware["cores"] == os.cpu_count()
    assert found.manifest.versions["python"].count(".") == 2
    found.verify()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"], "no lock or working folder is left"


def test_nothing_is_there_until_it_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "a"
    with draft(out, "corpus", config={}) as work:
        (work.path / "x").write_text("x")
        assert not out.exists()
        work.finish()
        assert (out / "manifest.json").is_file() and not work.path.exists()


def test_the_manifest_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_sync, real_write = artifact.sync_tree, artifact.write_json
    monkeypatch.setattr(artifact, "sync_tree", lambda p: (order.append("data"), real_sync(p)))
    monkeypatch.setattr(
        artifact, "write_json", lambda *a: (order.append("manifest"), real_write(*a))
    )
    make(tmp_path / "a")
    assert order == ["data", "manifest"]


def test_a_failed_stage_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError), draft(tmp_path / "a", "corpus", config={}) as work:
        (work.path / "half").write_text("half")
        raise DataError("no")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_resumable_stage_keeps_its_work(tmp_path: Path) -> None:
    out = tmp_path / "a"
    with pytest.raises(DataError), draft(out, "base", config={}, resumable=True) as work:
        (work.path / "checkpoint").write_text("step 10")
        raise DataError("no")
    assert [p.name for p in tmp_path.iterdir()] == ["a.partial"]
    with draft(out, "base", config={}, resumable=True) as work:
        assert (work.path / "checkpoint").read_text() == "step 10"
        work.finish()
    assert list(open_artifact(out).manifest.files) == ["checkpoint"]


KILLED = """
    import os, signal
    from pathlib import Path
    from yaongi.core import artifact
    from yaongi.core.files import write_with
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    with artifact.draft(Path({out!r}), "base", config={{}}, resumable={resumable}) as work:
        (work.path / "data").write_text("data")
        if {moment!r} == "writing":
            write_with(work.path / "model", lambda p: (p.write_text("half"), die()))
        if {moment!r} == "finishing":
            Path.rename = die
        if {moment!r} == "hashing":
            artifact.sync_tree = die
        work.finish()
"""


@pytest.mark.parametrize("moment", ["writing", "hashing", "finishing"])
@pytest.mark.parametrize("resumable", [True, False])
def test_killed_at_any_moment_then_made_again(tmp_path: Path, moment: str, resumable: bool) -> None:
    out = tmp_path / "a"
    code = textwrap.dedent(KILLED).format(out=str(out), moment=moment, resumable=resumable)
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert "has not finished" in message(out) and "a.partial" in message(out)
    with draft(out, "base", config={}, resumable=resumable) as work:
        (work.path / "data").write_text("data")
        work.finish()
    found = open_artifact(out)
    found.verify()
    assert list(found.manifest.files) == ["data"], "no leftover of the killed run is in it"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_disk_full_at_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "write_json", full)
    with pytest.raises(StorageError, match=r"Cannot write .*/a: No space left"):
        make(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_result_is_never_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "a")
    before = (tmp_path / "a" / "manifest.json").read_bytes()
    with pytest.raises(ArtifactError, match="exists already"):
        make(tmp_path / "a", text="other")
    assert (tmp_path / "a" / "manifest.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a"
    code = f"""
        from yaongi.core.artifact import draft
        from yaongi.core.errors import ArtifactError
        try:
            with draft({str(out)!r}, "corpus", config={{}}) as work:
                work.finish()
        except ArtifactError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with draft(out, "corpus", config={}) as work:
        (work.path / "mine").write_text("mine")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"Another process is writing {out}."
        work.finish()
    assert list(open_artifact(out).manifest.files) == ["mine"]


def test_others_see_who_is_writing(tmp_path: Path) -> None:
    out, lock = tmp_path / "out", tmp_path / ".out.lock"
    assert not is_written(out)
    with draft(out, "test", config={}) as work:
        assert is_written(out) and is_written(out), "looking changes nothing"
        assert not is_written(tmp_path / "other")
        work.finish()
    assert not is_written(out)
    lock.touch()  # what a killed process leaves
    assert not is_written(out) and not lock.exists()


def test_two_drafts_of_different_folders_do_not_meet(tmp_path: Path) -> None:
    with draft(tmp_path / "a", "x", config={}) as a, draft(tmp_path / "b", "x", config={}) as b:
        b.finish()
        a.finish()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("damage", ["truncated", "one bit", "gone"])
def test_a_damaged_file_is_named_with_both_hashes(tmp_path: Path, damage: str) -> None:
    made = make(tmp_path / "a", text="가나다라마바사")
    path = tmp_path / "a" / "sub" / "data.txt"
    data = bytearray(path.read_bytes())
    expected = made.manifest.files["sub/data.txt"].sha256
    if damage == "gone":
        path.unlink()
    else:
        data[0] ^= 1
        path.write_bytes(path.read_bytes()[:-1] if damage == "truncated" else bytes(data))
    with pytest.raises(ArtifactError, match=r"sub/data\.txt") as caught:
        open_artifact(tmp_path / "a").verify()
    if damage != "gone":
        found = artifact.sha256_file(path)
        assert expected in str(caught.value) and found in str(caught.value) and expected != found


def test_check_file_can_raise_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        artifact.check_file(tmp_path / "x", 1, "00", CheckpointError)


def test_what_is_not_an_artifact_is_explained(tmp_path: Path) -> None:
    assert "there is no such folder" in message(tmp_path / "nothing")
    assert "there is no such folder" in message(tmp_path / "no" / "parent")
    make(tmp_path / "quickstart" / "sft")
    make(tmp_path / "quickstart" / "base")
    assert "it holds several: base, sft" in message(tmp_path / "quickstart")
    assert f"Did you mean '{tmp_path / 'quickstart'}'?" in message(tmp_path / "quikstart")
    (tmp_path / "empty").mkdir()
    assert "it has no manifest.json" in message(tmp_path / "empty")
    (tmp_path / "x.partial").mkdir()
    assert "the working folder of a stage" in message(tmp_path / "x.partial")
    assert "has not finished" in message(tmp_path / "x")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    gguf, weights = tmp_path / "g.gguf", make(tmp_path / "m").path / "sub" / "data.txt"
    gguf.touch()
    found = message(gguf)
    assert "is a file; expected the folder of a model" in found and "was exported from" in found
    assert "Did you mean" not in found, "the name that was typed is no suggestion"
    assert "Did you mean" not in message(weights)
    manifest = tmp_path / "m" / "manifest.json"
    assert f"Did you mean its folder, {manifest.parent}?" in message(manifest)


def test_who_makes_it_is_not_guessed(tmp_path: Path) -> None:
    """A stopped ``quantize`` is no training, and the command to run again is not the reader's."""
    (tmp_path / "x.partial").mkdir()
    found = message(tmp_path / "x")
    assert "the command that makes it has not finished" in found
    assert "training" not in found and "same command" not in found


@pytest.mark.parametrize("place", ["x", "deep/x"])
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_place_where_nothing_can_be_written_is_no_other_writer(place: str) -> None:
    with pytest.raises(StorageError, match=f"Cannot write /proc/{place}: No such file"):
        make(Path("/proc") / place)


def test_a_place_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(StorageError, match="Cannot write"):
        make(tmp_path / "f" / "x")


def test_another_kind(tmp_path: Path) -> None:
    make(tmp_path / "a", kind="tokenizer")
    text = message(tmp_path / "a", ("base", "sft"))
    assert "is a 'tokenizer' artifact; expected 'base' / 'sft'" in text


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_newer_schema_says_so_whatever_its_shape(tmp_path: Path) -> None:
    make(tmp_path / "a")
    edit_manifest(tmp_path / "a", schema_version=99, files=["another shape"])
    assert "newer yaongi (schema 99, this one reads 1)" in message(tmp_path / "a")


@pytest.mark.parametrize("content", ['{"kind": "x"}', "[]", '{"kind": ', "3"])
def test_a_broken_manifest_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert str(tmp_path / "manifest.json") in message(tmp_path)


def test_unchanged_inputs_skip_the_stage(tmp_path: Path) -> None:
    parent = make(tmp_path / "p")
    assert existing(tmp_path / "a", "corpus", config=CONFIG, parents=[parent], seed=1) is None
    made = make(tmp_path / "a", parents=(parent,))
    found = existing(tmp_path / "a", "corpus", config=CONFIG, parents=[parent], seed=1)
    assert found is not None and found.hash == made.hash


def test_settings_compare_as_the_manifest_stores_them(tmp_path: Path) -> None:
    config = {"sizes": (1, 2), "root": Path("x"), "n": np.int64(3)}
    make(tmp_path / "a", config=config)
    assert existing(tmp_path / "a", "corpus", config=config, seed=1) is not None


def test_every_change_is_named(tmp_path: Path) -> None:
    parent = make(tmp_path / "p")
    make(tmp_path / "a", parents=(parent,))
    changed = {"vocab_size": 200, "train": {"steps": 6, "name": "작은"}}
    with pytest.raises(ArtifactError) as caught:
        existing(tmp_path / "a", "corpus", config=changed, parents=[parent], seed=2)
    text = str(caught.value)
    for part in ("vocab_size: 100 -> 200", "train.steps: 5 -> 6", "seed: 1 -> 2"):
        assert part in text
    assert "train.name" not in text and "--out" in text and "name=NEW" in text

    other = make(tmp_path / "p2", text="other")
    with pytest.raises(ArtifactError, match=r"its input .*/p2 has changed"):
        existing(tmp_path / "a", "corpus", config=CONFIG, parents=[other], seed=1)
    with pytest.raises(ArtifactError, match="made from other inputs"):
        existing(tmp_path / "a", "corpus", config=CONFIG, seed=1)


def test_differences() -> None:
    assert differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {"b": [1]}}) == [
        "a.b: 1 -> [1]",
        "c: 2 -> None",
    ]


def test_the_hash_is_of_content_not_of_time_or_place(tmp_path: Path) -> None:
    parent = make(tmp_path / "p")
    a = make(tmp_path / "a", parents=(parent,))
    b = make(tmp_path / "elsewhere" / "b", parents=(parent,))
    assert a.hash == b.hash
    assert make(tmp_path / "c", parents=(parent,), text="x").hash != a.hash
    assert make(tmp_path / "d", parents=(parent,), seed=2).hash != a.hash
    assert make(tmp_path / "e", parents=(parent,), config={}).hash != a.hash
    assert make(tmp_path / "f").hash != a.hash


def test_timings_are_verified_but_no_part_of_the_identity(tmp_path: Path) -> None:
    hashes = set()
    for n in (1, 2):
        with draft(tmp_path / f"a{n}", "base", config={}) as work:
            (work.path / "model").write_text("same")
            (work.path / "metrics.jsonl").write_text(f'{{"seconds": {n}}}')
            (work.path / "trackers").mkdir()
            (work.path / "trackers" / "events").write_text(str(n))
            made = work.finish()
        hashes.add(made.hash)
        (tmp_path / f"a{n}" / "trackers" / "events").write_text("synced")
        made.verify()
        assert set(made.manifest.files) == {"model", "metrics.jsonl"}
    assert len(hashes) == 1


def test_licences_are_inherited(tmp_path: Path) -> None:
    a = make(tmp_path / "a", licences=["cc-by-4.0"])
    b = make(tmp_path / "b", licences=["apache-2.0", "cc-by-4.0"])
    child = make(tmp_path / "c", parents=(a, b))
    assert child.manifest.licences == ["apache-2.0", "cc-by-4.0"]


def test_trace_works_after_the_parents_moved_away(tmp_path: Path) -> None:
    raw = make(tmp_path / "corpus", licences=["cc0"])
    tok = make(tmp_path / "tokenizer", kind="tokenizer", parents=(raw,))
    base = make(tmp_path / "base", kind="base", parents=(raw, tok))
    expected = [
        (0, "base", base.hash), (1, "corpus", raw.hash),
        (1, "tokenizer", tok.hash), (2, "corpus", raw.hash),
    ]  # fmt: skip
    (tmp_path / "corpus").rename(tmp_path / "moved")
    (tmp_path / "tokenizer").rename(tmp_path / "moved2")
    (tmp_path / "base").rename(tmp_path / "here")
    rows = trace(tmp_path / "here")
    assert [(depth, entry.kind, entry.hash) for depth, entry in rows] == expected
    assert rows[-1][1].licences == ["cc0"]


def test_not_a_number_does_not_cost_the_run(tmp_path: Path) -> None:
    """A run that ends with a NaN metric is still a result; its manifest stays strict JSON."""
    made = make(tmp_path / "a", metrics={"loss": float("nan"), "bpb": np.float32(1.5)})
    assert open_artifact(made.path).manifest.metrics == {"loss": "nan", "bpb": 1.5}


def test_no_git_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    artifact.git_commit.cache_clear()
    assert artifact.git_commit() is None
    artifact.git_commit.cache_clear()


def test_the_nearest_ancestor_of_a_kind_comes_level_by_level() -> None:
    def entry(kind: str, name: str, *parents: Ancestor) -> Ancestor:
        return Ancestor(kind=kind, path=name, hash=name, parents=list(parents))

    deep = entry("shards", "deep", entry("tokenizer", "far"))
    node = entry("sft", "sft", entry("base", "base", deep), entry("tokenizer", "near"))
    assert [n.path for n in node.walk()] == ["sft", "base", "near", "deep", "far"]
    found = node.nearest("tokenizer")
    assert found is not None
    assert found.path == "near"
    assert node.nearest("corpus") is None
