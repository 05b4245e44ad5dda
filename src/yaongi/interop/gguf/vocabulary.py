"""The tokenizer inside a GGUF: tokens, types, merges, the special ids and the chat template.

llama.cpp runs byte-level BPE under the name ``gpt2`` and cuts text with a regex of its own list,
named by ``pre``; ours is one of them (docs/decisions/0003-qwen2-pre-tokenizer.md). It does not
compose to NFC as our tokenizer does: programs must hand it composed text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaongi.core.errors import TokenizerError
from yaongi.core.files import read_json
from yaongi.text.chat import CHAT_TEMPLATE
from yaongi.text.control import CONTROL
from yaongi.text.tokenizer import Tokenizer

NORMAL, TYPED_CONTROL, UNUSED = 1, 3, 5  # llama.cpp's token types


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
        TokenizerError: missing, damaged, not one of ours, or with more ids than the model.
    """
    tokenizer = Tokenizer.load(folder)
    if tokenizer.vocab_size > size:
        raise TokenizerError(
            "{path} has {found} tokens; the model's embedding has only {expected}.",
            path=folder / "tokenizer.json",
            found=tokenizer.vocab_size,
            expected=size,
        )
    bpe = read_json(folder / "tokenizer.json")["model"]
    names = {i: name for name, i in bpe["vocab"].items()} | dict(enumerate(CONTROL))
    spare = range(tokenizer.vocab_size, size)
    return Vocabulary(
        tokens=[*(names[i] for i in range(tokenizer.vocab_size)), *(f"[unused{i}]" for i in spare)],
        types=[
            TYPED_CONTROL if i < len(CONTROL) else UNUSED if i in spare else NORMAL
            for i in range(size)
        ],
        merges=[m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]],
        settings={
            "ggml.model": "gpt2",
            "ggml.pre": tokenizer.regex,
            "ggml.bos_token_id": tokenizer.eot_id,  # <|endoftext|> opens every document
            "ggml.eos_token_id": tokenizer.im_end_id,
            "ggml.eot_token_id": tokenizer.im_end_id,
            "ggml.padding_token_id": tokenizer.pad_id,
            "ggml.add_bos_token": True,
            "ggml.add_eos_token": False,
            "ggml.add_space_prefix": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )
