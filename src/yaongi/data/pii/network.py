"""Where a person or a machine is reached on a network: e-mail and IP addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from yaongi.data.pii.candidate import Candidate, Certainty
from yaongi.data.pii.context import called_other, names_before


def find(text: str) -> Iterator[Candidate]:
    """Candidates in a folded text."""
    yield from _emails(text)
    yield from _ips(text)


# --- e-mail --------------------------------------------------------------------------------------

# The sign is searched and the name before it read backwards: a regex that begins with the name
# would start again at each letter of a long word.
_AT = re.compile(
    r"@|골[뱅벵]이|\( ?(?:at|@|골뱅이) ?\)|\[ ?(?:at|@) ?\]|\{at\}|_at_|%40|&#64;|&commat;|\\u0040"
)
_LOCAL_REVERSED = re.compile(r"[A-Za-z0-9_+-](?:[A-Za-z0-9_%+-]|\.(?!\.)){0,63}")
_DOT = r"(?:\.|\(dot\)|\[dot\]|\[\.\]| dot | ?[점쩜] ?)"
_DOMAIN = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?{_DOT}){{1,5}}([A-Za-z]{{2,10}})"
    r"(?![A-Za-z0-9_-])"
)
_DOTS = re.compile(_DOT)
_PROVIDER = re.compile(
    rf"(?:네이버|지메일|다음|한메일|네이트|카카오)(?: ?닷[컴넷]|{_DOT}(?:com|net))(?![A-Za-z])"
)
_TOPS = re.compile(  # besides the two letters of a country; x@w.transpose is code
    "com|net|org|edu|gov|mil|int|info|biz|name|pro|app|dev|xyz|site|online|store|shop|blog|cloud|"
    "tech|club|live|email|world|asia|mobi|jobs|museum|travel|news|media|agency|academy|studio"
)
_FREE_MAIL = re.compile(  # look_at_x.to(y), x @ w.T and tickets @ theatre.com are no e-mails
    r"(?:naver|gmail|daum|hanmail|nate|kakao|hotmail|outlook|yahoo)(?![a-z0-9-])", re.I
)
_HEADER = re.compile(r"(?:message-id|in-reply-to|references): ?<\Z", re.I)  # ids of letters
_NEVER_MAIL = re.compile(  # kept for manuals (RFC 2606), a Git remote, a file
    r"(?:^|\.)example\.(?:com|net|org)$|^github\.com$|\.(?:py|js|ts|md|sh|so|cc|rs)$"
)


def _emails(text: str) -> Iterator[Candidate]:
    for at in _AT.finditer(text):
        first, last = at.span()
        spaced = text[first - 1 : first] == " " == text[last : last + 1]
        if at[0] != "@" or spaced:  # luna [at] naver.com
            first -= text[first - 1 : first] == " "
            last += text[last : last + 1] == " "
        local = _LOCAL_REVERSED.match(text[max(0, first - 64) : first][::-1])
        end = _end_of_domain(text, last, strict=at[0] == "_at_" or (at[0] == "@" and spaced))
        if local is None or end is None:
            continue
        start = first - len(local[0].rstrip("."))
        if not _HEADER.search(text[max(0, start - 15) : start]):
            yield Candidate("email", start, end, Certainty.CHECKED)


def _end_of_domain(text: str, start: int, *, strict: bool) -> int | None:
    """Where a domain that starts here ends; ``strict`` where prose or code looks the same."""
    if provider := _PROVIDER.match(text, start):
        return provider.end()
    domain = _DOMAIN.match(text, start)
    if domain is None or _NEVER_MAIL.search(_DOTS.sub(".", domain[0].lower())):
        return None
    if strict and not _FREE_MAIL.match(domain[0]) and "." in domain[0]:
        return None
    known = len(domain[1]) == 2 or _TOPS.fullmatch(domain[1].lower())
    return domain.end() if known else None


# --- IP ------------------------------------------------------------------------------------------

# 1.2.3[.]4 is "defanged": no program makes a link of it.
_IPV4 = re.compile(
    r"[0-9](?<![0-9.][0-9])[0-9]{0,2}(?:(?:\.|\[\.\])[0-9]{1,3}){3}(?![0-9]|\.[0-9A-Za-z])"
)
_IPV6 = re.compile(
    r"[23][0-9A-Fa-f]{3}(?<![0-9A-Za-z:.][0-9A-Fa-f]{4})"
    r"(?::[0-9A-Fa-f:]{3,40}[0-9A-Fa-f]|(?:\[::?\][0-9A-Fa-f]{1,4}){2,7})(?![0-9A-Za-z])"
)
_FANGS = str.maketrans("", "", "[]")
_PORT = re.compile(r":[0-9]{2,5}(?![0-9.:])")  # no version or section has one
_USUAL_PORT = re.compile(r"(?<=[0-9A-Fa-f]):(?:22|80|443|3306|3389|5432|80[08]0|8443)$")
_PART_OF_NAME = re.compile(r"[A-Za-z_-]\Z|[=~<>!]=\Z")
_VERSION = re.compile(
    r"(?:\bv|(?<![a-z])ver|version|버전|판올림|펌웨어|firmware|build|빌드|릴리스|release|업데이트|§|섹션"
    r"|section|[장절](?![가-힣]))[^0-9\n]{0,6}$",
    re.I,
)
# 11.5.1.2 is a section or a version, unless it is called an address.
_SMALL, _LARGE = 32, 100
_CLOSE = 8  # characters between a small address and what calls it so


def _ips(text: str) -> Iterator[Candidate]:
    for m in _IPV4.finditer(text):
        before = text[max(0, m.start() - 20) : m.start()]
        address = m[0].translate(_FANGS)
        if _PART_OF_NAME.search(before) or _VERSION.search(before) or not _is_public(address):
            continue
        large = sum((n >= _SMALL) + (n >= _LARGE) for n in map(int, address.split(".")))
        named = names_before(text, m.start()).get("ip")
        close = named is not None and named <= _CLOSE and not before.endswith("\n")
        if close or (named is not None and large) or _PORT.match(text, m.end()) or address != m[0]:
            yield Candidate("ip", m.start(), m.end(), Certainty.NAMED)
        elif large > 1 and not called_other(text, m.start()):
            yield Candidate("ip", m.start(), m.end(), Certainty.CHECKED)
    for m in _IPV6.finditer(text):
        length = _length_of_ipv6(m[0])
        if _is_public(m[0][:length].translate(_FANGS)):
            yield Candidate("ip", m.start(), m.start() + length, Certainty.CHECKED)


def _length_of_ipv6(found: str) -> int:
    """Characters without the port; behind a shortened address only a usual one can be told."""
    if "[" in found:
        return len(found)
    address = _USUAL_PORT.sub("", found) if "::" in found else ":".join(found.split(":")[:8])
    return len(address) if len(address.replace("::", ":").split(":")) > 2 else 0


def _is_public(address: str) -> bool:
    """Addresses of the internet; not loopback, private, reserved or those kept for manuals."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return ip.is_global and not ip.is_multicast
