"""The one normalization the tokenizer applies: Unicode NFC.

NFD text (macOS file names, PDFs) costs several times the tokens; NFKC would rewrite ㅋㅋ, ① and
full-width forms. Everything else (spaces, control characters) is cleaning and lives in ``data``.
"""

from __future__ import annotations

import unicodedata


def nfc(text: str) -> str:
    """``text`` with jamo and accents composed where Unicode has a composed form."""
    return unicodedata.normalize("NFC", text)


def is_nfc(text: str) -> bool:
    """Whether ``nfc`` would change nothing, several times faster than trying."""
    return unicodedata.is_normalized("NFC", text)
