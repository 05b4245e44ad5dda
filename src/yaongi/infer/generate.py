"""Text from a model: one answer as a stream, many at once, and the two phases by hand.

Prefill and decode are the phases of gpt-fast and vLLM; both are the same call of the model, with
many tokens or with one, because every layer carries its own state. Sampling is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from yaongi.core.errors import DataError
from yaongi.infer.engine import Engine, Event, Request
from yaongi.infer.rules import (
    Finish,
    Generation,
    check_fits,
    never_said,
    stop_ids,
    unspoken,
)
from yaongi.model.lm import LM, State
from yaongi.text.foreign import AnyTokenizer

__all__ = [
    "Finish",
    "Generation",
    "advance",
    "check_fits",
    "generate",
    "generate_greedy",
    "never_said",
    "prefill",
    "stop_ids",
    "unspoken",
]


def generate(
    model: LM,
    tokenizer: AnyTokenizer,
    prompt: Sequence[int],
    rules: Generation,
    *,
    context_len: int | None = None,
) -> Iterator[Event]:
    """Continue ``prompt`` with the random numbers of ``rules.seed``; see ``Engine.stream``.

    Raises:
        DataError: an empty prompt, or one that fills the context.
    """
    engine = Engine(model, tokenizer, max_rows=1, context_len=context_len, prefix_bytes=0)
    return engine.stream(Request(prompt, rules, rules.seed))


def generate_greedy(
    model: LM,
    tokenizer: AnyTokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    batch_rows: int = 64,
) -> list[list[int]]:
    """The most likely continuation of every prompt, many at a time; stop ids are not included."""
    engine, enders = Engine(model, tokenizer, max_rows=batch_rows), stop_ids(tokenizer)
    rules = Generation(max_tokens=max_tokens)
    found = engine.complete([Request(prompt, rules) for prompt in prompts])
    return [[i for i in answer.ids if i not in enders] for answer in found]


@torch.inference_mode()
def prefill(model: LM, ids: Tensor, state: State, *, chunk: int = 512) -> tuple[Tensor, State]:
    """Read ids (B,T) in chunks; the memory in use is that of one chunk, the result the same.

    Returns: logits (B,V) of the token after the last, and the new state.
    """
    if not ids.shape[1]:
        raise DataError("The prompt is empty.")
    *head, last = ids.split(chunk, dim=1)
    for part in head:
        state = model(part, state=state).state
    out = model(last, state=state)
    return model.logits(out.hidden[:, -1:])[:, 0].float(), out.state


def advance(model: LM, ids: Tensor, state: State) -> tuple[Tensor, State]:
    """One decoding step: ids (B,1) -> logits (B,V) of the next token, and the new state."""
    return prefill(model, ids, state)
