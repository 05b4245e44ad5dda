"""Many texts at a time from one model: rows join and leave a running batch token by token.

Continuous batching is Orca's (Yu et al. 2022, OSDI), prefill in chunks between decoding steps
Sarathi's (Agrawal et al. 2023, arXiv:2308.16369); every row carries each layer's own state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from yaongi.infer.answer import Answer
from yaongi.infer.compiled import LEAST, check_weights, compiled
from yaongi.infer.packed import twin, weights_version
from yaongi.infer.prefix import PrefixCache
from yaongi.infer.reader import PromptWeights, reader
from yaongi.infer.request import Completion, Event, Request, completed
from yaongi.infer.rules import Finish, room_behind, unspoken
from yaongi.infer.sampling import NEVER, Sampling, choose, uniform
from yaongi.infer.state import by_row, check_rows, join, select, single
from yaongi.model.lm import LM, State
from yaongi.text.foreign import AnyTokenizer

__all__ = ["PREFILL_CHUNK", "PREFIX_BYTES", "Completion", "Engine", "Event", "Request"]

PREFILL_CHUNK = 256
"""Tokens of a prompt read at a time; chunks begin at multiples of it, whatever else is running."""

PREFIX_BYTES = 256 << 20


@dataclass(eq=False)
class _Row:
    """A request on its way.

    Attributes:
        rules: the sampling rules without a seed; rows with equal ones are sampled together.
        room: the longest it can become.
        control: marks that are no repetition, however often they come.
        seen: the ids the repetition penalty applies to.
    """

    handle: int
    request: Request
    answer: Answer
    rules: Sampling
    room: int
    control: frozenset[int]
    seen: dict[int, None]


class Engine:
    """Runs requests on a model, in eval mode whatever mode it is in.

    A request's ids, log-probabilities and text are those it would have alone: on CPUs in float32
    bit for bit, see docs/engine.md for where that ends. Weights may change between requests; what
    was kept of prompts is then forgotten. One thread owns an engine.

    Args:
        max_rows: requests that run at the same time; more wait in order.
        context_len: the longest sequence, prompt included; None for no limit.
        prefix_bytes: memory for what was kept of prompts read before; 0 keeps nothing.
        chunk: tokens of a prompt read at a time.
        compile_step: compile the step of a request that runs alone, see ``infer.compiled``; this
            takes up to minutes once and makes it faster. Its last bits then differ from those it
            has beside others.
        prompt_weights: ``int8`` keeps the matrices of an int4 model in 8 bits as well and reads
            prompts with those: faster, in nearly three times the memory. See ``infer.reader``.

    Attributes:
        prefixes: what was kept of prompts.
    Raises:
        TokenizerError: the tokenizer has more ids than the model.
        CapabilityError: a layer's state grows but does not say how, steps cannot be compiled here,
            or prompts cannot be read with such weights.
    """

    def __init__(
        self,
        model: LM,
        tokenizer: AnyTokenizer,
        *,
        max_rows: int = 64,
        context_len: int | None = None,
        prefix_bytes: int = PREFIX_BYTES,
        chunk: int = PREFILL_CHUNK,
        compile_step: bool = False,
        prompt_weights: PromptWeights | None = None,
    ) -> None:
        check_rows(model)
        self.model = model
        self.tokenizer = tokenizer
        self.max_rows = max_rows
        self.context_len = context_len
        self.chunk = chunk
        self.prefixes = PrefixCache(chunk, prefix_bytes)
        self._never = unspoken(model, tokenizer)
        self._compiled = compiled(model) if compile_step else None
        self._prompt_weights: PromptWeights | None = prompt_weights
        self._take_weights()
        self._waiting: deque[_Row] = deque()
        self._reading: tuple[_Row, State] | None = None  # its prompt is in the state in part
        self._rows: list[_Row] = []
        self._state: State | None = None  # of self._rows
        self._held: list[Event] = []  # for who asks next
        self._handles = 0

    @property
    def busy(self) -> bool:
        """Whether a step would bring anything."""
        return bool(self._waiting or self._reading or self._rows or self._held)

    @property
    def running(self) -> int:
        """Requests that say something at every step."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Requests whose prompts are not read yet."""
        return len(self._waiting) + (self._reading is not None)

    def refresh(self) -> None:
        """Take the model as it is now, after a change that leaves no trace.

        Those are weights written through ``.data``, and another adapter in use.
        """
        self._take_weights(anew=True)
        self.prefixes.clear()

    def submit(self, request: Request) -> int:
        """Take a request; the events of later steps carry the handle this returns.

        Raises:
            DataError: the prompt is empty or fills the context.
        """
        row = self._row(request)
        self._waiting.append(row)
        return row.handle

    def step(self) -> list[Event]:
        """One token for every running request, and at most a chunk of waiting prompts read."""
        held, self._held = self._held, []
        return held + self._step(self.chunk)

    def cancel(self, handle: int) -> None:
        """Forget a request: no event of it comes any more. One that has ended is no error."""
        self._held = [e for e in self._held if e.handle != handle]
        self._waiting = deque(r for r in self._waiting if r.handle != handle)
        if self._reading is not None and self._reading[0].handle == handle:
            self._reading = None
        self._keep(lambda row: row.handle != handle)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Run all to their ends; what was submitted before goes on beside them.

        Raises:
            DataError: a prompt is empty or fills the context; none has run then.
        """
        rows = [self._row(request) for request in requests]
        self._waiting += rows
        events: dict[int, list[Event]] = {row.handle: [] for row in rows}
        going = set(events)
        while going:
            for event in self._step(None):  # whole prompts: nobody waits for the next token
                events.get(event.handle, self._held).append(event)
                if event.finish is not None:
                    going.discard(event.handle)
        return [completed(found) for found in events.values()]

    def stream(self, request: Request) -> Iterator[Event]:
        """The events of one request; other requests go on beside it.

        Leaving the iterator cancels the request.

        Raises:
            DataError: at once, when the prompt is empty or fills the context.
        """
        return self._stream(self._row(request))

    def _stream(self, row: _Row) -> Iterator[Event]:
        self._waiting.append(row)
        try:
            while self.busy:
                events = self.step()
                self._held = [e for e in events if e.handle != row.handle]
                for event in events:
                    if event.handle == row.handle:
                        yield event
                        if event.finish is not None:
                            return
        finally:
            self.cancel(row.handle)

    def _row(self, request: Request) -> _Row:
        rules, control = request.rules, self.tokenizer.control_ids
        room = room_behind(len(request.ids), self.context_len)
        limit, cut = rules.max_tokens, Finish.LENGTH
        if room is not None and room < limit:
            limit, cut = room, Finish.CONTEXT
        self._handles += 1
        return _Row(
            self._handles,
            request,
            Answer(self.tokenizer, rules, limit, cut),
            Sampling(**rules.model_dump(include=set(Sampling.model_fields) - {"seed"})),
            room=len(request.ids) + limit,
            control=control,
            seen=dict.fromkeys(i for i in request.ids if i not in control),
        )

    @torch.inference_mode()
    def _step(self, budget: int | None) -> list[Event]:
        if not self._rows and self._reading is None:
            self._follow_weights()
        logits: list[Tensor] = []
        if self._rows and self._state is not None:
            last = [[row.answer.said[-1]] for row in self._rows]
            ids = torch.tensor(last, device=self.model.device)
            logits.append(self._advance(ids, self._state))
        logits += self._read(budget)
        if not logits:
            return []
        found = logits[0] if len(logits) == 1 else torch.cat(logits)
        chosen, logprobs = self._choose(found)
        rows, tops = list(self._rows), self._tops(found)
        events = [_said(*item) for item in zip(rows, chosen, logprobs, tops, strict=True)]
        ended = {event.handle for event in events if event.finish is not None}
        self._keep(lambda row: row.handle not in ended)
        return events

    def _advance(self, ids: Tensor, state: State) -> Tensor:
        """A token (B,1) of every running row -> logits (B,V)."""
        if self._compiled is not None and len(ids) == 1 and state.length >= LEAST:
            out = self._compiled(ids, state=single(state))
            self._state = by_row(out.state)
            return self._logits(out.hidden, self._compiled)
        out = self._twin(ids, state=state)
        self._state = out.state
        return self._logits(out.hidden)

    def _follow_weights(self) -> None:
        """Between requests the weights may have changed."""
        if weights_version(self.model) != self._version:
            self._take_weights()
            self.prefixes.clear()
            if self._compiled is not None:
                check_weights(self._compiled)

    def _take_weights(self, *, anew: bool = False) -> None:
        self._twin, self._version = twin(self.model, anew=anew)
        self._reader = self._twin  # what the one before held is free before more is made
        self._reader = reader(self._twin, self._prompt_weights)

    def _read(self, budget: int | None) -> list[Tensor]:
        """Read prompts, ``budget`` tokens or all; rows read to the end join.

        Returns: the logits (1,V) of each that joined.
        """
        joined: list[tuple[_Row, State, Tensor]] = []
        try:
            while (budget is None or budget > 0) and len(self._rows) + len(joined) < self.max_rows:
                if self._reading is not None:
                    row, state = self._reading
                    before = state.length
                    state, logits = self._read_chunk(row.request.ids, state)
                    budget = None if budget is None else budget - (state.length - before)
                elif self._waiting:
                    row = self._waiting.popleft()
                    state, logits = self._begin(row)
                else:
                    break
                self._reading = row, state
                if logits is not None:
                    self._reading = None
                    joined.append((row, by_row(state), logits))
        finally:  # also what was read before an interruption
            self._join(joined)
        return [logits for _, _, logits in joined]

    def _begin(self, row: _Row) -> tuple[State, Tensor | None]:
        """The row's state with what is known of its prompt, and the logits if that is all."""
        return self.prefixes.find(row.request.ids, self._twin.init_state(1, row.room))

    def _read_chunk(self, prompt: Sequence[int], state: State) -> tuple[State, Tensor | None]:
        """The next chunk of a prompt; logits (1,V) when it was the last."""
        part = torch.tensor([prompt[state.length : state.length + self.chunk]])
        out = self._reader(part.to(self.model.device), state=state)
        assert out.state is not None
        whole = out.state.length == len(prompt)
        logits = self._logits(out.hidden) if whole else None
        if self.prefixes.max_bytes:
            self.prefixes.add(prompt, out.state, logits)
        return out.state, logits

    def _logits(self, hidden: Tensor, network: LM | None = None) -> Tensor:
        """(B,T,D) -> (B,V) float32 behind the last token; ``-inf`` for what is never said."""
        return (
            (network or self._twin)
            .logits(hidden[:, -1:])[:, 0]
            .float()
            .masked_fill(self._never, NEVER)
        )

    def _join(self, joined: Sequence[tuple[_Row, State, Tensor]]) -> None:
        states = [state for _, state, _ in joined]
        if self._state is not None:
            states.insert(0, self._state)
        if joined:
            self._state = states[0] if len(states) == 1 else join(states)
            self._rows += [row for row, _, _ in joined]

    def _keep(self, stays: Callable[[_Row], bool]) -> None:
        at = [i for i, row in enumerate(self._rows) if stays(row)]
        if len(at) == len(self._rows):
            return
        self._rows = [self._rows[i] for i in at]
        self._state = select(self._state, at) if at and self._state is not None else None

    def _choose(self, logits: Tensor) -> tuple[list[int], list[float]]:
        """The next id of each row from logits (B,V), and its log-probability."""
        free = self._process(logits)
        groups: dict[Sampling, list[int]] = {}
        for i, row in enumerate(self._rows):
            groups.setdefault(row.rules, []).append(i)
        chosen = torch.empty(len(logits), dtype=torch.long, device=logits.device)
        for rules, members in groups.items():
            rows = [self._rows[i] for i in members]
            points = [uniform(row.request.seed, len(row.answer.said)) for row in rows]
            seen = [list(row.seen) for row in rows] if rules.repetition_penalty != 1 else []
            own = free if len(groups) == 1 else free[members]
            chosen[members] = choose(own, rules, points, seen)
        logprobs = logits.log_softmax(1).gather(1, chosen[:, None])[:, 0]
        return chosen.tolist(), logprobs.tolist()

    def _process(self, logits: Tensor) -> Tensor:
        """Logits (B,V) as the requests' processors leave them."""
        requests = [row.request for row in self._rows]
        if all(request.processor is None for request in requests):
            return logits
        pairs = zip(self._rows, logits, strict=True)
        return torch.stack(
            [p(r.answer.said, x) if (p := r.request.processor) else x for r, x in pairs]
        )

    def _tops(self, logits: Tensor) -> list[tuple[tuple[int, float], ...]]:
        """Per row, the likeliest ids of logits (B,V) with their log-probabilities."""
        return [
            _top(x, row.request.top_logprobs) for row, x in zip(self._rows, logits, strict=True)
        ]


def _top(logits: Tensor, n: int) -> tuple[tuple[int, float], ...]:
    if n == 0:
        return ()
    values, ids = logits.log_softmax(-1).topk(min(n, len(logits)))
    return tuple(zip(ids.tolist(), values.tolist(), strict=True))


def _said(row: _Row, token: int, logprob: float, top: tuple[tuple[int, float], ...] = ()) -> Event:
    if token not in row.control:
        row.seen[token] = None
    return Event(row.handle, token, logprob, *row.answer.push(token), top)
