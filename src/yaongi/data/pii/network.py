"""Where a person is reached on a network: e-mail, IP address, id of a messenger."""

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
    yield from _messengers(text)


# --- e-mail --------------------------------------------------------------------------------------

# The sign is searched and the name before it read backwards: a regex that begins with the name
# would start again at each letter of a long word.
_AT = re.compile(r"@|골뱅이|\( ?at ?\)|\[ ?at ?\]|\(골뱅이\)")
_LOCAL_REVERSED = re.compile(r"[A-Za-z0-9_+-](?:[A-Za-z0-9_%+-]|\.(?!\.)){0,63}")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,5}([A-Za-z]{2,10})(?![A-Za-z0-9_-])"
)
_TOPS = re.compile(  # besides the two letters of a country; x@w.transpose is code
    "com|net|org|edu|gov|mil|int|info|biz|name|pro|app|dev|xyz|site|online|store|shop|blog|cloud|"
    "tech|club|live|email|world|asia|mobi|jobs|museum|travel|news|media|agency|academy|studio"
)
_NEVER_MAIL = re.compile(  # kept for manuals (RFC 2606), a Git remote, a file
    r"(?:^|\.)example\.(?:com|net|org)$|^github\.com$|\.(?:py|js|ts|md|sh|so|cc|rs)$"
)


def _emails(text: str) -> Iterator[Candidate]:
    for at in _AT.finditer(text):
        first, last = at.span()
        if at[0] != "@":  # luna [at] naver.com
            first -= text[first - 1 : first] == " "
            last += text[last : last + 1] == " "
        local = _LOCAL_REVERSED.match(text[max(0, first - 64) : first][::-1])
        domain = _DOMAIN.match(text, last)
        if local is None or domain is None or _NEVER_MAIL.search(domain[0].lower()):
            continue
        if len(domain[1]) == 2 or _TOPS.fullmatch(domain[1].lower()):
            start = first - len(local[0].rstrip("."))
            yield Candidate("email", start, domain.end(), Certainty.CHECKED)


# --- IP ------------------------------------------------------------------------------------------

_IPV4 = re.compile(r"[0-9](?<![0-9.][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9]|\.[0-9A-Za-z])")
_IPV6 = re.compile(
    r"[23][0-9A-Fa-f]{3}(?<![0-9A-Za-z:.][0-9A-Fa-f]{4}):[0-9A-Fa-f:]{3,40}[0-9A-Fa-f](?![0-9A-Za-z])"
)
_PORT = re.compile(r":[0-9]{2,5}(?![0-9.:])")  # no version or section has one
_USUAL_PORT = re.compile(r"(?<=[0-9A-Fa-f]):(?:22|80|443|3306|3389|5432|80[08]0|8443)$")
_PART_OF_NAME = re.compile(r"[A-Za-z_-]$|[=~<>!]=$")
_VERSION = re.compile(
    r"(?:\bv|ver(?:sion)?|버전|판올림|펌웨어|firmware|build|빌드|릴리스|release|업데이트|§|섹션|section|[장절])[^0-9\n]{0,6}$",
    re.I,
)
# 11.5.1.2 is a section or a version, unless it is called an address.
_SMALL, _LARGE = 32, 100
_CLOSE = 8  # characters between a small address and what calls it so


def _ips(text: str) -> Iterator[Candidate]:
    for m in _IPV4.finditer(text):
        before = text[max(0, m.start() - 20) : m.start()]
        if _PART_OF_NAME.search(before) or _VERSION.search(before) or not _is_public(m[0]):
            continue
        large = sum((n >= _SMALL) + (n >= _LARGE) for n in map(int, m[0].split(".")))
        named = names_before(text, m.start()).get("ip")
        close = named is not None and named <= _CLOSE and not before.endswith("\n")
        if close or (named is not None and large) or _PORT.match(text, m.end()):
            yield Candidate("ip", m.start(), m.end(), Certainty.NAMED)
        elif large > 1 and not called_other(text, m.start()):
            yield Candidate("ip", m.start(), m.end(), Certainty.CHECKED)
    for m in _IPV6.finditer(text):
        # A port may follow; behind a shortened address only a usual one can be told.
        short = "::" in m[0]
        address = _USUAL_PORT.sub("", m[0]) if short else ":".join(m[0].split(":")[:8])
        if len(address.replace("::", ":").split(":")) > 2 and _is_public(address):
            yield Candidate("ip", m.start(), m.start() + len(address), Certainty.CHECKED)


def _is_public(address: str) -> bool:
    """Addresses of the internet; not loopback, private, reserved or those kept for manuals."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return ip.is_global and not ip.is_multicast


# --- messengers ----------------------------------------------------------------------------------

# Written out and not in any case: an alternation of literals is scanned four times faster.
_APP = (
    "카카오톡|카톡|텔레그램|텔레그렘|텔레|인스타그램|인스타|위챗|라인|디스코드"
    "|(?:kakaotalk|kakao talk|kakao|KakaoTalk|Kakaotalk|Kakao|KAKAO|telegram|Telegram|TELEGRAM"
    "|instagram|Instagram|insta|Insta|wechat|WeChat|Wechat|line|Line|LINE)(?![A-Za-z0-9_.])"
)
_ID_WORD = r"아이디|계정|친추|친구 ?추가|추가|검색|문의|상담|ID\b|[Ii]d\b"
_HANDLE = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{1,28}[A-Za-z0-9_])"
_MESSENGER = re.compile(
    rf"(?:{_APP})(?P<named> ?(?:{_ID_WORD}))?(?:은|는|이|가|으로|로)?"
    rf"(?P<mark>[\s:=→>\-\"'(]{{0,4}}@?)(?P<id>{_HANDLE})(?![A-Za-z0-9@(])"
)
_PROFILE = re.compile(
    rf"(?:t\.me|instagram\.com|open\.kakao\.com/o|line\.me/ti/p/~)/(?P<id>{_HANDLE})"
)
_NO_HANDLES = frozenset(("p", "reel", "reels", "explore", "joinchat", "share", "accounts"))
_INSIDE_WORD = re.compile(r"[A-Za-z0-9_-]")
_PERSONAL = re.compile(r"[A-Za-z].*[0-9_]|[0-9_].*[A-Za-z]")


def _messengers(text: str) -> Iterator[Candidate]:
    """Ids behind the name of an app: 카톡 아이디: luna_07, 텔레그램 @luna, 인스타 luna.07.

    Behind a bare name the id must look chosen (letters with digits or an underscore), for most
    words there are names of products; behind 라인 and ``line``, which mean many things, it must
    be called an id or begin with @.
    """
    for m in _MESSENGER.finditer(text):
        called = m["named"] or "@" in m["mark"]
        vague = m[0][:4].lower() == "line" or m[0].startswith("라인")
        before = text[max(0, m.start() - 1) : m.start()]
        if _INSIDE_WORD.match(before) or (vague and before.isalpha()):  # inline, 온라인
            continue
        chosen = _PERSONAL.search(m["id"]) and (called or not vague)
        if chosen or "@" in m["mark"]:
            yield Candidate("messenger", m.start("id"), m.end("id"), Certainty.NAMED)
    for m in _PROFILE.finditer(text):
        host_goes_on = m.start() > 0 and m[0][0] == "t" and _INSIDE_WORD.match(text, m.start() - 1)
        if not host_goes_on and m["id"].lower() not in _NO_HANDLES:
            yield Candidate("messenger", m.start("id"), m.end("id"), Certainty.NAMED)
