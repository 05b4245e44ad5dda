"""Rows that come and go at any time never change what another says."""

from __future__ import annotations

import functools

import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from yaongi.infer.engine import Completion, Engine, Request
from yaongi.infer.rules import Generation

TOK = tiny.tokenizer()
CHUNK = 8
ONE = {**tiny.ENGRAM, "layers": [0], "modules": {}}
MODELS = {
    "*-": functools.partial(tiny.lm, "*-"),
    "M": functools.partial(tiny.lm, "M"),
    "E": functools.partial(tiny.lm, "E"),
    "M with Engram": functools.partial(tiny.lm, "M", engram=ONE),
    "M*-E with Engram": functools.partial(tiny.lm, "M*-E", engram=tiny.ENGRAM),
}
model = functools.cache(lambda name: MODELS[name]())

rules = st.builds(
    Generation,
    max_tokens=st.integers(1, 9),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([1.0, 0.8]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    stop=st.sampled_from([(), ("요", "a")]),
)
# few beginnings, so that prompts share chunks
prompts = st.tuples(st.integers(0, 1), st.integers(1, 20)).map(
    lambda p: [TOK.eot_id, *(90 + (11 * i + p[0] * 5) % 300 for i in range(p[1]))]
)
requests = st.builds(Request, prompts, rules, st.integers(0, 3))
actions = st.lists(
    requests | st.just("step") | st.integers(0, 5).map(lambda n: ("cancel", n)), max_size=20
)


@functools.lru_cache(maxsize=500)
def alone(name: str, ids: tuple[int, ...], rules: Generation, seed: int) -> Completion:
    engine = Engine(model(name), TOK, chunk=CHUNK, prefix_bytes=0)
    return engine.complete([Request(ids, rules, seed)])[0]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(MODELS)), actions, st.integers(1, 4), st.sampled_from([0, 40_000]))
def test_coming_and_going_changes_nobody(name, actions, max_rows, prefix_bytes):
    engine = Engine(model(name), TOK, max_rows=max_rows, chunk=CHUNK, prefix_bytes=prefix_bytes)
    wanted: dict[int, Request] = {}
    gone: set[int] = set()
    events = []
    for action in actions:
        if action == "step":
            events += engine.step()
        elif isinstance(action, Request):
            wanted[engine.submit(action)] = action
        elif action[1] < len(wanted):
            handle = list(wanted)[action[1]]
            engine.cancel(handle)
            gone.add(handle)
    while engine.busy:
        events += engine.step()
    for handle, request in wanted.items():
        mine = [e for e in events if e.handle == handle]
        whole = alone(name, tuple(request.ids), request.rules, request.seed)
        if handle in gone:  # what it had said until then
            assert [e.id for e in mine] == whole.ids[: len(mine)]
            continue
        assert [e.id for e in mine] == whole.ids
        assert [e.logprob for e in mine] == whole.logprobs
        assert "".join(e.text for e in mine) == whole.text
        assert [e.finish for e in mine] == [None] * (len(mine) - 1) + [whole.finish]
