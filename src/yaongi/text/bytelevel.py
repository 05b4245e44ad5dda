"""How text becomes words and words become bytes, before any merge: the rules of GPT-2 and after.

The regexes are llama.cpp's own, so an exported GGUF splits text the same way; bytes are written
as printable characters (Radford et al. 2019), as ``tokenizer.json`` has them.
"""

from __future__ import annotations

import functools
from typing import Literal

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from yaongi.core.errors import TokenizerError, did_you_mean

_CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
REGEXES: dict[str, tuple[str, ...]] = {
    "qwen2": (
        _CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "llama-bpe": (
        _CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}
"""llama.cpp's name of a pre-tokenizer -> its regexes, applied in turn, as llama-vocab.cpp has
them."""

DEFAULT_REGEX: Literal["llama-bpe"] = "llama-bpe"  # docs/decisions/0005-llama-bpe-and-seeds.md
IGNORE_MERGES = {"llama-bpe"}  # llama.cpp takes a whole known word before merging for this one


def untrained(regex: str, model: models.BPE | None = None) -> Backend:
    """NFC, the regex, bytes: everything but the vocabulary, unless ``model`` brings it.

    Raises:
        TokenizerError: ``regex`` is none of ``REGEXES``.
    """
    if regex not in REGEXES:
        raise TokenizerError(
            "'{name}' is not a known pre-tokenizer regex. {help}",
            name=regex,
            help=did_you_mean(regex, REGEXES),
        )
    backend = Backend(model or models.BPE(ignore_merges=regex in IGNORE_MERGES))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits(regex), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.post_processor = processors.ByteLevel(trim_offsets=False)  # adds no token
    backend.decoder = decoders.ByteLevel()
    return backend


def splits(regex: str) -> list[pre_tokenizers.PreTokenizer]:
    """What cuts a text into words, in turn."""
    return [pre_tokenizers.Split(Regex(each), behavior="isolated") for each in REGEXES[regex]]


@functools.cache
def byte_of_char() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte, inverted: printable bytes stand for themselves,
    the others are numbered from U+0100 in order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


@functools.cache
def _char_of_byte() -> dict[int, str]:
    return {byte: char for char, byte in byte_of_char().items()}


def piece(data: bytes) -> str:
    """How ``tokenizer.json`` writes a token of these bytes."""
    return "".join(map(_char_of_byte().__getitem__, data))
