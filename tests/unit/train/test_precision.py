"""Precision, device and compilation: chosen with a reason, refused with one."""

from __future__ import annotations

import warnings

import pytest
import torch

from yaongi.core.errors import CapabilityError
from yaongi.ops.backend import choose_device
from yaongi.train import precision as p

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx512_f": True}, "fp32")],
)
def test_auto_on_cpu_follows_the_instructions(monkeypatch, capabilities, expected):
    monkeypatch.setattr(p, "_cpu_capabilities", lambda: capabilities)
    chosen = p.choose_precision("auto", CPU)
    assert chosen.name == expected
    assert "CPU" in chosen.reason
    assert chosen.autocast() is not None


@pytest.mark.parametrize(
    ("capability", "expected", "scaled"),
    [((9, 0), "bf16", False), ((8, 0), "bf16", False), ((7, 5), "fp16", True),
     ((6, 1), "fp32", False)],
)  # fmt: skip
def test_auto_on_cuda_follows_the_generation(monkeypatch, capability, expected, scaled):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    chosen = p.choose_precision("auto", torch.device("cuda"))
    assert (chosen.name, chosen.scaled) == (expected, scaled)
    assert f"sm_{capability[0]}{capability[1]}" in chosen.reason


def test_a_slow_format_is_allowed_by_name_and_says_so(monkeypatch):
    monkeypatch.setattr(p, "_cpu_capabilities", lambda: {})
    assert "fp32 is the fast format here" in p.choose_precision("bf16", CPU).reason
    with pytest.raises(CapabilityError, match="loss scaler"):
        p.choose_precision("fp16", torch.device("mps"))


def test_autocast_runs_products_in_the_format():
    with p.choose_precision("bf16", CPU).autocast():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype is torch.bfloat16
    with p.choose_precision("fp32", CPU).autocast():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype is torch.float32


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(CapabilityError, match="'nonsense'"):
        choose_device("nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(CapabilityError, match="'cuda'"):
            choose_device("cuda")
    assert choose_device("cpu") == CPU


def test_compile_only_when_it_can_and_pays(monkeypatch):
    assert p.choose_compile("off", CPU, 1e6)[0] is False
    monkeypatch.setattr(p, "missing_compiler", lambda device: None)
    assert p.choose_compile("auto", CPU, 60.0) == (
        False,
        "runs under 30m00s do not repay the compilation",
    )
    assert p.choose_compile("auto", CPU, 7200.0)[0] is True
    assert p.choose_compile("on", CPU, 1.0)[0] is True


def test_compilation_is_announced_and_only_torchs_own_warning_is_silent(caplog):
    said = "`torch._prims_common.check` is deprecated and will be removed in the future."
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        p.announce_compilation()
        for module in ("torch._inductor.lowering", "mine"):
            for text in (said, "`other` is deprecated"):
                warnings.warn_explicit(text, FutureWarning, "x.py", 1, module)
    assert [str(w.message) for w in shown] == [
        "`other` is deprecated",
        said,
        "`other` is deprecated",
    ]
    assert "Compiling the model" in caplog.text


def test_compile_without_a_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert p.choose_compile("auto", CPU, 7200.0) == (
        False,
        "there is no C++ compiler (g++ or clang++)",
    )
    with pytest.raises(CapabilityError, match=r"no C\+\+ compiler"):
        p.choose_compile("on", CPU, 7200.0)
