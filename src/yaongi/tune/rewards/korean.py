"""Reward for answering in Korean: the share of Hangul among the letters.

The language consistency reward of DeepSeek-R1 (arXiv:2501.12948, section 2.3.2), counted in letters
instead of words, since Korean words carry their particles.
"""

from __future__ import annotations

import re
import unicodedata

from pydantic import Field

from yaongi.tune.rewards import Reward, Sample

CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
HANGUL = re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")
"""Syllables, and letters of their own as in ㅋㅋㅋ."""
MARKUP = re.compile(r"</?(?:think|tool_call|tool_response)>")


class Korean(Reward):
    """Settings of ``korean``.

    Attributes:
        enough: the share that earns the whole reward, so that names and terms of other languages
            cost nothing; less earns proportionally less. No letters at all earn nothing.
    """

    kind: str = "korean"
    enough: float = Field(default=0.9, gt=0, le=1)

    def score(self, sample: Sample) -> float:
        return min(1.0, korean_share(sample.text) / self.enough)


def korean_share(text: str) -> float:
    """Hangul among the letters of ``text``, code left out; 0 without letters."""
    plain = MARKUP.sub("", CODE.sub("", unicodedata.normalize("NFC", text)))
    letters = sum(map(str.isalpha, plain))
    return len(HANGUL.findall(plain)) / letters if letters else 0.0
