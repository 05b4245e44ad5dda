"""Added tokens of a ``tokenizer.json`` that contradict each other, or the vocabulary.

The library notices none of it: it deals out ids of its own, so that a text gets other ids than
the ones its model learnt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from yaongi.core.errors import TokenizerError


def check_added(data: bytes, backend: Backend, where: str | Path) -> None:
    """Every added token of the file ``data`` has one id, which no other token has.

    Args:
        backend: what the library made of ``data``.
    Raises:
        TokenizerError: naming the two that clash.
    """
    ids = backend.get_vocab(with_added_tokens=False)
    tokens = {token_id: token for token, token_id in ids.items()}
    spec: dict[str, Any] = json.loads(data)
    stated: list[dict[str, Any]] = spec.get("added_tokens") or []
    for added in stated:
        token, token_id = str(added["content"]), int(added["id"])
        if ids.setdefault(token, token_id) != token_id:
            raise TokenizerError(
                "{path} has the token {token} under two ids, {first} and {second}, so nobody can "
                "tell which one the model learnt. Correct added_tokens in it.",
                path=where,
                token=token,
                first=ids[token],
                second=token_id,
            )
        if tokens.setdefault(token_id, token) != token:
            raise TokenizerError(
                "{path} gives the id {id} to two tokens, {first} and {second}. Correct "
                "added_tokens in it.",
                path=where,
                id=token_id,
                first=tokens[token_id],
                second=token,
            )
