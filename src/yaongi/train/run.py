"""A training run in a folder: plan once, resume, step, log, evaluate, save, stop politely.

What pretraining and fine-tuning share. The folder is the stage's ``DIR.partial``; everything a
killed run needs lies in its ``checkpoints``, which leave before the artifact is finished.
"""

from __future__ import annotations

import logging
import math
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Protocol, cast

import torch
from pydantic import Field, model_validator

from yaongi.core.artifact import Artifact, Draft, differences
from yaongi.core.errors import CheckpointError, ConfigError
from yaongi.core.files import read_json, sync, write_json
from yaongi.core.i18n import translate
from yaongi.core.runlog import METRICS, PLAN, RunLog
from yaongi.core.trackers import TrackerChoice
from yaongi.core.units import Count, Seconds
from yaongi.model.count import count
from yaongi.model.lm import LM
from yaongi.model.lora import learnt_state, load_learnt
from yaongi.ops.backend import choose_device, missing_compiler
from yaongi.train import checkpoint as ckpt
from yaongi.train.fp8 import use_fp8
from yaongi.train.freezing import Freezing
from yaongi.train.loop import Batches, LoopConfig, Step, train_steps
from yaongi.train.objectives import Objective
from yaongi.train.optim import OptimizerChoice
from yaongi.train.optim.build import build_optimizer, optimizer_metrics
from yaongi.train.optim.muon import Muon
from yaongi.train.precision import (
    CompileChoice,
    PrecisionName,
    announce_compilation,
    choose_compile,
    choose_precision,
    matmul_flops,
)

log = logging.getLogger(__name__)

Probes = Mapping[str, Callable[[LM], float]]
"""Measurements of a model by name, lower is better (bits per byte)."""

BUDGETS = ("steps", "tokens", "minutes", "epochs")
"""The settings that say how long to train; a training has one of them."""

NEUTRAL = ("trackers", "save_s", "keep", "threads")
"""Settings that may change when a run is resumed: the result does not depend on them (on the
number of threads only in its last bits, of which a warning tells)."""

WARM_STEPS, TIMED_STEPS, TIMED_SHARE = 2, 3, 0.02
"""A time budget is planned from so many steps after so many to warm up, or more of them: those
that fit into this share of the budget."""

PROBED_SHARE = 0.5
"""Of a time budget, after which no more steps are timed: a busy machine must not spend it all."""

FEW_STEPS = 20
"""A plan of fewer steps comes with a warning."""

REVISE_SHARE = 0.05
"""A time budget is planned again when the steps that fit differ by more than this share."""

SPARE = 0.98
"""Share of a time budget for steps and evaluation; the rest is for checkpoints."""

USUAL_UTILISATION = 0.4
"""Share of a plain matrix product's speed that training reaches, to guess a run's length."""


class TrainConfig(LoopConfig):
    """What every kind of training sets.

    Attributes:
        batch_tokens: tokens per optimizer step, a multiple of seq_len.
        steps, tokens, minutes: the budget, one of them. ``minutes`` is turned into a number of
            steps by timing a few on the first start, and once more before the learning rate
            begins to fall; a resumed run keeps that number.
        fp8: multiply in 8-bit floats where that can win (Ada, Hopper, Blackwell); see train/fp8.py.
        checkpoint_activations: recompute layers in the backward pass: less memory, more time.
        tables_on_host: leave Engram's tables, their moments included, in host memory.
        log_every, eval_every: in steps; the last step is always logged and evaluated.
        save_s: time between checkpoints.
        keep: newest checkpoints to keep, besides the best.
        threads: CPU threads; None leaves torch's choice.
    """

    optimizer: OptimizerChoice = Field(default_factory=Muon)
    batch_tokens: Annotated[Count, Field(gt=0)] = 16384
    seq_len: Annotated[int, Field(gt=0)] = 512
    steps: Annotated[Count, Field(gt=0)] | None = None
    tokens: Annotated[Count, Field(gt=0)] | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    precision: PrecisionName = "auto"
    fp8: bool = False
    compile: CompileChoice = "auto"
    device: str = "auto"
    checkpoint_activations: bool = False
    tables_on_host: bool = False
    threads: Annotated[int, Field(gt=0)] | None = None
    log_every: Annotated[int, Field(gt=0)] = 10
    eval_every: Annotated[int, Field(ge=0)] = 0
    save_s: Seconds = 300.0
    keep: Annotated[int, Field(gt=0)] = 2
    trackers: tuple[TrackerChoice, ...] = ()

    @model_validator(mode="after")
    def _one_budget(self) -> TrainConfig:
        given = [name for name in BUDGETS if getattr(self, name, None) is not None]
        if len(given) > 1:
            raise ConfigError(
                "give one budget, not both {one} and {other}: leave one out",
                one=given[0],
                other=given[1],
            )
        if self.batch_tokens % self.seq_len:
            near = max(1, round(self.batch_tokens / self.seq_len)) * self.seq_len
            raise ConfigError(
                "batch_tokens ({batch}) must be a multiple of seq_len ({seq}), for example {near}",
                batch=self.batch_tokens,
                seq=self.seq_len,
                near=near,
            )
        if self.fp8 and self.precision not in ("auto", "bf16"):
            raise ConfigError("fp8 goes with precision bf16, not {name}", name=self.precision)
        return self

    @property
    def batch_rows(self) -> int:
        """Rows of one optimizer step."""
        return self.batch_tokens // self.seq_len


@dataclass(frozen=True)
class Plan:
    """What is decided on the first start and kept when the run resumes."""

    steps: int
    precision: PrecisionName
    compile: bool


@dataclass
class Progress:
    """How far the run is, and on what machine; part of every checkpoint.

    Attributes:
        seconds: spent in steps.
        best: lowest mean of the probes so far.
        metrics: the numbers logged last.
    """

    machine: dict[str, Any]
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Watch(Protocol):
    """Follows a run's evaluations and may change its batches; its state is in every checkpoint."""

    def begin(self, probed: Mapping[str, float]) -> Mapping[str, Any]:
        """The evaluation before the first step; returns what to log with it."""
        ...

    def observe(self, step: Step, probed: Mapping[str, float]) -> Mapping[str, Any]:
        """An evaluation after a step; returns what to log with it."""
        ...

    def state(self) -> dict[str, Any]:
        """What ``load`` needs, as JSON."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Be as when ``state`` was taken."""
        ...


def run_training(
    model: LM,
    batches: Batches,
    objective: Objective,
    cfg: TrainConfig,
    work: Draft,
    *,
    steps: int | None = None,
    probes: Probes | None = None,
    watch: Watch | None = None,
    freezing: Freezing | None = None,
    on_step: Callable[[Step], None] | None = None,
    cycle: int = 1,
) -> Progress:
    """Train ``model`` in place to the end of its budget, from the newest checkpoint if any.

    Args:
        model: with its starting weights; moved to the run's device. One with adapters trains and
            saves those only.
        work: the draft, opened with ``resumable=True``; call ``recover`` on it first.
        steps: the budget, where it comes from the data (epochs) instead of ``cfg``.
        watch: told of every evaluation, and of one before the first step.
        freezing: what of ``model`` may change at each step.
        cycle: steps of unequal length that belong together; a time budget is planned in whole
            cycles.
    Raises:
        CheckpointError: the folder holds a run of other settings or only damaged checkpoints.
        NumericsError: loss or gradient not finite.
        StorageError: the disk is full; the last good checkpoint is intact.
        KeyboardInterrupt: after SIGINT or SIGTERM, once a checkpoint is written. One that comes
            in the last step is raised by ``finish``, so that what is trained is kept.
    """
    run = _Run(model, batches, objective, cfg, work, probes or {}, watch, freezing, cycle)
    run.start(steps)
    name, resume_step = work.out.name, run.progress.step or None
    with (
        RunLog(
            work.path, cfg.trackers, name=name, config=work.config, resume_step=resume_step
        ) as metrics,
        _Signals(lambda: run.compiling) as stop,
    ):
        run.begin(metrics)
        for step in run.steps():
            run.record(step, metrics)
            if on_step is not None:
                on_step(step)
            if stop.requested and not step.last:
                run.save()
                raise KeyboardInterrupt
        work.stop_when_done = stop.requested
    return run.progress


class _Run:
    """What belongs together while it trains: model, optimizer, plan, progress, checkpoints."""

    def __init__(
        self,
        model: LM,
        batches: Batches,
        objective: Objective,
        cfg: TrainConfig,
        work: Draft,
        probes: Probes,
        watch: Watch | None,
        freezing: Freezing | None,
        cycle: int,
    ) -> None:
        self.began = self.saved_at = time.monotonic()
        self.spent = 0.0  # by earlier processes of this run
        if cfg.threads is not None:
            torch.set_num_threads(cfg.threads)
        self.cfg, self.work, self.batches, self.probes = cfg, work, batches, probes
        self.watch, self.freezing, self.cycle = watch, freezing, cycle
        self.objective = partial(objective, checkpoint=cfg.checkpoint_activations)
        self.root = work.path / "checkpoints"
        self.device = choose_device(cfg.device)
        if cfg.tables_on_host:
            model.keep_tables_on_host()
        self.model = model.to(self.device)
        self.progress = Progress(ckpt.machine_facts(self.device))

    def start(self, steps: int | None) -> None:
        """Make the plan or read it, then load the newest checkpoint."""
        identity = _identity(self.work)
        plan = _read_plan(self.work.path / PLAN, identity)
        self._choose(plan, steps or self.cfg.steps)
        self.root.mkdir(parents=True, exist_ok=True)
        if plan is None:
            plan = self._make_plan(steps)
            self._write_plan(plan)
        self.plan = plan
        self._build()
        ckpt.sweep(self.root)
        if (found := ckpt.newest(self.root)) is not None:
            self._load(found)
        self.first = self.progress.step

    def _choose(self, plan: Plan | None, steps: int | None) -> None:
        """Resolve precision and compilation: as planned, or as the settings say."""
        cfg = self.cfg
        self.precision = choose_precision(plan.precision if plan else cfg.precision, self.device)
        log.info("precision: %s (%s)", self.precision.name, self.precision.reason)
        if cfg.fp8:
            use_fp8(self.model, self.device)
        if plan is None:
            self.compiled, reason = choose_compile(
                cfg.compile, self.device, self._expected_s(steps)
            )
            log.info("compile: %s (%s)", "on" if self.compiled else "off", reason)
        else:
            missing = missing_compiler(self.device) if plan.compile else None
            if missing:
                log.warning(
                    translate(
                        "The run was compiled so far, but here {reason}: it goes on slower.",
                        reason=missing,
                    )
                )
            self.compiled = plan.compile and not missing
        if self.compiled:
            announce_compilation()

    def _build(self) -> None:
        """What steps need: the model as it runs, a new optimizer, a new loss scaler."""
        self.runner = cast(LM, torch.compile(self.model)) if self.compiled else self.model
        if self.freezing is not None:
            self.freezing.release()
        self.optimizer = build_optimizer(self.cfg.optimizer, self.model)
        if self.freezing is not None:
            self.freezing.attach(self.optimizer)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.scaled)

    def _expected_s(self, steps: int | None) -> float:
        """Roughly how long the run takes."""
        cfg = self.cfg
        if cfg.minutes is not None:
            return cfg.minutes * 60
        tokens = cfg.tokens or (steps or 0) * cfg.batch_tokens
        flops = tokens * count(self.model.cfg).flops_per_token(cfg.seq_len)
        return flops / (matmul_flops(self.precision) * USUAL_UTILISATION)

    def _make_plan(self, steps: int | None) -> Plan:
        cfg = self.cfg
        steps = steps or cfg.steps
        if steps is None and cfg.tokens is not None:
            steps = math.ceil(cfg.tokens / cfg.batch_tokens)
        if steps is None and cfg.minutes is not None:
            steps = self._steps_in(cfg.minutes * 60)
        if steps is None:
            raise ConfigError("The training has no budget: set steps, tokens or minutes.")
        return Plan(steps, self.precision.name, self.compiled)

    def _steps_in(self, budget_s: float) -> int:
        """Steps, with their evaluations, that fit: timed on real steps, which are then undone."""
        self._build()
        before = {k: v.clone() for k, v in learnt_state(self.model).items()}
        times: list[float] = []  # of a step, mean over its cycle
        seconds = 0.0
        for step in self._train(0, 1 << 20):
            seconds += step.seconds
            if step.index % self.cycle:
                continue
            times.append(seconds / self.cycle)
            seconds = 0.0
            timed = times[WARM_STEPS:]
            if len(timed) >= TIMED_STEPS and sum(timed) * self.cycle >= TIMED_SHARE * budget_s:
                break
            if time.monotonic() - self.began >= PROBED_SHARE * budget_s:
                break
        load_learnt(self.model, before)
        step_s = statistics.median(times[WARM_STEPS:] or times[-1:])
        probe_start = time.monotonic()
        self.evaluate()
        now = time.monotonic()
        if self.cfg.eval_every:
            step_s += (now - probe_start) / self.cfg.eval_every
        left_s = SPARE * (budget_s - (now - self.began)) - (now - probe_start)
        steps = max(1, int(left_s / step_s))
        if steps < FEW_STEPS:
            log.warning(
                translate(
                    "Steps that fit into the time: {steps}, of {seconds:.0f} s each. The model "
                    "will have learnt next to nothing. Give more minutes, or a machine with less "
                    "else to do.",
                    steps=steps,
                    seconds=step_s,
                )
            )
        return steps

    @property
    def compiling(self) -> bool:
        """Whether the step under way is the first of this process, and is compiled on its way."""
        return self.compiled and self.progress.step == self.first

    def steps(self) -> Iterator[Step]:
        """The remaining steps of the plan, which a time budget may still change on the way."""
        self.stepping_since = time.monotonic()
        late = False
        while True:
            open_until = self.cfg.schedule.open_until(self.plan.steps) if self.cfg.minutes else 0
            for step in self._train(self.progress.step, self.plan.steps):
                yield step
                overdue = not late and step.index < open_until and self._late(open_until)
                if overdue or step.index == open_until:
                    late = late or overdue
                    break
            else:
                return
            self._revise()

    @property
    def _budget_s(self) -> float:
        return SPARE * (self.cfg.minutes or 0.0) * 60

    def _budget_left_s(self) -> float:
        return self._budget_s - (self.spent + time.monotonic() - self.began)

    def _late(self, open_until: int) -> bool:
        """Whether the time is up for the steps before the decay, though not all were made."""
        share = 1 - open_until / self.plan.steps
        return self._budget_left_s() < share * self._budget_s

    def _revise(self) -> None:
        """Plan again before the decay begins: a machine is not always as fast as when it started.

        A checkpoint comes first, so that a resumed run does not repeat earlier steps by the new
        plan.
        """
        done = self.progress.step
        step_s = (time.monotonic() - self.stepping_since) / (done - self.first)
        steps = done + max(1, int(self._budget_left_s() / step_s))
        if abs(steps - self.plan.steps) > REVISE_SHARE * self.plan.steps:
            self.save()
            self.plan = replace(self.plan, steps=steps)
            self._write_plan(self.plan)
            log.info("planned again: %d steps fit into %s minutes", steps, self.cfg.minutes)

    def _write_plan(self, plan: Plan) -> None:
        write_json(self.work.path / PLAN, {"identity": _identity(self.work), "plan": asdict(plan)})

    def _train(self, start: int, steps: int) -> Iterator[Step]:
        return train_steps(
            self.runner,
            self.optimizer,
            self.batches,
            self.objective,
            self.cfg,
            steps=steps,
            start=start,
            precision=self.precision,
            scaler=self.scaler,
            prepare=self.freezing.prepare if self.freezing else lambda index, steps: None,
            last_good=lambda: next((c.path for c in ckpt.complete(self.root)), "none yet"),
        )

    def begin(self, metrics: RunLog) -> None:
        """Evaluate before the first step, where somebody watches."""
        if self.watch is not None and not self.progress.step:
            probed = self.evaluate()
            metrics.log(0, **probed, **self.watch.begin(probed))

    def record(self, step: Step, metrics: RunLog) -> None:
        """Log, evaluate and save what is due after a step."""
        now = self.progress
        now.step, now.tokens = step.index, now.tokens + step.tokens
        now.seconds += step.seconds
        probed = self.evaluate() if step.due(self.cfg.eval_every) else {}
        if probed or step.due(self.cfg.log_every):
            numbers = {
                "loss": step.loss,
                **step.metrics,
                **optimizer_metrics(self.optimizer),
                "tokens": now.tokens,
                "tokens_per_s": round(step.tokens / step.seconds, 1),
                **probed,
            }
            now.metrics.update(numbers)
            told = self.watch.observe(step, probed) if self.watch and probed else {}
            metrics.log(step.index, **numbers, **told)
        metric = statistics.fmean(probed.values()) if probed else None
        improved = metric is not None and (now.best is None or metric < now.best)
        now.best = metric if improved else now.best
        if step.last or improved or time.monotonic() - self.saved_at >= self.cfg.save_s:
            self.save(metric)

    def evaluate(self) -> dict[str, float]:
        """The probes' values, in eval mode and without gradients."""
        self.model.eval()
        with torch.no_grad(), self.precision.autocast():
            values = {name: float(probe(self.model)) for name, probe in self.probes.items()}
        self.model.train()
        return values

    def save(self, metric: float | None = None) -> None:
        """Write a checkpoint of the finished steps; ``metric`` is their evaluation, if any."""
        sync(self.work.path / METRICS)  # the log must not fall behind the checkpoint
        tensors, state = ckpt.training_state(self.model, self.optimizer, self.scaler)
        weights = ckpt.to_cpu(learnt_state(self.model))
        state |= {"metric": metric, "progress": asdict(self.progress)}
        state["watch"] = self.watch.state() if self.watch else None
        ckpt.save(self.root, self.progress.step, weights, tensors, state, keep=self.cfg.keep)
        self.saved_at = time.monotonic()

    def _load(self, found: ckpt.Checkpoint) -> None:
        weights, tensors, state = found.read()
        load_learnt(self.model, weights)
        ckpt.restore(self.model, self.optimizer, self.scaler, tensors, state)
        if self.watch is not None:
            self.watch.load(state["watch"])
        here = self.progress.machine
        self.progress = Progress(**state["progress"])
        ckpt.warn_if_moved(self.progress.machine, here)
        self.progress.machine = here
        self.spent = self.progress.seconds
        log.warning(
            translate(
                "Continuing after step {step} of {steps}.",
                step=self.progress.step,
                steps=self.plan.steps,
            )
        )


def _identity(work: Draft) -> dict[str, Any]:
    """What must be equal for a run to be resumed."""
    return {
        "config": {k: v for k, v in work.config.items() if k not in NEUTRAL},
        "inputs": [f"{p.manifest.kind} {p.hash}" for p in work.parents],
        "seed": work.seed,
    }


def _read_plan(path: Path, identity: dict[str, Any]) -> Plan | None:
    if not path.is_file():
        return None
    saved = read_json(path)
    changes = differences(saved["identity"], identity)
    if changes:
        raise CheckpointError(
            "{path} holds an unfinished run of different settings: {changes}. Remove that folder "
            "to start again. To keep it, give another --out where it is the command's own result; "
            "name=NEW gives a recipe's other folders another place.",
            path=path.parents[1],
            changes="; ".join(changes[:4]),
        )
    return Plan(**saved["plan"])


def recover(work: Draft) -> None:
    """Take back the checkpoints of a run that was killed while finishing."""
    if _aside(work.out).is_dir():
        _aside(work.out).rename(work.path / "checkpoints")


def finish(work: Draft, **manifest: Any) -> Artifact:
    """``work.finish`` without the checkpoints, which stay beside it until it is complete.

    Raises:
        KeyboardInterrupt: once it is complete, if that was asked for in the last step.
    """
    aside = _aside(work.out)
    (work.path / "checkpoints").rename(aside)
    done = work.finish(**manifest)
    shutil.rmtree(aside, ignore_errors=True)
    if work.stop_when_done:
        raise KeyboardInterrupt
    return done


def _aside(out: Path) -> Path:
    return out.with_name(f".{out.name}.checkpoints")


class _Signals:
    """Turns the first SIGINT or SIGTERM into a request; a second one acts as usual."""

    def __init__(self, compiling: Callable[[], bool]) -> None:
        self.requested, self._compiling = False, compiling
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._compiling():
            log.warning(
                translate(
                    "Stopping after this step, of which compiling the model is a part: that takes "
                    "minutes. The same again stops at once; the last checkpoint stays."
                )
            )
        else:
            log.warning(translate("Stopping after this step; the same again stops at once."))
        self._restore()

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
