"""Many texts at a time from one model: rows join and leave a running batch token by token.

Continuous batching is Orca's (Yu et al. 2022, OSDI), prefill in chunks between decoding steps
Sarathi's (Agrawal et al. 2023, arXiv:2308.16369); every row carries each layer's own state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from yaongi.infer.generate import Finish, Generation, StopText, room_behind, stop_ids, unspoken
from yaongi.infer.packed import twin
from yaongi.infer.sampling import NEVER, Sampling, pick, uniform
from yaongi.infer.state import by_row, join, select
from yaongi.model.lm import LM, State
from yaongi.text.foreign import AnyTokenizer, ForeignStream
from yaongi.text.tokenizer import StreamDecoder

PREFILL_CHUNK = 256
"""Tokens of a prompt read at a time; chunks begin at multiples of it, whatever else is running."""


@dataclass(frozen=True)
class Request:
    """A text to continue.

    Attributes:
        ids: the prompt, starting with ``<|endoftext|>`` as every training document does.
        rules: how tokens are chosen and where to stop; its own seed is not looked at.
        seed: decides the random numbers of this request alone.
    """

    ids: Sequence[int]
    rules: Generation
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """What was said.

    Attributes:
        ids: every sampled id, the one that ended a turn included.
        logprobs: of each, under the model's distribution at temperature 1 over the ids it may
            say, whatever the sampling rules made of it.
        text: without stop strings and control tokens.
    """

    ids: list[int]
    logprobs: list[float]
    text: str
    finish: Finish


@dataclass(frozen=True)
class Event:
    """One token of one request; the last one of a request says why it ended.

    ``text`` is whole characters and may be empty while a syllable is incomplete.
    """

    handle: int
    id: int
    logprob: float
    text: str
    finish: Finish | None = None


@dataclass
class _Row:
    """A request on its way."""

    handle: int
    request: Request
    limit: int
    cut: Finish
    decoder: StreamDecoder | ForeignStream
    stops: StopText
    seen: dict[int, None]  # the ids the repetition penalty applies to
    key: Sampling  # rows with equal ones are sampled together
    count: int = 0
    last: int = -1


class Engine:
    """Runs requests on ``model``; the output of each is that of the request alone.

    One thread owns an engine.

    Args:
        max_rows: requests that run at the same time; more wait in order.
        context_len: the longest sequence, prompt included; None for no limit.
    Raises:
        TokenizerError: the tokenizer has more ids than the model.
    """

    def __init__(
        self,
        model: LM,
        tokenizer: AnyTokenizer,
        *,
        max_rows: int = 64,
        context_len: int | None = None,
    ) -> None:
        self.model, self._version = twin(model)
        self.tokenizer = tokenizer
        self.max_rows = max_rows
        self.context_len = context_len
        self._never = unspoken(model, tokenizer)
        self._enders = stop_ids(tokenizer)
        self._waiting: deque[_Row] = deque()
        self._reading: tuple[_Row, State] | None = None  # its prompt is partly in the state
        self._rows: list[_Row] = []
        self._state: State | None = None  # of self._rows
        self._held: list[Event] = []
        self._next = 0

    @property
    def busy(self) -> bool:
        """Whether a step would bring anything."""
        return bool(self._waiting or self._reading or self._rows or self._held)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Run all to their ends; what was submitted before goes on beside them.

        Raises:
            DataError: a prompt is empty or fills the context; none has run then.
        """
        rows = [self._row(r) for r in requests]
        self._waiting += rows
        events: dict[int, list[Event]] = {row.handle: [] for row in rows}
        going, others = set(events), self._take_held()
        while going:
            for event in self._step(None):
                events.get(event.handle, others).append(event)
                if event.finish is not None:
                    going.discard(event.handle)
        self._held = others
        return [_completion(events[row.handle]) for row in rows]

    def submit(self, request: Request) -> int:
        """Take a request; its handle is in the events of later steps.

        Raises:
            DataError: the prompt is empty or fills the context.
        """
        row = self._row(request)
        self._waiting.append(row)
        return row.handle

    def cancel(self, handle: int) -> None:
        """Forget a request; no event of it comes any more. One that has ended is no error."""
        self._held = [e for e in self._held if e.handle != handle]
        self._waiting = deque(r for r in self._waiting if r.handle != handle)
        if self._reading is not None and self._reading[0].handle == handle:
            self._reading = None
        self._keep([r for r in self._rows if r.handle != handle])

    def step(self) -> list[Event]:
        """One token for every running row, and up to a chunk of the next prompt read."""
        return self._take_held() + self._step(PREFILL_CHUNK)

    def _take_held(self) -> list[Event]:
        held, self._held = self._held, []
        return held

    def _row(self, request: Request) -> _Row:
        rules = request.rules
        room = room_behind(len(request.ids), self.context_len)
        short = room is not None and room < rules.max_tokens
        control = self.tokenizer.control_ids  # ending a turn again is no repetition
        self._next += 1
        return _Row(
            self._next,
            request,
            limit=room if short and room is not None else rules.max_tokens,
            cut=Finish.CONTEXT if short else Finish.LENGTH,
            decoder=self.tokenizer.stream(),
            stops=StopText(rules.stop),
            seen=dict.fromkeys(i for i in request.ids if i not in control),
            key=Sampling(**rules.model_dump(include=set(Sampling.model_fields) - {"seed"})),
        )

    @torch.inference_mode()
    def _step(self, prefill_tokens: int | None) -> list[Event]:
        logits: list[Tensor] = []
        if self._rows and self._state is not None:
            ids = torch.tensor([[row.last] for row in self._rows], device=self.model.device)
            out = self.model(ids, state=self._state)
            self._state = out.state
            logits.append(self._logits(out.hidden))
        logits += self._read(prefill_tokens)
        if not logits:
            return []
        chosen, logprobs = self._choose(torch.cat(logits))
        events = [self._event(*item) for item in zip(self._rows, chosen, logprobs, strict=True)]
        self._keep([r for r, e in zip(self._rows, events, strict=True) if e.finish is None])
        return events

    def _logits(self, hidden: Tensor) -> Tensor:
        """(B,T,D) -> (B,V) float32 behind the last token, of what may be said."""
        return self.model.logits(hidden[:, -1:])[:, 0].float().masked_fill(self._never, NEVER)

    def _read(self, budget: int | None) -> list[Tensor]:
        """Read prompts, ``budget`` tokens of them; those read to the end join the rows.

        Returns: the logits (1,V) of each that joined.
        """
        joined: list[Tensor] = []
        while budget is None or budget > 0:
            if self._reading is None:
                if not self._waiting or len(self._rows) >= self.max_rows:
                    break
                row = self._waiting.popleft()
                length = len(row.request.ids) + row.limit
                self._reading = row, self.model.init_state(1, length)
            row, state = self._reading
            prompt = row.request.ids
            part = prompt[state.length : state.length + PREFILL_CHUNK]
            out = self.model(torch.tensor([part], device=self.model.device), state=state)
            budget = None if budget is None else budget - len(part)
            self._reading = row, out.state
            if out.state.length == len(prompt):
                self._reading = None
                self._join(row, out.state)
                joined.append(self._logits(out.hidden))
        return joined

    def _join(self, row: _Row, state: State) -> None:
        mine = by_row(state)
        self._state = mine if self._state is None else join([self._state, mine])
        self._rows.append(row)

    def _keep(self, rows: list[_Row]) -> None:
        if len(rows) == len(self._rows):
            return
        keep = {row.handle for row in rows}
        at = [i for i, row in enumerate(self._rows) if row.handle in keep]
        self._rows = rows
        self._state = select(self._state, at) if at and self._state is not None else None

    def _choose(self, logits: Tensor) -> tuple[list[int], list[float]]:
        """The next id of each row from logits (B,V), and its log-probability."""
        groups: dict[Sampling, list[int]] = {}
        for i, row in enumerate(self._rows):
            groups.setdefault(row.key, []).append(i)
        chosen = torch.empty(len(logits), dtype=torch.long, device=logits.device)
        for rules, members in groups.items():
            rows = [self._rows[i] for i in members]
            points = [uniform(r.request.seed, r.count) for r in rows]
            of = logits if len(groups) == 1 else logits[members]
            chosen[members] = pick(of, rules, points, [list(r.seen) for r in rows])
        logprobs = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(1)
        return chosen.tolist(), logprobs.tolist()

    def _event(self, row: _Row, token: int, logprob: float) -> Event:
        """Account for a token of a row; see ``Event``."""
        row.last, row.count = token, row.count + 1
        finish = None
        if token in self._enders:
            text = row.stops.push(row.decoder.flush()) + row.stops.flush()
            return Event(row.handle, token, logprob, text, Finish.STOP)
        if token not in self.tokenizer.control_ids:
            row.seen[token] = None
        text = row.stops.push(row.decoder.push(token))
        if not row.stops.found and row.count == row.limit:
            text += row.stops.push(row.decoder.flush()) + row.stops.flush()
            finish = row.cut
        return Event(row.handle, token, logprob, text, Finish.STOP if row.stops.found else finish)


def _completion(events: list[Event]) -> Completion:
    finish = events[-1].finish
    assert finish is not None
    return Completion(
        [e.id for e in events],
        [e.logprob for e in events],
        "".join(e.text for e in events),
        finish,
    )
