"""Scores documents by a quality model, and drops those below a limit."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field

from yaongi.core.artifact import open_artifact
from yaongi.data.filters import Cleaned, Filter
from yaongi.data.quality import QualityModel
from yaongi.data.sources import locate


class Quality(Filter):
    """Tags ``quality`` with the score, 0 to 1.

    Args:
        model: folder that ``yaongi data quality`` wrote.
        min: documents with a lower score are dropped; by default none is.
    """

    kind: str = "quality"
    model: str
    min: float | None = Field(default=None, ge=0.0, le=1.0)

    def clean(self, text: str) -> Cleaned:
        score = round(_model(self.model).score(text), 4)
        low = self.min is not None and score < self.min
        return Cleaned(text, "low quality" if low else "", tags={"quality": score})

    def at(self, root: Path) -> Filter:
        return self.model_copy(update={"model": str(locate(self.model, root).absolute())})

    def fingerprint(self) -> str:
        return open_artifact(self.model, "quality").hash


@lru_cache(maxsize=2)
def _model(folder: str) -> QualityModel:
    return QualityModel.load(open_artifact(folder, "quality").path)
