"""What this machine can run, and why not the rest: the content of ``yaongi doctor``.

Every line is asked of the code that will decide in a run (precision, compilation, kernels), so
the doctor cannot promise what training then refuses.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from yaongi.core.artifact import machine
from yaongi.core.config import data_root
from yaongi.core.errors import CapabilityError
from yaongi.core.i18n import language, translate
from yaongi.core.install import install_command
from yaongi.core.units import human_bytes

if TYPE_CHECKING:
    import torch
    from rich.table import Table

EXTRAS = {  # extra of the package -> the module that shows it is installed
    "data": "resiliparse",
    "hf": "datasets",
    "ray": "ray",
    "hub": "huggingface_hub",
    "gguf": "gguf",
    "llamacpp": "xllamacpp",
    "serve": "fastapi",
    "grammar": "xgrammar",
    "notebook": "ipywidgets",
    "openai": "openai",
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "trackio": "trackio",
}
FREE_DISK = 5 * 10**9  # a quickstart run with its checkpoints, with room to breathe
MEMORY = 4 * 10**9  # training the small presets


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    OPTIONAL = "optional"  # not there, and nothing needs it unless asked for
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, how it came out, what was found, what would help."""

    name: str
    status: Status
    detail: str
    help: str = ""


def diagnose() -> list[Check]:
    """Look at everything a run depends on. Slow only by the import of torch."""
    checks = [_python(), *_torch()]
    if importlib.util.find_spec("torch"):
        for device in devices():
            checks += [_device(device), *_precisions(device), _compile(device), *_kernels(device)]
    return [*checks, *_extras(), _disk(), _memory(), _data(), _locale()]


def as_json(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """The checks for ``--json``."""
    return [asdict(check) for check in checks]


def render(checks: Sequence[Check]) -> Table:
    """The checks as a table for a terminal."""
    from rich.table import Column, Table
    from rich.text import Text

    marks = {"ok": ("✓", "green"), "optional": ("·", "dim"), "warning": ("!", "yellow")}
    # rich's other ways to end a line lose a character where wide ones fill it
    columns = [Column(overflow="fold") for _ in range(3)]
    table = Table.grid(*columns, padding=(0, 1))
    for check in checks:
        mark, colour = marks.get(check.status, ("✗", "red"))
        text = Text(check.detail)
        if check.help:
            text.append(f"\n→ {check.help}", style="dim")
        table.add_row(Text(mark, style=colour), Text(check.name, style="bold"), text)
    return table


def devices() -> list[torch.device]:
    """The devices torch can compute on: every GPU, then the CPU."""
    import torch

    gpus = [torch.device("cuda", n) for n in range(torch.cuda.device_count())]
    mps = [torch.device("mps")] if torch.backends.mps.is_available() else []
    return [*gpus, *mps, torch.device("cpu")]


def _python() -> Check:
    good = sys.version_info >= (3, 11)
    return Check(
        "python",
        Status.OK if good else Status.FAILED,
        f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        "" if good else translate("yaongi needs Python 3.11 or newer."),
    )


def _torch() -> Iterator[Check]:
    if not importlib.util.find_spec("torch"):
        yield Check("torch", Status.FAILED, translate("not installed"), "pip install torch")
        return
    import torch

    yield Check("torch", Status.OK, f"{torch.__version__}, {_threads(torch.get_num_threads())}")
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        yield Check(
            "torch cuda",
            Status.WARNING,
            translate("this machine has nvidia-smi, but torch sees no CUDA device"),
            translate("Install a CUDA build of torch that fits the driver: https://pytorch.org"),
        )


def _threads(n: int) -> str:
    return translate("{n} threads", n=n)


def _device(device: torch.device) -> Check:
    import torch

    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        detail = f"{found.name}, sm_{found.major}{found.minor}, {human_bytes(found.total_memory)}"
    elif device.type == "cpu":
        detail = ", ".join([str(machine()["cpu"]), *_cpu_units()])
    else:
        detail = platform.processor() or platform.machine()
    return Check(f"device {device}", Status.OK, detail)


def _cpu_units() -> list[str]:
    """The vector and matrix units that decide the speed of training."""
    import torch

    have = torch.cpu.get_capabilities()
    names = {"amx_bf16": "AMX-BF16", "avx512_bf16": "AVX512-BF16", "avx512_f": "AVX512",
             "avx2": "AVX2", "neon": "NEON", "sve": "SVE"}  # fmt: skip
    return [shown for key, shown in names.items() if have.get(key)]


def _precisions(device: torch.device) -> Iterator[Check]:
    from yaongi.train.precision import PrecisionName, choose_precision

    chosen = choose_precision("auto", device)
    detail = translate("auto is {name}: {reason}", name=chosen.name, reason=chosen.reason)
    yield Check(f"precision {device}", Status.OK, detail)
    names: tuple[PrecisionName, ...] = ("bf16", "fp16", "fp32")
    for name in names:
        try:
            reason = choose_precision(name, device).reason
        except CapabilityError as error:
            yield Check(f"precision {device} {name}", Status.OPTIONAL, str(error))
            continue
        if name != chosen.name and name != "fp32":
            yield Check(f"precision {device} {name}", Status.OPTIONAL, reason)
    yield _fp8(device)


def _fp8(device: torch.device) -> Check:
    from yaongi.ops.quant.fp8 import fp8_unavailable

    reason = fp8_unavailable(device)
    if reason is None:
        detail = translate("possible; the log of a run with fp8: true says for which matrices")
        return Check(f"precision {device} fp8", Status.OK, detail)
    return Check(f"precision {device} fp8", Status.OPTIONAL, reason)


def _compile(device: torch.device) -> Check:
    from yaongi.ops.backend import missing_compiler

    missing = missing_compiler(device)
    if missing is None:
        return Check(f"compile {device}", Status.OK, translate("torch.compile can be used"))
    return Check(
        f"compile {device}",
        Status.OPTIONAL,
        missing,
        translate("Training runs without it. On Debian or Ubuntu: apt install g++"),
    )


def _kernels(device: torch.device) -> Iterator[Check]:
    """For every op, the backend a run takes on ``device`` and why not the others."""
    from yaongi.ops.backend import named_kernels

    named = named_kernels(device)
    for op in _ops():
        rows = op.explain(device, named.get(op.name, "auto"))
        chosen = [row.backend for row in rows if row.chosen]
        others = [f"{row.backend}: {row.reason}" for row in rows if not row.chosen]
        detail = (chosen or [translate("nothing can run it")])[0]
        if others:
            detail += translate(" (not {others})", others="; ".join(others))
        yield Check(f"{op.name} {device}", Status.OK if chosen else Status.FAILED, detail)


def _ops() -> list[Any]:
    """Every table of backends below ``yaongi.ops``, found rather than listed."""
    import yaongi.ops
    from yaongi.ops.backend import Op

    found: dict[str, Any] = {}
    for info in pkgutil.iter_modules(yaongi.ops.__path__, "yaongi.ops."):
        module = importlib.import_module(info.name)
        found |= {op.name: op for op in vars(module).values() if isinstance(op, Op)}
    return [found[name] for name in sorted(found)]


def _extras() -> Iterator[Check]:
    for extra, module in EXTRAS.items():
        if importlib.util.find_spec(module):
            yield Check(f"extra {extra}", Status.OK, translate("installed"))
        else:
            command = install_command(extra)
            yield Check(f"extra {extra}", Status.OPTIONAL, translate("not installed"), command)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    low = free < FREE_DISK
    return Check(
        "disk",
        Status.WARNING if low else Status.OK,
        translate("{size} free in {path}", size=human_bytes(free), path=Path.cwd()),
        translate("A run stops cleanly when the disk is full; give it another --out.")
        if low
        else "",
    )


def _memory() -> Check:
    total = machine()["memory_bytes"]
    if total is None:
        return Check("memory", Status.OPTIONAL, translate("unknown"))
    low = total < MEMORY
    detail = translate("{size}, {cores} cores", size=human_bytes(total), cores=os.cpu_count())
    help = translate("Choose a smaller micro_batch or preset.") if low else ""
    return Check("memory", Status.WARNING if low else Status.OK, detail, help)


def _data() -> Check:
    root = data_root()
    if root.is_dir():
        return Check("data", Status.OK, str(root.absolute()))
    return Check(
        "data",
        Status.WARNING if os.environ.get("YAONGI_DATA") else Status.OPTIONAL,
        translate("{path} is not a folder", path=root.absolute()),
        translate("Recipes on real files need it (data.root or YAONGI_DATA); quickstart does not."),
    )


def _locale() -> Check:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    good = encoding == "utf8"
    return Check(
        "locale",
        Status.OK if good else Status.WARNING,
        translate("messages in {language}, terminal {encoding}",
                  language=language(), encoding=sys.stdout.encoding),
        "" if good else translate("Hangul needs UTF-8: export PYTHONUTF8=1"),
    )  # fmt: skip


@click.command(
    help=translate("What this machine can run, which kernels will be used, and why not others."),
    epilog=translate("Example: yaongi doctor --json"),
)
@click.option("--json", "in_json", is_flag=True, help=translate("Print the result as JSON."))
def command(in_json: bool) -> None:
    """Print the checks."""
    checks = diagnose()
    if in_json:
        click.echo(json.dumps({"checks": as_json(checks)}, ensure_ascii=False))
    else:
        Console().print(render(checks))
