"""Optimizers: grouping by role, descent, equality with torch's Muon, exact resume, plug-ins."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch
from torch import nn

from yaongi.core.config import Config, parse
from yaongi.core.errors import ConfigError, ShapeError
from yaongi.model.lm import LM, LMConfig
from yaongi.train.optim import OPTIMIZERS, OptimizerChoice, OptimizerConfig, muon
from yaongi.train.optim.groups import Member, Role, members
from yaongi.train.optim.muon import JORDAN, POLAR_EXPRESS, Muon, MuonOptimizer, orthogonalize

HYBRID = LMConfig.model_validate(
    {
        "vocab_size": 64,
        "d_model": 32,
        "pattern": "ME*-*",
        "tied": False,
        "mamba": {"n_heads": 4, "head_dim": 16, "n_groups": 2, "d_state": 8},
        "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "qk_norm": True},
        "mlp": {"d_ff": 48},
        "moe": {"n_experts": 4, "top_k": 2, "d_ff": 24, "d_shared": 40},
    }
)


DEFAULTS = [OPTIMIZERS.lookup(kind)() for kind in OPTIMIZERS.builtin]


def roles(cfg: LMConfig = HYBRID) -> dict[str, Member]:
    return {m.name: m for m in members(LM(cfg))}


def test_every_parameter_has_exactly_one_role():
    model = LM(HYBRID)
    found = members(model)
    assert [m.name for m in found] == [name for name, _ in model.named_parameters()]


def test_only_hidden_matrices_are_orthogonalised():
    matrices = {name for name, m in roles().items() if m.role is Role.MATRIX}
    assert matrices == {
        "layers.0.mixer.in_proj.weight",
        "layers.0.mixer.out_proj.weight",
        "layers.1.mixer.experts.up_proj",
        "layers.1.mixer.experts.down_proj",
        "layers.1.mixer.shared_experts.up_proj.weight",
        "layers.1.mixer.shared_experts.down_proj.weight",
        "layers.2.mixer.q_proj.weight",
        "layers.2.mixer.k_proj.weight",
        "layers.2.mixer.v_proj.weight",
        "layers.2.mixer.o_proj.weight",
        "layers.3.mixer.up_proj.weight",
        "layers.3.mixer.down_proj.weight",
        *(f"layers.4.mixer.{p}_proj.weight" for p in "qkvo"),
    }
    assert roles()["embeddings.weight"].role is Role.EMBEDDING
    assert roles()["lm_head.weight"].role is Role.HEAD


def test_mamba_projection_is_split_and_its_step_sizes_are_scalars():
    member = roles()["layers.0.mixer.in_proj.weight"]
    inner, state, heads = 64, 16, 4
    edges = [0, inner, 2 * inner, 2 * inner + state, 2 * inner + 2 * state]
    blocks = [slice(a, b) for a, b in pairwise(edges)]
    assert member.blocks == dict(zip("zxbc", blocks, strict=True))
    assert member.vector_rows == slice(edges[-1], edges[-1] + heads)


def test_a_split_that_does_not_cover_its_parameter_is_refused():
    class Fused(nn.Linear):
        def row_splits(self):
            return {"weight": {"a": 3, "b": 4}}

    with pytest.raises(ShapeError, match=r"8 rows.*add up to 7"):
        members(Fused(5, 8, bias=False))


@pytest.mark.parametrize("iteration", [POLAR_EXPRESS, JORDAN])
@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 40), (2, 40, 8)])
def test_orthogonalize_flattens_the_singular_values(iteration, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(x, iteration, torch.float32))
    low, high = (0.85, 1.15) if iteration is POLAR_EXPRESS else (0.5, 1.3)
    assert low < values.min() and values.max() < high
    # the same rotation as the exact polar factor
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    close = torch.cosine_similarity(
        (u @ v).flatten(1), orthogonalize(x, iteration, torch.float32).flatten(1)
    )
    assert close.min() > 0.97


def test_equals_torch_muon_where_both_apply():
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(s)) for s in ((24, 40), (40, 24), (24, 40))]
    theirs, start = copy.deepcopy(ours), copy.deepcopy(ours)
    reference = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.0, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    optimizer = MuonOptimizer(
        [Member(str(i), p, Role.MATRIX) for i, p in enumerate(ours)],
        lr=0.02,
        weight_decay=0.0,
        momentum=0.9,
        iteration=JORDAN,
        ns_dtype=torch.bfloat16,
    )
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape)
            b.grad = a.grad.clone()
        optimizer.step()
        reference.step()
    for a, b, before in zip(ours, theirs, start, strict=True):
        error = (a - b).norm() / (a - before).norm()
        assert error < 2e-2  # both iterate in bfloat16, in another order


def test_experts_and_row_blocks_move_as_separate_matrices():
    torch.manual_seed(0)
    experts = nn.Parameter(torch.randn(3, 8, 12))
    fused = nn.Parameter(torch.randn(16, 12))
    alone = [nn.Parameter(experts[e].detach().clone()) for e in range(3)]
    alone += [nn.Parameter(fused[:8].detach().clone()), nn.Parameter(fused[8:].detach().clone())]
    experts.grad, fused.grad = torch.randn_like(experts), torch.randn_like(fused)
    for p, g in zip(alone, [*experts.grad, fused.grad[:8], fused.grad[8:]], strict=True):
        p.grad = g.clone()
    together = [
        Member("experts", experts, Role.MATRIX),
        Member("fused", fused, Role.MATRIX, {"a": slice(0, 8), "b": slice(8, 16)}),
    ]
    MuonOptimizer(together, lr=0.1).step()
    MuonOptimizer([Member(str(i), p, Role.MATRIX) for i, p in enumerate(alone)], lr=0.1).step()
    expected = torch.cat([torch.stack(alone[:3]).flatten(0, 1), *alone[3:]])
    found = torch.cat([experts.flatten(0, 1), fused])
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_iteration_is_polar_express_with_one_safety_factor():
    """Singular values from 1e-3 up land near 1; dividing the coefficients again gives 0.79."""
    values = torch.logspace(-3, 0, 200, dtype=torch.float64) / POLAR_EXPRESS.safety
    for a, b, c in POLAR_EXPRESS.coefficients:
        values = a * values + b * values**3 + c * values**5
    assert values.min() > 0.84 and values.max() < 1.15


def test_decay_is_cautious():
    """Weights shrink exactly where the update shrinks them too."""
    start = torch.randn(12, 20, generator=torch.Generator().manual_seed(0))
    after = []
    for weight_decay in (0.0, 0.5):
        p = nn.Parameter(start.clone())
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
        MuonOptimizer([Member("p", p, Role.MATRIX)], lr=0.1, weight_decay=weight_decay).step()
        after.append(p.detach())
    update = start - after[0]
    decayed = torch.where(update * start >= 0, 0.1 * 0.5 * start, 0.0)
    assert torch.allclose(after[0] - after[1], decayed, atol=1e-6)
    assert 0.3 < (decayed != 0).float().mean() < 0.7


def test_momentum_warms_up():
    p = nn.Parameter(torch.zeros(4, 6))
    optimizer = MuonOptimizer([Member("p", p, Role.MATRIX)], lr=0.1, momentum=0.95)
    expected = torch.zeros_like(p)
    for warmup, momentum in ((0.0, 0.85), (0.5, 0.90), (1.0, 0.95)):
        p.grad = torch.randn(p.shape)
        optimizer.param_groups[0]["warmup"] = warmup
        optimizer.step()
        expected = momentum * expected + (1 - momentum) * p.grad
    assert torch.allclose(optimizer.state[p]["momentum"], expected, atol=1e-6)


@pytest.mark.parametrize("elements", [1, 100, 250, 1 << 26])
def test_the_stack_size_bounds_memory_and_changes_nothing(monkeypatch, elements):
    """Banks of experts are cut, and small matrices are not thrown together beyond it."""
    seen = []

    class Watched(MuonOptimizer):
        def updates(self, momenta, k):
            seen.append(momenta.numel())
            return super().updates(momenta, k)

    def stepped(kind):
        params = [nn.Parameter(torch.zeros(s)) for s in ((5, 8, 12), (8, 12), (3, 8, 12))]
        generator = torch.Generator().manual_seed(0)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        kind([Member(str(i), p, Role.MATRIX) for i, p in enumerate(params)], lr=0.1).step()
        return params

    whole = stepped(MuonOptimizer)
    monkeypatch.setattr(muon, "STACK_ELEMENTS", elements)
    for a, b in zip(stepped(Watched), whole, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert sum(seen) == 9 * 8 * 12
    assert max(seen) <= max(elements, 8 * 12)


class Rank(MuonOptimizer):
    """Holds half the rows of every matrix; gathers before the iteration, keeps its own after."""

    def __init__(self, rank, shared, meeting, members):
        super().__init__(members, lr=0.1, ns_dtype=torch.float32)
        self.rank, self.shared, self.meeting = rank, shared, meeting

    def updates(self, momenta, k):
        self.shared[self.rank] = momenta
        self.meeting.wait()
        whole = super().updates(torch.cat(self.shared, -2), k)
        self.meeting.wait()
        return whole.chunk(2, -2)[self.rank].contiguous()


def test_sharded_state_needs_one_method():
    shape = (2, 8, 12)
    generator = torch.Generator().manual_seed(0)
    whole = nn.Parameter(torch.randn(shape, generator=generator))
    halves = [nn.Parameter(h.detach().clone()) for h in whole.chunk(2, -2)]
    shared, meeting = [None, None], threading.Barrier(2, timeout=20)
    ranks = [Rank(r, shared, meeting, [Member("p", halves[r], Role.MATRIX)]) for r in (0, 1)]
    alone = MuonOptimizer([Member("p", whole, Role.MATRIX)], lr=0.1, ns_dtype=torch.float32)
    for _ in range(3):
        whole.grad = torch.randn(shape, generator=generator)
        for half, grad in zip(halves, whole.grad.chunk(2, -2), strict=True):
            half.grad = grad.clone()
        alone.step()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda rank: rank.step(), ranks))
    assert torch.allclose(torch.cat(halves, -2), whole, atol=1e-6)


def test_step_size_rows_follow_adamw_without_decay():
    torch.manual_seed(0)
    fused = nn.Parameter(torch.randn(12, 6))
    plain = nn.Parameter(fused[8:].detach().clone())
    member = Member("in_proj", fused, Role.MATRIX, {"z": slice(0, 8)}, slice(8, 12))
    optimizer = MuonOptimizer([member], lr=0.01, weight_decay=0.5)
    reference = torch.optim.AdamW([plain], lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(3):
        fused.grad = torch.randn_like(fused)
        plain.grad = fused.grad[8:].clone()
        optimizer.step()
        reference.step()
    assert torch.allclose(fused[8:], plain, atol=1e-7)


def test_muon_update_has_the_rms_of_adamw():
    p = nn.Parameter(torch.zeros(64, 256))
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    MuonOptimizer([Member("p", p, Role.MATRIX)], lr=1.0).step()
    assert float(p.detach().square().mean().sqrt()) == pytest.approx(0.2, rel=0.05)


class Deep(nn.Module):
    """Two layers whose names an optimizer of attention knows."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({"mixer": nn.ModuleDict({"q_proj": nn.Linear(16, 16, bias=False)})})
            for _ in range(2)
        )
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        for layer in self.layers:
            x = layer["mixer"]["q_proj"](x)
        return self.out(x)


@pytest.mark.parametrize("kind", OPTIMIZERS.builtin)
def test_descends_on_a_quadratic(kind):
    torch.manual_seed(0)
    model = Deep()
    x, y = torch.randn(64, 16), torch.randn(64, 4)
    optimizer = OPTIMIZERS.lookup(kind)(lr=0.05).build(model)
    losses = []
    for _ in range(60):
        loss = (model(x) - y).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = torch.linalg.lstsq(x, y).solution
    floor = float((x @ best - y).square().mean())
    assert losses[-1] - floor < 0.2 * (losses[0] - floor)


@pytest.mark.parametrize("config", DEFAULTS, ids=lambda c: c.kind)
def test_decays_weights_but_no_vectors(config):
    model = LM(HYBRID)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    config.build(model).step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {"embeddings.weight", "lm_head.weight"} <= moved
    assert not {m.name for m in members(model) if m.role is Role.VECTOR} & moved


@pytest.mark.parametrize("config", DEFAULTS, ids=lambda c: c.kind)
def test_state_resumes_bitwise(config):
    def run(model, optimizer, start, stop):
        for i in range(start, stop):
            generator = torch.Generator().manual_seed(i)
            for group in optimizer.param_groups:
                group["warmup"] = min(1.0, i / 4)
            for p in model.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()

    straight = LM(HYBRID)
    optimizer = config.build(straight)
    run(straight, optimizer, 0, 3)
    resumed = copy.deepcopy(straight)
    again = config.build(resumed)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(straight, optimizer, 3, 5)
    run(resumed, again, 3, 5)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


PLUG_IN = """
import torch
from yaongi.train.optim import OptimizerConfig

class SignSGD(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(p.grad.sign(), alpha=group["lr"])

class Sign(OptimizerConfig):
    def build(self, model):
        return SignSGD(model.parameters(), lr=self.lr)
"""


class Recipe(Config):
    optimizer: OptimizerChoice


def test_a_plug_in_of_ten_lines(tmp_path, monkeypatch):
    (tmp_path / "my_sign.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    recipe = parse(Recipe, {"optimizer": {"kind": "my_sign:Sign", "lr": 0.5}})
    assert recipe.as_json() == {"optimizer": {"kind": "my_sign:Sign", "lr": 0.5}}
    model = nn.Linear(2, 2, bias=False)
    before = model.weight.detach().clone()
    model.weight.grad = torch.tensor([[3.0, -2.0], [1.0, -1.0]])
    recipe.optimizer.build(model).step()
    assert torch.allclose(before - model.weight, torch.tensor([[0.5, -0.5], [0.5, -0.5]]))


def test_unknown_optimizer_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'muon'"):
        parse(Recipe, {"optimizer": "mion"})
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate is not a setting"):
        parse(Recipe, {"optimizer": {"kind": "adamw", "learning_rate": 1}})


def test_recipe_chooses_settings():
    recipe = parse(Recipe, {"optimizer": {"kind": "muon", "lr": 0.003, "momentum": 0.9}})
    assert isinstance(recipe.optimizer, OptimizerConfig)
    assert recipe.optimizer == Muon(lr=0.003, momentum=0.9)
