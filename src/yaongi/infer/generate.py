"""Text from a model, token by token: chunked prefill, then one step per token on layer states.

Prefill and decode are the two phases of gpt-fast and vLLM; both here are the same call of the
model, with many tokens or with one, because every layer carries its own state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor

from yaongi.core.errors import DataError, TokenizerError
from yaongi.infer.sampling import NEVER, Sampling, choose
from yaongi.model.lm import LM, State
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


@dataclass(frozen=True)
class Delta:
    """What one step of a generation added; ``text`` may be empty while a syllable is incomplete."""

    id: int
    text: str
    finish: Finish | None = None


def generate(
    model: LM,
    tokenizer: AnyTokenizer,
    prompt: Sequence[int],
    rules: Generation,
    *,
    context_len: int | None = None,
) -> Iterator[Delta]:
    """Continue ``prompt``. The last one says why the generation ended.

    Text arrives in whole characters, and no part of a stop string is ever emitted.

    Args:
        prompt: ids, starting with ``<|endoftext|>`` as every training document does.
        context_len: the longest sequence, prompt included; None for no limit.
    Raises:
        DataError: an empty prompt, or one that fills the context.
    """
    room = room_behind(len(prompt), context_len)
    limit = rules.max_tokens if room is None else min(rules.max_tokens, room)
    cut = Finish.CONTEXT if room is not None and room < rules.max_tokens else Finish.LENGTH
    ids = decode_ids(model, tokenizer, prompt, rules, limit)
    return _as_text(ids, tokenizer, rules.stop, limit, cut)


def decode_ids(
    model: LM, tokenizer: AnyTokenizer, prompt: Sequence[int], rules: Sampling, limit: int
) -> Iterator[int]:
    """Up to ``limit`` ids after ``prompt``, without their text; ends with a stop id."""
    never, stops = unspoken(model, tokenizer), stop_ids(tokenizer)
    state = model.init_state(1, len(prompt) + limit)
    logits, state = prefill(model, torch.tensor([prompt], device=model.device), state)
    control = tokenizer.control_ids  # ending a turn again is no repetition
    seen = [i for i in prompt if i not in control]
    for step in range(limit):
        chosen = choose(logits.masked_fill(never, NEVER), rules, step=step, seen=[seen])
        token = int(chosen)
        yield token
        if token in stops:
            return
        if token not in control:
            seen.append(token)
        if step + 1 < limit:
            logits, state = advance(model, chosen[:, None], state)


def generate_greedy(
    model: LM,
    tokenizer: AnyTokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    batch_rows: int = 64,
) -> list[list[int]]:
    """The most likely continuation of every prompt, many at a time; stop ids are not included.

    Prompts of similar length share a batch. Rows whose prompt is longer than the batch's
    shortest are fed the rest of it while the others already decode, so nothing is padded and
    each row sees exactly what it would see alone.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), batch_rows):
        rows = order[start : start + batch_rows]
        found = _greedy_rows(model, tokenizer, [prompts[i] for i in rows], max_tokens)
        for row, answer in zip(rows, found, strict=True):
            answers[row] = answer
    return answers


def _greedy_rows(
    model: LM, tokenizer: AnyTokenizer, prompts: list[Sequence[int]], max_tokens: int
) -> list[list[int]]:
    """``prompts`` sorted by length."""
    never, stops = unspoken(model, tokenizer), stop_ids(tokenizer)
    position, longest = len(prompts[0]), len(prompts[-1])
    answers: list[list[int]] = [[] for _ in prompts]
    open_rows = set(range(len(prompts)))
    state = model.init_state(len(prompts), longest + max_tokens)
    head = torch.tensor([list(p[:position]) for p in prompts], device=model.device)
    logits, state = prefill(model, head, state)
    while True:
        chosen = logits.masked_fill(never, NEVER).argmax(-1).tolist()
        for row in sorted(open_rows):
            if position < len(prompts[row]):
                chosen[row] = prompts[row][position]
            elif chosen[row] in stops:
                open_rows.discard(row)
            else:
                answers[row].append(chosen[row])
                if len(answers[row]) == max_tokens:
                    open_rows.discard(row)
        if not open_rows:
            return answers
        logits, state = advance(model, torch.tensor(chosen, device=model.device)[:, None], state)
        position += 1


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


class StopText:
    """Passes text on until one of ``stops`` appears, holding back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = [s for s in stops if s]
        self.held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The text that is now certain not to belong to a stop string."""
        self.held += text
        places = [at for s in self.stops if (at := self.held.find(s)) >= 0]
        if places:
            self.found = True
            safe = min(places)
        else:
            safe = len(self.held) - self._overlap()
        out, self.held = self.held[:safe], self.held[safe:]
        return out

    def flush(self) -> str:
        """What was held back, when no stop string came after all."""
        out, self.held = ("" if self.found else self.held), ""
        return out

    def _overlap(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        return max(
            (n for s in self.stops for n in range(1, len(s)) if self.held.endswith(s[:n])),
            default=0,
        )


def _as_text(
    ids: Iterator[int], tokenizer: AnyTokenizer, stops: Sequence[str], limit: int, cut: Finish
) -> Iterator[Delta]:
    """Ids as pieces of text; exactly the last delta carries a finish."""
    decoder, filtered, enders = tokenizer.stream(), StopText(stops), stop_ids(tokenizer)
    for count, token in enumerate(ids, 1):
        if token in enders:
            rest = filtered.push(decoder.flush()) + filtered.flush()
            yield Delta(token, rest, Finish.STOP)
            return
        text = filtered.push(decoder.push(token))
        if filtered.found:
            yield Delta(token, text, Finish.STOP)
            return
        if count == limit:
            text += filtered.push(decoder.flush()) + filtered.flush()
            yield Delta(token, text, Finish.STOP if filtered.found else cut)
            return
        yield Delta(token, text)


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
