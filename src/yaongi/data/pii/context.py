"""Words that say what a number is, read from a short stretch of text around it."""

from __future__ import annotations

import re

REACH = 30  # characters before a number in which its name may stand
BANKS = (
    "국민|KB|신한|우리|하나|농협|NH|기업|IBK|카카오|카뱅|토스|케이|제일|SC|씨티|산업|KDB|대구|iM|"
    "부산|광주|전북|경남|제주|수협|신협|새마을|우체국|저축"
)
# Our own placeholders are no context: scrubbed text would name what follows it.
_NAMES = {
    "rrn": r"주민|민증|주번|생년월일|외국인|거소|세대[주원]|부양\s?가족|피보험|피부양"
    r"|\b(?:rrn|ssn|arc)\b|\bjumin|\bresident",
    "phone": r"전화|연락|휴대|핸드폰|[집폰]\s?번호|(?<![가-힣])폰(?![가-힣])|팩스|문의|상담"
    r"|고객센터|대표번호|문자|예약|신고|내선|☎|☏|\b(?:tel|fax|phone|mobile|cell|hp|h\.p|call)\b",
    "business_no": r"사업자|등록\s?번호|고유번호|공급[자받]|계산서|지출증빙|[폐휴]업|과세"
    r"|거래처|\bbusiness|\bbiz|\bvat\b|\btax_?id",
    "corporate_no": r"법인|등기|등록번호|\bcorp",
    "passport": r"여권|사증|\bpassport",
    "driver_license": r"면허|운전|[12]종|적성검사|(?<![a-z])licen[sc]e|\bdriver",
    "card": r"카드|법카|유효기간|결제|(?<!\[)\b(?:card|visa|master|amex)",
    "account": r"계좌|입금|송금|이체|예금주|통장|후원|환불|회비|은행|뱅크|금고"
    rf"|(?:{BANKS})(?:은행|뱅크)?(?:\s?[:/]?\s?|(?:</?[a-z]{{1,4}}>){{1,3}})\Z"
    r"|(?<![\[a-z_])(?:bank_?)?(?:account|acct)(?:_?no|_?num(?:ber)?)?\b|(?<!\[)\bbank\b",
    "ip": r"아이피|접속|접근|요청|로그인|서버|차단|해킹|공격|호스트|게이트웨이|프록시|방화벽"
    r"|네트워크|클라이언트|단말|[공사]인\s?주소|공유기|라우터|회선|출발지|목적지|발신지"
    r"|(?<!\[)\b(?:ip|ipv[46]|host|server|dns|ping|ssh|from|address|client|remote|peer|proxy"
    r"|gateway|router|login|vpn|curl|traceroute|nslookup)\b",
    "address": r"주소|소재지|거주|배송지|본점|본사|위치|등록기준지|본적",
}
_NAMED = re.compile("|".join(f"(?P<{kind}>{words})" for kind, words in _NAMES.items()), re.I)
_WORDS = re.compile("[가-힣A-Za-z☎☏]")
_SPACED = re.compile(r"[가-힣](?: [가-힣]){3,}(?![가-힣])")  # 사 업 자 번 호
_AFTER = re.compile(rf"^[\s)(/,]*(?:예금주|(?:{BANKS})(?:은행|뱅크|금고)?)", re.I)
# A number that is called something else: 주문번호, 모델명, ORD-, version.
_OTHER = re.compile(
    r"(?:운송장|송장|택배|배송|등기우편|바코드|품번|모델명?|시리얼|일련|버전|ISBN|ISSN|DOI|S/N|P/N|SKU"
    r"|\b(?:order|tracking|invoice|serial|part|model|version|ver|build|no\.? ?of)\b"
    r"|(?:주문|부품|상품|제품|문서|사건|접수|관리|승인|결재|쿠폰|수험|출원|특허|등록상표|일련|시료|송금|거래"
    r"|학생|사원|회원|예약|티켓|좌석|과목|배송|등기|자산|계약|증권|고지)\s?(?:번호|코드|넘버|NO\.?)"
    r"|(?<![가-힣])코드|(?:상품|제품|쿠폰|할인|인증|우편|지역|국가|은행|고유|색상|추천|초대|오류|에러)\s?코드"
    r"|학번|사번)(?:\s?(?:번호|넘버|No\.?))?"
    r"(?:는|은|이|가)?[^0-9가-힣\n]{0,8}$",
    re.I,
)


def names_before(text: str, start: int, reach: int = REACH) -> dict[str, int]:
    """Kinds named in ``reach`` characters before ``start``, with their distances to it."""
    window = text[max(0, start - reach) : start]
    if not _WORDS.search(window):  # tables of numbers
        return {}
    if " " in window:
        window = _SPACED.sub(lambda word: word[0].replace(" ", ""), window)
    return {str(m.lastgroup): len(window) - m.end() for m in _NAMED.finditer(window)}


_HEAD_AFTER = re.compile(r"^[\s)\],/]*(?:대표(?:이사|자)?[\s:]|\(주\)|㈜|주식회사|[휴폐]업)")


def company_after(text: str, end: int) -> bool:
    """Whether who heads a company, or its form, follows: 123-45-67890) 대표이사."""
    return _HEAD_AFTER.match(text[end : end + 12]) is not None


def bank_after(text: str, end: int) -> bool:
    """Whether a bank or 예금주 follows, as in 110-123-456789 신한."""
    return _AFTER.match(text[end : end + 12]) is not None


def called_other(text: str, start: int) -> bool:
    """Whether the number is an order, a model, a version: anything with a name of its own."""
    return _OTHER.search(text[max(0, start - 20) : start]) is not None
