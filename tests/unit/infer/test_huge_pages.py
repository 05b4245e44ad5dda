"""Quantized matrices on larger pages: the same numbers in another place."""

import tiny
import torch

from yaongi.infer.huge_pages import to_huge_pages
from yaongi.model.quantized import Scheme, narrow


def test_matrices_move_and_tables_stay():
    model = tiny.lm("M*E", engram={**tiny.ENGRAM, "layers": [1], "modules": {}})
    narrow(model, Scheme(to="int4", groups=(32,)))
    kinds = (".packed", ".scales", ".ints", ".scale")
    for name, tensor in model.state_dict().items():
        if name.endswith(kinds):
            tensor.random_(0, 100)
    before = {name: (t.clone(), t.data_ptr()) for name, t in model.state_dict().items()}
    to_huge_pages(model)
    after = model.state_dict()
    assert all(torch.equal(after[name], numbers) for name, (numbers, _) in before.items())
    moved = {name for name, (_, place) in before.items() if after[name].data_ptr() != place}
    quantized = {name for name in before if name.endswith(kinds) and "engram.table" not in name}
    assert quantized
    assert moved in (quantized, set())  # or nothing, on a system without such pages
    assert all(after[name].data_ptr() % 64 == 0 for name in moved)
