"""Postal addresses in Korea down to the building: a road with a number, or a lot of a village.

A city, a district or a road alone is no personal data. Search begins at a number behind 로, 길,
동, 리, 가, 읍 or 면 and looks back for the district, so text without such numbers costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from yaongi.data.pii.candidate import Candidate, Certainty

_REACH = 60  # characters an address may have before its number
_ANCHOR = re.compile(r"[0-9](?<=[로길동리가읍면산하][0-9])|[0-9](?<=[로길동리가읍면산하] [0-9])")

_PROVINCE = (
    r"서울(?:특별시|시)?|(?:부산|대구|인천|광주|대전|울산)(?:광역시|시)?|세종(?:특별자치시|시)?|경기도?"
    r"|강원(?:특별자치도|도)?|충청[남북]도|충[남북]|전북특별자치도|전라[남북]도|전[남북]|경상[남북]도|경[남북]"
    r"|제주(?:특별자치도|도)?"
)
# Cities, counties and city districts that are named without their province. Any word in 시, 군
# or 구 would let in 다시, 친구 and 별도로 3.
_CITIES = (
    "수원 성남 의정부 안양 부천 광명 평택 동두천 안산 고양 과천 구리 남양주 오산 시흥 군포 "
    "의왕 하남 용인 파주 이천 안성 김포 화성 양주 포천 여주 춘천 원주 강릉 동해 태백 속초 "
    "삼척 청주 충주 제천 천안 공주 보령 아산 서산 논산 계룡 당진 전주 군산 익산 정읍 남원 "
    "김제 목포 여수 순천 나주 광양 포항 경주 김천 안동 구미 영주 영천 상주 문경 경산 창원 "
    "진주 통영 사천 김해 밀양 거제 양산 제주 서귀포 세종"
).replace(" ", "|")
_COUNTIES = (
    "연천 가평 양평 홍천 횡성 영월 평창 정선 철원 화천 양구 인제 고성 양양 보은 옥천 영동 "
    "증평 진천 괴산 음성 단양 금산 부여 서천 청양 홍성 예산 태안 완주 진안 무주 장수 임실 "
    "순창 고창 부안 담양 곡성 구례 고흥 보성 화순 장흥 강진 해남 영암 무안 함평 영광 장성 "
    "완도 진도 신안 의성 청송 영양 영덕 청도 고령 성주 칠곡 예천 봉화 울진 울릉 의령 함안 "
    "창녕 남해 하동 산청 함양 거창 합천 기장 달성 군위 강화 옹진 울주"
).replace(" ", "|")
_DISTRICTS = (
    "종로 용산 성동 광진 동대문 중랑 성북 강북 도봉 노원 은평 서대문 마포 양천 강서 구로 금천 "
    "영등포 동작 관악 서초 강남 송파 강동 해운대 사하 금정 연제 수영 사상 부산진 동래 영도 "
    "수성 달서 미추홀 연수 남동 부평 계양 광산 유성 대덕 분당 일산동 일산서 덕양 영통 권선 "
    "장안 팔달 수정 중원 만안 동안 수지 기흥 처인 상록 단원 완산 덕진 흥덕 상당 청원 서원 "
    "서북 동남 의창 성산 마산합포 마산회원 진해"
).replace(" ", "|")
_REGION = (
    rf"(?:(?:{_PROVINCE}) ?(?:[가-힣]{{1,4}}(?:시|군|구) ){{1,2}}"
    rf"|(?:(?:{_CITIES})시|(?:{_COUNTIES})군|(?:{_DISTRICTS})구) (?:[가-힣]{{1,4}}구 )?"
    r"|(?:서울(?:특별시|시)|세종(?:특별자치시|시)|(?:부산|대구|인천|광주|대전|울산)(?:광역시|시)) )"
)
# Without spaces only where every name is on a list, or a word in 시 or 구 would be a district.
_TIGHT = (
    rf"(?:{_PROVINCE})(?:(?:(?:{_CITIES})시|(?:{_COUNTIES})군|(?:{_DISTRICTS}|[동서남북중])구){{1,2}})"
    r"|세종특별자치시"
)
_ROAD = r"[가-힣][가-힣0-9·.]{0,14}(?:로|길) ?(?:지하 ?)?[0-9]{1,5}(?:-[0-9]{1,4})?(?:번지)?"
_LOT = r"[가-힣][가-힣0-9]{0,6}(?:동|리|가|읍|면) ?(?:산 ?)?[0-9]{1,5}(?:-[0-9]{1,4})?(?: ?번지)?"
_ADDRESS = re.compile(
    rf"(?:(?<![가-힣])|(?<=주소))(?:{_REGION}(?:[가-힣0-9]{{1,6}}(?:읍|면) )?|{_TIGHT})"
    rf"(?:{_ROAD}|{_LOT})"
)
# Behind the number only an end, a particle or the building: 강남대로 10차선 is no address.
_STOPS = re.compile(
    r"(?![0-9A-Za-z%~:]|[.:~-][0-9]|,[0-9]+(?![0-9동층호])"
    r"| ?(?:km|m\b|㎞|차선|분|시간|명|개|원|년|월))"
    r"(?:[^가-힣]|$|입니다|이며|이고|이에|에서|에게|에|의|으로|로|예요|이야|야|은|는|이다|이라|인|이었|"
    r"을|를|과|와|까지|부터|일대|번지)"
)
_BUILDING = (
    "아파트|빌딩|빌라|오피스텔|타워|맨션|주택|하이츠|상가|센터|플라자|프라자|원룸|연립|회관|아이파크|"
    "자이|래미안|푸르지오|힐스테이트|더샵|캐슬|세상"
)
_DETAIL = re.compile(
    rf"(?:,? ?[가-힣A-Za-z0-9]{{1,12}}?(?:{_BUILDING}))?"
    r"(?:(?:,? ?(?:제 ?)?[0-9A-Za-z가-힣]{1,4}|\n[0-9]{1,4})동(?= ?[0-9]))?"
    r"(?:,?[ \n]?(?:지하 ?|지상 ?|B)?[0-9]{1,3}층)?(?:,?[ \n]?(?:제 ?)?B?[0-9]{1,5}호(?!선|차))?"
    r"(?:[ \n]?\((?:[가-힣0-9]{1,6}(?:동|가|읍|면|리)[0-9]{0,2}(?:, ?[가-힣A-Za-z0-9 ]{1,20})?"
    rf"|[가-힣A-Za-z0-9]{{1,12}}(?:{_BUILDING}|마을))\))?"
)


def find(text: str) -> Iterator[Candidate]:
    """Candidates in a folded text."""
    done = 0
    for anchor in _ANCHOR.finditer(text):
        if anchor.start() < done:
            continue
        start = max(done, anchor.start() - _REACH)
        for m in _ADDRESS.finditer(text, start, min(len(text), anchor.end() + 16)):
            if m.end() > anchor.start() and _STOPS.match(text, m.end()):
                detail = _DETAIL.match(text, m.end())  # it also matches nothing
                done = detail.end() if detail else m.end()
                yield Candidate("address", m.start(), done, Certainty.CHECKED)
                break
