"""Nothing but yaongi and its optional part ``data`` is needed to clean a text."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from yaongi.core.errors import CapabilityError
from yaongi.core.install import ROOT
from yaongi.data.filters import optional_module

CLEAN = """
import sys

class Missing:  # as an import of what is not installed
    def find_spec(self, name, path=None, target=None):
        if name in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from yaongi.data.filters import DEFAULT_CHAIN, FILTERS, clean

print(clean({text!r}, [FILTERS.lookup(kind)() for kind in DEFAULT_CHAIN]).drop)
"""

PROSE = """나는 어제 서울에서 친구를 만나 저녁을 먹고 영화를 보았다. 오는 길에 비가 내려서 젖었다.
아침에 일어나니 하늘이 맑게 개어 있었다. 창문을 열자 시원한 바람이 방 안으로 들어왔다.
커피를 한 잔 마시고 신문을 읽은 뒤에 회사로 출발했다. 버스는 가득 차 있어서 겨우 탔다.
점심에는 동료들과 새로 생긴 식당에 갔는데 국수가 맛있었다. 다음에도 또 가기로 약속했다."""


def installed_with(*extras: str) -> set[str]:
    """The distributions that come with yaongi and these optional parts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    found: set[str] = set()
    while wanted:
        one = Requirement(wanted.pop())
        name = canonicalize_name(one.name)
        if name in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            needs = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        told = [{"extra": extra} for extra in ("", *one.extras)]
        wanted += [
            str(need).partition(";")[0]
            for need in needs
            if need.marker is None or any(need.marker.evaluate(each) for each in told)
        ]
    return found


def without(*extras: str) -> list[str]:
    """The modules that are here, but not where only these optional parts are installed."""
    there = installed_with(*extras) | {"yaongi"}
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not there & {canonicalize_name(owner) for owner in owners}
    )


def test_the_default_filters_need_no_more_than_the_extra() -> None:
    missing = without("data")
    assert "pytest" in missing and "re2" not in missing
    script = CLEAN.format(missing=set(missing), text=PROSE + " " + PROSE.replace("\n", " "))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "repetition: 5-grams"  # the last step that needs a package


def test_what_a_module_imports_itself_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CapabilityError, match="'not_there_at_all'"):
        optional_module("half_there")
