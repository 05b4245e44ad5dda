"""Which licences, as people write them, let texts into an open model."""

import json
import re
from pathlib import Path

import pytest

from yaongi.core.config import load_recipe
from yaongi.data.licences import judge

RECIPES = Path(__file__).parents[3] / "recipes"
ASKS = {
    "non-commercial": "commercial use",
    "no derivatives": "No derivatives",
    "agreement": "agreement",
    "provider": "provider's terms",
    "reserved": "licensed nothing",
    "missing": "No licence is stated",
    "unknown": "no licence known here",
}


@pytest.mark.parametrize(
    ("licence", "found"),
    [
        ("CC-BY-4.0", "CC BY"),
        ("cc-by-4.0", "CC BY"),
        ("CC BY 2.0 KR", "CC BY"),
        ("CCBY", "CC BY"),
        ("CC BY licence", "CC BY"),
        ("Creative Commons Attribution 4.0 International", "CC BY"),
        ("크리에이티브 커먼즈 저작자표시 4.0", "CC BY"),
        ("CC BY-SA 3.0", "CC BY-SA"),
        ("cc_by_sa_4.0", "CC BY-SA"),
        ("CC-BY‑SA", "CC BY-SA"),  # a non-breaking hyphen, as word processors set it
        ("ＣＣ　ＢＹ－ＳＡ", "CC BY-SA"),
        ("Attribution-ShareAlike 4.0", "CC BY-SA"),
        ("저작자표시-동일조건변경허락 2.0 대한민국", "CC BY-SA"),
        ("CC0-1.0", "CC0"),
        ("CC0", "CC0"),
        ("public domain", "public domain"),
        ("퍼블릭 도메인", "public domain"),
        ("저작권법 제7조 (보호받지 못하는 저작물)", "public domain"),
        ("statutes are not protected works; repo has no licence", "public domain"),
        ("저작권 만료; 저장소에 라이선스 없음", "public domain"),
        ("MIT", "MIT"),
        ("The MIT License (MIT)", "MIT"),
        ("Apache License, Version 2.0", "Apache"),
        ("Apache 2.0 / MIT", "Apache, MIT"),
        ("BSD-2-Clause", "BSD"),
        ("0BSD", "BSD"),
        ("ISC", "ISC"),
        ("GPL-2.0-or-later", "GPL"),
        ("GPL-2+ or later", "GPL"),
        ("GNU General Public License v3", "GPL"),
        ("AGPL-3.0", "GPL"),
        ("LGPLv2.1", "GPL"),
        ("GFDL-1.3", "GFDL"),
        ("MPL-2.0", "MPL"),
        ("PSF-2.0", "PSF"),
        ("OFL-1.1", "OFL"),
        ("ODC-BY 1.0", "ODC-BY"),
        ("odc-by", "ODC-BY"),
        ("ODbL", "ODbL"),
        ("OGL-UK-3.0", "OGL"),
        ("공공누리 제1유형", "공공누리 1"),
        ("공공누리 1유형 (출처표시)", "공공누리 1"),
        ("공공누리(제1유형)", "공공누리 1"),
        ("공공누리 출처표시", "공공누리 1"),
        ("KOGL Type 1", "공공누리 1"),
        ("KOGL-1", "공공누리 1"),
        ("MIT OR CC-BY-NC-4.0", "MIT"),  # the licensee may choose
        ("CC BY-NC 4.0 또는 CC BY-SA 4.0", "CC BY-SA"),
        ("MIT (© 2023 Kakao Corp.)", "MIT"),
    ],
)
def test_open_ones_are_named(licence, found):
    assert judge(licence) == (True, found)


@pytest.mark.parametrize(
    ("licence", "why"),
    [
        ("CC BY-NC 4.0", "non-commercial"),
        ("CC-BY-NC-SA-4.0", "non-commercial"),
        ("cc by nc", "non-commercial"),
        ("Creative Commons Attribution-NonCommercial 4.0", "non-commercial"),
        ("저작자표시-비영리 2.0 대한민국", "non-commercial"),
        ("Namuwiki", "non-commercial"),
        ("나무위키 CC BY-NC-SA 2.0 KR", "non-commercial"),
        ("공공누리 제2유형", "non-commercial"),
        ("KOGL type 2", "non-commercial"),
        ("KOGL 4", "non-commercial"),
        ("공공누리 ②유형", "non-commercial"),
        ("상업적 이용 금지", "non-commercial"),
        ("research use only", "non-commercial"),
        ("연구 목적", "non-commercial"),
        ("MIT; CC BY-NC", "non-commercial"),
        ("Apache-2.0 (but CC BY-NC 4.0 upstream)", "non-commercial"),
        ("MIT and CC-BY-NC-4.0", "non-commercial"),
        ("CC BY-ND 2.0 KR", "no derivatives"),
        ("cc-by-nc-nd-4.0", "no derivatives"),
        ("저작자표시-변경금지", "no derivatives"),
        ("공공누리 제3유형", "no derivatives"),
        ("공공누리 4유형", "no derivatives"),
        ("AI-Hub", "agreement"),
        ("AI Hub 이용약관", "agreement"),
        ("AI허브", "agreement"),
        ("aihub", "agreement"),
        ("모두의말뭉치", "agreement"),
        ("모두의 말뭉치 (국립국어원)", "agreement"),
        ("NIKL corpus, on request", "agreement"),
        ("MIT; GPT-4-generated", "provider"),
        ("ChatGPT-generated", "provider"),
        ("Apache-2.0 (answers by gpt-3.5-turbo)", "provider"),
        ("all rights reserved", "reserved"),
        ("무단 전재 및 재배포 금지", "reserved"),
        ("ODC-BY 1.0 (pages (c) their owners)", "reserved"),
        ("", "missing"),
        ("  ", "missing"),
        ("()", "missing"),
        ("none", "missing"),
        ("other", "missing"),
        ("not stated", "missing"),
        ("no licence file", "missing"),
        ("No license", "missing"),
        ("see the card", "missing"),
        ("See README.", "missing"),
        ("라이선스 없음", "missing"),
        ("카드 참조", "missing"),
        ("명시되지 않음", "missing"),
        ("no licence file (sub-folder Apache-2.0)", "missing"),
        ("MIT; the rest not stated", "missing"),
        ("Apach-2.0", "unknown"),
        ("my own", "unknown"),
        ("BSD / mixed quotations (see the package)", "unknown"),
        ("공공누리", "unknown"),  # which of the types decides
        ("Creative Commons", "unknown"),
        ("MITRE", "unknown"),
        ("Solar-Apache License 2.0", "unknown"),
        ("later", "unknown"),
    ],
)
def test_what_stands_against_it_is_said(licence, why):
    verdict = judge(licence)
    assert not verdict.open
    assert ASKS[why] in verdict.reason


def test_everything_against_it_is_said_at_once():
    reason = judge("no licence file; ChatGPT-generated / CC BY-NC-ND").reason
    for why in ("missing", "provider", "non-commercial", "no derivatives"):
        assert ASKS[why] in reason


@pytest.mark.parametrize(
    ("licence", "fix"),
    [
        ("Apach-2.0", "Did you mean 'Apache-2.0'?"),
        ("cc-by-as-4.0", "Did you mean 'CC-BY-SA-4.0'?"),
        ("공공누리", "Did you mean '공공누리 제1유형'?"),
        ("하하하", "SPDX"),
    ],
)
def test_an_unknown_one_comes_with_the_nearest_fix(licence, fix):
    assert fix in judge(licence).reason


def test_the_catalogue_is_judged_as_its_readers_did(yaongi_data):
    """Tiers A and B are open, C and D are not, nor are answers of models."""
    rows = json.loads((yaongi_data / "MANIFEST.json").read_text())
    rows = rows if isinstance(rows, list) else [row for part in rows.values() for row in part]
    assert len(rows) > 50
    of_models = re.compile(r"GPT-4|model outputs")
    expected = {
        row["licence"]: row["tier"] in "AB" and not of_models.search(row["licence"]) for row in rows
    }
    assert {licence: judge(licence).open for licence in expected} == expected


def test_the_sources_of_the_korean_recipe_are_open_and_some_of_its_conversations_are_not():
    recipe = load_recipe(RECIPES / "korean-small.yaml")
    for source in recipe["data"]["sources"]:
        assert judge(source["licence"]).open, source
    chats = {s["licence"]: judge(s["licence"]).open for s in recipe["sft"]["data"]["sources"]}
    assert chats["MIT"] and not chats["MIT; GPT-4-generated"]
