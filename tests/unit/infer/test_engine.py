"""What the engine promises: a request's answer is that of the request alone."""

import math

import pytest
import tiny
import torch

from yaongi.core.errors import CapabilityError, DataError
from yaongi.infer.engine import Completion, Engine, Request
from yaongi.infer.prefix import PrefixCache
from yaongi.infer.rules import Finish, Generation, unspoken
from yaongi.infer.state import size_bytes, tensors
from yaongi.model.attention import KVCache

TOK = tiny.tokenizer()
TEXTS = ["고", "고양이가", "12 더하기 34는 ", "안녕하세요. 오늘은 날씨가", "cat", "def f(x):"]
LONG = [TOK.eot_id, *(80 + 7 * i % 300 for i in range(50))]


def request(text="고양이가", seed=0, **rules) -> Request:
    return Request(TOK.text_ids(text), Generation(**{"max_tokens": 12, **rules}), seed)


def several(**more) -> list[Request]:
    """Requests that differ in everything."""
    return [
        request(
            text,
            seed=i,
            max_tokens=4 + 3 * i,
            temperature=(0, 1.0, 1.5)[i % 3],
            top_k=(0, 20)[i % 2],
            **more,
        )
        for i, text in enumerate(TEXTS)
    ]


def alone(model, wanted: Request, **settings) -> Completion:
    return Engine(model, TOK, **settings).complete([wanted])[0]


def drained(engine: Engine) -> dict[int, list]:
    found: dict[int, list] = {}
    while engine.busy:
        for event in engine.step():
            found.setdefault(event.handle, []).append(event)
    return found


@pytest.mark.parametrize("pattern", ["*-", "M", "*E", "M*-E"])
@pytest.mark.parametrize("engram", [False, True], ids=["plain", "engram"])
def test_an_answer_is_that_of_the_request_alone_bit_for_bit(pattern, engram):
    memory = tiny.ENGRAM if len(pattern) > 1 else {**tiny.ENGRAM, "layers": [0], "modules": {}}
    model = tiny.lm(pattern, engram=memory if engram else None)
    requests = several(repetition_penalty=1.1)
    expected = [alone(model, r) for r in requests]
    for rows in (3, 64):
        assert Engine(model, TOK, max_rows=rows).complete(requests) == expected


def test_many_rows_are_no_different():
    """Where kernels for few rows give way to those for many."""
    model = tiny.lm()
    requests = [request(TEXTS[i % 6], seed=i, temperature=1.0, max_tokens=3) for i in range(70)]
    found = Engine(model, TOK, max_rows=70).complete(requests)
    for i in (0, 33, 69):
        assert found[i] == alone(model, requests[i])


def test_log_probabilities_are_of_the_model_itself():
    model = tiny.lm()
    wanted = request(temperature=1.7, top_k=5, repetition_penalty=1.3)
    found = alone(model, wanted)
    ids = torch.tensor([[*wanted.ids, *found.ids]])
    with torch.no_grad():
        logits = model.logits(model(ids).hidden)[0, len(wanted.ids) - 1 : -1]
    never = unspoken(model, TOK)
    expected = logits.masked_fill(never, -torch.inf).log_softmax(-1)
    expected = expected.gather(1, torch.tensor(found.ids)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(found.logprobs), expected, atol=1e-4, rtol=1e-4)
    assert len(found.logprobs) == len(found.ids)


def test_a_row_never_waits_for_a_long_prompt():
    engine = Engine(tiny.lm(), TOK, chunk=8)
    first = engine.submit(request("cat", max_tokens=20))
    assert [e.handle for e in engine.step()] == [first]
    engine.submit(Request(LONG, Generation(max_tokens=2)))
    waited = 0
    while engine.waiting:
        assert first in [e.handle for e in engine.step()]
        waited += 1
    assert waited == math.ceil(len(LONG) / 8)


def test_no_more_rows_run_than_allowed():
    engine = Engine(tiny.lm(), TOK, max_rows=2)
    handles = [engine.submit(request(t, max_tokens=5)) for t in TEXTS]
    most = 0
    while engine.busy:
        engine.step()
        most = max(most, engine.running)
    assert most == 2
    assert len(set(handles)) == len(TEXTS)


@pytest.mark.parametrize("after", [0, 2, 7], ids=["waiting", "reading", "running"])
def test_a_cancelled_request_is_heard_of_no_more(after):
    model = tiny.lm()
    engine = Engine(model, TOK, chunk=8)
    stays = engine.submit(request(max_tokens=16))
    goes = engine.submit(Request(LONG[:40], Generation(max_tokens=16)))
    seen = [e for _ in range(after) for e in engine.step()]
    engine.cancel(goes)
    engine.cancel(goes)
    events = drained(engine)
    assert set(events) == {stays}
    mine = [e for e in seen if e.handle == stays] + events[stays]
    assert [e.id for e in mine] == alone(model, request(max_tokens=16), chunk=8).ids
    assert not engine.busy


def test_streams_beside_each_other_do_not_mix():
    model, wanted = tiny.lm(), [request("고", temperature=1.0), request("cat", seed=3)]
    engine = Engine(model, TOK)
    one, two = (engine.stream(r) for r in wanted)
    found = [[], []]
    for _ in range(3):
        found[0].append(next(one))
    found[1] = list(two)
    batch = engine.complete([request("철수")])
    found[0] += list(one)
    for events, r in zip(found, wanted, strict=True):
        assert [e.id for e in events] == alone(model, r).ids
    assert batch == [alone(model, request("철수"))]


def test_leaving_a_stream_frees_its_row():
    engine = Engine(tiny.lm(), TOK)
    stream = engine.stream(request())
    next(stream)
    assert engine.running == 1
    stream.close()
    assert not engine.busy


@pytest.mark.parametrize("length", [16, 17, 33, 48, 50])
@pytest.mark.parametrize("engram", [None, tiny.ENGRAM], ids=["plain", "engram"])
def test_a_prompt_known_is_not_read_again_and_changes_nothing(length, engram):
    model = tiny.lm(engram=engram)
    rules = Generation(max_tokens=6, temperature=1.0)
    engine = Engine(model, TOK, chunk=16)
    first = Request(LONG[:length], rules)
    same_beginning = Request([*LONG[: length // 16 * 16], 99, 98], rules)
    engine.complete([first])
    for wanted, known in ((first, length), (same_beginning, length // 16 * 16)):
        before = engine.prefixes.reused
        assert engine.complete([wanted]) == [alone(model, wanted, chunk=16, prefix_bytes=0)]
        assert engine.prefixes.reused - before == known


def test_what_is_kept_of_prompts_is_bounded_and_the_oldest_goes_first():
    engine = Engine(tiny.lm(), TOK, chunk=16, prefix_bytes=60_000)
    kept = Request(LONG[:40], Generation(max_tokens=1))
    others = [
        Request([TOK.eot_id, *(81 + (7 * i + shift) % 300 for i in range(49))], kept.rules)
        for shift in range(8)
    ]
    for other in others:
        engine.complete([kept, other])
        assert engine.prefixes.bytes <= 60_000
    before = engine.prefixes.reused
    engine.complete([kept])  # always the last but one
    assert engine.prefixes.reused - before == 40
    engine.complete([others[0]])
    assert engine.prefixes.reused - before == 40  # the first of the others was forgotten


def test_the_cache_counts_every_byte_it_holds():
    model = tiny.lm(engram=tiny.ENGRAM)
    cache = PrefixCache(16, 1 << 30)
    engine = Engine(model, TOK, chunk=16)
    engine.prefixes = cache
    engine.complete([Request(LONG[:n], Generation(max_tokens=1)) for n in (50, 40, 32, 50)])
    held = [t for chunk in cache._by_use for t in [*tensors(chunk.piece), *tensors(chunk.logits)]]
    assert cache.bytes == sum(t.untyped_storage().nbytes() for t in held)


def test_new_weights_are_spoken_with():
    model = tiny.lm()
    engine = Engine(model, TOK)
    engine.complete([request()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.3)
    model.train()
    model.logits(model(torch.tensor([request().ids])).hidden).square().mean().backward()
    optimizer.step()
    found = engine.complete([request()])
    assert model.training  # as it was
    assert found == [alone(model.eval(), request())]
    fresh = tiny.lm(seed=5)
    fresh.load_state_dict(model.state_dict())
    assert found == [alone(fresh, request())]


def test_weights_changed_without_a_trace_are_taken_by_refresh():
    model = tiny.lm()
    engine = Engine(model, TOK)
    engine.complete([request()])
    for mine, other in zip(model.parameters(), tiny.lm(seed=5).parameters(), strict=True):
        mine.data.copy_(other.detach())
    engine.refresh()
    assert engine.complete([request()]) == [alone(tiny.lm(seed=5), request())]


def test_the_context_is_a_limit_told_clearly():
    n = len(request().ids)
    engine = Engine(tiny.lm(), TOK, context_len=n + 4)
    (found,) = engine.complete([request()])
    assert (len(found.ids), found.finish) == (4, Finish.CONTEXT)
    engine = Engine(tiny.lm(), TOK, context_len=n)
    for take in (engine.submit, engine.stream, lambda r: engine.complete([request("a"), r])):
        with pytest.raises(DataError, match=rf"prompt has {n} tokens.*context.*is {n}"):
            take(request())
    assert not engine.busy


def test_a_state_that_grows_must_say_how(monkeypatch):
    monkeypatch.delattr(KVCache, "time_axis")
    with pytest.raises(CapabilityError, match=r"Layer 1 \('\*'\).*time_axis"):
        Engine(tiny.lm(), TOK)


def test_a_row_costs_the_state_of_its_own_length():
    engine = Engine(tiny.lm("*-"), TOK)
    engine.submit(request("고", max_tokens=3))
    engine.step()
    small = size_bytes(engine._state)
    engine.submit(request("고", max_tokens=300))
    engine.step()
    assert size_bytes(engine._state) > 30 * small
