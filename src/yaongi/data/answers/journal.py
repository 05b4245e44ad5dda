"""What has been answered so far: a file that is only appended to, a line on disk per answer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from yaongi.core.files import storage_errors
from yaongi.data.lines import json_line


class Journal:
    """Answers by the key of their request; a line that a crash left half is cut off.

    Use as a context. One process writes (the draft's lock sees to it).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes() if path.is_file() else b""
        self.whole = data.rfind(b"\n") + 1
        rows = (json.loads(line) for line in data[: self.whole].splitlines())
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in rows}

    def __enter__(self) -> Journal:
        with storage_errors(self.path):
            self.stream = self.path.open("ab")
            self.stream.truncate(self.whole)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stream.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep an answer; on return it is on disk."""
        with storage_errors(self.path):
            self.stream.write(json_line(row))
            self.stream.flush()
            os.fsync(self.stream.fileno())
        self.rows[row["key"]] = dict(row)
