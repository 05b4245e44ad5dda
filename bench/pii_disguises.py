"""Personal data as people spell it when not in the common way, for ``{kind:disguise}`` slots.

Each function takes a value of ``pii_values.py`` and spells it anew: to get past a filter (공일공,
골뱅이), in a full-width form, broken over two lines, or as a scanner read it. What is labelled is
the whole of it, as of the common spelling. Values arrive in NFKC.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

SPOKEN = str.maketrans("0123456789", "공일이삼사오육칠팔구")
WIDE = str.maketrans({code: code + 0xFEE0 for code in range(0x21, 0x7F)})
SCANNED = str.maketrans("01", "Ol")
SEPARATOR = re.compile(r"[-–—－‐. ()]+")
ODD = ("ㅡ", "―", "−", "‑", "·", "~", "/", "_", " - ", "--")  # instead of a dash
HOSTS = {
    "naver": "네이버",
    "gmail": "지메일",
    "daum": "다음",
    "hanmail": "한메일",
    "nate": "네이트",
}
ORDINARY = {"bare", "lower", "official", "upper", "word"}  # no disguises, only never drawn alone
Disguise = Callable[[Random, str], str]


def groups(value: str) -> list[str]:
    """The digits between dashes, dots, spaces and brackets."""
    return [group for group in SEPARATOR.split(value) if group]


def mixed(rng: Random, value: str) -> str:
    """One group in words: 010-일이삼사-5678."""
    parts = groups(value)
    chosen = rng.randrange(len(parts))
    parts[chosen] = parts[chosen].translate(SPOKEN)
    return rng.choice(("-", " ", "")).join(parts)


def wrapped(rng: Random, value: str) -> str:
    """A line break behind the last separator, or in place of it."""
    breaks = list(re.finditer(r"[- –—.]+", value))
    if not breaks:
        return f"{value[: len(value) // 2]}\n{value[len(value) // 2 :]}"
    last = breaks[-1]
    dash = last[0] if last[0].strip() and rng.random() < 0.6 else ""
    return f"{value[: last.start()]}{dash}\n{value[last.end() :]}"


def masked(rng: Random, value: str) -> str:
    """A resident's number with the last six digits painted over."""
    plain = re.sub(r"\D", "", value)
    dash = rng.choice(("-", "-", " - ", ""))
    return plain[:6] + dash + rng.choice("1234") + rng.choice("*＊xX○●■#☆Oㅇ") * 6


def abroad(rng: Random, value: str) -> str:
    """A phone number as written for callers from other countries."""
    head, *rest = groups(value)
    if head == "+82":
        head = "0" + rest.pop(0)
    if not head.startswith("0") or not rest:
        return value  # a service number cannot be called from abroad
    country = rng.choice(("+82", "82", "0082", "(+82)"))
    trunk = rng.choice((head[1:], head[1:], f"(0){head[1:]}"))
    return country + rng.choice("- ") + rng.choice("- ").join((trunk, *rest))


def at_dot(rng: Random, value: str) -> str:
    """An e-mail address for readers, not for harvesters."""
    local, host = mail_parts(value)
    at = rng.choice(("(at)", "[at]", " at ", " AT ", "{at}", "_at_", " @ ", "(@)", "(골뱅이)"))
    dot = rng.choice((".", ".", "(dot)", "[dot]", " dot "))
    return local + at + host.replace(".", dot)


def korean(rng: Random, value: str) -> str:
    """An e-mail address with its sign and its provider in Korean."""
    local, host = mail_parts(value)
    name, _, rest = host.partition(".")
    end = {"com": "닷컴", "net": "닷넷"}.get(rest)
    if name in HOSTS and end:
        host = HOSTS[name] + rng.choice((end, " " + end, f".{rest}", " 점 " + rest))
    else:
        host = host.replace(".", rng.choice(("점", "쩜", ".")))
    return local + rng.choice(("골뱅이", " 골뱅이 ", "@", "골벵이")) + host


def encoded(rng: Random, value: str) -> str:
    """An e-mail address in a URL or in HTML."""
    return rng.choice(("%40", "&#64;", "&commat;", "\\u0040")).join(mail_parts(value))


def mail_parts(value: str) -> tuple[str, str]:
    """Local part and host of an address in any spelling of ``pii_values.email``."""
    local, host = re.split(r"@| \[at\] |골뱅이", value)
    return local, host


DISGUISES: dict[str, Disguise] = {
    "abroad": abroad,
    "at": at_dot,
    "bare": lambda rng, value: "".join(groups(value)),
    "defanged": lambda rng, value: re.sub(r"([.:]+)", r"[\1]", value),
    "encoded": encoded,
    "korean": korean,
    "lower": lambda rng, value: value.lower(),
    "masked": masked,
    "mixed": mixed,
    "odd": lambda rng, value: rng.choice(ODD).join(groups(value)),
    "prefix": lambda rng, value: value[0] + rng.choice((" ", "-", ". ")) + value[1:],
    "scanned": lambda rng, value: value.translate(SCANNED),
    "spaced": lambda rng, value: " ".join(value.replace(" ", "")),
    "spoken": lambda rng, value: (
        rng.choice(("-", " ", "", ".")).join(groups(value)).translate(SPOKEN)
    ),
    "tight": lambda rng, value: re.sub(r"(?<!\d) | (?!\d)", "", value),
    "upper": lambda rng, value: value.upper(),
    "wide": lambda rng, value: value.translate(WIDE),
    "word": lambda rng, value: re.sub(r"\d+$", "", value).strip("._"),
    "wrapped": wrapped,
}
