"""The CPU time a study took, kept on disk so that stopping and going on loses none of it."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class Ledger:
    """A file of JSON lines, one for each piece of work: its ``run`` and its ``cpu_s``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def charged(self, run: str) -> Generator[None]:
        """Write down the CPU seconds of a block, also when it is stopped."""
        began = time.process_time()
        try:
            yield
        finally:
            line = {"run": run, "cpu_s": round(time.process_time() - began, 2)}
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")

    def spent(self, run: str | None = None) -> float:
        """CPU seconds of everything so far, also of what is not finished; or of one run."""
        if not self.path.is_file():
            return 0.0
        lines = [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]
        return sum(line["cpu_s"] for line in lines if run in (None, line["run"]))
