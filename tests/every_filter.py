"""One cleaning step of every kind, with the files that some of them cannot do without."""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from yaongi.data.filters import FILTERS, Filter

ITEM = "다음 중 조선 시대의 신분 제도에 대한 설명으로 옳지 않은 것은 무엇입니까?"


def step(kind: str, **settings: Any) -> Filter:
    """A step of ``kind``."""
    return FILTERS.lookup(kind)(**needed(kind), **settings)


@functools.cache
def needed(kind: str) -> dict[str, Any]:
    """The settings without a default."""
    folder = Path(tempfile.mkdtemp())  # small; gone with the machine's temporary files
    if kind == "decontaminate":
        items = folder / "exam.jsonl"
        items.write_text(json.dumps({"question": ITEM, "answer": "3"}), encoding="utf-8")
        return {"against": [str(items)]}
    return {}
