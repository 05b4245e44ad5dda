"""A notebook runs from its first cell to its last, and training outlives its kernel."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from endless import ENDLESS
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from yaongi.notebook.job import Job
from yaongi.notebook.run import Run

ROOT = Path(__file__).parents[2]
WIDGETS = "application/vnd.jupyter.widget-view+json"


def shortened(path: Path) -> nbformat.NotebookNode:
    """The notebook with a tenth of its training steps; nothing else is changed."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r"( steps: )(\d+)0\n", r"\1\2\n", cell.source)
    return notebook


def shown(cell: Any, kind: str) -> list[str]:
    return [out.data[kind] for out in cell.outputs if "data" in out and kind in out.data]


def test_the_first_notebook_trains_shows_and_chats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = shortened(ROOT / "notebooks" / "first-model.ipynb")
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = {cell.source.splitlines()[-1]: cell for cell in code}
    assert "finished" in shown(cells["panel.wait()"], "text/plain")[0]
    run = cells['yaongi.open_run("runs/first-model/tiny/base")']
    assert "<polyline" in shown(run, "text/html")[0] and "15 of 15" in shown(run, "text/html")[0]
    assert "Mamba-2 × 1" in shown(cells["m"], "text/html")[0]
    streamed = next(cell for line, cell in cells.items() if "stream=True" in line)
    assert shown(streamed, "text/html")[0].startswith("<div")
    asked = next(cell for line, cell in cells.items() if "box.ask" in line)
    assert len(shown(asked, "text/plain")) == 1
    assert all(shown(cells[name], WIDGETS) for name in ("panel", "box"))
    values = [
        one["state"].get("value", "")
        for one in notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"][
            "state"
        ].values()
    ]
    assert any("finished" in v and "<polyline" in v and "5 / 5" in v for v in values)
    assert any("너는 누구야?" in v for v in values)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    """A kernel, as (manager, client), in an empty folder with the recipe ``endless.yaml``."""
    (tmp_path / "endless.yaml").write_text(ENDLESS)
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    Job(tmp_path / "out").end()


def said(client: Any, code: str) -> str:
    """What a cell prints."""
    printed: list[str] = []
    client.execute_interactive(
        code,
        timeout=120,
        output_hook=lambda message: printed.append(
            message["content"].get("text", "") + "".join(message["content"].get("traceback", []))
        ),
    )
    return "".join(printed)


def test_training_survives_its_kernel_and_is_found_again(kernel: Any, tmp_path: Path) -> None:
    manager, client = kernel
    panel = "import time, yaongi; p = yaongi.panel('endless.yaml', out='out')"
    until = "while p.run is None or p.run.step < {n}: time.sleep(0.1)"
    assert said(client, f"{panel}\np.start()\n{until.format(n=3)}") == ""
    manager.restart_kernel(now=False)
    client.wait_for_ready(timeout=60)
    assert said(client, f"{panel}\nprint(p.state)") == "running\n"
    assert said(client, "p.pause(); print(p.wait(60))") == "paused\n"
    paused = Run(tmp_path / "out" / "tiny" / "base").step
    more = until.format(n=paused + 1)
    assert said(client, f"p.resume()\n{more}\nprint(p.state)\np.stop(); print(p.state)") == (
        "running\npaused\n"
    )
    steps = [m["step"] for m in Run(tmp_path / "out" / "tiny" / "base").metrics]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > paused
