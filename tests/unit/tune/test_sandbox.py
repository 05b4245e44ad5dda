"""Each limit of the sandbox is shown by a program that breaks it, and by one that does not."""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import yaongi
from yaongi.core.errors import CapabilityError
from yaongi.tune.rewards import sandbox
from yaongi.tune.rewards.sandbox import Ended, Limits, run


def isolation():
    try:
        sandbox.check(Limits())
    except CapabilityError as error:
        return str(error)
    return None


needs_isolation = pytest.mark.skipif(
    sys.platform != "linux" or isolation() is not None, reason=f"no namespaces: {isolation()}"
)
EITHER = [
    pytest.param("namespaces", marks=needs_isolation),
    "limits_only",
]


def went(program, isolation="namespaces", stdin=b"", **limits):
    return run(textwrap.dedent(program), stdin, Limits(isolation=isolation, **limits))


@pytest.mark.parametrize("isolation", EITHER)
def test_an_honest_program_computes_and_answers(isolation):
    found = went(
        """
        import sys, json, math, collections
        print(json.dumps({"got": sys.stdin.read(), "tau": math.tau > 6}))
        """,
        isolation,
        stdin="안녕".encode(),
    )
    assert found.ok and b'"tau": true' in found.output and "\\uc548" in found.output.decode()


@pytest.mark.parametrize("isolation", EITHER)
def test_an_error_is_an_exit_code_with_its_traceback(isolation):
    found = went("1 / 0", isolation)
    assert (found.ended, found.code) == (Ended.EXITED, 1)
    assert b"ZeroDivisionError" in found.output


@pytest.mark.parametrize("isolation", EITHER)
def test_an_endless_loop_ends_by_computing_time(isolation):
    found = went("while True: pass", isolation, cpu_s=1, wall_s=20)
    assert found.ended is Ended.KILLED


@pytest.mark.parametrize("isolation", EITHER)
def test_waiting_for_ever_ends_by_the_clock(isolation):
    found = went("import time; print('here', flush=True); time.sleep(60)", isolation, wall_s=1)
    assert found.ended is Ended.TIMEOUT and b"here" in found.output


@pytest.mark.parametrize("isolation", EITHER)
def test_memory_is_refused(isolation):
    grab = "x = bytearray({mb} << 20); print('got it')"
    assert went(grab.format(mb=64), isolation, memory="300MB").ok
    found = went(grab.format(mb=400), isolation, memory="300MB")
    assert not found.ok and b"MemoryError" in found.output


@pytest.mark.parametrize("isolation", EITHER)
def test_endless_output_is_cut(isolation):
    found = went("while True: print('야옹' * 100)", isolation, output=10_000)
    assert found.ended is Ended.OUTPUT and len(found.output) == 10_000


@needs_isolation
def test_a_fork_bomb_stays_small_and_dies():
    found = went(
        """
        import os, time
        made = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(60)
                made += 1
        except OSError:
            print("made", made, flush=True)
        """,
        processes=4,
    )
    assert found.ok and found.output == b"made 3\n"  # the fourth is the program itself
    bomb = went("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", wall_s=1)
    assert bomb.ended is Ended.TIMEOUT
    assert gone("while True:\\n  try: os.fork()")


def gone(program):
    """Whether no process runs it any more; the kernel takes a moment to end a namespace."""
    until = time.monotonic() + 5
    while program in commands() and time.monotonic() < until:
        time.sleep(0.05)
    return program not in commands()


def commands():
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(process.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(found).replace("\n", "\\n")


@needs_isolation
def test_threads_count_as_processes():
    found = went(
        """
        import threading, time
        try:
            for _ in range(50):
                threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        except RuntimeError as error:
            print(error)
        """,
        processes=4,
    )
    assert b"can't start new thread" in found.output


@needs_isolation
def test_nothing_can_be_written_anywhere(tmp_path):
    outside = tmp_path / "mine"
    outside.write_text("whole")
    tmp_path.chmod(0o777)
    outside.chmod(0o666)
    found = went(
        f"""
        import os, tempfile
        for place in {[str(outside), "here", "/tmp/x", "/usr/x", "/x", "/dev/shm/x", "/root/x"]}:
            try:
                open(place, "w").write("x")
                print("wrote", place)
            except OSError as error:
                print(type(error).__name__)
        print(os.getcwd(), os.listdir("."))
        """
    )
    assert found.ok and b"wrote" not in found.output
    assert b"/empty []" in found.output
    assert outside.read_text() == "whole"


@needs_isolation
def test_nothing_private_can_be_read():
    package = str(Path(yaongi.__file__).parent)
    found = went(
        f"""
        import os
        print([p for p in ["/home", "/proc/1", "/sys", "/etc/passwd", "/var", {package!r}]
               if os.path.exists(p)], dict(os.environ).keys() & {{"SECRET", "HF_TOKEN", "USER"}})
        """
    )
    assert found.output == b"[] set()\n"


@pytest.mark.parametrize("isolation", EITHER)
def test_the_environment_is_empty(isolation, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    found = went("import os; print(sorted(os.environ))", isolation)
    assert found.ok and b"HF_TOKEN" not in found.output


@pytest.mark.parametrize("isolation", EITHER)
def test_files_are_small_and_few(isolation, tmp_path):
    found = went(
        """
        import os, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        memory = os.memfd_create("x")
        try:
            while os.write(memory, b"x" * 65536):
                pass
        except OSError as error:
            print(error.strerror, os.fstat(memory).st_size)
        try:
            kept = [os.dup(0) for _ in range(100)]
        except OSError as error:
            print(error.strerror)
        """,
        isolation,
        file_size="1MiB",
        files=16,
    )
    assert found.output.decode().splitlines() == ["File too large 1048576", "Too many open files"]


CONNECT = """
import socket
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=2)
    print("connected")
except OSError as error:
    print("refused", error.strerror)
"""


@pytest.mark.parametrize(
    ("isolation", "expected"),
    [pytest.param("namespaces", b"refused", marks=needs_isolation), ("limits_only", b"connected")],
)
def test_the_network_is_another_one(isolation, expected):
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = CONNECT.format(port=server.getsockname()[1])
        assert went(program, isolation).output.startswith(expected)


@needs_isolation
def test_no_way_back_to_more_rights():
    found = went(
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        tries = {
            "user namespace": libc.unshare(0x10000000),
            "network namespace": libc.unshare(0x40000000),
            "remount": libc.mount(None, b"/", None, 0x20 | 0x1000, None),
            "tmpfs": libc.mount(b"none", b"/empty", b"tmpfs", 0, b"size=1g"),
            "chroot": libc.chroot(b"/usr"),
            "root": libc.setuid(0),
        }
        print([name for name, result in tries.items() if result == 0], os.getuid() != 0)
        """
    )
    assert found.output == b"[] True\n"


@needs_isolation
def test_what_it_started_in_a_session_of_its_own_dies_too():
    found = went(
        """
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(61.5)"])
        time.sleep(0.3)
        """
    )
    assert found.ok
    assert gone("time.sleep(61.5)")


@needs_isolation
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be somebody else")
def test_somebody_who_is_not_root_gets_the_same():
    """All tests above as the user nobody, who needs a user namespace for it."""
    if not shutil.which("setpriv") or not os.access("/usr/bin/python3.11", os.X_OK):
        pytest.skip("no setpriv, or no Python that everybody may run")
    jail = Path(sandbox.__file__).with_name("jail.py").read_text("utf-8")
    python = "/usr/bin/python3.11"
    program = (
        "import os, socket\n"
        "try: open('/tmp/x', 'w')\n"
        "except OSError as e: print(type(e).__name__)\n"
        "print(os.getuid(), os.path.exists('/etc/passwd'), socket.if_nameindex())\n"
        "n = 0\n"
        "try:\n  while os.fork(): n += 1\n  os._exit(0)\n"
        "except OSError: print(n)"
    )
    spec = {
        "isolated": True,
        "folders": sandbox._folders(python),
        "command": [python, "-S", "-c", program],
        "environment": sandbox.ENVIRONMENT,
        "cwd": "/empty",
        "report": 2,
        "signalled": 128,
        "limits": {"NPROC": 4, "AS": 1 << 29},
    }
    spec["folders"] = [f for f in spec["folders"] if os.access(f, os.R_OK) and "/root" not in f]
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-S",
         "-c", jail, json.dumps(spec)],
        capture_output=True, text=True, timeout=20, cwd="/",
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces for users here: {done.stderr}")
    assert done.stdout.splitlines()[:2] == ["FileNotFoundError", "1000 False [(1, 'lo')]"]
    assert int(done.stdout.splitlines()[2]) <= 3, done.stderr


def test_without_namespaces_it_refuses_and_runs_nothing(monkeypatch, tmp_path):
    broken = tmp_path / "jail.py"
    source = Path(sandbox.__file__).with_name("jail.py").read_text()
    broken.write_text(source.replace("libc.unshare(kinds)", "libc.unshare(0x7fffffff)"))
    monkeypatch.setattr(sandbox, "__file__", str(tmp_path / "sandbox.py"))
    marker = tmp_path / "ran"
    with pytest.raises(CapabilityError, match=r"unshare.*isolation: limits_only"):
        went(f"open({str(marker)!r}, 'w')")
    assert not marker.exists()
    assert went(f"open({str(marker)!r}, 'w')", "limits_only").ok and marker.exists()
