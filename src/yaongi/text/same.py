"""Whether two folders hold the same tokenizer: the same text gives the same ids in both.

Compared is what decides ids, and neither names nor files: a tokenizer that went through an export
and an import is still the same.
"""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

from yaongi.core.errors import TokenizerError
from yaongi.core.i18n import translate
from yaongi.text.tokenizer import read_backend

_FILE = "tokenizer.json"


def check_same_tokenizer(one: str | Path, other: str | Path) -> None:
    """Compare the tokenizers of two folders.

    Raises:
        TokenizerError: one is missing or damaged, or they differ; the message says where.
    """
    paths = Path(one) / _FILE, Path(other) / _FILE
    data = [_read(path) for path in paths]
    if data[0] == data[1]:
        return
    rules = [_rules(d, path) for d, path in zip(data, paths, strict=True)]
    difference = _difference(rules[0], rules[1])
    if difference:
        raise TokenizerError(
            "{one} and {other} have different tokenizers: {difference}. Only models with the same "
            "tokenizer can learn from each other's logits; from another one's answers any model "
            "can: yaongi data ask.",
            one=one,
            other=other,
            difference=difference,
        )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise TokenizerError("{path} is missing: no tokenizer in this folder.", path=path)
    return path.read_bytes()


def _rules(data: bytes, path: Path) -> dict[str, Any]:
    """``tokens``: the name of each id; and the parts of the file that decide how text is cut."""
    backend = read_backend(data, path)
    spec = cast("dict[str, Any]", json.loads(backend.to_str()))
    size = 1 + max(backend.get_vocab().values(), default=-1)
    model = cast("dict[str, Any]", spec["model"])
    switches = ("type", "merges", "ignore_merges", "byte_fallback", "unk_token", "unk_id")
    return {
        "tokens": [backend.id_to_token(i) for i in range(size)],
        **{name: spec.get(name) for name in ("normalizer", "pre_tokenizer")},
        **{name: model.get(name) for name in switches},
        "added": sorted(i for i, t in backend.get_added_tokens_decoder().items() if t.special),
    }


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The first one, in words; empty where there is none."""
    sizes = len(one["tokens"]), len(other["tokens"])
    if sizes[0] != sizes[1]:
        return translate("{one} and {other} tokens", one=sizes[0], other=sizes[1])
    pairs = zip_longest(one["tokens"], other["tokens"])
    for i, (a, b) in enumerate(pairs):
        if a != b:
            return translate("id {id} is {one!r} in one and {other!r} in the other",
                             id=i, one=a, other=b)  # fmt: skip
    part = next((name for name in one if one[name] != other[name]), None)
    return translate("the same tokens, but another '{part}'", part=part) if part else ""
