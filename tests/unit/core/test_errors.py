"""The error tree: exit codes, translation, and survival of worker processes."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from yaongi.core import errors, i18n
from yaongi.core.errors import (
    CapabilityError,
    CheckpointError,
    ConfigError,
    DataError,
    InputError,
    NumericsError,
    StorageError,
    YaongiError,
    did_you_mean,
    nearest,
)


def tree(cls: type[YaongiError] = YaongiError) -> list[type[YaongiError]]:
    return [cls, *(x for sub in cls.__subclasses__() for x in tree(sub))]


def test_input_errors_exit_2_and_failures_exit_1() -> None:
    for cls in tree():
        assert cls.exit_code == (2 if issubclass(cls, InputError) else 1), cls
    assert not issubclass(NumericsError, InputError) and not issubclass(StorageError, InputError)


def test_every_slug_is_its_own() -> None:
    slugs = [cls.slug for cls in tree() if cls.__module__ == errors.__name__]
    assert len(slugs) == len(set(slugs)) > 5


def test_fields_fill_the_template() -> None:
    error = DataError("{path} has {n} rows.", path=Path("a.jsonl"), n=0)
    assert str(error) == "a.jsonl has 0 rows."


def test_a_template_without_fields_may_hold_braces() -> None:
    assert str(DataError("not JSON: {oops")) == "not JSON: {oops"


def test_a_value_may_hold_braces() -> None:
    assert str(DataError("got {text}", text="{x}")) == "got {x}"


def fail() -> None:
    try:
        raise ValueError("inner")
    except ValueError as inner:
        raise CheckpointError("{path}: {reason}", path=Path("x"), reason=inner) from inner


def test_errors_cross_worker_processes() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        error = pool.submit(fail).exception()
    assert type(error) is CheckpointError
    assert str(error) == "x: inner" and error.exit_code == 2


def test_an_unpicklable_field_is_kept_as_text() -> None:
    error = DataError("{reason}", reason=RuntimeError(lambda: None))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.fixture
def korean(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A catalogue of our own in place of the shipped one."""
    catalogue: dict[str, str] = {}

    class Translations:
        def gettext(self, message: str) -> str:
            return catalogue.get(message, message) if i18n.language() == "ko" else message

    monkeypatch.setattr(i18n, "_catalogue", lambda lang: Translations())
    monkeypatch.setenv("YAONGI_LANG", "ko")
    return catalogue


def test_the_template_is_what_gets_translated(korean: dict[str, str]) -> None:
    korean["{path} is missing."] = "{path} 파일이 없습니다."
    error = ConfigError("{path} is missing.", path="a.yaml")
    assert str(error) == "a.yaml 파일이 없습니다."
    assert error.slug == "config"


def test_the_reader_decides_the_language_not_the_raiser(
    korean: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    korean["stop"] = "멈춤"
    error = CapabilityError("stop")
    assert str(error) == "멈춤"
    monkeypatch.setenv("YAONGI_LANG", "en")
    assert str(error) == "stop"


def test_a_message_without_translation_appears_in_english(korean: dict[str, str]) -> None:
    assert str(DataError("{n} rows", n=3)) == "3 rows"


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "ko_KR"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": ""}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "YAONGI_LANG": "en"}, "en"),
        ({"LC_ALL": "en_US.UTF-8", "YAONGI_LANG": "ko"}, "ko"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
    ],
)
def test_choice_of_language(
    variables: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("YAONGI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert i18n.language() == language


def test_nearest() -> None:
    assert nearest("n_head", ["n_heads", "d_model"]) == "n_heads"
    assert nearest("zzz", ["n_heads", "d_model"]) is None
    assert did_you_mean("n_head", ["n_heads"]) == "Did you mean 'n_heads'?"
    assert did_you_mean("zzz", ["a", "b"]) == "Known here: a, b."
    assert did_you_mean("zzz", []) == ""


def test_the_system_speaks_the_users_language(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = FileNotFoundError(2, "No such file or directory")
    monkeypatch.setenv("YAONGI_LANG", "en")
    assert errors.os_reason(gone) == "No such file or directory"
    assert errors.os_reason(OSError(-2, "Name or service not known")) == "Name or service not known"
    monkeypatch.setenv("YAONGI_LANG", "ko")
    assert errors.os_reason(gone) == "그런 파일이나 폴더가 없음"
