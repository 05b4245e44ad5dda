"""Adapters: what they compute, whom they change, merging, 8-bit bases, several at once."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch.nn import functional as F

from yaongi.core.errors import (
    ArtifactError,
    CapabilityError,
    CheckpointError,
    ConfigError,
    ShapeError,
)
from yaongi.model.adapter_io import load_adapters, save_adapter
from yaongi.model.int8 import freeze_to_int8, widen_from_int8
from yaongi.model.io import load_model, save_model
from yaongi.model.lora import (
    AdapterConfig,
    adapter_names,
    adapter_parts,
    adapter_tensors,
    adapters_off,
    add_adapters,
    learnt_state,
    load_learnt,
    remove_adapters,
    use_adapters,
    using_adapters,
)
from yaongi.model.lowrank import DoRA, LowRank
from yaongi.model.matrices import frozen
from yaongi.model.merge import bake, merge, unmerge
from yaongi.ops.quant.int8 import dequantize_rows, int8_linear, quantize_rows

IDS = torch.randint(0, 500, (3, 17), generator=torch.Generator().manual_seed(0))
KINDS = [{}, {"dora": True}, {"rslora": True, "rank": 5}, {"base": "int8"},
         {"base": "int8", "dora": True}]  # fmt: skip


def hybrid():
    return tiny.lm("M*-E", engram=tiny.ENGRAM)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model.logits(model(ids).hidden)


def adapted(model=None, name="default", seed=1, size=0.1, **settings):
    """``model`` with a random adapter, which has learnt something."""
    model = model or hybrid()
    settings = {"rank": 4, "embedding_rows": (1, 5, 300), **settings}
    add_adapters(model, AdapterConfig.model_validate(settings), name=name, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in adapter_tensors(model, name).values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * size)
    return model


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_new_adapter_changes_nothing(kind):
    model = hybrid()
    if kind.get("base") == "int8":
        freeze_to_int8(model)
    before = logits(model)
    add_adapters(model, AdapterConfig.model_validate({**kind, "embedding_rows": (0, 7)}))
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_only_the_adapter_has_gradients_and_all_of_it(kind):
    model = adapted(**kind).train()
    model.logits(model(IDS).hidden).square().mean().backward()
    own = {id(p) for p in adapter_tensors(model).values()}
    for name, param in model.named_parameters():
        assert (param.grad is not None) == param.requires_grad == (id(param) in own), name
    grads = [p.grad for p in adapter_tensors(model).values()]
    assert all(g is not None and g.abs().max() > 0 for g in grads)


def test_every_projection_of_every_layer_kind_is_a_target():
    found = {name.split(".", 2)[-1] for name in adapter_tensors(adapted())}
    for name in ("mixer.in_proj", "mixer.out_proj", "mixer.q_proj", "mixer.o_proj", "mixer.up_proj",
                 "mixer.experts.up_proj", "mixer.experts.down_proj", "engram.k_proj",
                 "mixer.shared_experts.down_proj"):  # fmt: skip
        assert {f"{name}.lora_a", f"{name}.lora_b"} <= found
    stack = adapter_tensors(adapted())["layers.3.mixer.experts.up_proj.lora_b"]
    assert stack.shape == (4, 32, 4)  # experts, d_ff, rank


def test_the_arithmetic_is_the_papers():
    torch.manual_seed(0)
    x, weight = torch.randn(5, 6), torch.randn(3, 6)
    for scale, kind in ((2.0, LowRank), (0.5, DoRA)):
        change = kind((3, 6), 2, scale)
        change.begin(weight)
        with torch.no_grad():
            change.a.normal_()
            change.b.normal_()
        changed = weight + scale * change.b @ change.a
        if kind is DoRA:
            changed = weight.norm(dim=1, keepdim=True) * changed / changed.norm(dim=1, keepdim=True)
        y = F.linear(x, weight)
        torch.testing.assert_close(change.changed(y, x, lambda: weight), F.linear(x, changed))
        torch.testing.assert_close(change.matrix(weight), changed)
    assert AdapterConfig(rank=4, alpha=8).scale == 2
    assert AdapterConfig(rank=4, alpha=8, rslora=True).scale == 4


def test_doras_norm_is_a_constant_to_the_gradient():
    torch.manual_seed(0)
    x, weight = torch.randn(5, 6), torch.randn(3, 6)
    change = DoRA((3, 6), 2, 1.0)
    change.begin(weight)
    with torch.no_grad():
        change.b.normal_()
        change.a.normal_()
    y = F.linear(x, weight)
    change.changed(y, x, lambda: weight).sum().backward()
    norm = (weight + change.b @ change.a).norm(dim=1).detach()
    b = change.b.detach().clone().requires_grad_()
    gain = (change.magnitude.detach() / norm)[:, None]
    F.linear(x, gain * (weight + b @ change.a.detach())).sum().backward()
    torch.testing.assert_close(change.b.grad, b.grad)


def test_dropout_is_of_the_adapters_input_and_only_while_training():
    model = adapted(dropout=0.5, targets=("*q_proj",))
    assert torch.equal(logits(model), logits(model))
    model.train()
    assert not torch.equal(logits(model), logits(model))
    with adapters_off(model):
        assert torch.equal(logits(model), logits(model))


# --- choosing --------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [{}, {"dora": True, "rank": 2, "embedding_rows": (2, 5)}])
def test_a_batch_of_different_adapters_gives_each_row_its_own(second):
    model = adapted(name="a")
    adapted(model, "b", seed=2, **second)
    alone = {}
    for name in ("a", "b", "base"):
        with using_adapters(model, name):
            alone[name] = logits(model)
    assert (alone["a"] - alone["b"]).abs().max() > 0.1 < (alone["a"] - alone["base"]).abs().max()
    for names in (["a", "base", "b"], ["b", "b", "a"], ["base"] * 3):
        with using_adapters(model, names):
            mixed = logits(model)
        wanted = torch.stack([alone[n][i] for i, n in enumerate(names)])
        torch.testing.assert_close(mixed, wanted, rtol=1e-4, atol=1e-4)


def test_rows_keep_their_adapters_while_decoding():
    model = adapted(tiny.lm("M*-E"), name="a")
    adapted(model, "b", seed=2)
    with using_adapters(model, ["a", "b", "base"]), torch.no_grad():
        state = model.init_state(3, 17)
        parts = []
        for part in IDS.split([9, 1, 7], 1):
            out = model(part, state=state)
            state = out.state
            parts.append(model.logits(out.hidden))
        torch.testing.assert_close(torch.cat(parts, 1), logits(model), rtol=1e-3, atol=1e-3)


def test_off_is_the_base_and_comes_back_also_after_an_error():
    model = hybrid()
    before = logits(model)
    adapted(model)
    after = logits(model)
    with pytest.raises(RuntimeError), adapters_off(model):
        assert torch.equal(logits(model), before)
        raise RuntimeError
    assert torch.equal(logits(model), after)
    remove_adapters(model)
    assert torch.equal(logits(model), before)
    assert sorted(model.state_dict()) == sorted(hybrid().state_dict())


def test_bad_names_and_row_counts():
    model = adapted(name="polite")
    with pytest.raises(ConfigError, match=r"has no adapter 'plite'\. Did you mean 'polite'"):
        use_adapters(model, "plite")
    with using_adapters(model, ["polite", "base"]), pytest.raises(ShapeError, match="2 adapters"):
        logits(model)
    for name in ("polite", "base", "a.b", "keys"):
        with pytest.raises(ConfigError, match=f"'{name}' cannot name an adapter here"):
            adapted(model, name)
    mixed = using_adapters(model, ["polite", "base", "base"])
    with mixed, pytest.raises(ShapeError, match="no one matrix"):
        _ = model.head_weight


def test_a_glob_that_matches_nothing_is_told_the_nearest_names():
    with pytest.raises(ConfigError, match=r"'\*\.qproj' matches no matrix .*mixer\.q_proj"):
        adapted(targets=("*_proj", "*.qproj"))
    model = hybrid()
    with pytest.raises(ConfigError):
        add_adapters(model, AdapterConfig(targets=("lm_head",)))  # a tied one is no matrix
    assert adapter_names(model) == [] and all(p.requires_grad for p in model.parameters())


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(ConfigError, match="dropout cannot be used for experts"):
        adapted(dropout=0.1)
    with pytest.raises(ConfigError, match=r"different token ids below 512, not \(5, 600\)"):
        adapted(embedding_rows=(5, 600))
    with pytest.raises(ConfigError, match="'b' wants its base in int8"):
        adapted(adapted(), "b", base="int8")
    with pytest.raises(ConfigError, match="'b' wants its base in float"):
        adapted(adapted(base="int8"), "b")


# --- merging ---------------------------------------------------------------------------------

EPS = {torch.float32: 2**-23, torch.bfloat16: 2**-7, torch.float16: 2**-10}


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", EPS, ids=str)
def test_unmerging_gives_the_weights_back_to_rounding(dtype, dora):
    model = adapted(hybrid().to(dtype), dora=dora)
    weights = {t: frozen(model, t) for t in adapter_parts(model)}
    before = {target: weight.clone() for target, weight in weights.items()}
    merge(model)
    assert not any(torch.equal(weights[target], before[target]) for target in weights)
    unmerge(model)
    for target, part in adapter_parts(model).items():
        w, got = before[target].double(), weights[target].double()
        if target == "embeddings":
            assert torch.equal(got, w)
            continue
        room = EPS[dtype] / 2 * (w.abs() + (w + part.delta()).abs())
        spacing = torch.finfo(dtype).smallest_normal * EPS[dtype]  # between the smallest numbers
        assert ((got - w).abs() <= room + spacing).all(), target


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_baked_model_is_plain_and_computes_the_same(kind, tmp_path):
    model = adapted(**kind)
    wanted = logits(model)
    bake(model)
    torch.testing.assert_close(logits(model), wanted, rtol=1e-4, atol=1e-4)
    save_model(model, tmp_path)
    torch.testing.assert_close(logits(load_model(tmp_path)), wanted, rtol=1e-4, atol=1e-4)
    assert all(p.requires_grad for p in model.parameters())


def test_a_merged_model_computes_the_same_and_refuses_to_be_used_otherwise():
    model = adapted()
    wanted = logits(model)
    merge(model)
    torch.testing.assert_close(logits(model), wanted, rtol=1e-4, atol=1e-4)
    with adapters_off(model), pytest.raises(ConfigError, match="'default' is merged into"):
        logits(model)
    with pytest.raises(ConfigError, match="merged already"):
        merge(model)
    with pytest.raises(ConfigError, match="before adding 'b'"):
        adapted(model, "b")
    unmerge(model)
    with pytest.raises(ConfigError, match="No adapter is merged"):
        unmerge(model)
    with pytest.raises(CapabilityError, match="8 bits"):
        merge(adapted(base="int8"))


# --- 8 bits ----------------------------------------------------------------------------------


def test_int8_is_off_by_half_a_scale_at_most():
    weight = torch.randn(2, 7, 33) * torch.logspace(-4, 3, 7)[:, None]
    weight[0, 3] = 0
    ints, scale = quantize_rows(weight)
    error = (dequantize_rows(ints, scale) - weight).abs()
    assert (error <= weight.abs().amax(-1, keepdim=True) / 254 * 1.0001).all()
    assert ints.abs().max() == 127 and torch.equal(dequantize_rows(ints, scale)[0, 3], weight[0, 3])


def test_the_int8_product_and_its_gradient_are_those_of_the_wide_matrix():
    torch.manual_seed(0)
    ints, scale = quantize_rows(torch.randn(5, 9))
    x, other = (torch.randn(2, 4, 9, requires_grad=True) for _ in range(2))
    other.data.copy_(x.data)
    for value, product in ((x, int8_linear(x, ints, scale)),
                           (other, F.linear(other, dequantize_rows(ints, scale)))):  # fmt: skip
        product.square().sum().backward()
        value.product = product.detach()
    torch.testing.assert_close(x.product, other.product)
    torch.testing.assert_close(x.grad, other.grad)


def test_an_int8_base_holds_a_quarter_of_the_bytes_and_nothing_wide_for_the_backward_pass():
    model = tiny.lm("M*-E*-", vocab_size=64)
    layers = sum(p.numel() for n, p in model.named_parameters() if "_proj" in n)
    wide = sum(t.nbytes for t in model.layers.state_dict().values())
    adapted(model, base="int8", embedding_rows=())
    base = {k: t for k, t in model.layers.state_dict().items() if ".adapters." not in k}
    assert sum(t.nbytes for t in base.values()) < wide - 2.8 * layers
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        model.train()(IDS % 64)
    shapes = {tuple(p.shape) for n, p in tiny.lm("M*-E*-").named_parameters() if "_proj" in n}
    floats = [t for t in kept if t.is_floating_point() and tuple(t.shape) in shapes]
    assert kept and not floats


def test_widening_gives_what_the_8_bits_said():
    model = hybrid()
    freeze_to_int8(model)
    narrow = logits(model)
    widen_from_int8(model)
    torch.testing.assert_close(logits(model), narrow, rtol=1e-4, atol=1e-4)


# --- files -----------------------------------------------------------------------------------


def saved(folder, **settings):
    """A model and two adapters of it, all as folders."""
    save_model(hybrid(), folder / "base")
    made = {}
    for seed, name in enumerate(("polite", "brief"), 1):
        model = adapted(load_model(folder / "base"), seed=seed, **settings)
        cfg = AdapterConfig.model_validate({"rank": 4, "embedding_rows": (1, 5, 300), **settings})
        save_adapter(model, cfg, folder / "base", folder / name)
        made[name] = logits(model)
    return made


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_saved_adapters_load_side_by_side(kind, tmp_path):
    made = saved(tmp_path, **{"rank": 4, **kind})
    model = load_model(tmp_path / "base")
    assert load_adapters(model, tmp_path / "base", [tmp_path / n for n in made]) == list(made)
    for name, wanted in made.items():
        with using_adapters(model, name):
            torch.testing.assert_close(logits(model), wanted)


def test_an_adapter_of_another_base_is_refused_by_name(tmp_path):
    saved(tmp_path)
    save_model(tiny.lm("M*-E", engram=tiny.ENGRAM, seed=9), tmp_path / "other")
    with pytest.raises(
        ArtifactError, match=r"adapter .*polite was trained on .*base .*, not on .*other"
    ):
        load_adapters(load_model(tmp_path / "other"), tmp_path / "other", [tmp_path / "polite"])
    with pytest.raises(ArtifactError, match="not a yaongi artifact"):
        load_adapters(hybrid(), tmp_path / "base", [tmp_path / "base"])
    (tmp_path / "polite" / "adapter.json").write_text('{"adapter": {}}')
    with pytest.raises(ArtifactError, match="is damaged"):
        load_adapters(hybrid(), tmp_path / "base", [tmp_path / "polite"])


def test_a_checkpoint_holds_the_adapter_and_nothing_else():
    model = adapted()
    state = {k: v.clone() for k, v in learnt_state(model).items()}
    learnt = sum(p.numel() for p in adapter_tensors(model).values())
    assert (
        sum(t.numel() for t in state.values())
        == learnt
        < 0.3 * sum(p.numel() for p in model.parameters())
    )
    wanted = logits(model)
    for tensor in adapter_tensors(model).values():
        tensor.data.zero_()
    load_learnt(model, state)
    assert torch.equal(logits(model), wanted)
    with pytest.raises(CheckpointError, match="disagree about"):
        load_learnt(model, dict(list(state.items())[1:]))
    assert learnt_state(hybrid()).keys() == hybrid().state_dict().keys()
