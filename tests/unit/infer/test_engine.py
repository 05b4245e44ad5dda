"""What the engine promises: a request's answer is that of the request alone."""

import pytest
import tiny

from yaongi.core.errors import DataError
from yaongi.infer.engine import Engine, Request
from yaongi.infer.generate import Finish, Generation

TOK = tiny.tokenizer()
TEXTS = ["고", "고양이가", "12 더하기 34는 ", "안녕하세요. 오늘은 날씨가", "cat", "def f(x):"]


def request(text="고양이가", seed=0, **rules) -> Request:
    return Request(TOK.text_ids(text), Generation(**{"max_tokens": 12, **rules}), seed)


@pytest.mark.parametrize("pattern", ["*-", "M", "*E", "M*-E"])
@pytest.mark.parametrize("engram", [None, tiny.ENGRAM], ids=["plain", "engram"])
def test_an_answer_is_that_of_the_request_alone(pattern, engram):
    if engram is not None and len(pattern) == 1:
        engram = engram | {"layers": [0], "modules": {}}
    model = tiny.lm(pattern, engram=engram)
    requests = [
        request(
            text,
            seed=i,
            max_tokens=4 + 3 * i,
            temperature=(0, 1.0, 1.5)[i % 3],
            top_k=(0, 20)[i % 2],
        )
        for i, text in enumerate(TEXTS)
    ]
    alone = [Engine(model, TOK).complete([r])[0] for r in requests]
    for rows in (2, 64):
        together = Engine(model, TOK, max_rows=rows).complete(requests)
        assert [c.ids for c in together] == [c.ids for c in alone]
        assert [c.text for c in together] == [c.text for c in alone]


def test_the_context_is_a_limit_told_clearly():
    n = len(request().ids)
    engine = Engine(tiny.lm(), TOK, context_len=n + 4)
    (found,) = engine.complete([request()])
    assert (len(found.ids), found.finish) == (4, Finish.CONTEXT)
    with pytest.raises(DataError, match=rf"prompt has {n} tokens.*context.*is {n}"):
        Engine(tiny.lm(), TOK, context_len=n).submit(request())
