"""What a pretraining run takes before it is paid for: memory, disk, hours, money.

Sizes are the formulas of ``model/count.py`` and ``memory.py``; the speed is a share of the
device's peak that is assumed and said, never measured here. When a run does not fit, the settings
that change memory but not what is learnt are searched, mildest first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from yaongi.core.config import Config
from yaongi.core.units import KRW_PER_USD, Count, UsdPerHour
from yaongi.model.count import Counts, count
from yaongi.model.layer import Workload
from yaongi.model.lm import LMConfig
from yaongi.train.devices import DEVICES, Device, device_named
from yaongi.train.memory import OptimizerMemory, StepMemory, optimizer_memory, step_memory
from yaongi.train.optim import OptimizerConfig
from yaongi.train.optim.adamw import AdamW
from yaongi.train.optim.muon import Muon
from yaongi.train.precision import PrecisionName
from yaongi.train.pretrain import PretrainConfig

MFU_DENSE, MFU_MIXED = 0.40, 0.25
"""Assumed share of the peak. Well-tuned dense models are reported at 40-50 %; the small products
of experts and the scan reach less."""

RECOMPUTED = 4 / 3
"""Work of a step that runs every forward pass twice, over one that does not."""

TEXT_BYTES_PER_TOKEN = 4.0  # Korean, English and code with 32k tokens; your tokenizer's report says
CORPUS_SHARE = 0.35  # of a corpus that zstd leaves
TOKENS_PER_PARAM = 20  # a budget where none is given: Hoffmann et al. 2022, arXiv:2203.15556


class PlanConfig(Config):
    """What is asked.

    Attributes:
        tokens: instead of the recipe's budget.
        price: of an hour; None takes the device's.
        mfu: share of the peak that training is assumed to reach.
    """

    device: str = "h100"
    tokens: Annotated[Count, Field(gt=0)] | None = None
    price: UsdPerHour | None = None
    mfu: Annotated[float, Field(gt=0, le=1)] | None = None


@dataclass(frozen=True)
class Choice:
    """Settings of a run that decide its memory."""

    micro_batch: int
    checkpoint_activations: bool
    tables_on_host: bool
    optimizer: OptimizerConfig

    def changes(self, other: Choice) -> list[str]:
        """The overrides that lead from ``other`` to here."""
        found: list[str] = []
        for name in ("micro_batch", "checkpoint_activations", "tables_on_host"):
            value = getattr(self, name)
            if value != getattr(other, name):
                found.append(f"pretrain.{name}={str(value).lower()}")
        if self.optimizer != other.optimizer:
            kind, lr = self.optimizer.kind, self.optimizer.lr
            found.append(f"pretrain.optimizer={{kind: {kind}, lr: {lr}}}")
        return found


@dataclass(frozen=True)
class Fit:
    """A choice with its memory."""

    choice: Choice
    memory: StepMemory


@dataclass(frozen=True)
class Disk:
    """Bytes on disk: cleaned text, tokens, checkpoints while it runs, the finished model."""

    corpus: int
    shards: int
    checkpoints: int
    model: int


@dataclass(frozen=True)
class Cost:
    """Time and money of the whole run."""

    tokens: int
    steps: int
    flops_per_token: float
    mfu: float
    tokens_per_s: float
    hours: float
    usd_per_hour: float
    usd: float
    krw: float


@dataclass(frozen=True)
class Plan:
    """The answer.

    Attributes:
        better: the mildest settings that fit, where they are not those asked for.
        smallest: the settings with the lowest peak, whether they fit or not.
        elsewhere: devices of the table on which ``smallest`` fits.
        state_bytes: of one sequence of seq_len tokens while decoding.
        decode_tokens_per_s: at most, one sequence in bf16: every weight used is read once.
    """

    device: Device
    sizes: Counts
    seq_len: int
    batch_tokens: int
    precision: PrecisionName
    asked: Fit
    fits: bool
    better: Fit | None
    smallest: Fit
    elsewhere: tuple[str, ...]
    disk: Disk
    cost: Cost
    state_bytes: int
    decode_tokens_per_s: float | None


def plan_run(cfg: PretrainConfig, ask: PlanConfig) -> Plan:
    """Plan the pretraining of a recipe.

    Raises:
        ConfigError: an unknown device.
        CapabilityError: the device has no such number format.
    """
    device = device_named(ask.device)
    precision = device.precision(cfg.precision)
    sizes = count(cfg.model)
    memory = _Memory(cfg, precision, device)
    asked = memory.of(_asked(cfg))
    tried = [memory.of(choice) for choice in _choices(cfg, device)]
    smallest = min([asked, *tried], key=lambda fit: fit.memory.peak)
    better = next((fit for fit in tried if fit.memory.peak <= device.usable), None)
    need = smallest.memory.peak
    state = sizes.state_bytes(cfg.seq_len)
    read = 2 * sizes.params_active + state
    cost = _cost(cfg, device, precision, ask)
    return Plan(
        device,
        sizes,
        cfg.seq_len,
        cfg.batch_tokens,
        precision,
        asked,
        asked.memory.peak <= device.usable,
        None if better is None or better.choice == asked.choice else better,
        smallest,
        tuple(name for name, d in DEVICES.items() if need <= d.usable),
        _disk(cfg, asked.memory, cost.tokens),
        cost,
        state,
        device.bytes_per_s / read if device.bytes_per_s else None,
    )


def default_tokens(model: LMConfig) -> int:
    """A budget for a model nobody gave one."""
    return TOKENS_PER_PARAM * count(model).params_active


def plan_as_json(plan: Plan, ask: PlanConfig) -> dict[str, Any]:
    """The plan as plain values, for ``--json``."""
    change = plan.better.choice.changes(plan.asked.choice) if plan.better else []
    return {
        "device": plan.device.name,
        "params_total": plan.sizes.params_total,
        "params_active": plan.sizes.params_active,
        "params_active_with_embedding": plan.sizes.params_active_with_embedding,
        "seq_len": plan.seq_len,
        "batch_tokens": plan.batch_tokens,
        "precision": plan.precision,
        **_fit_json(plan.asked),
        "memory": {**vars(plan.asked.memory), "usable": plan.device.usable},
        "fits": plan.fits,
        "change": change if not plan.fits else [],
        "room_for": change if plan.fits else [],
        "after_change": vars(plan.better.memory) if plan.better else None,
        "smallest_peak": plan.smallest.memory.peak,
        "fits_on": list(plan.elsewhere),
        "disk": vars(plan.disk),
        **vars(plan.cost),
        "krw_per_usd": KRW_PER_USD,
        "mfu_is": "assumed" if ask.mfu is None else "given",
        "decode": {
            "state_bytes": plan.state_bytes,
            "tokens_per_s_at_most": plan.decode_tokens_per_s,
        },
    }


def _fit_json(fit: Fit) -> dict[str, Any]:
    return {**vars(fit.choice), "optimizer": fit.choice.optimizer.kind}


class _Memory:
    """The memory of one run's choices; each optimizer is asked once."""

    def __init__(self, cfg: PretrainConfig, precision: PrecisionName, device: Device) -> None:
        self.cfg = cfg
        self.width = 4 if precision == "fp32" else 2
        self.blocked = device.name == "cpu"
        self.optimizers: dict[str, OptimizerMemory] = {}

    def of(self, choice: Choice) -> Fit:
        """A choice with its memory."""
        cfg, key = self.cfg, choice.optimizer.model_dump_json()
        if key not in self.optimizers:
            self.optimizers[key] = optimizer_memory(choice.optimizer, cfg.model)
        memory = step_memory(
            cfg.model,
            self.optimizers[key],
            Workload(choice.micro_batch, cfg.seq_len, self.width, self.blocked),
            micro_batches=math.ceil(cfg.batch_rows / choice.micro_batch),
            checkpoint=choice.checkpoint_activations,
            tables_on_host=choice.tables_on_host,
        )
        return Fit(choice, memory)


def _asked(cfg: PretrainConfig) -> Choice:
    rows = min(cfg.micro_batch or cfg.batch_rows, cfg.batch_rows)
    return Choice(rows, cfg.checkpoint_activations, cfg.tables_on_host, cfg.optimizer)


def _choices(cfg: PretrainConfig, device: Device) -> Iterator[Choice]:
    """From mild to harsh: fewer rows at once, recomputation, tables elsewhere, less state.

    Muon keeps one number of each matrix weight where AdamW keeps two.
    """
    rows = [n for n in range(cfg.batch_rows, 0, -1) if cfg.batch_rows % n == 0]
    optimizers = [cfg.optimizer]
    if isinstance(cfg.optimizer, AdamW):
        optimizers.append(Muon(lr=cfg.optimizer.lr))
    movable = cfg.model.engram is not None and device.name != "cpu"
    for optimizer in optimizers:
        for host in sorted({cfg.tables_on_host, movable or cfg.tables_on_host}):
            for again in (False, True):
                yield from (Choice(n, again, host, optimizer) for n in rows)


def _disk(cfg: PretrainConfig, memory: StepMemory, tokens: int) -> Disk:
    each = memory.weights + memory.optimizer
    copies = cfg.keep + 1 + (1 if cfg.eval_every else 0)  # the newest, one in writing, the best
    return Disk(
        corpus=round(tokens * TEXT_BYTES_PER_TOKEN * CORPUS_SHARE),
        shards=tokens * (2 if cfg.model.vocab_size <= 1 << 16 else 4),
        checkpoints=copies * each,
        model=memory.weights,
    )


def _cost(cfg: PretrainConfig, device: Device, precision: PrecisionName, ask: PlanConfig) -> Cost:
    mixed = cfg.model.moe is not None or cfg.model.mamba is not None
    mfu = ask.mfu or (MFU_MIXED if mixed else MFU_DENSE)
    flops = count(cfg.model).flops_per_token(cfg.seq_len)
    speed = device.flops[precision] * mfu / flops
    speed /= RECOMPUTED if cfg.checkpoint_activations else 1
    tokens = ask.tokens or cfg.tokens or (cfg.steps or 0) * cfg.batch_tokens
    tokens = tokens or round((cfg.minutes or 0) * 60 * speed)
    hours = tokens / speed / 3600
    price = device.usd_per_hour if ask.price is None else ask.price
    usd = hours * price
    steps = math.ceil(tokens / cfg.batch_tokens)
    return Cost(tokens, steps, flops, mfu, speed, hours, price, usd, usd * KRW_PER_USD)
