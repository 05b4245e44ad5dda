"""Plans: the arithmetic, the search for settings that fit, and what cannot be planned."""

from __future__ import annotations

from typing import Any

import pytest

from yaongi.core.config import parse
from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.core.units import KRW_PER_USD
from yaongi.model.count import count
from yaongi.train.devices import DEVICES, device_named
from yaongi.train.plan import PlanConfig, plan_as_json, plan_run
from yaongi.train.pretrain import PretrainConfig


def config(**changes: Any) -> PretrainConfig:
    settings = {"model": "146m", "tokens": "1B", "seq_len": 1024, "batch_tokens": 131072}
    return parse(PretrainConfig, {**settings, **changes})


def ask(**changes: Any) -> PlanConfig:
    return parse(PlanConfig, {"device": "t4", **changes})


def test_hours_and_cost_follow_from_flops_price_and_mfu() -> None:
    cfg = config(micro_batch=4)
    plan = plan_run(cfg, ask(device="h100", price="2USD/h", mfu=0.5))
    flops = count(cfg.model).flops_per_token(1024)
    hours = 1e9 * flops / (0.5 * 989.4e12) / 3600
    assert plan.cost.hours == pytest.approx(hours)
    assert plan.cost.usd == pytest.approx(2 * hours)
    assert plan.cost.krw == pytest.approx(2 * hours * KRW_PER_USD)
    assert plan.cost.steps == 7630
    again = plan_run(cfg.model_copy(update={"checkpoint_activations": True}), ask(mfu=0.5))
    assert again.cost.hours == pytest.approx(hours * 989.4 / 65 * 4 / 3)


@pytest.mark.parametrize(
    ("price", "usd"), [("2.39USD/h", 2.39), ("2.39", 2.39), ("$2.39/h", 2.39), ("₩700/h", 0.5),
                       ("700KRW/h", 0.5), ("0", 0.0)]
)  # fmt: skip
def test_prices_as_people_write_them(price: str, usd: float) -> None:
    assert ask(price=price).price == pytest.approx(usd)


def test_what_does_not_fit_is_told_what_to_change_and_then_fits() -> None:
    cfg = config(micro_batch=32)
    plan = plan_run(cfg, ask())
    assert not plan.fits and plan.better is not None
    assert plan.better.memory.peak <= plan.device.usable < plan.asked.memory.peak
    told = plan_as_json(plan, ask())
    assert told["change"] and told["change"][0].startswith("pretrain.micro_batch=")
    assert told["mfu_is"] == "assumed"
    choice = plan.better.choice
    changes = {
        "micro_batch": choice.micro_batch,
        "checkpoint_activations": choice.checkpoint_activations,
    }
    after = plan_run(cfg.model_copy(update=changes), ask())
    assert after.fits and after.asked.memory.peak == plan.better.memory.peak


def test_the_mildest_change_comes_first() -> None:
    """Fewer rows before recomputation, recomputation before another optimizer."""
    cfg = config(model="0.5b-a0.1b", optimizer="adamw", seq_len=4096, micro_batch=32)
    mild = plan_run(cfg, ask(device="rtx3090", mfu=0.3)).better
    assert mild is not None and not mild.choice.checkpoint_activations
    assert mild.choice.optimizer == cfg.optimizer and mild.choice.micro_batch < 32


def test_adamw_gives_way_to_muon_where_nothing_else_helps() -> None:
    deep = {"preset": "llama-3.2-1b", "pattern": "(*-)x22"}  # 1.6 B
    cfg = config(model=deep, optimizer={"kind": "adamw", "lr": 3e-4}, micro_batch=1)
    plan = plan_run(cfg, ask(device="rtx3090"))
    assert plan.better is not None
    found = plan_as_json(plan, ask())["change"]
    assert "pretrain.optimizer={kind: muon, lr: 0.0003}" in found


def test_what_fits_nowhere_near_says_where_it_would() -> None:
    plan = plan_run(config(model="yaongi-4b-a0.6b", micro_batch=1), ask())
    assert not plan.fits and plan.better is None
    assert "h100" in plan.elsewhere and "t4" not in plan.elsewhere
    assert plan.smallest.choice.tables_on_host and plan.smallest.choice.checkpoint_activations


def test_the_disk_holds_tokens_and_checkpoints() -> None:
    plan = plan_run(config(keep=3, eval_every=10, micro_batch=1), ask())
    each = plan.asked.memory.weights + plan.asked.memory.optimizer
    assert plan.disk.checkpoints == 5 * each
    assert plan.disk.shards == 2_000_000_000
    assert plan.disk.model == 4 * plan.sizes.params_total


def test_a_time_budget_becomes_tokens() -> None:
    plan = plan_run(config(tokens=None, minutes=60, micro_batch=1), ask())
    assert plan.cost.hours == pytest.approx(1, rel=1e-3)
    assert plan.cost.tokens > 10_000_000


def test_a_format_the_device_lacks() -> None:
    with pytest.raises(CapabilityError, match=r"t4 has no bf16.*pretrain.precision=fp16"):
        plan_run(config(precision="bf16"), ask())
    assert plan_run(config(micro_batch=1), ask()).precision == "fp16"


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'h100'"):
        device_named("h10")


def test_this_machine_is_measured() -> None:
    cpu = device_named("cpu")
    assert cpu.memory > 1e9 and min(cpu.flops.values()) > 1e6
    assert set(DEVICES) == {"b200", "h100", "a100", "rtx4090", "rtx3090", "t4"}
