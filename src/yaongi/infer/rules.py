"""How an answer is to be: its settings, why one ends, and which ids a model may say at all."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor

from yaongi.core.errors import DataError, TokenizerError
from yaongi.infer.sampling import Sampling
from yaongi.model.lm import LM
from yaongi.text.control import (
    CONTROL,
    END_OF_TEXT,
    END_THINK,
    END_TOOL_CALL,
    IM_END,
    THINK,
    TOOL_CALL,
)
from yaongi.text.foreign import AnyTokenizer
from yaongi.text.tokenizer import Tokenizer

SPOKEN_CONTROL = (END_OF_TEXT, IM_END, THINK, END_THINK, TOOL_CALL, END_TOOL_CALL)
"""The control tokens a model may say; pad, reserved ones and the openings of others' turns are
never sampled."""


class Generation(Sampling):
    """How a text is continued: the sampling rules, and where to stop."""

    max_tokens: int = Field(default=256, ge=1)
    stop: tuple[str, ...] = ()

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Finish(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # the model ended its turn, or a stop string came
    LENGTH = "length"  # max_tokens
    CONTEXT = "context"  # the model's context is full


def unspoken(model: LM, tokenizer: AnyTokenizer) -> Tensor:
    """(V,) bool on the model's device: the ids a generation never yields."""
    return never_said(tokenizer, model.cfg.vocab_size).to(model.device)


def never_said(tokenizer: AnyTokenizer, size: int) -> Tensor:
    """(size,) bool: our control tokens but those a model may say, and a vocabulary's padding.

    Raises:
        TokenizerError: the tokenizer has more than ``size`` ids.
    """
    check_fits(tokenizer, size)
    never = torch.zeros(size, dtype=torch.bool)
    if isinstance(tokenizer, Tokenizer):
        never[: len(CONTROL)] = True
        never[[tokenizer.control_id(name) for name in SPOKEN_CONTROL]] = False
    never[tokenizer.vocab_size :] = True
    return never


def check_fits(tokenizer: AnyTokenizer, size: int) -> None:
    """Raise TokenizerError when the tokenizer has more ids than a model of ``size``."""
    if size < tokenizer.vocab_size:
        raise TokenizerError(
            "The tokenizer has {tokenizer} ids but the model only {model}; "
            "they do not belong together.",
            tokenizer=tokenizer.vocab_size,
            model=size,
        )


def stop_ids(tokenizer: AnyTokenizer) -> set[int]:
    """The ids that end a text or a turn."""
    return set(tokenizer.stop_ids)


def room_behind(prompt_len: int, context_len: int | None) -> int | None:
    """How many tokens fit behind the prompt."""
    if prompt_len == 0:
        raise DataError("The prompt is empty.")
    if context_len is None:
        return None
    if prompt_len >= context_len:
        raise DataError(
            "The prompt has {prompt} tokens, but the context of this model is {context}. "
            "Shorten the prompt or start a new conversation.",
            prompt=prompt_len,
            context=context_len,
        )
    return context_len - prompt_len
