"""What to type here: a program of this environment, and how to install an optional part of yaongi.

Somebody in a clone has ``.venv`` and pinned versions, and must not be sent to another pip.
"""

from __future__ import annotations

import importlib
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from yaongi.core.errors import CapabilityError
from yaongi.core.i18n import translate

ROOT = Path(__file__).parents[3]
"""The clone that yaongi runs from; some other folder where it is installed."""


def program(name: str) -> str:
    """How to call ``name`` of this Python's environment from the current folder."""
    path = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not path.is_file() or (found and Path(found).samefile(path)):
        return name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def install_command(extra: str, *options: str) -> str:
    """The command that installs yaongi's optional part ``extra``, with pip's ``options``."""
    if not all((ROOT / name).is_file() for name in ("constraints.txt", "pyproject.toml")):
        return shlex.join(["pip", "install", *options, f"yaongi[{extra}]"])
    here = Path() if Path.cwd() == ROOT else ROOT
    pinned = ["-c", str(here / "constraints.txt"), "-e", f"{here}[{extra}]"]
    return shlex.join([program("pip"), "install", *options, *pinned])


def install_from_nothing(extra: str) -> list[str]:
    """What somebody who has no yaongi types to get it with its optional part ``extra``.

    It is on no package index: it comes from the address that the project's metadata name, else
    from a clone, of which only the reader can know where it is.
    """
    urls = [url.partition(", ") for url in metadata.metadata("yaongi").get_all("Project-URL") or ()]
    if address := next((url for label, _comma, url in urls if label == "Repository"), None):
        return [shlex.join(["pip", "install", f"yaongi[{extra}] @ git+{address}"])]
    return [
        "# " + translate("in a clone of yaongi's repository"),
        shlex.join(["pip", "install", "-c", "constraints.txt", "-e", f".[{extra}]"]),
    ]


def import_extra(message: str, module: str, extra: str) -> Any:
    """``module``, which the optional part ``extra`` installs.

    Args:
        message: what to say without it, with the fields ``{package}`` and ``{command}``.
    Raises:
        CapabilityError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:  # of the module, or of what it imports itself
        missing = (error.name or module).partition(".")[0]
        raise CapabilityError(message, package=missing, command=install_command(extra)) from error
