"""The panel and the chat box in a real JupyterLab, clicked in a real browser."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from endless import ENDLESS
from nbformat.v4 import new_code_cell, new_notebook

from yaongi.notebook.job import Job
from yaongi.notebook.run import Run

pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install jupyterlab")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
TOKEN = "cat"
CELLS = (
    "import yaongi\npanel = yaongi.panel('endless.yaml', out='out')\npanel",
    "import tiny\nm = yaongi.Model(tiny.lm(), tiny.tokenizer())\n"
    "box = m.chat(max_tokens=100_000)\nbox",
)
PATIENCE_S = 120
QUIET = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab whose folder holds a notebook of ``CELLS``."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "endless.yaml").write_text(ENDLESS)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = [new_code_cell(source) for source in CELLS]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, work / "panel.ipynb")
    settings = tmp_path / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        ),
    }
    options = ("--no-browser", "--allow-root", f"--ServerApp.port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}")  # fmt: skip
    with (tmp_path / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=work,
            env=env,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{address}/api/status?token={TOKEN}"))
        yield f"{address}/lab/tree/panel.ipynb?token={TOKEN}"
    finally:
        server.terminate()
        server.wait(60)
        Job(work / "out").end()


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def page(lab: str, tmp_path: Path) -> Iterator[Any]:
    """The notebook, opened and run."""
    if CHROMIUM is None:
        pytest.skip("needs a browser: install Chromium (apt-get install chromium)")
    root = [] if os.geteuid() else ["--no-sandbox"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *root])
        page = browser.new_page(viewport={"width": 1100, "height": 1600})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(lab, wait_until="domcontentloaded")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        select = page.get_by_role("button", name="Select Kernel", exact=True)  # it may ask which
        page.add_locator_handler(select, lambda: select.click())
        page.get_by_text("| Idle").wait_for()
        page.get_by_text("Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        yield page
        page.screenshot(path=tmp_path / "last.png")
        browser.close()


def test_the_buttons_do_what_they_say(page: Any, tmp_path: Path) -> None:
    panel = page.locator(".jp-OutputArea-child", has=page.get_by_text("endless", exact=True)).first
    chip = panel.locator("span").first

    def press(name: str) -> None:
        panel.locator(".jupyter-button", has_text=name).click()

    def points() -> int:
        line = panel.locator("svg polyline").first
        return len(line.get_attribute("points").split()) if line.count() else 0

    def reached() -> int:
        found = re.findall(r"([\d,]+) / 1,000,000", panel.inner_text())
        return int(found[0].replace(",", "")) if found else 0

    press("Start")
    until(lambda: points() >= 3)
    before = reached()
    until(lambda: reached() > before)
    assert chip.inner_text() == "running"
    page.screenshot(path=tmp_path / "running.png")
    press("Pause")
    panel.get_by_text("paused", exact=True).wait_for()
    run = Run(tmp_path / "work" / "out" / "tiny" / "base")
    paused = run.step
    assert paused >= before
    press("Resume")
    until(lambda: chip.inner_text() == "running" and reached() > paused)
    press("Stop")
    panel.get_by_text("paused", exact=True).wait_for()
    assert [m["step"] for m in run.metrics] == list(range(1, run.step + 1))

    asked = page.get_by_placeholder("Say something")
    box = page.locator(".jp-OutputArea-child", has=asked).first
    asked.fill("<b>안녕</b>")
    asked.press("Enter")
    stop = box.locator(".jupyter-button", has_text="Stop")
    until(stop.is_enabled)
    said = len(box.inner_text())
    until(lambda: len(box.inner_text()) > said)
    stop.click()
    until(stop.is_disabled)
    stopped = box.inner_text()
    page.screenshot(path=tmp_path / "chat.png")
    page.wait_for_timeout(500)
    assert box.inner_text() == stopped
    assert "<b>안녕</b>" in stopped and asked.input_value() == ""
    box.locator(".jupyter-button", has_text="Clear").click()
    until(lambda: "안녕" not in box.inner_text())
