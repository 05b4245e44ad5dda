"""Long runs of emoticons made short: ㅋㅋㅋㅋㅋㅋ as ㅋㅋ.

The idea is soynlp's ``repeat_normalize`` (https://github.com/lovit/soynlp). Not for every corpus:
how long somebody laughs is part of what chat is.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import ClassVar

from pydantic import Field

from yaongi.data.filters import Cleaned, Conversations, Filter


class Emoticons(Filter):
    """Never drops a document. A line of signs alone, which underlines a heading, stays.

    Args:
        keep: so many of the same are left.
    """

    conversations: ClassVar[Conversations] = Conversations.EACH
    kind: str = "emoticons"
    keep: int = Field(default=2, ge=1)

    def clean(self, text: str) -> Cleaned:
        pattern, runs = _runs(self.keep), 0
        if not pattern.search(text):
            return Cleaned(text)
        lines = text.split("\n")
        for i, line in enumerate(lines):
            if _LETTER.search(line):
                lines[i], times = pattern.subn(lambda run: run[1] * self.keep, line)
                runs += times
        return Cleaned("\n".join(lines), changed=Counter({"runs": runs} if runs else {}))


_LETTER = re.compile(r"[^\W\d_]")


@cache
def _runs(keep: int) -> re.Pattern[str]:
    """A jamo, ``^``, ``~``, ``!`` or ``?`` more than ``keep`` times."""
    return re.compile(rf"([ㄱ-ㅎㅏ-ㅣ^~!?])\1{{{keep},}}")
