"""Which of llama.cpp's pre-tokenizers cuts text as somebody else's ``tokenizer.json`` does.

llama.cpp has a list of regexes in its source, found by name. A tokenizer goes only where its own
regexes are, letter by letter, those that a name was made for; one of its approximations (``tekken``
and ``gpt-4o`` take a-z for all small letters) is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yaongi.core.errors import TokenizerError
from yaongi.core.i18n import translate
from yaongi.text.pieces import decoder_parts
from yaongi.text.tokenizer import IGNORE_MERGES, REGEXES

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ANY_CASE = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_DIGITS = r"\p{N}"
PRE_TOKENIZERS: dict[tuple[str, ...], str] = {
    (_GPT2,): "gpt-2",
    (_DIGITS, _GPT2): "smollm",
    **{regexes: name for name, regexes in REGEXES.items()},
    (
        _ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _REST,
    ): "llama-bpe",
    (_ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _REST,): "qwen2",
    (
        _ANY_CASE
        + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
        + _REST,
    ): "qwen35",
}
"""The regexes of a ``tokenizer.json``, applied in turn -> llama.cpp's name (llama-vocab.cpp, where
the comments have these originals)."""


def pre_tokenizer(spec: Mapping[str, Any], where: Path) -> str:
    """llama.cpp's name for how the tokenizer ``spec`` (a ``tokenizer.json``) cuts text.

    Raises:
        TokenizerError: it is no byte-level BPE, changes text in a way llama.cpp does not, or its
            regex has no name there; the message gives the regex.
    """
    model = spec["model"]
    if model.get("type") != "BPE" or "ByteLevel" not in decoder_parts(spec):
        raise _refusal(where, translate("it is no byte-level BPE"))
    normalizer = (spec.get("normalizer") or {}).get("type")
    if normalizer not in (None, "NFC"):  # llama.cpp gets text composed, see docs/gguf.md
        raise _refusal(
            where, translate("its normalizer is {found}; llama.cpp has none", found=normalizer)
        )
    cuts = tuple(_cuts(spec.get("pre_tokenizer") or {}, where))
    name = PRE_TOKENIZERS.get(cuts)
    if name is None:
        raise _refusal(
            where,
            translate("llama.cpp has no pre-tokenizer with the regex {regex}",
                      regex=" , ".join(cuts) or translate("(none)")),
        )  # fmt: skip
    if bool(model.get("ignore_merges")) != (name in IGNORE_MERGES):
        raise _refusal(
            where,
            translate("its ignore_merges is not that of llama.cpp's {name}", name=name),
        )
    return name


def _cuts(part: Mapping[str, Any], where: Path) -> Iterator[str]:
    """The regexes that cut text into words, in order."""
    if not part:
        return
    match part:
        case {"type": "Sequence", "pretokenizers": list(parts)}:
            for inner in parts:
                yield from _cuts(inner, where)
        case {"type": "Split", "pattern": {"Regex": str(regex)}, "behavior": how} if (
            how == "Isolated" or (how == "Removed" and part.get("invert"))
        ):
            yield regex  # every letter is in a match, so dropping what is not drops nothing
        case {"type": "Digits", "individual_digits": True}:
            yield _DIGITS
        case {"type": "ByteLevel", "add_prefix_space": False, **rest}:
            if rest.get("use_regex", True):
                yield _GPT2
        case _:
            raise _refusal(where, translate("it cuts text with {part}", part=dict(part)))


def _refusal(where: Path, reason: str) -> TokenizerError:
    return TokenizerError(
        "{path}: this tokenizer cannot be written as GGUF: {reason}. Export it with --to hf.",
        path=where,
        reason=reason,
    )
