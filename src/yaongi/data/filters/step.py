"""A cleaning step as a step of a datatrove pipeline, with its counts as datatrove's statistics."""

from __future__ import annotations

from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from yaongi.data.filters import Filter


class FilterStep(BaseFilter):
    """Changes documents in place or drops them, as ``config`` says.

    Args:
        config: the step.
        **options: of datatrove's ``BaseFilter``, e.g. ``exclusion_writer`` for what is dropped.
    """

    def __init__(self, config: Filter, **options: Any) -> None:
        self.name = config.kind  # datatrove prints it, and uses it already in its own __init__
        super().__init__(**options)
        self.config = config

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        result = self.config.clean(doc.text)
        for reason, times in result.changed.items():
            self.stat_update(f"changed_{reason}", value=times)
        doc.text = result.text
        doc.metadata.update(result.tags)
        return (False, result.drop) if result.drop else True
