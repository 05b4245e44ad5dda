"""Picking kernels: the first that can run, or the one asked for, or a reason why not."""

from __future__ import annotations

import logging

import pytest
import torch

from yaongi.core.errors import CapabilityError
from yaongi.model.layer import OPS, pick_kernels
from yaongi.ops.backend import Backend, Op, anywhere, cuda_from, named_kernels, only

CPU = torch.device("cpu")


def make_op() -> Op:
    return Op(
        "thing",
        [
            Backend("tensor_core", lambda: "tensor_core", cuda_from(8)),
            Backend("cpu_tuned", lambda: "cpu_tuned", only("cpu")),
            Backend("reference", lambda: "reference", anywhere),
        ],
    )


def test_auto_takes_the_first_that_can_run_and_logs_it(caplog):
    with caplog.at_level(logging.INFO):
        assert make_op().pick(CPU)() == "cpu_tuned"
    assert "thing: cpu_tuned (cpu)" in caplog.text


def test_a_named_backend_is_taken():
    assert make_op().pick(CPU, "reference")() == "reference"


def test_a_named_backend_that_cannot_run_says_why():
    with pytest.raises(CapabilityError, match=r"'tensor_core' cannot run on cpu: it needs a CUDA"):
        make_op().pick(CPU, "tensor_core")


def test_an_unknown_backend_names_the_nearest():
    with pytest.raises(CapabilityError, match=r"no backend 'referense'. Did you mean 'reference'"):
        make_op().pick(CPU, "referense")


def test_explain_gives_every_candidate_its_reason():
    rows = {row.backend: row for row in make_op().explain(CPU)}
    assert [r.chosen for r in rows.values()] == [False, True, False]
    assert "CUDA" in (rows["tensor_core"].reason or "")
    assert rows["cpu_tuned"].reason is None
    assert "faster" in (rows["reference"].reason or "")


def test_nothing_can_run():
    op = Op("thing", [Backend("cuda", lambda: None, only("cuda"))])
    with pytest.raises(CapabilityError, match=r"No backend of thing runs on cpu"):
        op.pick(CPU)


@pytest.fixture
def gpu(monkeypatch):
    """A device that is no CPU and can do everything."""
    monkeypatch.setattr("yaongi.ops.backend.describe", str)
    return torch.device("cuda", 0)


def unmeasured_op() -> Op:
    return Op(
        "thing",
        [
            Backend("package", lambda: "package", anywhere, measured=False),
            Backend("ours", lambda: "ours", anywhere),
        ],
    )


def test_auto_leaves_out_what_nobody_measured(gpu, monkeypatch):
    op = unmeasured_op()
    assert op.pick(gpu)() == "ours"
    assert op.pick(gpu, "package")() == "package"
    package, ours = op.explain(gpu)
    assert "not measured by us; take it with YAONGI_KERNELS=thing=package" in (package.reason or "")
    assert ours.chosen and not package.chosen
    package, ours = op.explain(gpu, "package")
    assert package.chosen and "package is named in YAONGI_KERNELS" in (ours.reason or "")


def test_the_user_names_kernels_for_accelerators_only(gpu, monkeypatch):
    monkeypatch.setenv("YAONGI_KERNELS", "ssd=mamba_ssm, conv1d=taps")
    assert named_kernels(gpu) == {"ssd": "mamba_ssm", "conv1d": "taps"}
    assert named_kernels(CPU) == {}
    pick_kernels(CPU)
    with pytest.raises(CapabilityError, match=r"'mamba_ssm' cannot run on"):
        pick_kernels(torch.device("mps"))
    monkeypatch.setenv("YAONGI_KERNELS", "mamba_ssm")
    with pytest.raises(CapabilityError, match=r"expected op=backend"):
        named_kernels(CPU)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_auto_takes_kernels_of_this_project_only(op):
    """Everything at hand, auto still picks code that the tests here have run."""
    for backend in op.backends:
        foreign = backend.name in ("mamba_ssm", "fla", "causal_conv1d", "grouped")
        assert backend.measured != foreign
