import json

import pytest
import tiny

from yaongi.core.artifact import open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, ConfigError
from yaongi.core.intervals import wilson
from yaongi.evals.report import for_terminal, from_json, markdown, table
from yaongi.evals.run import EvalConfig, evaluate
from yaongi.evals.task import Score, ratio_interval
from yaongi.evals.tasks.exact_match import Item, grade


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    found = tiny.road(folder)
    return {**found, "base": tiny.base(folder / "base", found["tokenizer"])}


def config(**task):
    return EvalConfig.model_validate({"tasks": [{"kind": "bpb", "domains": ["ko"], **task}]})


def run(made, out, cfg=None):
    inputs = [made["base"], made["shards"]]
    return evaluate(tiny.lm(), tiny.tokenizer(), cfg or config(), out, inputs=inputs)


def test_a_report_says_what_was_measured_on_what(made, tmp_path):
    report = run(made, tmp_path / "report")
    assert report.manifest.kind == "report"
    assert [p.kind for p in report.manifest.parents] == ["base", "shards"]
    (score,) = from_json(json.loads((report.path / "report.json").read_text()))
    assert report.manifest.metrics == {"bpb/ko": score.value}
    text = (report.path / "report.md").read_text()
    assert f"| bpb/ko | {score.value:.3f} |" in text
    assert "lower is better" in text
    open_artifact(report.path, "report").verify()


def test_an_unchanged_report_is_not_made_again(made, tmp_path):
    first = run(made, tmp_path / "report")
    assert run(made, tmp_path / "report").manifest.created == first.manifest.created
    with pytest.raises(ArtifactError, match="max_tokens"):
        run(made, tmp_path / "report", config(max_tokens=100))


def test_a_report_of_an_unnamed_model_is_never_taken_for_anothers(made, tmp_path):
    evaluate(tiny.lm(), tiny.tokenizer(), config(), tmp_path / "r", inputs=[made["shards"]])
    with pytest.raises(ArtifactError, match="exists already"):
        evaluate(tiny.lm(), tiny.tokenizer(), config(), tmp_path / "r", inputs=[made["shards"]])


def test_a_failing_task_leaves_nothing_behind(made, tmp_path):
    with pytest.raises(ConfigError, match="'shards'"):
        evaluate(tiny.lm(), tiny.tokenizer(), config(), tmp_path / "r", inputs=[made["base"]])
    assert list(tmp_path.iterdir()) == []


def test_progress_names_the_tasks(made, tmp_path):
    seen = []
    evaluate(
        tiny.lm(),
        tiny.tokenizer(),
        config(seq_len=16, batch_rows=1),
        tmp_path / "r",
        inputs=[made["shards"]],
        on_progress=lambda share, note: seen.append((share, note)),
    )
    assert (seen[0], seen[-1]) == ((0.0, "bpb"), (1.0, "bpb ko"))
    shares = [share for share, _note in seen]
    assert shares == sorted(shares) and len(shares) > 3


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'exact_match'"):
        parse(EvalConfig, {"tasks": ["exactmatch"]})


def test_a_table_row_has_everything_to_read_a_score():
    items = [Item("?", (a,)) for a in ("1", "1", "2", "3")]
    row = table([grade("sums", items, ["1", "1", "2", "x"])]).splitlines()[-1]
    assert row == "| sums | 75.0% | 30.1% – 95.4% | 50.0% (majority answer) | 33.3% | 4 items |"


def test_samples_are_quoted_unedited():
    score = grade("x", [Item("a\nb", ("1",))], ["`` `1` | <|im_end|>"])
    text = markdown([score], "t")
    assert "- **question**: ` a⏎b `" in text
    assert "- **said**: ``` `` `1` | <|im_end|> ```" in text
    assert "- **right**: no" in text


def test_on_a_terminal_the_table_comes_last(tmp_path):
    score = grade("sums", [Item("1+1?", ("2",))], ["2"])
    (tmp_path / "report.json").write_text(json.dumps({"scores": [vars(score)]}))
    text = for_terminal(tmp_path)
    assert text.index("1+1?") < text.index("| sums |") < text.index("Exact match:")
    assert sorted(text.split()) == sorted(markdown([score], "t").removeprefix("# t").split())


def test_scores_survive_json():
    score = grade("x", [Item("?", ("1",))], ["1"])
    assert from_json(json.loads(json.dumps({"scores": [vars(score)]}))) == [score]
    assert isinstance(score, Score)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (50, 100, 0.4038, 0.5962)]
)
def test_wilson_known_values(k, n, low, high):
    assert wilson(k, n) == pytest.approx((low, high), abs=1e-4)


def test_ratio_interval():
    low, high = ratio_interval([1.0, 3.0], [1.0, 1.0])
    assert (low + high) / 2 == pytest.approx(2.0)
    assert high - low == pytest.approx(2 * 1.959964)  # standard error of the mean: 1
    assert ratio_interval([2.0], [1.0]) == (2.0, 2.0)
