"""The panel: what it shows and which buttons it offers, in every state of a road."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import yaongi
from yaongi.core.artifact import draft
from yaongi.core.errors import ConfigError
from yaongi.core.runlog import RunLog
from yaongi.notebook import job as jobs
from yaongi.notebook.panel import Panel
from yaongi.notebook.status import State, training_folders

pytest.importorskip("ipywidgets")
pytest.importorskip("psutil")

PROGRAM = """
import json, signal, sys, time
from pathlib import Path
from yaongi.core.artifact import draft
from yaongi.core.runlog import RunLog
signal.signal(signal.SIGINT, signal.default_int_handler)
out, recipe = Path(sys.argv[sys.argv.index("--out") + 1]), Path(sys.argv[2])
try:
    if "fail" in recipe.name:
        print("Traceback <here>", file=sys.stderr)
        sys.exit(1)
    with draft(out / "tiny" / "base", "base", config={}, resumable=True) as work:
        print("… pretraining", file=sys.stderr, flush=True)
        done = sum(1 for _ in (work.path / "metrics.jsonl").open()) if (
            work.path / "metrics.jsonl").exists() else 0
        with RunLog(work.path, resume_step=done) as log:
            for step in range(done + 1, 9):
                log.log(step, loss=8.0 - step, tokens=100 * step, tokens_per_s=1000.0, lr=0.1)
                if step == 4 and not done:
                    time.sleep(60)
        work.finish(counts={"steps": 8})
    print(json.dumps({"model": "m"}))
except KeyboardInterrupt:
    error = {"slug": "interrupted", "message": "Interrupted", "exit_code": 130}
    print(json.dumps({"error": error}))
    sys.exit(130)
"""


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PROGRAM", PROGRAM)
    monkeypatch.setattr("yaongi.notebook.panel.REDRAW_S", 0.02)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text("name: my <b>road</b>\n")
    return path


@pytest.fixture
def panel(recipe: Path, tmp_path: Path) -> Iterator[Panel]:
    made = yaongi.panel(recipe, "pretrain.steps=8", out=tmp_path / "out")
    yield made
    made.stop()
    made.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def offers(panel: Panel) -> list[str]:
    buttons = (panel._start, panel._pause, panel._stop)
    return [b.description for b in buttons if not b.disabled]


def test_a_road_is_started_paused_and_resumed_to_its_end(panel: Panel) -> None:
    assert panel.state is State.NEW and offers(panel) == ["Start"]
    assert "not started" in panel._above.value and panel.run is None
    panel._start.click()
    until(lambda: "4 / ?" in panel._above.value)
    assert panel.state is State.RUNNING and offers(panel) == ["Pause", "Stop"]
    assert "<polyline" in panel._above.value and "… pretraining" in panel._above.value
    panel._pause.click()
    assert panel.wait(30) is State.PAUSED
    assert offers(panel) == ["Resume"] and "paused" in panel._above.value
    panel._start.click()
    assert panel.wait(30) is State.FINISHED
    assert "8 / 8" in panel._above.value and "finished" in panel._above.value
    assert panel.run is not None
    assert [m["step"] for m in panel.run.metrics] == list(range(1, 9))
    until(lambda: panel._watcher is not None and not panel._watcher.is_alive())


def test_stop_ends_it_and_it_can_go_on(panel: Panel) -> None:
    panel.start()
    until(lambda: panel.run is not None and panel.run.step == 4)
    panel._stop.click()
    assert panel.wait(30) is State.PAUSED
    until(lambda: offers(panel) == ["Resume"])
    panel.resume()
    assert panel.wait(30) is State.FINISHED


def test_a_new_panel_takes_over_what_is_under_way_and_what_is_over(
    panel: Panel, recipe: Path
) -> None:
    panel.start()
    until(lambda: panel.run is not None and panel.run.step == 4)
    later = Panel(recipe, out=panel.out)
    assert later.state is State.RUNNING and offers(later) == ["Pause", "Stop"]
    later.start()  # changes nothing
    later.pause()
    assert later.wait(30) is State.PAUSED
    until(lambda: offers(panel) == ["Resume"])
    assert Panel(recipe, out=panel.out).state is State.PAUSED
    panel.start()
    panel.wait(30)
    assert "finished" in Panel(recipe, out=panel.out)._above.value


def test_a_road_that_fails_shows_why_and_what_it_said_last(tmp_path: Path) -> None:
    recipe = tmp_path / "fail.yaml"
    recipe.write_text("")
    panel = Panel(recipe, out=tmp_path / "out")
    panel.start()
    assert panel.wait(30) is State.FAILED
    assert "failed" in panel._above.value and "ended without a word" in panel._above.value
    assert "Traceback &lt;here&gt;" in panel._log.value
    assert offers(panel) == ["Resume"]


def test_one_started_elsewhere_is_shown_and_left_alone(panel: Panel, recipe: Path) -> None:
    with draft(panel.out / "tiny" / "base", "base", config={}, resumable=True) as work:
        with RunLog(work.path) as log:
            log.log(1, loss=2.5)
        other = Panel(recipe, out=panel.out)
        assert other.state is State.ELSEWHERE and offers(other) == []
        assert "started elsewhere" in other._above.value and "2.5" in other._above.value
        other.start()
        other.pause()
        assert not other._job.known
    assert other.wait(30) is State.PAUSED, "begun, and nobody at work"


def test_only_the_model_worked_on_last_is_shown(tmp_path: Path) -> None:
    for at, name in enumerate(("a/base", "b/base.partial", "b/sft.partial")):
        with RunLog(tmp_path / name) as log:
            log.log(1, loss=1.0)
        os.utime(tmp_path / name / "metrics.jsonl", (at, at))
    assert training_folders(tmp_path) == [tmp_path / "b" / "base", tmp_path / "b" / "sft"]
    assert training_folders(tmp_path / "nothing") == []


def test_nothing_it_shows_is_html(panel: Panel) -> None:
    with RunLog(panel.out / "tiny" / "<i>.partial") as log:
        log.log(1, **{"loss": "<i>", "val_bpb/<i>": 1.0})
    with RunLog(panel.out / "tiny" / "later.partial") as log:
        log.log(0, **{"val_bpb/<i>": 1.0})
    panel.refresh()
    assert "my &lt;b&gt;road&lt;/b&gt;" in panel._above.value
    assert "<i>" not in panel._above.value and "<b>road" not in panel._above.value


def test_a_recipe_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe at"):
        yaongi.panel(tmp_path / "no.yaml")


def test_its_folder_is_named_by_the_recipe(recipe: Path, tmp_path: Path) -> None:
    assert Panel(recipe).out == Path("runs/my <b>road</b>")
    recipe.write_text("")
    assert Panel(recipe).out == Path("runs/my")
    assert repr(Panel(recipe)) == "Panel('my', new, 'runs/my')"


def test_a_panel_waits_for_no_torch(recipe: Path) -> None:
    code = f"import sys, yaongi; yaongi.panel({str(recipe)!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_a_notebook_gets_has_a_text_too(panel: Panel) -> None:
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel)
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert json.dumps(bundle)
