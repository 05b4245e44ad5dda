"""Which bytes a token of somebody else's vocabulary stands for.

Two families write every byte of a text and so let bits be counted per byte: byte-level BPE (GPT-2,
Radford et al. 2019), whose pieces spell bytes with printable stand-ins, and SentencePiece with
byte fallback (Kudo & Richardson 2018, arXiv:1808.06226), whose pieces are text with ``▁`` for a
space and ``<0xNN>`` for a byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import Tokenizer as Backend

from yaongi.core.i18n import translate
from yaongi.text.bytelevel import byte_of_char

PROBE = "가각 漢字 ㅋㅋㅋ 뷁𝌆 The  CAT\n\n\t1,234 ﬁ①Ａ é 👨‍👩‍👧 <|x|>\x01."
"""What tokenizers like to fold, drop or not know: widths, ligatures, case, spaces, rare signs."""

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class NoBytes(ValueError):
    """Why the tokens of a vocabulary do not stand for bytes, in the user's language."""


def token_table(backend: Backend, size: int) -> list[bytes]:
    """id -> its bytes; nothing for special tokens and ids that are not used.

    Raises:
        NoBytes: neither byte-level BPE nor SentencePiece with byte fallback.
    """
    to_bytes = _family(json.loads(backend.to_str()))
    added = backend.get_added_tokens_decoder()
    table = [b""] * size
    for piece, i in backend.get_vocab(with_added_tokens=False).items():
        table[i] = to_bytes(piece)
    for i, token in added.items():  # others than special ones are found in text as they stand
        table[i] = b"" if token.special else token.content.encode()
    return table


def leading_bytes(encode: Callable[[str], list[int]], table: list[bytes]) -> int:
    """How many bytes the tokenizer puts before a text (SentencePiece: a space), else 0.

    Raises:
        NoBytes: the tokens of a text do not give the text back.
    """
    for text in (PROBE, "a", "\n가"):
        found, wanted = b"".join(table[i] for i in encode(text)), text.encode()
        if found not in (wanted, b" " + wanted):
            raise NoBytes(translate("it changes texts: {text!r} comes back as {found!r}",
                                    text=text, found=found.decode(errors="replace")))  # fmt: skip
    return len(b"".join(table[i] for i in encode("a"))) - 1


def _family(spec: Mapping[str, Any]) -> Callable[[str], bytes]:
    """How the pieces of a ``tokenizer.json`` are read."""
    parts = decoder_parts(spec)
    if "ByteLevel" in parts:
        return _byte_level
    if "ByteFallback" in parts and spec["model"].get("byte_fallback"):
        return _sentencepiece
    raise NoBytes(
        translate(
            "it is neither byte-level nor SentencePiece with byte fallback (model {model}, "
            "decoder {decoder}), so it has no tokens for some texts",
            model=spec["model"].get("type"),
            decoder=" + ".join(parts) or translate("none"),
        )
    )


def decoder_parts(spec: Mapping[str, Any]) -> list[str]:
    """The types of the decoders, in order."""
    decoder: dict[str, Any] = spec.get("decoder") or {}
    parts: list[dict[str, Any]] = decoder.get("decoders", [decoder])
    return [part["type"] for part in parts if "type" in part]


def _byte_level(piece: str) -> bytes:
    table = byte_of_char()
    if all(char in table for char in piece):
        return bytes(table[char] for char in piece)
    return piece.encode()  # as the library decodes it


def _sentencepiece(piece: str) -> bytes:
    if found := _BYTE.fullmatch(piece):
        return bytes([int(found[1], 16)])
    return piece.replace("▁", " ").encode()
