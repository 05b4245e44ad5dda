"""The engineering around the code: pins, make targets, CI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    text = (ROOT / "constraints.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {normal(line.split("==")[0]): line.split("==")[1] for line in lines}


def test_every_named_dependency_is_pinned_above_its_floor() -> None:
    extras = dict(PROJECT["optional-dependencies"])
    del extras["gpu"]  # built on the user's machine for its CUDA; never installed for the tests
    named = [*PROJECT["dependencies"], *(name for extra in extras.values() for name in extra)]
    pinned = pins()
    for requirement in named:
        name = normal(re.split(r"[\[<>=~ ]", requirement)[0])
        if name == "yaongi":
            continue
        floor = re.search(r">=([0-9.]+)", requirement)
        assert name in pinned, f"{name} is not in constraints.txt"
        assert floor, f"{name} has no lowest version"
        assert numbers(pinned[name]) >= numbers(floor[1]), name


def numbers(version: str) -> list[int]:
    return [int(x) for x in re.findall(r"\d+", version)]


def test_pins_fit_every_machine() -> None:
    for name, version in pins().items():
        assert "+" not in version, f"{name}=={version} exists for one platform only"
        assert not re.match(r"(nvidia|triton|cuda)", name), f"{name} exists for one platform only"


def test_the_installed_versions_are_the_pinned_ones() -> None:
    """What passes here passes with `make test`; another environment may differ, and says so."""
    from importlib.metadata import PackageNotFoundError, version

    different = {}
    for name, pinned in pins().items():
        try:
            found = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
        if found != pinned:
            different[name] = f"{pinned} pinned, {found} installed"
    if different:
        pytest.skip(f"not the pinned environment: {different}")


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "PYTHON", "VENV", "MINUTES")
    mine = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={**mine, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@needs_make
def test_make_lists_what_it_can_do() -> None:
    done = make()
    for target in ("quickstart", "test", "bench", "docs", "i18n"):
        assert f"make {target} " in done.stdout


@needs_make
def test_make_test_runs_every_check(tmp_path: Path) -> None:
    text = make("-n", "test", f"VENV={tmp_path}/venv").stdout
    checks = ("ruff check", "ruff format --check", "pyright", "lint-imports", "pytest")
    for part in ("-c constraints.txt -e '.[dev]'", *checks):
        assert part in text, part


@needs_make
def test_make_quickstart_installs_with_pins_then_runs(tmp_path: Path) -> None:
    text = make("-n", "quickstart", f"VENV={tmp_path}/venv").stdout
    assert "-c constraints.txt -e ." in text
    assert text.rstrip().endswith(f"{tmp_path}/venv/bin/yaongi quickstart --minutes 10")


@needs_make
def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" || exit 1\n')
    old.chmod(0o755)
    done = make("install", f"VENV={tmp_path}/venv", f"PYTHON={old}")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr and "3.9.1" in done.stderr


@needs_make
def test_no_python_is_told_so(tmp_path: Path) -> None:
    for tool in ("make", "bash", "getconf", "uname"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    done = make("install", f"VENV={tmp_path}/venv", PATH=str(tmp_path))
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr and "python.org" in done.stderr


@needs_make
def test_a_second_make_installs_nothing(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / ".installed").touch()
    assert "pip" not in make("-n", "install", f"VENV={venv}").stdout
    os.utime(venv / ".installed", (0, 0))
    assert "pip" in make("-n", "install", f"VENV={venv}").stdout, "pins changed since"


def test_ci_runs_from_anywhere_and_leaves_nothing() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text("utf-8")
    assert "set -euo pipefail" in text and "trap" in text and "make test" in text
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_only_ci_knows_where_a_machine_keeps_its_data() -> None:
    texts = [p for s in (".py", ".md", ".toml", ".yaml", ".json") for p in ROOT.rglob(f"*{s}")]
    not_mine = {".venv", ".git", "build", "runs"}
    mine = [p for p in texts if not not_mine & set(p.relative_to(ROOT).parts)]
    places = ("shared" + "/data", "/work" + "/")
    assert [p for p in mine if any(place in p.read_text("utf-8") for place in places)] == []


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"
