"""Shuts itself in, then becomes the program: run by ``sandbox`` as a script of its own.

Only the standard library, so that it starts in milliseconds and with a single thread, which the
kernel asks of a process that enters new namespaces. What it builds is what bubblewrap builds: new
mount, process, network and IPC namespaces, and a root folder that holds nothing but Python and the
system's libraries, read-only (namespaces(7), user_namespaces(7), mount_setattr(2)).

A line on file descriptor ``spec["report"]`` says how it went: empty when the program was started,
else why not.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

NEW_MOUNTS, NEW_USER, NEW_PIDS, NEW_NETWORK = 0x20000, 0x10000000, 0x20000000, 0x40000000
NEW_IPC, NEW_NAMES = 0x08000000, 0x04000000
BIND, RECURSIVE, PRIVATE = 0x1000, 0x4000, 0x40000
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000  # the number is the same everywhere
READ_ONLY, NO_SUID = 0x1, 0x2
PARENT_DEATH_SIGNAL, NO_NEW_PRIVILEGES = 1, 38

ROOT = "/proc"
"""Where the new root is put together: a folder that is everywhere and that nothing needed is in."""

OUTSIDE_UIDS = 60_000, 5_000
"""First number and count of the users that root's programs run as. The limit on processes counts
by user, and programs that run at the same time must not share it."""

libc = ctypes.CDLL(None, use_errno=True)


def main(spec: dict[str, Any]) -> None:
    """Set the limits, enter the namespaces if asked to, and become ``spec["command"]``."""
    if not spec["isolated"]:
        start(spec, user=None, counted=0)
    if os.getuid() == 0:
        first, count = OUTSIDE_UIDS
        enter(NEW_MOUNTS | NEW_PIDS | NEW_NETWORK | NEW_IPC | NEW_NAMES)
        user, counted = first + os.getpid() % count, 0
    else:
        become_nobody_in_particular()
        user, counted = None, 2  # this process and the first of the namespace
    build_root(spec["folders"])
    become_child_of_init(spec["signalled"])
    program = os.fork()
    if program == 0:
        start(spec, user, counted)
    end_like(program, spec["signalled"])


def become_child_of_init(signalled: int) -> None:
    """Fork the first process of the new process namespace, which ends with all that is in it.

    The kernel spares a namespace's first process most signals, those of the limits too, so the
    program must be the second.
    """
    first = os.fork()
    if first:
        end_like(first, signalled)
    check(libc.prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "prctl")


def end_like(child: int, signalled: int) -> NoReturn:
    """Wait for ``child`` and end as it did; a signal becomes ``signalled`` and its number."""
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else signalled - code)


def start(spec: dict[str, Any], user: int | None, counted: int) -> None:
    """The last steps, in the process that becomes the program; does not return."""
    os.chdir(spec["cwd"])
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    check(libc.prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "prctl")
    check(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    for name, value in spec["limits"].items():
        value += counted if name == "NPROC" else 0
        hard = value + 1 if name == "CPU" else value  # the first second over ends politely
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, hard))
    os.set_inheritable(spec["report"], False)
    os.execve(spec["command"][0], spec["command"], spec["environment"])


def enter(kinds: int) -> None:
    """Move into new namespaces of these kinds; mounts made there are not seen outside."""
    check(libc.unshare(kinds), "unshare")
    check(libc.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None), "mount")


def become_nobody_in_particular() -> None:
    """Namespaces without being root: a user namespace in which we may make the others.

    The user is numbered 1000 inside, not 0: whoever is not 0 loses all rights of the namespace by
    starting a program.
    """
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(NEW_USER), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"1000 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"1000 {gid} 1")
    enter(NEW_MOUNTS | NEW_PIDS | NEW_NETWORK | NEW_IPC | NEW_NAMES)


def build_root(folders: list[str]) -> None:
    """Make a root with only ``folders`` (and ``/dev/null``) in it, read-only, and change into it.

    A process with changed root can make no user namespace, so no rights come back that way.
    """
    check(libc.mount(b"none", ROOT.encode(), b"tmpfs", 0, b"size=256k,mode=755"), "mount")
    for folder in [*folders, "/dev/null"]:
        inside = Path(ROOT + folder)
        inside.parent.mkdir(parents=True, exist_ok=True)
        if Path(folder).is_symlink():  # /bin -> usr/bin
            inside.symlink_to(Path(folder).readlink())
            continue
        inside.mkdir(exist_ok=True) if Path(folder).is_dir() else inside.touch()
        flags = BIND | RECURSIVE
        check(libc.mount(folder.encode(), str(inside).encode(), None, flags, None), folder)
    Path(ROOT, "empty").mkdir()
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY | NO_SUID, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    call = (SYS_MOUNT_SETATTR, AT_FDCWD, ROOT.encode(), AT_RECURSIVE, attributes, size)
    check(libc.syscall(*call), "mount_setattr")
    os.chroot(ROOT)
    os.chdir("/")


def check(result: int, what: str) -> None:
    """Raise the OSError of a failed call."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    try:
        main(settings)
    except (OSError, ValueError) as error:
        os.write(settings["report"], str(error).encode())
        os._exit(1)
