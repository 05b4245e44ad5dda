import pytest
import tiny

from yaongi.infer.state import decode_state_bytes, tensors
from yaongi.model.count import count


@pytest.mark.parametrize("engram", [None, tiny.ENGRAM], ids=["plain", "engram"])
@pytest.mark.parametrize("pattern", ["M*-E", "MM", "*-*-"])
def test_measured_bytes_equal_the_formula(pattern, engram):
    model = tiny.lm(pattern, engram=engram)
    for context in (16, 1024):
        expected = count(model.cfg).state_bytes(context, 3, cache_bytes=4)  # float32 weights
        assert decode_state_bytes(model, context, rows=3) == expected


def test_only_attention_grows_with_the_context():
    sizes = {p: [decode_state_bytes(tiny.lm(p), n) for n in (100, 200)] for p in ("MM", "*-*-")}
    assert sizes["MM"][0] == sizes["MM"][1]
    assert 2 * sizes["*-*-"][0] == sizes["*-*-"][1]


def test_every_tensor_of_a_state_is_found():
    state = tiny.lm("M*").init_state(1, 8)
    assert len(tensors(state)) == 4  # conv, ssm, k, v
