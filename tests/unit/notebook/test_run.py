"""``open_run``: a run's state, numbers and card at every moment of its life."""

import json
from pathlib import Path

import pytest
import tiny_run

import yaongi
from yaongi.core.artifact import Artifact, draft
from yaongi.core.errors import ArtifactError
from yaongi.core.runlog import PLAN, RunLog
from yaongi.notebook.run import Run, RunState
from yaongi.train.pretrain import pretrain

NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    return tiny_run.shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def done(inputs: tuple[Artifact, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, looked at on its way: what was seen is in ``seen.json``."""
    out = tmp_path_factory.mktemp("runs") / "base"
    looks: list[tuple[str, int, int | None]] = []
    run = Run(out)

    def look(step: object) -> None:
        looks.append((run.state, run.step, run.steps))

    pretrain(tiny_run.pretrain_config(), *inputs, out, mix=tiny_run.MIX, on_step=look)
    (out.parent / "seen.json").write_text(json.dumps(looks))
    return out


def unfinished(folder: Path, lines: list[dict], steps: int = 10) -> Path:
    """The working folder of a run that nobody runs."""
    work = folder / "base.partial"
    (work / PLAN).parent.mkdir(parents=True)
    identity = {"config": {"lr": 1, "note": NASTY}, "inputs": ["shards abc123"], "seed": 0}
    (work / PLAN).write_text(json.dumps({"identity": identity, "plan": {"steps": steps}}))
    with RunLog(work) as log:
        for line in lines:
            log.log(**line)
    return folder / "base"


def test_a_run_is_seen_while_it_trains(done: Path) -> None:
    looks = json.loads((done.parent / "seen.json").read_text())
    assert looks == [["running", step, 8] for step in range(1, 9)]


def test_a_finished_run_tells_what_it_was_made_from(done: Path) -> None:
    run = yaongi.open_run(done)
    assert run.state is RunState.FINISHED
    assert (run.step, run.steps, len(run.metrics)) == (8, 8, 8)
    assert [p.kind for p in run.parents] == ["shards", "tokenizer"]
    assert run.seconds > 0 and run.seconds_left is None
    assert repr(run).startswith(f"Run({str(done)!r}, finished, step 8 of 8, loss ")
    card = run._repr_html_()
    for shown in (
        "<svg",
        "finished",
        "8 of 8",
        str(done),
        "CC0-1.0",
        run.parents[0].hash[:12],
        '"batch_tokens": 256',
    ):
        assert shown in card.replace("&#34;", '"'), shown


def test_an_unfinished_run_is_paused(tmp_path: Path) -> None:
    line = {"tokens_per_s": 100.0, "lr": 0.1}
    out = unfinished(
        tmp_path,
        [{"step": s, "loss": 5.0 - s, "tokens": 200 * s, **line} for s in (1, 2, 3)],
    )
    for path in (out, out.with_name("base.partial")):
        run = yaongi.open_run(path)
        assert run.state is RunState.PAUSED
        assert (run.path, run.step, run.steps) == (out, 3, 10)
        assert run.seconds == pytest.approx(6.0)
        assert [p.hash for p in run.parents] == ["abc123"]
        assert "paused" in run._repr_html_() and "3 of 10" in run._repr_html_()


def test_time_left_comes_from_the_last_steps(tmp_path: Path) -> None:
    lines = [{"step": s, "loss": 1.0, "tokens": 200 * s, "tokens_per_s": 100.0} for s in (2, 4, 6)]
    out = unfinished(tmp_path, lines)
    with draft(out, "base", config={}, resumable=True):
        run = yaongi.open_run(out)
        assert run.state is RunState.RUNNING
        assert run.seconds_left == pytest.approx(4 * 2.0)


def test_reinforcement_draws_its_reward(tmp_path: Path) -> None:
    out = unfinished(tmp_path, [{"step": 1, "loss": -0.1, "reward": 0.5}])
    assert yaongi.open_run(out).measure == "reward"


def test_a_line_without_a_loss_is_no_point(tmp_path: Path) -> None:
    """Continual pretraining evaluates before its first step."""
    lines = [{"step": 0, "val_bpb/ko": 2.0}, {"step": 1, "loss": 4.0}, {"step": 2, "loss": 3.0}]
    run = yaongi.open_run(unfinished(tmp_path / "all", lines))
    assert run.points == [(1, 4.0), (2, 3.0)] and "4 → 3" in run._repr_html_()
    begun = yaongi.open_run(unfinished(tmp_path / "begun", lines[:1]))
    assert begun.points == [] and begun.curve() is None and "val_bpb/ko" in begun._repr_html_()


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e308", "1" + "0" * 400])
def test_a_loss_nobody_can_draw_is_no_point(tmp_path: Path, value: str) -> None:
    out = unfinished(tmp_path, [{"step": 1, "loss": 3.0}])
    with (tmp_path / "base.partial" / "metrics.jsonl").open("a") as log:
        log.write(f'{{"step": 2, "loss": {value}, "tokens": 9, "tokens_per_s": {value}}}\n')
    run = yaongi.open_run(out)
    assert run.points == [(1, 3.0)] and "<svg" in run._repr_html_() and run.seconds == 0


def test_nothing_of_a_run_is_read_as_html(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": float("nan"), f"val_bpb/{NASTY}": NASTY}]
    out = unfinished(tmp_path / "<b>", lines)
    card = yaongi.open_run(out)._repr_html_()
    assert "<script" not in card and "<b>/" not in card
    assert card.count("&lt;script&gt;") == 3, "a name, a value and a setting"


def test_a_run_that_has_only_begun_has_a_card(tmp_path: Path) -> None:
    (tmp_path / "base.partial").mkdir()
    run = yaongi.open_run(tmp_path / "base")
    assert (run.step, run.steps, run.config, run.parents) == (0, None, {}, [])
    assert "0 of ?" in run._repr_html_()
    assert repr(run).endswith("paused, step 0 of None)")


def test_what_is_no_run_says_what_it_is(inputs: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="'shards' artifact; it was made without training"):
        yaongi.open_run(inputs[0].path)
    with pytest.raises(ArtifactError, match="there is no such folder"):
        yaongi.open_run(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match="it holds several: corpus, shards, tokenizer"):
        yaongi.open_run(inputs[0].path.parent)
