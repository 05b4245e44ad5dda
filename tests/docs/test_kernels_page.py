"""docs/kernels.md lists the backends there are, in the order in which they are tried."""

from __future__ import annotations

import re
from pathlib import Path

from yaongi.model.layer import OPS

PAGE = (Path(__file__).parents[2] / "docs" / "kernels.md").read_text("utf-8")


def test_every_backend_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [(op.name, backend.name) for op in OPS for backend in op.backends]
