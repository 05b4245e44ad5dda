"""Made-up values for the sentences of ``pii_cases.py``.

Every number is drawn at random and belongs to nobody known; check digits are computed here a second
time, so that an error in the rules is not repeated in the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from random import Random
from typing import NamedTuple

NAMES = "김도윤 이서연 박지후 최하은 정민재 강수아 조은우 윤채원 장시우 임지민 한유나 오건우"
COMPANIES = "한빛물산 푸른바다상사 누리소프트 가람건설 해솔식품 다온전자 미르테크 (주)새솔"
DASHES = "-" * 12 + "–—－‐"  # mostly the plain one
BANKS = (
    *(("국민은행", "6-2-6"), ("KB국민", "6-2-6"), ("신한", "3-3-6"), ("신한은행", "3-3-6")),
    *(("우리은행", "4-3-6"), ("하나은행", "3-6-5"), ("농협", "3-4-4-2"), ("NH농협", "3-2-6")),
    *(("기업은행", "3-6-2-3"), ("카카오뱅크", "4-2-7"), ("토스뱅크", "4-4-4"), ("수협", "3-2-6-1")),
    *(("케이뱅크", "3-3-6"), ("SC제일은행", "3-2-6"), ("우체국", "6-2-6"), ("신협", "3-3-6")),
    *(("새마을금고", "4-4-4-1"), ("부산은행", "3-4-4-2"), ("대구은행", "3-2-6-1")),
    ("광주은행", "3-3-6"),
)


class Place(NamedTuple):
    """A district with one of its roads and one of its neighbourhoods."""

    district: str
    road: str
    village: str


# --- personal data ---------------------------------------------------------------------------


def rrn(rng: Random) -> str:
    """A resident's number: foreigners' and recent ones with a random tail, some masked."""
    foreign = rng.random() < 0.12
    recent = rng.random() < 0.08
    born = a_day(rng, date(2020, 10, 6), 1700) if recent else a_day(rng, date(1938, 1, 1), 30200)
    century = 2 * (born.year >= 2000) + 4 * foreign + rng.choice((1, 2))
    body = f"{born:%y%m%d}{century}" + digits(rng, 5)
    weighted = sum(
        int(d) * w for d, w in zip(body, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=True)
    )
    check = (13 if foreign else 11) - weighted % 11
    random_tail = recent or (foreign and rng.random() < 0.5)
    number = body + (digits(rng, 1) if random_tail else str(check % 10))
    front, back = number[:6], number[6:]
    if rng.random() < 0.12:
        back = rng.choice((back[0] + "*" * 6, "*" * 7, back[0] + "XXXXXX", back[0] + "●" * 6))
        return f"{front}-{back}"
    if rng.random() < 0.1:
        return front + back
    dash = rng.choice(DASHES)
    return widened(rng, front + rng.choice((dash, dash, dash, dash, f" {dash} ", " ")) + back)


def phone(rng: Random) -> str:
    """A mobile, landline, internet, toll-free, personal or service number in common spellings."""
    kind = rng.random()
    if kind < 0.55:
        parts = ["010", str(rng.randrange(2000, 10000)), digits(rng, 4)]
    elif kind < 0.6:
        parts = [
            rng.choice(("011", "016", "017", "018", "019")),
            str(rng.randrange(200, 1000)),
            digits(rng, 4),
        ]
    elif kind < 0.8:
        area = pick(rng, "02 031 032 033 041 042 043 044 051 052 053 054 055 061 062 063 064")
        parts = [area, str(rng.randrange(200, 10000)), digits(rng, 4)]
    elif kind < 0.9:
        parts = [
            rng.choice(("070", "080", "0502", "0505", "0507")),
            str(rng.randrange(200, 10000)),
            digits(rng, 4),
        ]
        if parts[0] == "070":
            parts[1] = str(rng.randrange(2000, 10000))
    else:
        head = pick(
            rng, "1522 1544 1566 1577 1588 1599 1600 1644 1661 1670 1688 1833 1855 1877 1899"
        )
        return head + rng.choice(DASHES) + digits(rng, 4)
    style = rng.random()
    if style < 0.1 and parts[0] != "080" and not parts[0].startswith("050"):
        parts[0] = parts[0][1:]
        return "+82" + rng.choice(("-", " ")) + rng.choice(("-", " ")).join(parts)
    if style < 0.2 and parts[0] == "010":
        return "".join(parts)
    if style < 0.27:
        return rng.choice(("{}) {}-{}", "({}){}-{}")).format(*parts)
    sep = rng.choice(DASHES + ". " + ".")
    return widened(rng, sep.join(parts))


def business_no(rng: Random) -> str:
    """A business registration number with its check digit."""
    body = f"{rng.randrange(101, 900)}{rng.randrange(1, 90):02}{digits(rng, 4)}"
    total = sum(int(d) * w for d, w in zip(body, (1, 3, 7, 1, 3, 7, 1, 3, 5), strict=True))
    total += int(body[8]) * 5 // 10
    number = body + str(-total % 10)
    if rng.random() < 0.12:
        return number
    dash = rng.choice(DASHES)
    return widened(rng, dash.join((number[:3], number[3:5], number[5:])))


def corporate_no(rng: Random) -> str:
    """A corporation's registration number: register office, kind, serial, check digit."""
    office = pick(
        rng, "1101 1146 1201 1301 1311 1344 1401 1501 1601 1701 1746 1801 1812 2001 2101 2201"
    )
    body = office + rng.choice(("11", "11", "11", "11", "14", "21", "22")) + digits(rng, 6)
    total = sum(int(d) * (1 + i % 2) for i, d in enumerate(body))
    number = body + str(-total % 10)
    return widened(rng, number[:6] + rng.choice([*DASHES, ""]) + number[6:])


def passport(rng: Random) -> str:
    """An old or a new passport number."""
    if rng.random() < 0.5:
        return rng.choice("MMMS") + digits(rng, 8)
    return f"M{digits(rng, 3)}{rng.choice('ABCDEFGHJKLMNPQRSTUVWXYZ')}{digits(rng, 4)}"


def driver_license(rng: Random) -> str:
    """A driving licence by region code or region name."""
    year, serial, check = digits(rng, 2), digits(rng, 6), digits(rng, 2)
    if rng.random() < 0.2:
        region = pick(
            rng, "서울 부산 경기 강원 충북 충남 전북 전남 경북 경남 제주 대구 인천 광주 대전 울산"
        )
        return f"{region}{rng.choice(' -')}{year}-{serial}-{check}"
    region = str(rng.choice((*range(11, 27), 28)))
    dash = rng.choice([*DASHES, " "])
    return widened(rng, dash.join((region, year, serial, check)))


def card(rng: Random) -> str:
    """A payment card number with its Luhn digit."""
    prefix = rng.choice(("4", "4", "51", "53", "55", "2221", "3568", "6250", "9410", "9490", "37"))
    length = 15 if prefix == "37" else 16
    body = prefix + digits(rng, length - 1 - len(prefix))
    doubled = [int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body))]
    number = body + str(-sum(n - 9 * (n > 9) for n in doubled) % 10)
    sep = rng.choice([*DASHES, " ", " ", " ", ""])
    cuts = (0, 4, 10, 15) if length == 15 else (0, 4, 8, 12, 16)
    return widened(rng, sep.join(number[a:b] for a, b in pairwise(cuts)))


def account(rng: Random) -> tuple[str, str]:
    """A bank and a number of its form."""
    bank, form = rng.choice(BANKS)
    sep = rng.choice(["-"] * 8 + [" ", "–", "", ""])
    groups = [digits(rng, int(n)) for n in form.split("-")]
    groups[0] = rng.choice("13579") + groups[0][1:]
    return bank, sep.join(groups)


def email(rng: Random) -> str:
    """An address at a provider or a company."""
    local = pick(rng, "minsu jiyoung haneul contact star.light k_dev sooah jh-park info help")
    host = pick(
        rng,
        "naver.com gmail.com daum.net hanmail.net nate.com kakao.com hanbit.co.kr snu.ac.kr "
        "korea.kr nuri.io",
    )
    at = rng.choice(("@",) * 20 + ("＠", " [at] ", "골뱅이"))
    return f"{local}{rng.choice(('', digits(rng, 2), digits(rng, 4)))}{at}{host}"


def ip(rng: Random) -> str:
    """A public address, version 4 or 6."""
    if rng.random() < 0.8:
        first = rng.choice(
            (1, 14, 27, 58, 61, 112, 118, 121, 175, 183, 203, 210, 211, 218, 220, 222)
        )
        return ".".join(str(n) for n in (first, *(rng.randrange(256) for _ in range(3))))
    groups = [rng.choice(("2001", "2404", "2406", "240b", "2a00"))]
    groups += [f"{rng.randrange(1, 65536):x}" for _ in range(7)]
    return ":".join(groups[:3]) + "::" + groups[3] if rng.random() < 0.5 else ":".join(groups)


def messenger(rng: Random) -> str:
    """An id as people choose them."""
    word = pick(rng, "happy luna dream coffee moon tiger sky miso bean toto vip money")
    tail = rng.choice(("_", ".", "")) + pick(rng, "day jin kr shop 0 style")
    return word + tail + digits(rng, rng.choice((2, 3, 4)))


def address(rng: Random, places: Sequence[Place]) -> str:
    """A road address or a lot number, often with building, unit and floor."""
    place = rng.choice(places)
    number = str(rng.randrange(1, 900))
    if rng.random() < 0.65:
        space = " " if rng.random() < 0.9 else ""
        text = f"{place.district} {place.road}{space}{number}" + rng.choice(
            ("", "", f"-{rng.randrange(1, 40)}")
        )
    else:
        lot = rng.choice(("", "", "산 ")) + number
        text = f"{place.district} {place.village} {lot}" + rng.choice(
            (f"-{rng.randrange(1, 80)}", "번지")
        )
    unit = f"{rng.randrange(101, 130)}동 {rng.randrange(1, 25)}{rng.randrange(1, 9):02}호"
    floor = f"{rng.randrange(2, 20)}층"
    named = rng.choice((f"한마음아파트 {unit}", f"새봄빌딩 {floor}", f"({place.village})"))
    details = ("", "", "", f" {floor}", f", {rng.randrange(101, 999)}호", f" {unit}", f", {unit}")
    detail = rng.choice((*details, f" {named}", f" {named}", f" {named}"))
    return text + detail


def official_address(rng: Random, places: Sequence[Place]) -> str:
    """A road address as the law writes it, with neighbourhood and name of the flats behind it."""
    place = rng.choice(places)
    flats = pick(rng, "한마음아파트 새봄마을아파트 푸른숲마을")
    unit = f"{rng.randrange(101, 130)}동 {rng.randrange(1, 25)}{rng.randrange(1, 9):02}호"
    where = f"{place.village}, {flats}" if place.village.endswith("동") else flats
    return f"{place.district} {place.road} {rng.randrange(1, 900)}, {unit} ({where})"


# --- everything else in a sentence -----------------------------------------------------------


def digits(rng: Random, count: int) -> str:
    """``count`` random digits."""
    return "".join(rng.choices("0123456789", k=count))


def pick(rng: Random, words: str) -> str:
    """One of the words between spaces."""
    return rng.choice(words.split())


def a_day(rng: Random, first: date, days: int) -> date:
    """One of the ``days`` from ``first`` on."""
    return first + timedelta(rng.randrange(days))


def widened(rng: Random, number: str) -> str:
    """Now and then with full-width digits."""
    wide = str.maketrans("0123456789", "０１２３４５６７８９")
    return number.translate(wide) if rng.random() < 0.04 else number


def any_date(rng: Random) -> str:
    """A date as Koreans write it."""
    day = a_day(rng, date(1990, 1, 1), 14000)
    forms = ("%Y-%m-%d", "%Y.%m.%d", "%Y. %m. %d.", "%Y년 %m월 %d일", "%Y/%m/%d", "%Y%m%d")
    return day.strftime(rng.choice(forms))


def isbn(rng: Random) -> str:
    """A book number, with or without dashes."""
    body = "979-11-" + digits(rng, 4) + "-" + digits(rng, 3)
    if rng.random() < 0.5:
        body = "978-89-" + digits(rng, 3) + "-" + digits(rng, 4)
    number = f"{body}-{ean_check(body.replace('-', ''))}"
    return number if rng.random() < 0.6 else number.replace("-", "")


def ean(rng: Random) -> str:
    """A Korean bar code; 880104... also reads as a date of birth."""
    body = (
        "880"
        + rng.choice(("1062", "1043", "1007", "1115", "9022", "6002", "1231"))
        + digits(rng, 5)
    )
    return body + ean_check(body)


def ean_check(body: str) -> str:
    """The check digit of EAN-13."""
    return str(-sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(body)) % 10)
