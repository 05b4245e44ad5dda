"""The pattern grammar: letters, groups and repetition, ``M(*-)x12`` -> one letter per layer."""

from __future__ import annotations

from collections.abc import Collection

from yaongi.core.errors import ConfigError
from yaongi.core.i18n import translate

MAX_LAYERS = 4096


def expand(pattern: str, known: Collection[str] = "M*-E") -> str:
    """The letters of ``pattern`` with repetitions written out.

    Grammar: a letter, or a group in parentheses, optionally followed by ``x`` and a count.

    Raises:
        ConfigError: unknown letter or broken syntax, with its position.
    """
    letters, end = _sequence(pattern, 0, known, depth=0)
    if end != len(pattern):
        raise _broken(pattern, end, translate("a ')' without its '('"))
    if not letters:
        raise ConfigError("The pattern is empty; write one letter per layer, for example (*-)x8.")
    return letters


def _sequence(pattern: str, at: int, known: Collection[str], depth: int) -> tuple[str, int]:
    letters: list[str] = []
    total = 0
    while at < len(pattern) and pattern[at] != ")":
        if pattern[at] == "(":
            unit, close = _sequence(pattern, at + 1, known, depth + 1)
            if close >= len(pattern):
                raise _broken(pattern, at, translate("this '(' is never closed"))
            at = close + 1
        else:
            unit, at = _letter(pattern, at, known), at + 1
        times, at = _times(pattern, at)
        total += len(unit) * times
        if total > MAX_LAYERS:
            raise _broken(pattern, at - 1, translate("more than {n} layers", n=MAX_LAYERS))
        letters.append(unit * times)
    return "".join(letters), at


def _letter(pattern: str, at: int, known: Collection[str]) -> str:
    if pattern[at] in known:
        return pattern[at]
    raise ConfigError(
        "The pattern {pattern} has an unknown letter '{letter}' at position {position}. "
        "Known letters: {known}. Repetition is written (*-)x8.",
        pattern=pattern,
        letter=pattern[at],
        position=at + 1,
        known=" ".join(known),
    )


def _times(pattern: str, at: int) -> tuple[int, int]:
    if at >= len(pattern) or pattern[at] != "x":
        return 1, at
    end = at + 1
    while end < len(pattern) and pattern[end] in "0123456789":
        end += 1
    digits = pattern[at + 1 : end]
    if not digits or int(digits) == 0:
        raise _broken(pattern, at, translate("'x' needs a count of 1 or more after it"))
    return int(digits), end


def _broken(pattern: str, at: int, reason: str) -> ConfigError:
    return ConfigError(
        "The pattern {pattern} is broken at position {position}: {reason}.",
        pattern=pattern,
        position=at + 1,
        reason=reason,
    )
