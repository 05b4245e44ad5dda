"""What a large vocabulary knows before it has read anything: whole syllables and indentation.

A vocabulary entry that no merges lead to is never used by byte-level BPE, so these are merges, and
they come before the learnt ones: no token then begins or ends inside one of these characters.
"""

from __future__ import annotations

from collections.abc import Iterator

SEEDED_FROM = 16_384
"""The smallest vocabulary that has them; a smaller one needs its room for words."""

PUNCTUATION = "：，！？「」·～"  # full-width forms of Korean texts and of evaluation prompts
_LONGEST_SPACES, _LONGEST_TABS = 16, 8


def ks_x_1001() -> list[str]:
    """The 2,350 syllables of KS X 1001 (rows 16 to 40), which cover nearly all modern text."""
    cells = (bytes([row, cell]) for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF))
    return [cell.decode("euc_kr") for cell in cells]


def seed_merges() -> list[tuple[bytes, bytes]]:
    """The pairs to merge first, in order; each makes a token of its own."""
    merges: dict[tuple[bytes, bytes], None] = {}
    for merge in _all():
        merges.setdefault(merge)  # syllables share the merge of their first two bytes
    return list(merges)


def _all() -> Iterator[tuple[bytes, bytes]]:
    yield from _runs(b" ", _LONGEST_SPACES)
    yield from _runs(b"\t", _LONGEST_TABS)
    for char in (*PUNCTUATION, *ks_x_1001()):
        data = char.encode()
        for end in range(1, len(data)):
            yield data[:end], data[end : end + 1]


def _runs(char: bytes, longest: int) -> Iterator[tuple[bytes, bytes]]:
    """Runs of 2 to ``longest`` (a power of two): doubling, then what is left over, so that each
    is one token however the doubling cuts it."""
    size = 1
    while size < longest:
        yield char * size, char * size
        size *= 2
    for big in (2**k for k in range(1, longest.bit_length() - 1)):
        for rest in range(1, big):
            yield char * big, char * rest
