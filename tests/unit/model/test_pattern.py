"""The pattern grammar and what it says about mistakes."""

from __future__ import annotations

import pytest

from yaongi.core.errors import ConfigError
from yaongi.model.pattern import expand


@pytest.mark.parametrize(
    ("pattern", "letters"),
    [
        ("M", "M"),
        ("MEM*E", "MEM*E"),
        ("Mx3", "MMM"),
        ("(*-)x3", "*-*-*-"),
        ("M(*-)x2E", "M*-*-E"),
        ("((M-)x2*)x2", "M-M-*M-M-*"),
        ("(M)", "M"),
        ("*x10-", "*" * 10 + "-"),
    ],
)
def test_expands(pattern, letters):
    assert expand(pattern) == letters


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("MQ-", "unknown letter 'Q' at position 2. Known letters: M * - E"),
        ("m", "unknown letter 'm' at position 1"),
        ("M -", "unknown letter ' ' at position 2"),
        ("", "empty"),
        ("()x3", "empty"),
        ("(M-", "position 1: this '(' is never closed"),
        ("M-)", "position 3: a ')' without"),
        ("Mx", "position 2: 'x' needs a count"),
        ("Mx0", "position 2: 'x' needs a count"),
        ("xM", "unknown letter 'x' at position 1"),
        ("((((Mx99)x99)x99)x99)x99", "more than"),
        ("Mx" + "9" * 50, "more than"),
    ],
)
def test_mistakes_name_the_place(pattern, message):
    with pytest.raises(ConfigError) as caught:
        expand(pattern)
    assert message in str(caught.value)


def test_letters_of_plugins_are_known():
    assert expand("MRx2", "MR") == "MRR"
