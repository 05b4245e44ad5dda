"""A wrong model setting fails at birth and says which, why, and what is near."""

from __future__ import annotations

import pytest
import torch
from shapes import SETTINGS

from yaongi.core.config import parse
from yaongi.core.errors import CapabilityError, ConfigError, ShapeError
from yaongi.model.lm import LM, LMConfig
from yaongi.model.presets import preset


def settings(**changes):
    data = {"vocab_size": 60, "d_model": 22, "pattern": "M*-E", **SETTINGS}
    for path, value in changes.items():
        node, keys = data, path.split("__")
        for key in keys[:-1]:
            node[key] = dict(node[key])
            node = node[key]
        node[keys[-1]] = value
    return data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention__n_kv_heads": 3}, r"n_heads \(4\) must be a multiple of n_kv_heads \(3\)"),
        ({"attention__head_dim": 5}, r"head_dim \(5\) must be even for RoPE"),
        ({"mamba__n_groups": 4}, r"n_heads \(6\) must be a multiple of n_groups \(4\)"),
        ({"moe__top_k": 6}, r"top_k \(6\) cannot be more than n_experts \(5\)"),
        ({"mamba": None}, "the pattern uses 'M', so the settings of mamba are needed"),
        ({"pattern": "M*?"}, "unknown letter '\\?' at position 3"),
        ({"attention__n_head": 4}, "n_head is not a setting. Did you mean 'n_heads'"),
        ({"mlp__activation": "relu"}, "mlp.activation"),
        ({"mamba__d_conv": 1}, "mamba.d_conv"),
        ({"moe__balance": -1}, "moe.balance"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"letters": {"M": {"kind": "mlp", "d_ff": 3}}}, "'M' cannot name a layer"),
        ({"letters": {"R": {"kind": "mpl", "d_ff": 3}}}, "Did you mean 'mlp'"),
        ({"letters": {"R": {"kind": "nowhere:Thing"}}}, "nowhere:Thing.*cannot be imported"),
    ],
)
def test_messages(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse(LMConfig, settings(**changes))


def test_a_second_kind_of_a_layer_gets_its_own_letter():
    wide = {"kind": "mlp", "d_ff": 50, "activation": "gelu"}
    cfg = parse(LMConfig, settings(pattern="M*-W", letters={"W": wide}))
    assert [p.shape[0] for n, p in LM(cfg).named_parameters() if "up_proj" in n] == [40, 50]


def test_settings_survive_json():
    cfg = parse(LMConfig, settings(letters={"R": {"kind": "shapes:DecayConfig", "rate": 0.25}}))
    assert parse(LMConfig, cfg.as_json()) == cfg


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no preset '26n'. Did you mean '26m'"):
        preset("26n")


def test_preset_changes_merge_into_nested_settings():
    cfg = preset("5m", vocab_size=100, mlp={"d_ff": 64})
    assert (cfg.vocab_size, cfg.mlp.d_ff, cfg.mlp.activation) == (100, 64, "relu2")
    with pytest.raises(ConfigError, match=r"model.vocab_sise is not a setting"):
        preset("5m", vocab_sise=100)


def test_a_kernel_asked_for_by_name():
    cfg = parse(LMConfig, settings())
    ids = torch.arange(40)[None]
    plain = LM(cfg, kernels={"ssd": "reference", "attention": "reference"})
    torch.testing.assert_close(plain(ids).hidden, LM(cfg)(ids).hidden, rtol=1e-4, atol=1e-5)
    with pytest.raises(CapabilityError, match=r"ssd has no backend 'triton'"):
        LM(cfg, kernels={"ssd": "triton"})
    with pytest.raises(CapabilityError, match=r"There is no op 'sdd'. Did you mean 'ssd'"):
        LM(cfg, kernels={"sdd": "reference"})


def test_shapes_that_disagree():
    lm = LM(parse(LMConfig, settings()))
    ids = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(ShapeError, match=r"doc_ids is \(2, 4\), ids is \(2, 5\)"):
        lm(ids, doc_ids=ids[:, 1:])
    with pytest.raises(ShapeError, match=r"room for 4 tokens; 0 are in it and 5 more came"):
        lm(ids, state=lm.init_state(2, 4))
