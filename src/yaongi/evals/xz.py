"""How well a general compressor does: bits per byte of ``xz -9`` primed with training text.

What the primer saves is what it tells about the rest: C(primer + x) - C(primer), the conditional
complexity of Cilibrasi & Vitanyi 2005 (arXiv:cs/0312044).
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable

from yaongi.core.errors import DataError

SEPARATOR = b"\n"
MIN_DICT, MAX_DICT = 4096, 1536 << 20  # what liblzma accepts


def xz_bpb(prime_texts: Iterable[str], heldout_texts: Iterable[str]) -> float:
    """Bits per UTF-8 byte that ``heldout_texts`` add to the compressed ``prime_texts``.

    The dictionary spans all of the text, so everything primed can be referred to. As with a
    model's bits per byte, marking where documents end costs bits and counts no bytes.
    Raises:
        DataError: there is no held-out text.
    """
    heldout = [text.encode() for text in heldout_texts]
    size = sum(map(len, heldout))
    if not size:
        raise DataError("There is no held-out text to compress.")
    prime = SEPARATOR.join(text.encode() for text in prime_texts)
    both = SEPARATOR.join([prime, *heldout])
    return 8 * (_compressed(both, len(both)) - _compressed(prime, len(both))) / size


def _compressed(data: bytes, dictionary: int) -> int:
    """Bytes of ``data`` under LZMA2 at preset 9, without container."""
    # xz -9 has a dictionary of 64 MiB; smaller is the same as long as it spans the data
    dictionary = min(max(dictionary, MIN_DICT), MAX_DICT)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": dictionary}]
    return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))
