"""Replaces personal data by placeholders: ``010-1234-5678`` becomes ``[PHONE]``.

What counts as personal and how it is found is ``yaongi.data.pii``; here it is a cleaning step.
"""

from __future__ import annotations

from typing import ClassVar

from yaongi.data.filters import Cleaned, Conversations, Filter
from yaongi.data.pii import placeholders, scrub


class PII(Filter):
    """Never drops a document; counts what it replaced by kind."""

    conversations: ClassVar[Conversations] = Conversations.EACH
    kind: str = "pii"

    def clean(self, text: str) -> Cleaned:
        scrubbed = scrub(text)
        if scrubbed == text:
            return Cleaned(text)
        changed = placeholders(scrubbed)
        changed.subtract(placeholders(text))  # somebody may have scrubbed it before
        return Cleaned(scrubbed, changed=+changed)
