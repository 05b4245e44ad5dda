"""Picks the implementation of an op once, when a model is built, and says why.

Every op owns a table of backends, best first, each with a capability check. ``auto`` takes the
first of our own that can run and logs one line; kernels of other packages, and those not measured
by us, are taken only by name. A backend named by the user that cannot run raises. Reasons are in
the user's language: ``yaongi doctor`` prints them.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch

from yaongi.core.errors import CapabilityError, did_you_mean
from yaongi.core.i18n import translate
from yaongi.core.install import install_command

F = TypeVar("F", bound=Callable[..., Any])
Capability = Callable[[torch.device], str | None]
"""Given a device, the reason something cannot run there, or None when it can."""

log = logging.getLogger(__name__)


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is the first accelerator torch can use, else the CPU.

    Raises:
        CapabilityError: a device named by the user is not there.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CapabilityError(
            "device '{name}' cannot be used here: {reason}",
            name=name,
            reason=str(error).splitlines()[0],
        ) from error
    return device


@dataclass(frozen=True)
class Backend(Generic[F]):
    """One implementation of an op.

    Attributes:
        unavailable: where it cannot run, and why.
        measured: whether we have measured it on hardware it is written for. ``auto`` leaves out
            what is not: nobody here knows that it is right and faster there.
    """

    name: str
    run: F
    unavailable: Capability
    measured: bool = True


@dataclass(frozen=True)
class Candidate:
    """A row of ``explain``: what ``auto`` would think of one backend."""

    op: str
    backend: str
    chosen: bool
    reason: str | None


class Op(Generic[F]):
    """An op's name and its backends, best first."""

    def __init__(self, name: str, backends: Sequence[Backend[F]]) -> None:
        self.name = name
        self.backends = list(backends)

    def pick(self, device: torch.device, choice: str = "auto") -> F:
        """The function to run on ``device``.

        Raises:
            CapabilityError: ``choice`` is unknown, or cannot run there; the message says why.
        """
        if choice != "auto":
            return self._named(device, choice)
        for backend in self.backends:
            if backend.measured and backend.unavailable(device) is None:
                log.info("%s: %s (%s)", self.name, backend.name, describe(device))
                return backend.run
        raise CapabilityError(
            "No backend of {op} runs on {device}.", op=self.name, device=describe(device)
        )

    def _named(self, device: torch.device, choice: str) -> F:
        names = [b.name for b in self.backends]
        for backend in self.backends:
            if backend.name != choice:
                continue
            reason = backend.unavailable(device)
            if reason is None:
                return backend.run
            raise CapabilityError(
                "{op}: the backend '{choice}' cannot run on {device}: {reason}",
                op=self.name,
                choice=choice,
                device=describe(device),
                reason=reason,
            )
        raise CapabilityError(
            "{op} has no backend '{choice}'. {help}",
            op=self.name,
            choice=choice,
            help=did_you_mean(choice, names),
        )

    def explain(self, device: torch.device, choice: str = "auto") -> list[Candidate]:
        """Every backend with whether ``choice`` would take it on ``device``, and why not."""
        rows: list[Candidate] = []
        taken = False
        for backend in self.backends:
            reason = backend.unavailable(device)
            wanted = backend.measured if choice == "auto" else backend.name == choice
            chosen = reason is None and wanted and not taken
            if reason is None and not chosen:
                reason = self._passed_over(backend, choice)
            taken = taken or chosen
            rows.append(Candidate(self.name, backend.name, chosen, reason))
        return rows

    def _passed_over(self, backend: Backend[F], choice: str) -> str:
        """Why a backend that can run is not taken."""
        if choice != "auto":
            return translate("{choice} is named in {variable}", choice=choice, variable=VARIABLE)
        if not backend.measured:
            return translate(
                "not measured by us; take it with {variable}={op}={name}",
                variable=VARIABLE,
                op=self.name,
                name=backend.name,
            )
        return translate("a faster one is available")


VARIABLE = "YAONGI_KERNELS"


def named_kernels(device: torch.device) -> dict[str, str]:
    """Op -> backend, as the user names them for accelerators in ``YAONGI_KERNELS``.

    ``YAONGI_KERNELS=ssd=mamba_ssm,conv1d=causal_conv1d``. A model is built on the CPU and moved,
    so names of GPU kernels must not be asked of the CPU.

    Raises:
        CapabilityError: it reads otherwise.
    """
    given = os.environ.get(VARIABLE, "")
    pairs = [part.partition("=") for part in given.split(",") if part.strip()]
    if not all(op.strip() and name.strip() for op, _, name in pairs):
        raise CapabilityError(
            "{variable} is {given!r}; expected op=backend, comma between: ssd=mamba_ssm.",
            variable=VARIABLE,
            given=given,
        )
    if device.type in ("cpu", "meta"):
        return {}
    return {op.strip(): name.strip() for op, _, name in pairs}


def anywhere(device: torch.device) -> str | None:
    """Capability of plain PyTorch code."""
    return None


def only(kind: str) -> Capability:
    """Capability: only devices of this type (the meta device counts, it computes nothing)."""

    def check(device: torch.device) -> str | None:
        if device.type in (kind, "meta"):
            return None
        return translate("it is written for {kind}, not {device}", kind=kind, device=device.type)

    return check


def cuda_from(major: int, minor: int = 0) -> Capability:
    """Capability: NVIDIA GPUs of at least this compute capability."""

    def check(device: torch.device) -> str | None:
        if device.type != "cuda":
            return translate("it needs a CUDA device, not {device}", device=device.type)
        if torch.version.hip is not None:
            return translate("it is tried on NVIDIA GPUs only, this one is AMD's")
        found = torch.cuda.get_device_capability(device)
        if found >= (major, minor):
            return None
        return translate(
            "it needs compute capability {needed}, this GPU has {found}",
            needed=f"{major}.{minor}",
            found=f"{found[0]}.{found[1]}",
        )

    return check


def missing_compiler(device: torch.device) -> str | None:
    """What ``torch.compile`` lacks on this machine, or None."""
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++")
    if not any(name and shutil.which(name) for name in compilers):
        return translate("there is no C++ compiler (g++ or clang++)")
    if device.type == "cuda":
        found = importlib.util.find_spec("triton")
        return None if found else translate("the package triton is missing")
    return None


def all_of(*checks: Capability) -> Capability:
    """Capability: every one of these; the first that fails gives the reason."""
    return lambda device: next((reason for c in checks if (reason := c(device))), None)


@dataclass(frozen=True)
class Imported:
    """A function of an optional package, imported when it is first needed.

    Attributes:
        package: what to install, as PyPI names it.
        module, name: where the function is.
    """

    package: str
    module: str
    name: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.load()(*args, **kwargs)

    def load(self) -> Callable[..., Any]:
        """The function itself."""
        return getattr(importlib.import_module(self.module), self.name)

    def missing(self, device: torch.device) -> str | None:
        """Capability: the package is there and can be imported."""
        try:
            self.load()
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == self.module.partition(".")[0]:
                return translate(
                    "the package {package} is not installed; get it with {command}",
                    package=self.package,
                    command=install_command("gpu", "--no-build-isolation"),
                )
            return self._broken(error)
        except Exception as error:  # compiled extensions of another torch fail in many ways
            return self._broken(error)
        return None

    def _broken(self, error: Exception) -> str:
        return translate(
            "the package {package} cannot be imported: {reason}",
            package=self.package,
            reason=str(error).partition("\n")[0] or type(error).__name__,
        )


def opaque(run: F) -> F:
    """``run``, which no compiler looks into.

    ``torch.compiler.disable`` loads the compiler at once, which takes a second of every command;
    torch's own form of it waits for the first call.
    """
    return cast(F, cast(Any, torch)._disable_dynamo(run))


def describe(device: torch.device) -> str:
    """A device in words: ``cpu``, or ``cuda sm90``."""
    if device.type != "cuda":
        return device.type
    major, minor = torch.cuda.get_device_capability(device)
    return f"cuda sm{major}{minor}"
