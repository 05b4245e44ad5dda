"""The command that installs an optional part: of this clone, or of the package."""

from __future__ import annotations

import sys
from email.message import Message
from pathlib import Path

import pytest

from yaongi.core import install
from yaongi.core.install import install_command


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("constraints.txt", "pyproject.toml", ".venv/bin/pip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_a_clone_its_environment_and_pins(clone: Path) -> None:
    assert install_command("gguf") == ".venv/bin/pip install -c constraints.txt -e '.[gguf]'"


def test_from_another_folder_the_clone_is_named(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "runs").mkdir()
    monkeypatch.chdir(clone / "runs")
    pip = f"{clone}/.venv/bin/pip install"
    assert install_command("hf") == f"{pip} -c {clone}/constraints.txt -e '{clone}[hf]'"


def test_an_active_environment_needs_no_path(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone / ".venv/bin"))
    assert install_command("hf").startswith("pip install -c")


def test_of_an_installed_package(clone: Path) -> None:
    (clone / "constraints.txt").unlink()
    assert install_command("gguf") == "pip install 'yaongi[gguf]'"
    command = install_command("gpu", "--no-build-isolation")
    assert command == "pip install --no-build-isolation 'yaongi[gpu]'"


def test_who_has_nothing_gets_it_from_the_project_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the address its metadata name; where they name none, none is made up."""
    facts = Message()
    monkeypatch.setattr(install.metadata, "metadata", lambda _name: facts)
    told = install.install_from_nothing("hub")
    assert told == [
        "# in a clone of yaongi's repository",
        "pip install -c constraints.txt -e '.[hub]'",
    ]
    facts["Project-URL"] = "Documentation, https://example.org/docs"
    assert install.install_from_nothing("hub") == told
    facts["Project-URL"] = "Repository, https://example.org/yaongi"
    command = "pip install 'yaongi[hub] @ git+https://example.org/yaongi'"
    assert install.install_from_nothing("hub") == [command]
