"""Ids in messengers and social networks: 카톡 아이디: luna_07, 텔레그램 @luna, t.me/luna."""

from __future__ import annotations

import re
from collections.abc import Iterator

from yaongi.data.pii.candidate import Candidate, Certainty

# Written out, flat and not in any case: only of such an alternation re knows the first letters.
_APP = (
    "카카오톡|카톡|ㅋㅏ톡|ㅋㅌ|개인톡|텔레그램|텔레그렘|텔레|텔|인스타그램|인스타|인별|위챗|라인|디스코드"
    "|디코|스냅챗|스레드|트위터|kakaotalk|kakao talk|kakao|KakaoTalk|Kakaotalk|Kakao|KAKAO|telegram"
    "|Telegram|TELEGRAM|instagram|Instagram|insta|Insta|IG|wechat|WeChat|Wechat|Discord|line|Line"
    "|LINE"
)
_END_OF_LATIN = r"(?:(?<![A-Za-z])|(?P<field>_?[iI][dD])?(?![A-Za-z0-9_.]))"
# These mean other things too; behind them the id must begin with @ or be called one.
_VAGUE = re.compile(r"라인|텔\Z|스레드|트위터|IG|Discord|[Ll]ine|LINE")
_ID_WORD = r"아이디|아디|계정|친추|친구 ?추가|추가|검색|문의|상담|ID\b|[Ii]d\b"
_HANDLE = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{1,28}[A-Za-z0-9_])"
_MESSENGER = re.compile(
    rf"(?P<app>{_APP}){_END_OF_LATIN}\)?(?P<named>(?: ?주세요)? ?(?:{_ID_WORD}))?"
    r"(?:은|는|이|가|으로|로|(?P<is> is))?"
    rf"(?P<mark>[\s:=→▶>\-\"'(]{{0,4}}@?)"
    rf"(?P<id>{_HANDLE}|(?:[A-Za-z0-9_.] ){{4,28}}[A-Za-z0-9_])(?![A-Za-z0-9@(])"
)
_WANTED = r"카톡|카카오톡|텔레그램|텔레|디코"
_BEFORE_APP = re.compile(rf"(?:{_WANTED}) ?(?:주세요|주십시오|주시면|줘|주셈|친추)")
_HANDLE_REVERSED = re.compile(rf"[ '\"]{{1,2}}({_HANDLE})(?![A-Za-z0-9@_.-])")
_INVITED = re.compile(r"\s?(?:친추|추가|디엠|팔로우|문의|연락|상담|고수익)")
_PROFILE = re.compile(
    rf"(?:t\.me|instagram\.com|open\.kakao\.com/o|line\.me/ti/p/~)/(?P<id>{_HANDLE})"
)
_NO_HANDLES = frozenset(("p", "reel", "reels", "explore", "joinchat", "share", "accounts"))
_INSIDE_WORD = re.compile(r"[A-Za-z0-9_-]")
_CHOSEN = re.compile(r"(?![vV][0-9.]+\Z)(?:[A-Za-z].*[0-9_]|[0-9_].*[A-Za-z])")
_CALLED_ID = re.compile("아이디|아디|ID|Id|id")
_NO_WORDS = frozenset(("login", "password", "token", "api", "app", "pay", "kakao", "telegram"))
_LONG = 6  # characters of an id; e2e and B2B are none
_HANGUL = re.compile("[가-힣]")


def find(text: str) -> Iterator[Candidate]:
    """Candidates in a folded text."""
    for m in _MESSENGER.finditer(text):
        before = text[max(0, m.start() - 1) : m.start()]
        if not _INSIDE_WORD.match(before) and _is_id(m, before):
            yield Candidate("messenger", m.start("id"), m.end("id"), Certainty.NAMED)
    for m in _BEFORE_APP.finditer(text):
        handle = _HANDLE_REVERSED.match(text[max(0, m.start() - 34) : m.start()][::-1])
        if handle and _CHOSEN.match(handle[1]):
            start, end = handle.span(1)
            yield Candidate("messenger", m.start() - end, m.start() - start, Certainty.NAMED)
    for m in _PROFILE.finditer(text):
        host_goes_on = m.start() > 0 and m[0][0] == "t" and _INSIDE_WORD.match(text, m.start() - 1)
        if not host_goes_on and m["id"].lower() not in _NO_HANDLES:
            yield Candidate("messenger", m.start("id"), m.end("id"), Certainty.NAMED)


def _is_id(m: re.Match[str], before: str) -> bool:
    """Whether an app, and what stands between, make an id of the word behind.

    Behind a bare name the id must look chosen (letters with digits or an underscore), for most
    words there are names of products. Called 아이디 behind a Korean name any word is one.
    """
    app, named, mark, handle = m["app"], m["named"] or "", m["mark"], m["id"]
    chosen = _CHOSEN.match(handle) is not None
    if _VAGUE.match(app) and (before.isalpha() or not _is_meant(m)):  # inline, 온라인, 모텔
        return False
    if (m["is"] and len(handle) < _LONG) or (m["field"] and '"' not in mark):
        return False  # Telegram is e2e; kakao_id = user_1
    if chosen or ("@" in mark and app != "스레드"):
        return True
    called = _HANGUL.match(app) and _CALLED_ID.search(named)
    return bool(called) and handle.lower() not in _NO_WORDS


def _is_meant(m: re.Match[str]) -> bool:
    """Whether a vague name, such as ``line``, is that of the app."""
    invited = len(m["id"]) >= _LONG and _INVITED.match(m.string, m.end())
    return bool(m["named"] or "@" in m["mark"] or invited or m[0].startswith("Discord:"))
