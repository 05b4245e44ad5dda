"""One cleaning step of every kind, with the files that some of them cannot do without."""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from yaongi.core.seeds import Seed
from yaongi.data.filters import FILTERS, Filter
from yaongi.data.train_quality import QualityConfig, train_quality

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
ITEM = "다음 중 조선 시대의 신분 제도에 대한 설명으로 옳지 않은 것은 무엇입니까?"


def step(kind: str, **settings: Any) -> Filter:
    """A step of ``kind``."""
    return FILTERS.lookup(kind)(**needed(kind), **settings)


@functools.cache
def needed(kind: str) -> dict[str, Any]:
    """The settings without a default."""
    kept = tempfile.TemporaryDirectory()
    _FOLDERS.append(kept)  # removed when the tests end
    folder = Path(kept.name)
    if kind == "decontaminate":
        items = folder / "exam.jsonl"
        items.write_text(json.dumps({"question": ITEM, "answer": "3"}), encoding="utf-8")
        return {"against": [str(items)]}
    if kind == "quality":
        texts = {
            "good": "오늘은 날씨가 맑아서 산책을 했다. {n}명이 함께 걸었다.",
            "bad": "ㅋㅋ 대박 {n}!!",
        }
        for name, text in texts.items():
            rows = (json.dumps({"text": text.format(n=n)}) + "\n" for n in range(20))
            (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
        cfg = QualityConfig(
            root=str(folder), good=["good.jsonl"], bad=["bad.jsonl"], bits=10, epochs=1
        )
        return {"model": str(train_quality(cfg, folder / "model", Seed(0)).path)}
    return {}
