"""What the tuning commands say to a newcomer before any work is done."""

import json
from pathlib import Path

import pytest

from yaongi.cli import run as run_module
from yaongi.cli.distilling import asked_line
from yaongi.cli.main import run
from yaongi.cli.reinforce import tell_equal
from yaongi.core.artifact import Artifact, Manifest, draft
from yaongi.core.errors import CapabilityError

ROWS = "".join(
    json.dumps({"instruction": f"{i} 더하기 1은?", "output": f"{i + 1}입니다."}) + "\n"
    for i in range(20)
)
TUNING = ["sft", "distill", "lora", "dpo", "grpo", "reward train", "distill --teacher=T"]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Writes a recipe of these settings beside ``my/rows.jsonl`` and goes there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YAONGI_DATA", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "rows.jsonl").write_text(ROWS, encoding="utf-8")

    def write(**settings):
        (tmp_path / "tiny.yaml").write_text(json.dumps(settings))  # JSON is YAML
        return "tiny.yaml"

    return write


DATA = {"sources": [{"path": "my/rows.jsonl", "domain": "mine", "licence": "CC0-1.0"}]}


def refused(capsys, *argv):
    assert run(list(argv)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("words", TUNING)
def test_a_section_that_is_missing_is_said_the_same_way(recipe, capsys, words):
    verb, *more = words.split()
    given, of = [w for w in more if w.startswith("--")], [w for w in more if w[0] != "-"]
    told = refused(capsys, verb, *of, recipe(name="tiny"), *given)
    assert f"The recipe 'tiny' has no section {verb}." in told


def test_a_file_below_this_folder_but_not_below_the_data_folder(recipe, capsys, tmp_path):
    path = recipe(data=DATA)
    told = refused(capsys, "data", "build", path)
    assert "relative paths are below the data folder" in told
    assert str(tmp_path / "my/rows.jsonl") in told and "data.root=." in told
    assert run(["data", "build", path, "data.root=."]) == 0


def test_the_root_of_data_that_only_sections_have(recipe, capsys):
    path = recipe(sft={"data": DATA}, dpo={"data": DATA})
    told = refused(capsys, "sft", path, "data.root=.")
    assert "sft.data.root, dpo.data.root" in told and "required" not in told


def test_other_settings_name_what_helps_and_no_input_that_stayed(recipe, capsys):
    path = recipe(data=DATA)
    assert run(["data", "build", path, "data.root=."]) == 0
    capsys.readouterr()
    told = refused(capsys, "data", "build", path, "data.root=my/..")
    assert "root: '.' -> 'my/..'" in told and "its input" not in told
    assert "Remove that folder" in told and "name=NEW" in told
    assert run(["data", "build", path, "data.root=my/..", "name=other"]) == 0


def test_an_absolute_path_is_the_same_below_any_data_folder(recipe, tmp_path):
    source = {**DATA["sources"][0], "path": str(tmp_path / "my/rows.jsonl")}
    path = recipe(data={"sources": [source], "root": None})
    assert run(["data", "build", path]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YAONGI_DATA", str(tmp_path))
        assert run(["data", "build", path]) == 0


def test_a_wrong_reward_is_one_mistake(recipe, capsys):
    path = recipe(grpo={"data": DATA, "train": {"steps": 1}})
    told = refused(capsys, "grpo", path, "grpo.train.rewards=[arithmetik]")
    assert "Did you mean 'arithmetic'?" in told and "empty" not in told


def test_examples_name_the_line_and_speak_korean(recipe, capsys, monkeypatch):
    with Path("my/rows.jsonl").open("a", encoding="utf-8") as rows:
        rows.write('{"instruction": "빈 답", "output": ""}\n')
        rows.write('{"messages": [{"role": "assistant", "content": "먼저"}]}\n')
    assert run(["data", "build", recipe(data=DATA, name="tiny"), "data.root=."]) == 0
    capsys.readouterr()
    monkeypatch.setenv("YAONGI_LANG", "ko")
    assert run(["data", "examples", "runs/tiny/corpus"]) == 0
    told = capsys.readouterr().out
    assert "output 열이 비어 있음" in told and "맨 앞에 올 수 없음" in told
    assert '[my/rows.jsonl:21] {"instruction": "빈 답", "output": ""}' in told
    assert not any(word in told for word in ("read:", "is empty", "cannot come", "'instruction'"))


def test_a_run_whose_rewards_never_differed_says_so(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "groups_equal": 1.0}\n{"step": 2, "groups_equal": 0.9}\n'
    )
    made = Artifact(tmp_path, Manifest(kind="grpo", created="", config={}))
    tell_equal(made)
    assert "In 95% of the groups" in capsys.readouterr().err
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "groups_equal": 1.0}\n{"step": 2, "groups_equal": 0.2}\n'
    )
    tell_equal(made)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("left_out", "words"),
    [({}, "asked 9, answered 9"), ({"empty": 2, "refused": 1}, "empty answer 2, refused 1")],
)
def test_what_a_teacher_left_out_is_told_with_its_file(tmp_path, left_out, words):
    counts = {"asked": 9, "answered": 9 - sum(left_out.values()), "left_out": left_out}
    with draft(tmp_path / "answers", "answers", config={}) as work:
        work.finish(counts=counts)
    told = asked_line(tmp_path / "answers")
    assert words in told and ("left_out.jsonl" in told) == bool(left_out)


@pytest.mark.parametrize(("section", "verb"), [("sft", "sft"), ("reward", "reward train")])
def test_a_dry_run_of_what_has_no_pretraining(recipe, capsys, section, verb):
    told = refused(capsys, "run", recipe(name="tiny", **{section: {"data": DATA}}), "--dry-run")
    assert f"yaongi {verb} RECIPE {section}.train.steps=1" in told


def test_an_export_that_cannot_be_made_shows_before_any_work(recipe, capsys, monkeypatch):
    def missing():
        raise CapabilityError("no package")

    monkeypatch.setattr("yaongi.interop.gguf.library", missing)
    monkeypatch.setattr(run_module, "Road", None)  # nothing of it may be reached
    assert "no package" in refused(capsys, "run", recipe(export=[{"to": "gguf"}]))
    wrong = [{"to": "hf", "options": {"quant": "q8_0"}}]
    assert "no option 'quant'" in refused(capsys, "run", recipe(export=wrong))
