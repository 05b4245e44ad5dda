"""Compiled steps: the numbers of the plain ones, for a request that runs alone."""

import functools

import pytest
import tiny
import torch

from yaongi.core.errors import CapabilityError
from yaongi.infer import compiled as module
from yaongi.infer.compiled import compiled
from yaongi.infer.engine import Engine, Request
from yaongi.infer.generate import prefill
from yaongi.infer.rules import Generation
from yaongi.infer.state import by_row, single, tensors
from yaongi.model.lora import AdapterConfig, add_adapters
from yaongi.model.quantized import Scheme, narrow, quantized_weights

TOK = tiny.tokenizer()
ENGRAM = {**tiny.ENGRAM, "layers": [1], "modules": {}}
PROMPT = [TOK.eot_id, *(80 + 7 * i % 300 for i in range(20))]


def int4(pattern):
    """A tiny model in few bits; what is no multiple of a group has 8."""
    plain, found = tiny.lm(pattern), tiny.lm(pattern)
    narrow(found, Scheme(to="int4", groups=(32,)))
    state = dict(plain.state_dict())
    for path, holder in quantized_weights(found):
        name = path.removesuffix(".table") + (".weight" if path.endswith(".table") else "")
        state |= {f"{path}.{k}": t for k, t in holder.quantized(state.pop(name)).items()}
    found.load_state_dict(state)
    return found.eval()


MODELS = {
    "plain": functools.partial(tiny.lm, "M*M", engram=ENGRAM),
    "int4": functools.partial(int4, "E"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_compiled_steps_are_the_plain_ones_whatever_the_length_and_the_room(name):
    model = MODELS[name]()
    network = compiled(model)
    # int4's products round to bfloat16 what differs in the last bit
    near = {"atol": 2e-2 if name == "int4" else 1e-4, "rtol": 1e-3}
    with torch.inference_mode():
        for room, prompt in ((24, PROMPT), (400, PROMPT * 15), (9, PROMPT[:2])):
            ids = torch.tensor([prompt])
            states = [prefill(model, ids, model.init_state(1, room))[1] for _ in range(2)]
            for token in range(90, 90 + min(9, room - len(prompt))):  # two become full
                step = torch.tensor([[token]])
                plain, fast = (
                    net(step, state=s) for net, s in zip((model, network), states, strict=True)
                )
                wanted = model.logits(plain.hidden)
                torch.testing.assert_close(network.logits(fast.hidden), wanted, **near)
                states = [plain.state, fast.state]
            for wanted, found in zip(*(tensors(s.layers) for s in states), strict=True):
                torch.testing.assert_close(found, wanted, **near)


@pytest.mark.slow
def test_an_engine_that_compiles_says_the_same_alone_and_the_usual_in_company():
    model = tiny.lm("-*-")
    rules = Generation(max_tokens=12)
    asked = [Request(PROMPT, rules), Request(PROMPT[:1], rules), Request(PROMPT[:9], rules)]
    fast, usual = Engine(model, TOK, compile_step=True), Engine(model, TOK)

    def agree(requests):
        for request in requests:
            found, wanted = fast.complete([request])[0], usual.complete([request])[0]
            assert found.ids == wanted.ids
            assert found.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
        return wanted.ids

    before = agree(asked)
    assert fast._compiled.layers[0].code is fast._compiled.layers[2].code
    agree(asked[-1:])  # its prompt is known now, and no step has written to what was kept of it
    two = [Request(PROMPT, rules), Request(PROMPT[:9], rules, seed=1)]
    assert fast.complete(two) == usual.complete(two)  # bit for bit: these steps are not compiled
    down, up = (getattr(model.layers[2].mixer, name) for name in ("down_proj", "up_proj"))
    torch.nn.init.normal_(down.weight)  # the weights of the moment: written to,
    assert (written := agree(asked)) != before
    up.weight = torch.nn.Parameter(torch.randn_like(up.weight))  # and others in their place
    assert agree(asked) != written
    down.double()
    with pytest.raises(CapabilityError, match="layer 2 has other modules"):
        fast.complete(asked)


def test_what_cannot_be_compiled_is_refused(monkeypatch):
    model = tiny.lm("--")
    adapted = tiny.lm("--")
    add_adapters(adapted, AdapterConfig())
    with pytest.raises(CapabilityError, match="merge one into the model"):
        compiled(adapted)
    monkeypatch.setattr(module, "_code", lambda *of: lambda given: [1.1 * given[0]])
    with pytest.raises(CapabilityError, match="layer 0 is off by"):
        compiled(model)
    monkeypatch.setattr(module, "missing_compiler", lambda device: "there is none")
    with pytest.raises(CapabilityError, match="there is none"):
        Engine(model, TOK, compile_step=True)


def test_a_row_out_of_its_batch_and_back():
    model = tiny.lm("M*", engram=ENGRAM)
    _, state = prefill(model, torch.tensor([PROMPT]), model.init_state(1, 40))
    found = single(by_row(state))
    assert (found.length, found.lengths) == (len(PROMPT), None)
    assert all(a is b for a, b in zip(tensors(found.layers), tensors(state.layers), strict=True))
