"""Many completions at a time, each with the log-probabilities of its tokens.

The interface is that of ``infer.engine``, which replaces it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from yaongi.infer.generate import (
    Finish,
    Generation,
    advance,
    prefill,
    stop_ids,
    unspoken,
)
from yaongi.infer.sampling import NEVER, uniform
from yaongi.model.lm import LM
from yaongi.text.foreign import AnyTokenizer


@dataclass(frozen=True)
class Request:
    """A text to continue; ``seed`` decides its random numbers."""

    ids: Sequence[int]
    rules: Generation
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """What was said.

    Attributes:
        ids: every sampled id, the one that ended a turn included.
        logprobs: of each, at temperature 1 over the ids the model may say.
    """

    ids: list[int]
    logprobs: list[float]
    text: str
    finish: Finish


class Engine:
    """Samples at temperature 1, ``max_rows`` prompts at a time."""

    def __init__(
        self,
        model: LM,
        tokenizer: AnyTokenizer,
        *,
        max_rows: int = 64,
        context_len: int | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_rows, self.context_len = max_rows, context_len

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Run all to their ends."""
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].ids))
        found: dict[int, Completion] = {}
        for start in range(0, len(order), self.max_rows):
            rows = order[start : start + self.max_rows]
            found |= zip(rows, self._rows([requests[i] for i in rows]), strict=True)
        return [found[i] for i in range(len(requests))]

    @torch.inference_mode()
    def _rows(self, requests: list[Request]) -> list[Completion]:
        """Requests sorted by length: the rest of a longer prompt is fed while others decode."""
        model = self.model
        never, stops = unspoken(model, self.tokenizer), stop_ids(self.tokenizer)
        position, longest = len(requests[0].ids), len(requests[-1].ids)
        limit = max(r.rules.max_tokens for r in requests)
        ids: list[list[int]] = [[] for _ in requests]
        logprobs: list[list[float]] = [[] for _ in requests]
        going = set(range(len(requests)))
        head = torch.tensor([list(r.ids[:position]) for r in requests], device=model.device)
        logits, state = prefill(model, head, model.init_state(len(requests), longest + limit))
        while going:
            log_p = logits.masked_fill(never, NEVER).log_softmax(-1)
            points = [uniform(r.seed, len(ids[i])) for i, r in enumerate(requests)]
            mass = log_p.double().exp().cumsum(-1)
            at = torch.tensor(points, dtype=torch.float64, device=model.device)[:, None]
            picked = torch.searchsorted(mass, at * mass[:, -1:], right=True)
            said = log_p.gather(1, picked)[:, 0].tolist()
            chosen: list[int] = picked[:, 0].tolist()
            for row in sorted(going):
                request = requests[row]
                if position < len(request.ids):
                    chosen[row] = request.ids[position]
                    continue
                ids[row].append(chosen[row])
                logprobs[row].append(said[row])
                if chosen[row] in stops or len(ids[row]) == request.rules.max_tokens:
                    going.discard(row)
            if going:
                fed = torch.tensor(chosen, device=model.device)[:, None]
                logits, state = advance(model, fed, state)
                position += 1
        return [
            Completion(
                ids[i],
                logprobs[i],
                self.tokenizer.decode(ids[i]),
                Finish.STOP if ids[i][-1] in stops else Finish.LENGTH,
            )
            for i in range(len(requests))
        ]
