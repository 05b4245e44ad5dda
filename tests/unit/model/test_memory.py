"""What a layer says it keeps for the backward pass is what autograd keeps."""

from __future__ import annotations

import contextlib

import pytest
import torch

from yaongi.model.count import block_memory
from yaongi.model.layer import LAYER_KINDS, Workload
from yaongi.model.lm import LM, LMConfig

ROWS, LENGTH = 3, 128
SETTINGS = {
    "vocab_size": 64,
    "d_model": 64,
    "mamba": {"n_heads": 4, "head_dim": 32, "n_groups": 2, "d_state": 24},
    "attention": {
        "n_heads": 6,
        "n_kv_heads": 2,
        "head_dim": 16,
        "qk_norm": True,
        "rope_theta": 1e4,
    },
    "mlp": {"d_ff": 160},
    "moe": {"n_experts": 8, "top_k": 3, "d_ff": 48, "d_shared": 80},
}
ENGRAM = {"engram": {"layers": [0], "head_dim": 8, "rows": 1009}}
SWIGLU = {
    "mlp": {"d_ff": 160, "activation": "swiglu"},
    "moe": {"n_experts": 8, "top_k": 3, "d_ff": 48, "activation": "swiglu"},
}
CASES = {
    "mamba2": ("M", {}),
    "attention": ("*", {}),
    "mlp": ("-", {}),
    "mlp swiglu": ("-", SWIGLU),
    "moe": ("E", {}),
    "moe swiglu": ("E", SWIGLU),
    "engram": ("-", ENGRAM),
}
ELSEWHERE = {"conv1d": "taps", "gated_rms_norm": "reference"}
"""The kernels of other devices that differ and run on a CPU, too."""


def kept_bytes(cfg: LMConfig, width: int, kernels: dict[str, str]) -> int:
    """Bytes of the storages autograd keeps after a forward pass over packed documents."""
    model = LM(cfg, kernels=kernels).train()
    ids = torch.randint(cfg.vocab_size, (ROWS, LENGTH))
    docs = (torch.arange(LENGTH) // 50).expand(ROWS, LENGTH).contiguous()
    given = [*model.parameters(), *model.buffers(), ids, docs]
    ours = {t.untyped_storage().data_ptr() for t in given}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in ours:
            kept[storage.data_ptr()] = storage.nbytes(), t
        return t

    autocast = torch.autocast("cpu", dtype=torch.bfloat16)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        autocast if width == 2 else contextlib.nullcontext(),
    ):
        model(ids, doc_ids=docs)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("width", [4, 2])
@pytest.mark.parametrize("case", CASES)
def test_layers_keep_what_they_say(case: str, width: int) -> None:
    pattern, changes = CASES[case]
    cfg = LMConfig.model_validate({**SETTINGS, **changes, "pattern": pattern})
    work = Workload(ROWS, LENGTH, width)
    last = work.tokens * cfg.d_model * width  # the final norm keeps its input
    said = block_memory(cfg, work)[0].kept + last
    assert kept_bytes(cfg, width, {}) == pytest.approx(said, rel=0.03)


@pytest.mark.parametrize("width", [4, 2])
def test_kernels_of_other_devices_keep_more(width: int) -> None:
    cfg = LMConfig.model_validate({**SETTINGS, "pattern": "M"})
    work = Workload(ROWS, LENGTH, width, blocked=False)
    said = block_memory(cfg, work)[0].kept + work.tokens * cfg.d_model * width
    assert kept_bytes(cfg, width, ELSEWHERE) == pytest.approx(said, rel=0.03)
    assert said > block_memory(cfg, Workload(ROWS, LENGTH, width))[0].kept


def test_every_kind_has_its_case() -> None:
    """A new kind of layer is measured here, too."""
    assert set(LAYER_KINDS.builtin) <= set(CASES)
