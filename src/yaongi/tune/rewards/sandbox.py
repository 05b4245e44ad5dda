"""Runs a program nobody has read, with limits on all it could take or reach.

Time, memory, files, processes and output are bounded, the environment is empty, and the network
and every folder but Python's own are out of reach (see ``jail``). This stops mistakes and tricks
of generated code; it is no defence against somebody who knows a hole in the kernel.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from yaongi.core.config import Config
from yaongi.core.errors import CapabilityError
from yaongi.core.units import ByteSize, Seconds

Isolation = Literal["namespaces", "limits_only"]

SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/nix")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
SIGNALLED = 128
"""Exit codes above it are signals, as in a shell."""
_READ_BYTES = 65_536


class Limits(Config):
    """How much a program may use.

    Attributes:
        wall_s: seconds on the clock for all of it. cpu_s: of computing, for each process.
        memory: address space of each process.
        file_size: of each file written; there is no place to write one, but memory files.
        files: open at a time. processes: at a time, threads included.
        output: bytes written to standard output and error.
        isolation: ``namespaces``, or ``limits_only`` where the machine has none: then the program
            can use the network and read and write what you can.
    """

    wall_s: Seconds = 10.0
    cpu_s: int = Field(default=5, ge=1)
    memory: ByteSize = 512 * 2**20
    file_size: ByteSize = 2**20
    files: int = Field(default=32, ge=8)
    processes: int = Field(default=4, ge=1)
    output: ByteSize = 64 * 2**10
    isolation: Isolation = "namespaces"


class Ended(StrEnum):
    """How a program ended."""

    EXITED = "exited"
    KILLED = "killed"  # by a signal: its own, or of a limit
    TIMEOUT = "timeout"
    OUTPUT = "output"  # wrote too much


@dataclass(frozen=True)
class Outcome:
    """What came of a program.

    Attributes:
        code: exit code, or the number of the signal.
        output: standard output and error together, at most ``Limits.output`` bytes.
    """

    ended: Ended
    code: int
    output: bytes

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, without an error."""
        return self.ended is Ended.EXITED and self.code == 0


def run(program: str, stdin: bytes, limits: Limits) -> Outcome:
    """Run Python source with ``stdin`` and wait for its end.

    It sees the standard library only, and starts in an empty folder it cannot write to.

    Raises:
        CapabilityError: the isolation asked for is not to be had here; nothing was run.
    """
    if sys.platform == "win32":
        raise _not_here("there are no such limits on Windows")
    with ExitStack() as stack:
        report_in, report_out = os.pipe()
        report = stack.enter_context(os.fdopen(report_in, "rb"))
        empty = None if limits.isolation == "namespaces" else tempfile.TemporaryDirectory()
        if empty is not None:
            Path(stack.enter_context(empty)).chmod(0o500)
        try:
            process = subprocess.Popen(
                _jailed(program, limits, report_out, "/empty" if empty is None else empty.name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[report_out],
                env=ENVIRONMENT,
                start_new_session=True,
            )
        finally:
            os.close(report_out)
        with process:
            outcome = _watch(process, stdin, limits)
        if reason := report.read().decode():
            raise _not_here(reason)
        return outcome


def check(limits: Limits) -> None:
    """Run a program that does nothing. Raises CapabilityError as ``run``."""
    outcome = run("", b"", limits)
    if not outcome.ok:
        raise _not_here(
            f"{outcome.ended} {outcome.code}: {outcome.output.decode(errors='replace')}"
        )


def _not_here(reason: str) -> CapabilityError:
    return CapabilityError(
        "Generated code cannot be shut off from network and files here: {reason}. It needs Linux "
        "5.12 with user namespaces, or root that may make namespaces (docker run --privileged). "
        "To run it all the same, able to do what you can, say isolation: limits_only.",
        reason=reason,
    )


def _jailed(program: str, limits: Limits, report: int, cwd: str) -> list[str]:
    """The command that shuts itself in and runs ``program``."""
    python = os.path.realpath(sys.executable)
    flags = ["-S", "-s", "-P", "-B", "-X", "utf8"]
    spec = {
        "isolated": limits.isolation == "namespaces",
        "folders": _folders(python),
        "command": [python, *flags, "-c", program],
        "environment": ENVIRONMENT,
        "cwd": cwd,
        "report": report,
        "signalled": SIGNALLED,
        "limits": {
            "CPU": limits.cpu_s,
            "AS": limits.memory,
            "FSIZE": limits.file_size,
            "NOFILE": limits.files,
            "NPROC": limits.processes,
            "CORE": 0,
        },
    }
    return [python, *flags, str(Path(__file__).with_name("jail.py")), json.dumps(spec)]


def _folders(python: str) -> list[str]:
    """What a Python program needs to see, no folder inside another."""
    wanted = [*SYSTEM_FOLDERS, os.path.realpath(sys.base_prefix), str(Path(python).parent)]
    there = [path for path in wanted if os.path.lexists(path)]
    return [p for p in there if not any(p != q and p.startswith(f"{q}/") for q in there)]


def _watch(process: subprocess.Popen[bytes], stdin: bytes, limits: Limits) -> Outcome:
    """Feed and read the program until it ends or has to be ended."""
    deadline = time.monotonic() + limits.wall_s
    feeder = threading.Thread(target=_feed, args=(process, stdin), daemon=True)
    feeder.start()
    try:
        output, ended = _read(process, limits.output, deadline)
        if ended is None and not _ended(process, deadline):  # it closed its output and goes on
            ended = Ended.TIMEOUT
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the jail, and with it all that is in it
        process.wait()
        feeder.join()
    code = process.returncode
    number = -code if code < 0 else max(0, code - SIGNALLED)
    if ended is None:
        ended = Ended.KILLED if number else Ended.EXITED
    return Outcome(ended, number or code, output)


def _ended(process: subprocess.Popen[bytes], deadline: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))
        return True
    return False


def _read(
    process: subprocess.Popen[bytes], cap: int, deadline: float
) -> tuple[bytes, Ended | None]:
    """What the program writes, and why reading stopped before its end, if it did."""
    assert process.stdout is not None
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            part = os.read(process.stdout.fileno(), _READ_BYTES)
            output += part
            if len(output) > cap:
                return bytes(output[:cap]), Ended.OUTPUT
            if not part:
                return bytes(output), None
    return bytes(output), Ended.TIMEOUT


def _feed(process: subprocess.Popen[bytes], stdin: bytes) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as stream:
        stream.write(stdin)
