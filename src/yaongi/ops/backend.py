"""Picks the implementation of an op once, when a model is built, and says why.

Every op owns a table of backends, best first, each with a capability check. ``auto`` takes the
first that can run and logs one line; a backend named by the user that cannot run raises.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from yaongi.core.errors import CapabilityError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])
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
        unavailable: given a device, the reason it cannot run there, or None when it can.
    """

    name: str
    run: F
    unavailable: Callable[[torch.device], str | None]


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
            if backend.unavailable(device) is None:
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

    def explain(self, device: torch.device) -> list[Candidate]:
        """Every backend with whether ``auto`` would take it on ``device``, and why not."""
        rows: list[Candidate] = []
        taken = False
        for backend in self.backends:
            reason = backend.unavailable(device)
            chosen = reason is None and not taken
            if reason is None and taken:
                reason = "a faster one is available"
            taken = taken or chosen
            rows.append(Candidate(self.name, backend.name, chosen, reason))
        return rows


def anywhere(device: torch.device) -> str | None:
    """Capability of plain PyTorch code."""
    return None


def only(kind: str) -> Callable[[torch.device], str | None]:
    """Capability: only devices of this type (the meta device counts, it computes nothing)."""

    def check(device: torch.device) -> str | None:
        if device.type in (kind, "meta"):
            return None
        return f"it is written for {kind}, not {device.type}"

    return check


def cuda_from(major: int, minor: int = 0) -> Callable[[torch.device], str | None]:
    """Capability: CUDA devices of at least this compute capability."""

    def check(device: torch.device) -> str | None:
        if device.type != "cuda":
            return f"it needs a CUDA device, not {device.type}"
        found = torch.cuda.get_device_capability(device)
        if found >= (major, minor):
            return None
        return f"it needs compute capability {major}.{minor}, this GPU has {found[0]}.{found[1]}"

    return check


def describe(device: torch.device) -> str:
    """A device in words: ``cpu``, or ``cuda sm90``."""
    if device.type != "cuda":
        return device.type
    major, minor = torch.cuda.get_device_capability(device)
    return f"cuda sm{major}{minor}"
