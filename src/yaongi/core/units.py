"""Amounts as people write them: ``15B`` tokens, ``40MB``, ``2h``."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

from yaongi.core.errors import ConfigError

_COUNT = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}  # fmt: skip
_TIME = {"S": 1, "M": 60, "MIN": 60, "H": 3600, "D": 86400}
_AMOUNT = re.compile(r"\s*([0-9][0-9_,]*\.?[0-9]*)\s*([A-Za-z]*)\s*")


def _parse(value: object, units: dict[str, int], example: str) -> object:
    if not isinstance(value, str):
        return value
    match = _AMOUNT.fullmatch(value)
    if not match or match[2].upper() not in units:
        raise ConfigError(
            "'{value}' is not an amount; write it like {example}.", value=value, example=example
        )
    return float(match[1].replace(",", "").replace("_", "")) * units[match[2].upper()]


def _whole(value: object, units: dict[str, int], example: str) -> object:
    number = _parse(value, units, example)
    if not isinstance(value, str) or not isinstance(number, float):
        return number
    if not math.isclose(number, round(number), rel_tol=1e-9):
        raise ConfigError(
            "'{value}' is not a whole number; write it like {example}.",
            value=value,
            example=example,
        )
    return round(number)


Count = Annotated[int, BeforeValidator(lambda v: _whole(v, _COUNT, "15B, 2.5M, 4096"))]
"""A number of tokens, rows or documents; reads ``15B``."""

ByteSize = Annotated[int, BeforeValidator(lambda v: _whole(v, {**_BYTES, "": 1}, "40MB, 2GiB"))]
"""A number of bytes; reads ``40MB``."""

Seconds = Annotated[float, BeforeValidator(lambda v: _parse(v, {**_TIME, "": 1}, "90s, 20m, 2h"))]
"""A duration in seconds; reads ``2h``."""


KRW_PER_USD = 1400
"""For rough costs only; the day's rate differs."""

_PRICE = re.compile(r"\s*([$₩]?)\s*([0-9][0-9,]*\.?[0-9]*)\s*(USD|KRW|)\s*(?:/\s*h)?\s*", re.I)


def _usd_per_hour(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _PRICE.fullmatch(value)
    if not match:
        raise ConfigError(
            "'{value}' is not a price; write it like 2.39USD/h or 300KRW/h.", value=value
        )
    amount = float(match[2].replace(",", ""))
    return amount / KRW_PER_USD if match[1] == "₩" or match[3].upper() == "KRW" else amount


UsdPerHour = Annotated[float, BeforeValidator(_usd_per_hour)]
"""The price of an hour in US dollars; reads ``2.39USD/h`` and ``300KRW/h``."""


def human_bytes(n: float) -> str:
    """``1234567`` -> ``1.23 MB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} B" if unit == "B" else f"{n:.2f} {unit}"
        n /= 1000
    return f"{n:.2f} TB"


def human_time(seconds: float) -> str:
    """``3725`` -> ``1h02m``."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    return f"{s // 60}m{s % 60:02d}s" if s < 3600 else f"{s // 3600}h{s % 3600 // 60:02d}m"
