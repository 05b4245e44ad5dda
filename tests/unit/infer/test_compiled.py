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
from yaongi.model.quantized import Scheme, narrow, quantized_weights

TOK = tiny.tokenizer()
ENGRAM = {**tiny.ENGRAM, "layers": [1], "modules": {}}
PROMPT = [TOK.eot_id, *(80 + 7 * i % 300 for i in range(20))]


def int4():
    """A tiny model in few bits; what is no multiple of a group has 8."""
    plain, found = tiny.lm("M*E"), tiny.lm("M*E")
    narrow(found, Scheme(to="int4", groups=(32,)))
    state = dict(plain.state_dict())
    for path, holder in quantized_weights(found):
        name = path.removesuffix(".table") + (".weight" if path.endswith(".table") else "")
        state |= {f"{path}.{k}": t for k, t in holder.quantized(state.pop(name)).items()}
    found.load_state_dict(state)
    return found.eval()


MODELS = {
    "plain": functools.partial(tiny.lm, "M*-E", engram=tiny.ENGRAM),
    "int4": int4,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_compiled_steps_are_the_plain_ones(name):
    model = MODELS[name]()
    network = compiled(model, "layers")
    with torch.inference_mode():
        for room, prompt in ((60, PROMPT), (200, PROMPT * 3)):
            ids = torch.tensor([prompt])
            states = [prefill(model, ids, model.init_state(1, room))[1] for _ in range(2)]
            for token in (90, 91, 92):
                step = torch.tensor([[token]])
                plain, fast = (
                    net(step, state=s) for net, s in zip((model, network), states, strict=True)
                )
                # int4's products round to bfloat16 what differs in the last bit
                near = {"atol": 2e-2 if name == "int4" else 1e-4, "rtol": 1e-3}
                wanted = model.logits(plain.hidden)
                torch.testing.assert_close(network.logits(fast.hidden), wanted, **near)
                states = [plain.state, fast.state]
            assert states[1].length == len(prompt) + 3


@pytest.mark.slow
def test_an_engine_that_compiles_says_the_same_alone_and_the_usual_in_company():
    model = tiny.lm("*-")
    rules = Generation(max_tokens=12)
    asked = [Request(PROMPT, rules), Request(PROMPT[:1], rules), Request(PROMPT[:9], rules)]
    fast, usual = Engine(model, TOK, compile_step="model"), Engine(model, TOK)
    for request in asked:
        found, wanted = fast.complete([request])[0], usual.complete([request])[0]
        assert found.ids == wanted.ids
        assert found.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
    two = [Request(PROMPT, rules), Request(PROMPT[:9], rules, seed=1)]
    assert fast.complete(two) == usual.complete(two)  # bit for bit: these steps are not compiled
    torch.nn.init.normal_(model.norm_f.weight)  # and the weights of the moment
    assert fast.complete(asked[:1])[0].ids == usual.complete(asked[:1])[0].ids


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr(module, "missing_compiler", lambda device: "there is none")
    with pytest.raises(CapabilityError, match="there is none"):
        Engine(tiny.lm("-"), TOK, compile_step="layers")
    monkeypatch.undo()
    with pytest.raises(CapabilityError, match="Engram"):
        compiled(tiny.lm("M*", engram=ENGRAM), "model")


def test_a_row_out_of_its_batch_and_back():
    model = tiny.lm("M*", engram=ENGRAM)
    _, state = prefill(model, torch.tensor([PROMPT]), model.init_state(1, 40))
    found = single(by_row(state))
    assert (found.length, found.lengths) == (len(PROMPT), None)
    assert all(a is b for a, b in zip(tensors(found.layers), tensors(state.layers), strict=True))
