"""``yaongi run`` as a process of its own: it outlives the notebook that started it.

What it needs to be found again lies in ``OUT/.notebook``: who it is, what it said on the way, and
its result, which the command prints as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaongi.core.errors import ArtifactError
from yaongi.core.files import storage_errors, write_json
from yaongi.core.i18n import translate as _
from yaongi.core.install import import_extra

PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from yaongi.cli.main import main; main()"
)
"""A notebook's kernel ignores SIGINT, and its children would too."""

TERMINAL = ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE")
"""A kernel says by these that it shows colours; the log of a process is plain."""

FOLDER, PROCESS, RESULT, LOG = ".notebook", "process.json", "result.json", "log.txt"
INTERRUPTED = "interrupted"
AGAIN_S, PATIENCE_S = 1.0, 20.0
"""``end`` interrupts every so often, and kills after so long."""

_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Outcome:
    """How a job ended. ``slug`` is None for one that is done, "killed" where it said nothing."""

    slug: str | None
    message: str


class Job:
    """The road of a recipe as a process, started here or found by what it left in ``out``.

    Raises:
        CapabilityError: psutil is not installed.
    """

    def __init__(self, out: Path) -> None:
        self.psutil = import_extra("The panel needs {package}: {command}", "psutil", "notebook")
        self.out = out
        self.folder = out / FOLDER

    def start(self, arguments: Sequence[str]) -> None:
        """Run ``yaongi ARGUMENTS`` in the current folder.

        Raises:
            ArtifactError: the one before is still at work.
        """
        if self.alive:
            raise ArtifactError("Another process is writing {path}.", path=self.out)
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        result, log = self.folder / RESULT, self.folder / LOG
        (self.folder / PROCESS).unlink(missing_ok=True)  # it had this result, which goes now
        with result.open("wb") as said, log.open("wb") as told:
            child = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *arguments, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=told,
                env={k: v for k, v in os.environ.items() if k not in TERMINAL},
                start_new_session=True,  # else a kernel that restarts takes it along
            )
        born = self.psutil.Process(child.pid).create_time()
        write_json(self.folder / PROCESS, {"pid": child.pid, "born": born, "asked": False})
        # It only waits for the end: no zombie stays behind, whatever becomes of the panel.
        threading.Thread(target=child.wait, daemon=True).start()

    @property
    def known(self) -> bool:
        """Whether one was ever started from a notebook."""
        return (self.folder / PROCESS).is_file()

    @property
    def alive(self) -> bool:
        """Whether it is at work."""
        return self._process() is not None

    def interrupt(self) -> None:
        """Let it finish its step and write a checkpoint; between trainings, end at once."""
        self._send(signal.SIGINT)

    def end(self) -> None:
        """Let it end at once: what came after the last checkpoint is lost. Returns when it has."""
        killed_at = time.monotonic() + PATIENCE_S
        again_at = 0.0
        while self.alive:
            now = time.monotonic()
            if now >= killed_at:
                self._send(signal.SIGKILL)
            elif now >= again_at:
                self._send(signal.SIGINT)
                again_at = now + AGAIN_S
            time.sleep(0.05)

    def outcome(self) -> Outcome | None:
        """How it ended; None while it works or where there never was one."""
        if not self.known or self.alive:
            return None
        said = self._said()
        if said is not None:
            error: dict[str, Any] = said.get("error") or {}
            return Outcome(error.get("slug"), error.get("message", ""))
        if self._told()["asked"]:  # so early, or so late, that it had no time for a word
            return Outcome(INTERRUPTED, "")
        return Outcome("killed", _("The process ended without a word; was it killed?"))

    def log(self, lines: int) -> list[str]:
        """The last lines it wrote on its way."""
        try:
            with (self.folder / LOG).open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = stream.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:]

    def _said(self) -> dict[str, Any] | None:
        """Its result: the last line, if that is whole."""
        try:
            lines = (self.folder / RESULT).read_text(encoding="utf-8").splitlines()
            found = json.loads(lines[-1])
        except (FileNotFoundError, IndexError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _process(self) -> Any:
        """It, if it is the one that was started: numbers of processes come again."""
        try:
            told = self._told()
            found = self.psutil.Process(told["pid"])
            gone = found.status() == self.psutil.STATUS_ZOMBIE
            return None if gone or abs(found.create_time() - told["born"]) > 2 else found
        except (FileNotFoundError, self.psutil.NoSuchProcess):
            return None

    def _told(self) -> dict[str, Any]:
        return json.loads((self.folder / PROCESS).read_text(encoding="utf-8"))

    def _send(self, number: int) -> None:
        found = self._process()
        if found is None:
            return
        write_json(self.folder / PROCESS, {**self._told(), "asked": True})
        with suppress(self.psutil.NoSuchProcess):  # it may end by itself meanwhile
            found.send_signal(number)
