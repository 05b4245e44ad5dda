"""``yaongi.panel(RECIPE)``: starts, pauses, resumes and stops the road of a recipe from a notebook.

The work is a process of its own, ``yaongi run``; the panel reads what that writes. So it finds a
road again after the kernel was restarted, and what is trained is what a terminal would train.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from yaongi.core.config import load_recipe
from yaongi.core.i18n import translate as _
from yaongi.notebook.html import rendered
from yaongi.notebook.job import Job
from yaongi.notebook.run import Run
from yaongi.notebook.status import ACTIVE, State, Status, look
from yaongi.notebook.widgets import FRAME, bundle, button, ipywidgets

REDRAW_S = 1.0
LOG_LINES = 12


class Panel:
    """The road of a recipe, with buttons. What the buttons do, its methods do.

    Args:
        recipe: the recipe's file.
        overrides: ``"a.b=c"`` each, as on the command line.
        out: the folder of the whole road; ``runs/<name>`` by default.

    Attributes:
        out: that folder.
        widget: what is shown.
    Raises:
        CapabilityError: ipywidgets or psutil is not installed.
        ConfigError: the recipe is missing or no YAML. What its settings mean is checked when it
            starts.
    """

    def __init__(self, recipe: str | Path, *overrides: str, out: str | Path | None = None) -> None:
        widgets = ipywidgets()
        name = str(load_recipe(recipe, overrides).get("name", Path(recipe).stem))
        self.out = Path("runs") / name if out is None else Path(out)
        self._title = name
        self._arguments = ["run", str(recipe), *overrides, "--out", str(self.out)]
        self._job, self._runs = Job(self.out), dict[Path, Run]()
        self._asked: State | None = None
        self._changing, self._closed = threading.RLock(), threading.Event()
        self._watcher: threading.Thread | None = None
        self._above, self._log = widgets.HTML(), widgets.HTML()
        go = _("Begin, or continue; what is finished is not made again.")
        save = _("Finish the step, write a checkpoint and end; nothing is lost.")
        end = _("End at once; what came after the last checkpoint is learnt again.")
        self._start = button(_("Start"), "play", "primary", go, self.start)
        self._pause = button(_("Pause"), "pause", "", save, self.pause)
        self._stop = button(_("Stop"), "stop", "", end, self._stop_beside)
        told = widgets.Accordion([self._log], titles=(_("What it said"),), selected_index=None)
        buttons = widgets.HBox([self._start, self._pause, self._stop])
        self.widget = widgets.VBox([self._above, buttons, told], layout=FRAME)
        if self.refresh().state in ACTIVE:
            self._watch()

    @property
    def state(self) -> State:
        """Where the road is."""
        return self._look().state

    @property
    def run(self) -> Run | None:
        """The training that is under way, or was last."""
        return next(iter(self._look().runs[::-1]), None)

    def start(self) -> None:
        """Begin, or continue what was interrupted; what is finished is not made again.

        One that is under way already is left alone.
        """
        with self._changing:
            if self.state not in ACTIVE:
                self._asked = None
                self._job.start(self._arguments)
        self.refresh()
        self._watch()

    resume = start

    def pause(self) -> None:
        """Ask it to finish its step, write a checkpoint and end; ``wait`` for that.

        Of one started elsewhere this asks nothing.
        """
        self._ask(State.PAUSING)
        self._job.interrupt()

    def stop(self) -> None:
        """End it at once, and return when it has; it resumes from its last checkpoint."""
        self._ask(State.STOPPING)
        self._job.end()
        self.refresh()

    def wait(self, timeout_s: float | None = None) -> State:
        """Wait until nothing is at work; the panel goes on drawing. ■ ends the wait alone.

        Args:
            timeout_s: the longest to wait; None waits to the end.
        Returns: the state then.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while self.state in ACTIVE and (until is None or time.monotonic() < until):
            time.sleep(0.2)
        return self.refresh().state

    def close(self) -> None:
        """Take the panel away; the road goes on."""
        self._closed.set()
        self.widget.close()

    def refresh(self) -> Status:
        """Draw what there is now."""
        with self._changing:
            status = self._look()
            active = status.state in ACTIVE
            ours = active and status.state is not State.ELSEWHERE
            begun = status.state in (State.PAUSED, State.FAILED)
            self._start.description = _("Resume") if begun else _("Start")
            self._start.disabled = active
            self._pause.disabled = status.state is not State.RUNNING
            self._stop.disabled = not ours
            self._above.value = status.html(self._title, self.out)
            lines = self._job.log(LOG_LINES)
            self._log.value = rendered("log", lines=lines)
        return status

    def _look(self) -> Status:
        with self._changing:
            return look(self._job, self._asked, self._runs)

    def _ask(self, what: State) -> None:
        with self._changing:
            if self.state in (State.RUNNING, State.PAUSING):
                self._asked = what
        self.refresh()

    def _stop_beside(self) -> None:
        """``stop`` without holding up the kernel that heard the button."""
        threading.Thread(target=self.stop, daemon=True).start()

    def _watch(self) -> None:
        with self._changing:
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._follow, daemon=True)
                self._watcher.start()

    def _follow(self) -> None:
        """Redraw until nothing is at work any more."""
        while not self._closed.wait(REDRAW_S):
            if self.refresh().state not in ACTIVE:
                return

    def __repr__(self) -> str:
        return f"Panel({self._title!r}, {self.state}, {str(self.out)!r})"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return bundle(self.widget, repr(self), options)
