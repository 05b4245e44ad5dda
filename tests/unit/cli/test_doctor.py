"""The doctor: every finding comes from the code that will decide, and every lack has a help."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from yaongi.cli import doctor
from yaongi.cli.doctor import Check, Status, as_json, diagnose, render
from yaongi.core.install import install_command
from yaongi.train import precision


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return diagnose()


def named(checks: list[Check], name: str) -> Check:
    found = [check for check in checks if check.name == name]
    assert len(found) == 1, f"{name}: {[c.name for c in checks]}"
    return found[0]


def test_everything_is_looked_at(checks: list[Check]) -> None:
    for name in ("python", "torch", "device cpu", "precision cpu", "compile cpu", "ssd cpu",
                 "conv1d cpu", "attention cpu", "extra wandb", "disk", "memory", "data",
                 "locale"):  # fmt: skip
        assert named(checks, name).detail
    assert len({check.name for check in checks}) == len(checks)


def test_the_precision_is_the_one_training_takes(checks: list[Check]) -> None:
    chosen = precision.choose_precision("auto", torch.device("cpu"))
    detail = named(checks, "precision cpu").detail
    assert chosen.name in detail and chosen.reason in detail


def test_kernels_say_what_is_taken_and_why_not_the_others(checks: list[Check]) -> None:
    for op in doctor._ops():
        detail = named(checks, f"{op.name} cpu").detail
        taken = op.pick(torch.device("cpu"))
        assert detail.split(" ")[0] == next(b.name for b in op.backends if b.run is taken)
        for backend in op.backends:
            assert backend.name in detail


def test_fp8_is_named_with_the_reason_it_cannot_be_used(checks: list[Check]) -> None:
    check = named(checks, "precision cpu fp8")
    assert check.status == Status.OPTIONAL and check.detail == "it needs a CUDA device, not cpu"


def test_reasons_are_korean_for_koreans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YAONGI_LANG", "ko")
    cpu = torch.device("cpu")
    found = [*doctor._precisions(cpu), *doctor._kernels(cpu)]
    for name in ("precision cpu", "precision cpu fp8", "ssd cpu", "conv1d cpu"):
        detail = named(found, name).detail
        assert any("가" <= letter <= "힣" for letter in detail), detail
        assert " the " not in detail and " needs " not in detail, detail


def test_no_compiler_is_no_failure_but_has_a_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yaongi.ops.backend.shutil.which", lambda name: None)
    check = doctor._compile(torch.device("cpu"))
    assert check.status == Status.OPTIONAL
    assert "C++ compiler" in check.detail and "apt install" in check.help


def test_extras_are_those_of_the_package() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(extras) - {"all", "dev", "gpu"}  # gpu: told with the kernels


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda n: None if n == "wandb" else real(n)
    )
    check = named(list(doctor._extras()), "extra wandb")
    assert check.status == Status.OPTIONAL and check.help == install_command("wandb")


def test_a_full_disk_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10**9

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage)
    check = doctor._disk()
    assert check.status == Status.WARNING and "1.00 GB" in check.detail and check.help


def test_a_wrong_data_root_warns_but_none_at_all_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YAONGI_DATA", raising=False)
    assert doctor._data().status == Status.OPTIONAL
    monkeypatch.setenv("YAONGI_DATA", str(tmp_path / "wrong"))
    check = doctor._data()
    assert check.status == Status.WARNING and str(tmp_path / "wrong") in check.detail
    monkeypatch.setenv("YAONGI_DATA", str(tmp_path))
    assert doctor._data().status == Status.OK


def test_json_and_table_show_the_same(checks: list[Check]) -> None:
    rows = json.loads(json.dumps(as_json(checks)))
    shown = StringIO()
    Console(width=400, file=shown).print(render(checks))
    assert len(rows) == len(checks)
    for row in rows:
        assert row["status"] in set(Status)
        assert all(row[key] in shown.getvalue() for key in ("name", "detail", "help"))


@pytest.mark.parametrize("width", range(40, 101))
def test_no_letter_is_lost_where_a_line_of_hangul_ends(width: int) -> None:
    detail = "blocked (제외: torch: 더 빠른 것이 있음; reference: 더 빠른 것이 있음)"
    shown = StringIO()
    table = render(
        [Check("rms_norm cpu", Status.OK, detail, "실제 파일을 쓰는 레시피에 필요합니다")]
    )
    Console(width=width, file=shown).print(table)
    text = "".join(shown.getvalue().split())
    assert "…" not in text
    assert "".join(detail.split()) in text and "레시피에필요합니다" in text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_described(checks: list[Check]) -> None:
    major, minor = torch.cuda.get_device_capability(0)
    assert f"sm_{major}{minor}" in named(checks, "device cuda:0").detail
    assert named(checks, "ssd cuda:0").status == Status.OK
