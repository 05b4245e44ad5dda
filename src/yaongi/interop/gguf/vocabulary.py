"""The tokenizer inside a GGUF: tokens, types, merges, the special ids and the chat template.

llama.cpp runs byte-level BPE under the name ``gpt2`` and cuts text with a regex of its own list,
named by ``pre``; ours is one of them (docs/decisions/0005-llama-bpe-and-seeds.md). It does not
compose to NFC as our tokenizer does: programs must hand it composed text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaongi.core.errors import TokenizerError
from yaongi.core.files import read_json
from yaongi.interop.gguf.pretokenizer import pre_tokenizer
from yaongi.text.chat import CHAT_TEMPLATE
from yaongi.text.control import CONTROL
from yaongi.text.foreign import ForeignTokenizer, load_tokenizer

NORMAL, TYPED_CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama.cpp's token types


@dataclass(frozen=True)
class Vocabulary:
    """What the file says about tokens.

    Attributes:
        tokens: id -> name, every id of the model's embedding.
        types: id -> llama.cpp's type. A control token is never read out of ordinary text.
        merges: pairs in order of rank, ``"a b"``.
        settings: the other keys, without ``tokenizer.``.
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    settings: dict[str, Any]


def vocabulary(folder: Path, size: int) -> Vocabulary:
    """The tokenizer of a model folder, filled up to ``size`` ids.

    Raises:
        TokenizerError: missing, damaged, with more ids than the model, or a foreign one that
            llama.cpp cannot run.
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > size:
        raise TokenizerError(
            "{path} has {found} tokens; the model's embedding has only {expected}.",
            path=folder / "tokenizer.json",
            found=tokenizer.vocab_size,
            expected=size,
        )
    if isinstance(tokenizer, ForeignTokenizer):
        return _foreign(tokenizer, folder / "tokenizer.json", size)
    names = dict(enumerate(CONTROL))
    settings = {
        "ggml.pre": tokenizer.regex,
        "ggml.bos_token_id": tokenizer.eot_id,  # <|endoftext|> opens every document
        "ggml.eos_token_id": tokenizer.im_end_id,
        "ggml.eot_token_id": tokenizer.im_end_id,
        "ggml.padding_token_id": tokenizer.pad_id,
        "ggml.add_bos_token": True,
        "ggml.add_eos_token": False,
        "chat_template": CHAT_TEMPLATE,
    }
    spec = read_json(folder / "tokenizer.json")
    return _filled(spec, names, dict.fromkeys(names, TYPED_CONTROL), size, settings)


def _foreign(tokenizer: ForeignTokenizer, where: Path, size: int) -> Vocabulary:
    """Another project's tokenizer: byte-level BPE that llama.cpp cuts the same way."""
    spec = tokenizer.spec
    pre = pre_tokenizer(spec, where)
    before, behind = tokenizer.around
    if len(before) > 1 or behind:
        raise TokenizerError(
            "{path} puts tokens around a text ({before} before, {behind} behind); llama.cpp puts "
            "one in front at most. Export it with --to hf.",
            path=where,
            before=len(before),
            behind=len(behind),
        )
    added = {token["id"]: token for token in spec["added_tokens"]}
    ends = tokenizer.stated("eos_token")
    optional = {
        "ggml.eos_token_id": next(iter(ends), None),
        "ggml.eot_token_id": next(iter(tokenizer.turn_end_ids()), None),
        "chat_template": tokenizer.template,
    }
    settings = {
        "ggml.pre": pre,
        "ggml.bos_token_id": tokenizer.eot_id,
        "ggml.padding_token_id": tokenizer.pad_id,
        "ggml.add_bos_token": bool(before),
        "ggml.add_eos_token": False,
        **{key: value for key, value in optional.items() if value is not None},
    }
    names = {i: token["content"] for i, token in added.items()}
    types = {i: TYPED_CONTROL if t["special"] else USER_DEFINED for i, t in added.items()}
    return _filled(spec, names, types, size, settings)


def _filled(
    spec: Mapping[str, Any],
    names: Mapping[int, str],
    types: Mapping[int, int],
    size: int,
    settings: Mapping[str, Any],
) -> Vocabulary:
    """The vocabulary of a ``tokenizer.json``; ids that nothing uses are typed so.

    Args:
        names, types: of the ids that are no pieces of the BPE, control tokens above all.
    """
    bpe = spec["model"]
    pieces = {i: piece for piece, i in bpe["vocab"].items()}
    known = pieces | dict(names)
    kinds = dict.fromkeys(pieces, NORMAL) | dict(types)
    return Vocabulary(
        tokens=[known.get(i, f"[unused{i}]") for i in range(size)],
        types=[kinds.get(i, UNUSED) for i in range(size)],
        merges=[m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]],
        settings={"ggml.model": "gpt2", **settings, "ggml.add_space_prefix": False},
    )
