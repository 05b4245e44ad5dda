"""TEON: which blocks are joined, what joining means, its scale, and what it refuses."""

from __future__ import annotations

import copy
import math

import pytest
import shapes
import tiny_run
import torch
from torch import nn

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError
from yaongi.core.runlog import read_metrics
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import PRESETS, preset
from yaongi.train.optim.groups import Member, Role, members
from yaongi.train.optim.muon import POLAR_EXPRESS, Muon, MuonOptimizer, orthogonalize
from yaongi.train.optim.teon import Teon, TeonOptimizer, top_singular_vectors
from yaongi.train.pretrain import pretrain


def stacks(cfg, **settings) -> list[list[str]]:
    """The stacked blocks of a model, stack by stack."""
    with torch.device("meta"):
        found = members(LM(cfg))
    partners = Teon(**settings).partners(found)
    return [
        [k for k, v in partners.items() if v == first] for first in dict.fromkeys(partners.values())
    ]


def pair(m, n, seed=0):
    """Two query projections of one shape with gradients, as members."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(2):
        p = nn.Parameter(torch.zeros(m, n))
        p.grad = torch.randn(m, n, generator=generator)
        found.append(Member(f"layers.{i}.mixer.q_proj.weight", p, Role.MATRIX))
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_pairs_its_attention_layers_or_says_why_not(name):
    cfg = preset(name)
    layers = [i for i, letter in enumerate(cfg.layers) if letter == "*"]
    if len(layers) < 2:
        with pytest.raises(ConfigError, match=rf"attn.qkv stacks 2 .* has {len(layers)}\."):
            stacks(cfg)
        return
    pairs = list(zip(layers[::2], layers[1::2], strict=False))
    assert stacks(cfg) == [
        [f"layers.{i}.mixer.{p}_proj.weight" for i in found] for p in "qkv" for found in pairs
    ]


def test_the_flagship_stacks_9_groups_of_15_7_million_weights():
    cfg = preset("yaongi-4b-a0.6b-stock")
    found = stacks(cfg)
    with torch.device("meta"):
        sizes = {name: p.numel() for name, p in LM(cfg).named_parameters()}
    assert len(found) == 9
    assert sum(sizes[name] for stack in found for name in stack) == 15_728_640


def test_a_layer_left_over_stays_with_muon():
    found = stacks(shapes.config("(*-)x5"))
    assert len(found) == 6 and not any("layers.8" in name for stack in found for name in stack)
    assert [len(s) for s in stacks(shapes.config("(*-)x5"), stack=5)] == [5, 5, 5]


def test_mamba_blocks_are_stacked_by_role():
    found = stacks(shapes.config("M*M*"), targets=("mamba.xBC",))
    name = "layers.{}.mixer.in_proj.weight/{}"
    assert found == [[name.format(i, block) for i in (0, 2)] for block in "xbc"]
    both = stacks(shapes.config("M*M*"), targets=("attn.qkv", "mamba.xBC"))
    assert len(both) == 6


def test_only_equal_shapes_are_stacked():
    found = pair(8, 12) + pair(8, 16)
    found = [
        Member(f"layers.{i}.mixer.q_proj.weight", m.param, m.role) for i, m in enumerate(found)
    ]
    partners = Teon().partners(found)
    assert [partners[m.name] for m in found] == [found[i].name for i in (0, 0, 2, 2)]


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (12, 12)])
def test_an_update_is_the_slice_of_the_joint_polar_factor(shape):
    m, n = shape
    found = pair(m, n)
    TeonOptimizer(found, Teon().partners(found), lr=1.0, scale="match_rms").step()
    momenta = torch.cat([member.param.grad for member in found], 1)[None]
    joint = orthogonalize(momenta, POLAR_EXPRESS, torch.float32)[0] * 0.2 * math.sqrt(max(m, 2 * n))
    for member, expected in zip(found, joint.split(n, 1), strict=True):
        cosine = torch.cosine_similarity(-member.param.flatten(), expected.flatten(), 0)
        assert cosine > 0.999
        assert torch.allclose(-member.param, expected, atol=0.05)


@pytest.mark.parametrize("shape", [(64, 32), (16, 64), (48, 48)])
def test_match_rms_gives_every_slice_the_rms_of_adamw(shape):
    """Without the k in the scale it would be 0.14 where a layer is square or wide."""
    found = pair(*shape)
    TeonOptimizer(found, Teon().partners(found), lr=1.0, scale="match_rms").step()
    for member in found:
        assert float(member.param.detach().square().mean().sqrt()) == pytest.approx(0.2, rel=0.06)


def test_the_papers_scale_is_that_of_one_layer():
    found = pair(32, 8)
    TeonOptimizer(found, Teon().partners(found), lr=1.0, scale="paper").step()
    joint = torch.cat([member.param.detach() for member in found], 1)
    values = torch.linalg.svdvals(joint) / math.sqrt(32 / 8)
    assert values.min() > 0.8 and values.max() < 1.2


def test_the_papers_unit_needs_a_learning_rate_for_adamw():
    with pytest.raises(ConfigError, match="set adamw_lr too"):
        parse(Teon, {"scale": "paper"})
    model = LM(shapes.config("M*M*"))
    groups = Teon(lr=0.02, scale="paper", adamw_lr=4e-4).build(model).param_groups
    assert [g["lr"] for g in groups] == pytest.approx([0.02, 4e-4, 4e-4])


def test_step_size_rows_take_adamws_learning_rate():
    fused = nn.Parameter(torch.zeros(12, 6))
    fused.grad = torch.randn(12, 6)
    member = Member("in_proj", fused, Role.MATRIX, {"z": slice(0, 8)}, slice(8, 12))
    MuonOptimizer([member], lr=0.5, adamw_lr=0.01).step()
    assert torch.allclose(fused[8:].abs(), torch.tensor(0.01), rtol=1e-3)  # Adam's first step


def test_one_layer_at_a_time_is_muon_bitwise():
    model = LM(shapes.config("M*M*E*-"))
    twin = copy.deepcopy(model)
    teon = Teon(stack=1, targets=("attn.qkv", "mamba.xBC")).build(model)
    muon = Muon().build(twin)
    for step in range(3):
        for lm, optimizer in ((model, teon), (twin, muon)):
            generator = torch.Generator().manual_seed(step)
            for p in lm.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )


def test_two_layers_differ_from_muon_in_the_stacked_projections_only():
    model = LM(shapes.config("M*-*"))
    twin = copy.deepcopy(model)
    for lm, optimizer in ((model, Teon().build(model)), (twin, Muon().build(twin))):
        generator = torch.Generator().manual_seed(0)
        for p in lm.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    theirs = dict(twin.named_parameters())
    changed = {
        n for n, p in model.named_parameters() if not torch.allclose(p, theirs[n], atol=1e-5)
    }
    assert changed == {f"layers.{i}.mixer.{p}_proj.weight" for i in (1, 3) for p in "qkv"}


def test_nothing_to_stack_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"has 0\. Use optimizer\.targets=\[mamba\.xBC\]\."):
        Teon().check(shapes.config("Mx3"))
    with pytest.raises(ConfigError, match=r"has 1\. Use optimizer\.kind=muon\."):
        Teon().check(shapes.config("*-"))
    with pytest.raises(ConfigError, match=r"stacks 3 .* has 2\."):
        Teon(stack=3).check(shapes.config("(*-)x2"))


def test_a_recipe_that_cannot_work_fails_before_any_data_is_read():
    with pytest.raises(ConfigError, match=r"optimizer\.targets: attn\.qkv stacks 2"):
        tiny_run.pretrain_config(optimizer={"kind": "teon"})  # its model has one attention layer
    made = tiny_run.pretrain_config(
        model={**tiny_run.HYBRID, "pattern": "M*-*"}, optimizer={"kind": "teon", "lr": 0.002}
    )
    assert made.optimizer == Teon(lr=0.002)
    assert made.as_json()["optimizer"]["targets"] == ["attn.qkv"]


def momenta(*matrices):
    """A TEON optimizer of query projections whose stored momenta are these."""
    found = []
    for i, matrix in enumerate(matrices):
        p = nn.Parameter(torch.zeros_like(matrix))
        found.append(Member(f"layers.{i}.mixer.q_proj.weight", p, Role.MATRIX))
    optimizer = TeonOptimizer(
        found, Teon(stack=len(found)).partners(found), scale="match_rms", lr=1
    )
    for member, matrix in zip(found, matrices, strict=True):
        optimizer.state[member.param]["momentum"] = matrix
    return optimizer


def spiked(left, right, noise, seed):
    """A matrix with these first singular vectors, all else noise far below."""
    generator = torch.Generator().manual_seed(seed)
    rest = torch.randn(len(left), len(right), generator=generator)
    return 1e-25 * (torch.outer(left, right) + noise * rest)  # gradients can be small


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2, math.pi / 2])
@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_the_logged_alignment_is_that_of_matrices_built_with_it(angle, shape):
    m, n = shape
    e = torch.eye(m)
    f = torch.eye(n)
    turned = math.cos(angle) * f[0] - math.sin(angle) * f[1]
    one = spiked(e[0], f[0], 1e-4, 1)
    found = momenta(one, spiked(-e[0], turned, 1e-4, 2)).metrics()
    assert found == {
        "teon_cos_left/q_proj": pytest.approx(1.0, abs=0.01),
        "teon_cos_right/q_proj": pytest.approx(abs(math.cos(angle)), abs=0.01),
    }
    other = momenta(one, spiked(e[3], f[0], 1e-4, 3)).metrics()
    assert other["teon_cos_left/q_proj"] < 0.01 < 0.99 < other["teon_cos_right/q_proj"]


def test_three_in_a_stack_are_compared_with_their_neighbours():
    e = torch.eye(8)
    first, same, apart = (spiked(e[0], e[i], 0, 0) for i in (1, 1, 2))
    found = momenta(first, same, apart).metrics()
    assert found["teon_cos_right/q_proj"] == pytest.approx(0.5, abs=1e-4)


def test_singular_vectors_are_those_of_an_svd():
    matrix = torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrix)
    left, right = top_singular_vectors(matrix, steps=500)
    assert float((left @ u[:, 0]).abs()) == pytest.approx(1, abs=1e-4)
    assert float((right @ vt[0]).abs()) == pytest.approx(1, abs=1e-4)
    assert not any(v.any() for v in top_singular_vectors(torch.zeros(3, 4)))


def test_measuring_changes_nothing_bitwise():
    def run(measure):
        torch.manual_seed(0)
        model = LM(parse(LMConfig, {**tiny_run.HYBRID, "pattern": "M*-*"}))
        model.init_weights(0)
        optimizer = Teon().build(model)
        for _ in range(3):
            for p in model.parameters():
                p.grad = torch.randn_like(p)
            optimizer.step()
            if measure:
                assert set(optimizer.metrics()) == {
                    f"teon_cos_{side}/{p}_proj" for side in ("left", "right") for p in "qkv"
                }
        return [*model.parameters(), *(s["momentum"] for s in optimizer.state.values()
                                       if "momentum" in s)]  # fmt: skip

    assert all(map(torch.equal, run(True), run(False)))


def test_mamba_blocks_are_measured_apart():
    cfg = shapes.config("MM")
    model = LM(cfg)
    optimizer = Teon(targets=("mamba.xBC",)).build(model)
    assert optimizer.metrics() == {}
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    found = optimizer.metrics()
    assert set(found) == {
        f"teon_cos_{side}/in_proj/{b}" for side in ("left", "right") for b in "xbc"
    }
    assert all(0 <= value <= 1 for value in found.values())


def test_a_run_logs_it(tmp_path):
    shards, tokenizer = tiny_run.shards(tmp_path)
    model = {**tiny_run.HYBRID, "pattern": "M*-*"}
    cfg = tiny_run.pretrain_config(model=model, steps=2, optimizer={"kind": "teon", "lr": 0.01})
    done = pretrain(cfg, shards, tokenizer, tmp_path / "base", mix=tiny_run.MIX)
    rows = read_metrics(done.path)
    assert all(0 <= row["teon_cos_right/q_proj"] <= 1 for row in rows)
