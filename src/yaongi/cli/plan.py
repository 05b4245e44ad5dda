"""``yaongi plan``: what a run needs and costs, before anything is built, fetched or paid."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.cells import set_cell_size

from yaongi.cli.console import emit
from yaongi.cli.options import json_option, overrides_argument
from yaongi.cli.recipe import Recipe, make_recipe, read_recipe
from yaongi.core.config import apply_overrides, parse
from yaongi.core.errors import ConfigError, did_you_mean
from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes
from yaongi.model.count import count
from yaongi.model.presets import PRESETS, preset
from yaongi.train.devices import NAMES
from yaongi.train.dryrun import DryRun, dry_run
from yaongi.train.plan import Plan, PlanConfig, default_tokens, plan_as_json, plan_run
from yaongi.train.run import BUDGETS

PRESET_SETTINGS = {"seq_len": 2048, "batch_tokens": 1 << 19, "micro_batch": 4}
"""How a bare preset is trained unless overrides say otherwise."""


@click.command(
    help=_("Memory, disk, hours and cost of pretraining a preset or a recipe on a device, whether "
           "it fits, and what to change if not. Settings can be overridden: pretrain.seq_len=4096"),
    epilog=_("Example: yaongi plan recipes/h100-4b.yaml --device h100 --price 2.39USD/h"),
)  # fmt: skip
@click.argument("what", metavar="PRESET|RECIPE")
@overrides_argument
@click.option("--device", default="h100", show_default=True, metavar="|".join(NAMES),
              help=_("The machine; cpu is this one, measured now."))  # fmt: skip
@click.option("--tokens", help=_("Tokens to train on, like 15B; the recipe's otherwise."))
@click.option("--price", help=_("Of an hour, like 2.39USD/h or 300KRW/h."))
@click.option("--mfu", type=float, help=_("Share of the peak that training reaches, 0 to 1."))
@json_option
def command(
    what: str,
    overrides: tuple[str, ...],
    device: str,
    tokens: str | None,
    price: str | None,
    mfu: float | None,
    as_json: bool,
) -> None:
    """Print the plan."""
    given = {"device": device, "tokens": tokens, "price": price, "mfu": mfu}
    ask = parse(PlanConfig, {k: v for k, v in given.items() if v is not None}, where="plan")
    recipe = _recipe(what, overrides)
    plan = plan_run(recipe.pretraining, ask)
    emit({"of": what, **plan_as_json(plan, ask)}, "\n".join(_text(plan, ask)), as_json)


def _recipe(what: str, overrides: tuple[str, ...]) -> Recipe:
    """The recipe at a path, or one around a preset."""
    if Path(what).suffix in (".yaml", ".yml") or Path(what).is_file():
        return read_recipe(Path(what), overrides)
    if what in NAMES:
        raise ConfigError(
            "'{what}' is a device. Name a preset or a recipe before it: "
            "yaongi plan {preset} --device {what}",
            what=what,
            preset=next(iter(PRESETS)),
        )
    if what not in PRESETS:
        raise ConfigError(
            "'{what}' is neither a recipe's path nor a preset. {help}",
            what=what,
            help=did_you_mean(what, PRESETS),
        )
    model = preset(what)
    settings: dict[str, Any] = {
        "name": what,
        "data": {"sources": ["synthetic"]},
        "tokenizer": {"vocab_size": model.vocab_size},
        "pretrain": {"model": what, "tokens": default_tokens(model), **PRESET_SETTINGS},
    }
    return make_recipe(apply_overrides(settings, overrides, BUDGETS))


def _text(plan: Plan, ask: PlanConfig) -> list[str]:
    """What a person reads."""
    rows = [*_model_rows(plan), *_memory_rows(plan), *_cost_rows(plan, ask)]
    return [*(f"{set_cell_size(name, 14)} {text}" for name, text in rows if text), *_advice(plan)]


def _model_rows(plan: Plan) -> list[tuple[str, str]]:
    sizes = _("{total:,}; active {active:,}, with embedding {embedded:,}").format(
        total=plan.sizes.params_total,
        active=plan.sizes.params_active,
        embedded=plan.sizes.params_active_with_embedding,
    )
    step = _("{batch:,} tokens, {micro} x {seq:,} at a time, {precision}, {optimizer}").format(
        batch=plan.batch_tokens,
        micro=plan.asked.choice.micro_batch,
        seq=plan.seq_len,
        precision=plan.precision,
        optimizer=plan.asked.choice.optimizer.kind,
    )
    return [(_("parameters"), sizes), (_("one step"), step)]


def _memory_rows(plan: Plan) -> list[tuple[str, str]]:
    memory = plan.asked.memory
    peak = _("{peak} in the worst moment ({moment}); {device} has {usable} to use").format(
        peak=human_bytes(memory.peak),
        moment=memory.moment,
        device=plan.device.name,
        usable=human_bytes(plan.device.usable),
    )
    return [
        (_("weights"), human_bytes(memory.weights)),
        (_("gradients"), human_bytes(memory.gradients)),
        (_("optimizer"), human_bytes(memory.optimizer)),
        (_("activations"), human_bytes(memory.activations)),
        (_("peak"), peak),
        (_("in host memory"), human_bytes(memory.host) if memory.host else ""),
    ]


def _cost_rows(plan: Plan, ask: PlanConfig) -> list[tuple[str, str]]:
    cost, sizes = plan.cost, {k: human_bytes(v) for k, v in vars(plan.disk).items()}
    disk = _("corpus {corpus}, shards {shards}, checkpoints {checkpoints}, model {model}")
    work = _("{gflops:.3f} GFLOP per token, {tokens:,} tokens, {steps:,} steps")
    time = _("{hours:.1f} h; {speed:,.0f} tokens/s, {mfu:.0%} of the peak ({source})").format(
        hours=cost.hours,
        speed=cost.tokens_per_s,
        mfu=cost.mfu,
        source=_("assumed, not measured") if ask.mfu is None else _("as given"),
    )
    money = _("${usd:,.2f} or ₩{krw:,.0f} at ${price:.2f} an hour").format(
        usd=cost.usd, krw=cost.krw, price=cost.usd_per_hour
    )
    gflops = cost.flops_per_token / 1e9
    return [
        (_("disk"), disk.format(**sizes)),
        (_("work"), work.format(gflops=gflops, tokens=cost.tokens, steps=cost.steps)),
        (_("time"), time),
        (_("cost"), money),
        (_("decoding"), _decoding(plan)),
    ]


def _decoding(plan: Plan) -> str:
    state = _("{state} of state per sequence of {seq:,} tokens").format(
        state=human_bytes(plan.state_bytes), seq=plan.seq_len
    )
    if plan.decode_tokens_per_s is None:
        return state
    speed = _("memory allows {speed:,.0f} tokens/s").format(speed=plan.decode_tokens_per_s)
    return f"{state}; {speed}"


def _advice(plan: Plan) -> list[str]:
    """Whether it fits, and what to change."""
    if plan.better is None:
        if plan.fits:
            return [_("It fits.")]
        smallest = human_bytes(plan.smallest.memory.peak)
        where = ", ".join(plan.elsewhere) or _("no device of the table")
        return [
            _("It does not fit, and no micro-batch, recomputation or optimizer makes it: the least "
              "is {smallest}. That fits on: {where}.").format(smallest=smallest, where=where)
        ]  # fmt: skip
    changes = " ".join(plan.better.choice.changes(plan.asked.choice))
    peak = human_bytes(plan.better.memory.peak)
    if plan.fits:
        return [_("It fits, with room for: {changes} ({peak}).").format(changes=changes, peak=peak)]
    return [_("It does not fit. Add: {changes} ({peak}).").format(changes=changes, peak=peak)]


def emit_dry_run(recipe: Recipe, as_json: bool) -> None:
    """Check a recipe's pretraining and print what was found.

    Raises:
        ConfigError: the recipe starts from a model that is there already.
    """
    if recipe.pretrain is None:
        _refuse_dry_run(recipe)
    found = dry_run(recipe.pretraining)
    total = count(recipe.pretraining.model).params_total
    result = {"recipe": recipe.name, "params_total": total, **asdict(found)}
    emit(result, _dry_run_text(found, recipe), as_json)


_TRAININGS = {"continual": "continue", "sft": "sft", "distill": "distill", "lora": "lora",
              "dpo": "dpo", "reward": "reward train", "grpo": "grpo"}  # fmt: skip
"""Section -> the verb that runs it."""


def _refuse_dry_run(recipe: Recipe) -> None:
    there = [name for name in _TRAININGS if getattr(recipe, name) is not None]
    if not there:
        raise ConfigError("The recipe '{name}' trains nothing: there is nothing to dry-run.",
                          name=recipe.name)  # fmt: skip
    raise ConfigError(
        "--dry-run is of pretraining, and the recipe '{name}' has none: it starts from a model. "
        "Its settings are valid. To try it, take one step: "
        "yaongi {verb} RECIPE {section}.train.steps=1 name=try",
        name=recipe.name,
        verb=_TRAININGS[there[0]],
        section=there[0],
    )


def _dry_run_text(found: DryRun, recipe: Recipe) -> str:
    return _(
        "{name}: {built:,} parameters built without memory; a narrow copy of {small:,} took a step "
        "with {optimizer}: loss {loss:.3f}, gradient {norm:.3f}, {seconds:.1f} s. Nothing was "
        "fetched or written."
    ).format(
        name=recipe.name,
        built=found.params_built,
        small=found.small_params,
        optimizer=found.optimizer,
        loss=found.loss,
        norm=found.grad_norm,
        seconds=found.seconds,
    )
