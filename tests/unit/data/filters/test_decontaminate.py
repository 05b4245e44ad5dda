"""Items of evaluation sets are found in documents, however they are spaced; the rest stays."""

import json
import random

import pytest

from yaongi.core.errors import DataError
from yaongi.data.contamination import Contamination, Limits
from yaongi.data.filters.decontaminate import Decontaminate
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource

QUESTION = "다음 중 조선 시대의 신분 제도에 대한 설명으로 옳지 않은 것은 무엇입니까?"
ENGLISH = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts?"
CHINESE = "下列关于中国古代科技成就的说法中,哪一项是不正确的,请选择一个答案。"
CONTEXT = (
    "뉘르부르크링의 역사는 순조롭게 흘러가는 듯 했으나 제2차 세계 대전이 일어나면서 1940년대에는 "
    "제대로 된 경기가 이루어지지 못했다. 하지만 종전 후 뉘르부르크링은 황금기에 접어든다. "
    "트랙의 보수 공사가 이뤄졌고 1951년 공식 인증을 받아 포뮬러 원 트랙으로 선정된다."
)
BEFORE = "지난주에 친구와 함께 도서관에 갔다. 책을 세 권 빌렸다.\n"
AFTER = "\n비가 와서 늦게 돌아왔다. We stayed there until it closed at nine in the evening."


@pytest.fixture
def folder(tmp_path):
    rows = [
        {"question": QUESTION, "choices": ["양반", "중인", "네"], "answer": 2},
        {"question": ENGLISH, "answer": "3"},
        {"question": CHINESE},
        {"context": CONTEXT, "questions": [{"q": "황금기는?"}]},
    ]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "exam.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def step(folder, **settings):
    return Decontaminate(against=["exam.jsonl"], **settings).at(folder)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (QUESTION, 1),
        (QUESTION.replace(" ", ""), 1),
        (" ".join(QUESTION), 1),
        (QUESTION.replace(" ", "\n").rstrip("?"), 1),
        (f"문제 1) “{QUESTION}” ① 양반 ② 중인", 1),
        (ENGLISH.upper(), 2),
        (ENGLISH.replace(" ", "  ").replace(".", " –"), 2),
        (CHINESE.replace(",", "，"), 3),
        (CONTEXT, 4),
    ],
)
def test_a_whole_item_is_found_whatever_its_spacing_case_and_punctuation(folder, text, row):
    result = step(folder).clean(BEFORE + text + AFTER)
    assert (result.drop, result.tags) == ("evaluation item", {"contamination": f"exam:{row}"})


def test_decomposed_hangul_is_the_same_text(folder):
    import unicodedata

    assert step(folder).clean(unicodedata.normalize("NFD", QUESTION)).drop == "evaluation item"


def test_most_of_a_context_is_found_and_a_quotation_from_it_is_not(folder):
    most, little = CONTEXT[:110], CONTEXT[:32]
    result = step(folder).clean(BEFORE + most.replace(" ", "") + AFTER)
    assert (result.drop, result.tags["contamination"]) == ("evaluation n-grams", "exam:4")
    assert step(folder).clean(BEFORE + little + AFTER).drop == ""
    assert step(folder, overlap=0.0).clean(BEFORE + little + AFTER).drop == "evaluation n-grams"


@pytest.mark.parametrize(
    "text",
    [
        BEFORE + AFTER,
        "양반, 중인, 네. 황금기는?",
        "다음 중 옳지 않은 것은 무엇입니까?",
        "",
        "?!",
    ],
)
def test_other_texts_and_short_answers_stay(folder, text):
    result = step(folder).clean(text)
    assert (result.text, result.drop, result.tags) == (text, "", {})


def found(rows, text, **limits):
    return Contamination(
        [("exam", i, row) for i, row in enumerate(rows, 1)], Limits(**limits)
    ).find(text)


def test_what_many_items_of_a_set_share_is_their_template_and_no_sign():
    template = "용어 설명과 사실 목록을 바탕으로 질문의 답변으로 사실 또는 거짓 하나를 선택하세요 "
    names = [f"{a}{b} 이야기" for a in "가나다라" for b in "마바사아"]
    shared = [template + name for name in names]
    assert found(shared[:9], f"{template}모른다", overlap=0.0) is not None
    assert found(shared, f"{template}모른다", overlap=0.0) is None
    assert found(shared, shared[3]).whole  # an item itself is found all the same
    assert found([template] * 16, template) is None  # the instruction of every row


def test_a_context_of_many_questions_is_one_text():
    rows = [{"context": CONTEXT, "question": f"{i}번째 질문"} for i in range(8)]
    assert found(rows, CONTEXT[:120]) is not None


@pytest.mark.parametrize(
    "text", ["ㅋ" * 80, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16", "0000 " * 30]
)
def test_what_says_nothing_is_no_sign(text):
    assert found([f"{text} 이라는 답변을 고르시오"], f"{text} {BEFORE}", overlap=0.0) is None


def test_thirteen_words_of_english_are_found_with_other_words_around():
    words = "the quick brown animal jumped over many lazy dogs before evening came yesterday"
    item = f"Zoe said that {words} and nobody noticed it at all"
    assert found([item], f"They wrote: {words}. Then it rained.", overlap=0.0) is not None
    assert found([item], f"They wrote: {words[4:]}. Then it rained.", overlap=0.0) is None


def test_a_set_that_is_missing_broken_or_of_no_kind_is_refused(folder):
    with pytest.raises(DataError, match=r"exan\.jsonl.*exam\.jsonl"):
        Decontaminate(against=["exan.jsonl"]).at(folder).clean("")
    with pytest.raises(DataError, match="leads out"):
        Decontaminate(against=["../exam.jsonl"]).at(folder)
    (folder / "broken.jsonl").write_text('{"question": "a"}\n{"question": \n')
    with pytest.raises(DataError, match=r"broken\.jsonl: row 2 .*not JSON"):
        Decontaminate(against=["broken.jsonl"]).at(folder).clean("")


def test_lines_of_a_text_file_are_items(folder):
    (folder / "list.txt").write_text(f"{QUESTION}\n{ENGLISH}\n", encoding="utf-8")
    result = Decontaminate(against=["list.txt"]).at(folder).clean(ENGLISH)
    assert result.tags == {"contamination": "list:1"}


def test_the_fingerprint_is_of_the_contents(folder, tmp_path):
    before = step(folder).fingerprint()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "exam.jsonl").write_bytes((folder / "exam.jsonl").read_bytes())
    assert step(moved).fingerprint() == before != ""
    (moved / "exam.jsonl").write_text('{"question": "다른 문제"}', encoding="utf-8")
    assert step(moved).fingerprint() != before


def test_items_planted_in_real_documents_are_found_and_the_documents_alone_stay(yaongi_data):
    names = ["korquad_dev", "gsm8k_test", "klue_nli_dev"]
    paths = [f"eval/{name}.jsonl.zst" for name in names]
    cleaner = Decontaminate(against=paths).at(yaongi_data)
    column = {"korquad_dev": "question", "gsm8k_test": "question", "klue_nli_dev": "premise"}
    reading = Reading(yaongi_data)
    documents = [
        document.text
        for document in FilesSource(path="train/ko_laws.jsonl.zst").read(reading)
        if not cleaner.clean(document.text).drop
    ]
    assert len(documents) > 30
    draw = random.Random(0)
    items = [item for name in names for item in drawn(yaongi_data, name, column[name], draw)]
    missed = []
    for item in items:
        host = draw.choice(documents)[:3000]
        at = draw.randrange(len(host))
        if not cleaner.clean(host[:at] + disguised(item, draw) + host[at:]).drop:
            missed.append(item)
    assert len(items) > 100 and missed == []


def drawn(root, name, column, draw):
    from yaongi.data.sources.formats import Opened, read_jsonl

    with Opened(root / f"eval/{name}.jsonl.zst") as opened:
        texts = [parsed.row[column] for parsed in read_jsonl(opened)]
    long = [
        text for text in texts if sum(3 if "가" <= c <= "힣" else c.isalnum() for c in text) > 45
    ]
    return draw.sample(long, 40)


def disguised(item, draw):
    """With other spaces and punctuation, and some capitals."""
    kept = "".join(c for c in item if c.isalnum() or (c == " " and draw.random() < 0.5))
    return "".join(c.upper() + draw.choice(["", "", "", "", " ", ", ", "\n"]) for c in kept)
