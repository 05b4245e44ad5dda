"""How well tokenizers spend their tokens, above all on Korean.

Counts are of whole texts, so that spaces, numbers and punctuation are paid for too. Tokens per
syllable and per 어절 are of the lines that are mostly Hangul: in a page of code they would say
nothing about Korean.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from yaongi.core.errors import DataError, TokenizerError
from yaongi.text.foreign import AnyTokenizer
from yaongi.text.hangul import is_syllable
from yaongi.text.seeds import ks_x_1001

ALL_SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]
_AT_ONCE = 1000  # documents
_NFD_CHARS = 200_000  # of Korean lines, to be encoded once more


@dataclass(frozen=True)
class DomainReport:
    """One tokenizer on the texts of one domain; None where there is nothing to count.

    Attributes:
        tokens_per_syllable, tokens_per_eojeol: over lines whose characters are half Hangul or
            more; an 어절 is what stands between spaces.
        bytes_per_token: UTF-8 bytes of all the text.
        partial_utf8: share of tokens that begin or end inside a character; None for a vocabulary
            whose tokens stand for no bytes.
        nfd_blowup: tokens of the decomposed Korean lines for one of the composed ones; None for a
            vocabulary that does not know jamo.
    """

    documents: int
    bytes: int
    tokens: int
    bytes_per_token: float
    tokens_per_syllable: float | None
    tokens_per_eojeol: float | None
    partial_utf8: float | None
    nfd_blowup: float | None


@dataclass(frozen=True)
class TokenizerReport:
    """One tokenizer.

    Attributes:
        ks_x_1001, all_syllables: how many of the 2,350 and of all 11,172 are one token.
        never_used: tokens (control tokens aside) that none of the texts needed.
    """

    vocab_size: int
    ks_x_1001: int
    all_syllables: int
    never_used: int
    domains: Mapping[str, DomainReport]

    def as_json(self) -> dict[str, Any]:
        """For ``--json`` and results."""
        return asdict(self)


def report(tokenizer: AnyTokenizer, texts: Mapping[str, Sequence[str]]) -> TokenizerReport:
    """Measure ``tokenizer`` on the texts of each domain.

    Raises:
        DataError: a domain without any text.
        TokenizerError: a text that is not Unicode, or that this tokenizer cannot encode.
    """
    used: set[int] = set()
    domains = {name: measure(tokenizer, found, name, used) for name, found in texts.items()}
    whole = set(filter(lambda s: _is_one_token(tokenizer, s), ALL_SYLLABLES))
    return TokenizerReport(
        vocab_size=tokenizer.vocab_size,
        ks_x_1001=len(whole.intersection(ks_x_1001())),
        all_syllables=len(whole),
        never_used=tokenizer.vocab_size - len(used | tokenizer.control_ids),
        domains=domains,
    )


def measure(
    tok: AnyTokenizer, texts: Sequence[str], name: str, used: set[int] | None = None
) -> DomainReport:
    """One domain of a report.

    Args:
        used: the ids that occur are added to it.
    """
    size = sum(len(text.encode(errors="surrogatepass")) for text in texts)
    if not size:
        raise DataError("There is no text in {name}.", name=name)
    counts: Counter[int] = Counter()
    for i in range(0, len(texts), _AT_ONCE):
        for ids in tok.encode_batch(texts[i : i + _AT_ONCE]):
            counts.update(ids)
    if used is not None:
        used.update(counts)
    tokens = sum(counts.values())
    return DomainReport(
        documents=len(texts),
        bytes=size,
        tokens=tokens,
        bytes_per_token=round(size / max(tokens, 1), 4),
        partial_utf8=_partial(tok, counts),
        **_korean(tok, texts),
    )


def _korean(tok: AnyTokenizer, texts: Iterable[str]) -> dict[str, float | None]:
    """What is counted on the Korean lines of the texts."""
    lines = [line for text in texts for line in korean_lines(text)]
    syllables = sum(map(is_syllable, "".join(lines)))
    if not syllables:
        return dict.fromkeys(("tokens_per_syllable", "tokens_per_eojeol", "nfd_blowup"))
    tokens = _tokens(tok, lines)
    return {
        "tokens_per_syllable": round(tokens / syllables, 4),
        "tokens_per_eojeol": round(tokens / sum(len(line.split()) for line in lines), 4),
        "nfd_blowup": _blowup(tok, "\n".join(lines)[:_NFD_CHARS]),
    }


def _blowup(tok: AnyTokenizer, text: str) -> float | None:
    try:
        apart = len(tok.encode(unicodedata.normalize("NFD", text)))
    except TokenizerError:  # it does not know jamo
        return None
    return round(apart / len(tok.encode(text)), 4)


def korean_lines(text: str) -> list[str]:
    """The lines of a text whose characters, spaces aside, are half Hangul syllables or more."""
    return [
        line
        for line in unicodedata.normalize("NFC", text).splitlines()
        if (syllables := sum(map(is_syllable, line)))
        and 2 * syllables >= len("".join(line.split()))
    ]


def _tokens(tok: AnyTokenizer, texts: Sequence[str]) -> int:
    return sum(map(len, tok.encode_batch(texts)))


def _partial(tok: AnyTokenizer, counts: Mapping[int, int]) -> float | None:
    """The share of tokens that are no whole characters."""
    try:
        cut = sum(n for i, n in counts.items() if not _is_whole(tok.token_bytes(i)))
    except TokenizerError:  # its tokens stand for no bytes
        return None
    return round(cut / max(sum(counts.values()), 1), 6)


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_one_token(tok: AnyTokenizer, syllable: str) -> bool:
    """Whether it needs one token, a token for the space that SentencePiece adds aside."""
    try:
        return any(tok.decode([i]).strip() == syllable for i in tok.encode(syllable))
    except TokenizerError:  # it does not know this syllable
        return False
