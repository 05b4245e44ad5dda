import tracemalloc
import unicodedata

import pytest
from dedup_text import article, stripped

from yaongi.data.dedup import runs, substring
from yaongi.data.dedup.passages import passages, split
from yaongi.data.dedup.substring import Substring
from yaongi.data.sources import Reading
from yaongi.data.sources.files import FilesSource

QUOTED = article("quoted", 9)


def sentences(text):
    found = split(text)
    return [text[a:b] for a, b in zip(found.starts, found.ends, strict=True)]


def bare(text):
    return "".join(text.split())


def texts_of(results):
    return [result.cleaned.text for result in results]


def test_the_first_occurrence_stays_and_others_go_in_full(tmp_path):
    a, b, c = (article(i) for i in range(3))
    texts = [f"{a}\n\n{QUOTED}\n\n{b}", f"{c}\n{QUOTED}", article(4), f"{QUOTED}\n\n{article(5)}"]
    results = stripped(tmp_path, texts)
    assert texts_of(results) == [texts[0], c, texts[2], article(5)]
    assert [result.owner for result in results] == [-1, 0, -1, 0]
    assert results[1].cleaned.changed == {"repeated sentence": 9}
    assert bare("".join(texts[1][a:b] for a, b in results[1].gone)) == bare(QUOTED)
    assert not any(result.cleaned.drop for result in results)


def test_spacing_line_breaks_and_decomposed_jamo_hide_nothing(tmp_path):
    other = unicodedata.normalize("NFD", QUOTED.replace("\n", " ").replace(" 정", "  정"))
    results = stripped(tmp_path, [article(0) + " " + QUOTED, article(1) + "\n" + other])
    assert texts_of(results)[1] == article(1)


def test_only_whole_sentences_go(tmp_path):
    inside = f"시장은 말했다: {QUOTED[:-1]}고 그는 덧붙였다."
    text = f"{article(1)} {inside} {article(2)}"
    result = stripped(tmp_path, [QUOTED, text])[1]
    kept = sentences(result.cleaned.text)
    assert set(kept) <= set(sentences(text))
    assert kept[12].startswith("시장은 말했다: ")
    assert sentences(inside)[-1] in kept
    assert result.cleaned.changed == {"repeated sentence": 7}


def test_short_passages_stay_however_often(tmp_path):
    formula = "이 법은 공포한 날부터 시행한다. 감사합니다."
    texts = [f"{article(i)}\n{formula}\n{article(-i - 1)}" for i in range(5)]
    assert texts_of(stripped(tmp_path, texts)) == texts


def test_a_passage_of_exactly_the_limit_goes_and_one_byte_less_stays(tmp_path):
    size = len(bare(QUOTED).encode())
    texts = [QUOTED + "\n" + article(0), article(1) + "\n" + QUOTED]
    at, above = (
        stripped(tmp_path / str(n), texts, Substring(min_bytes=n)) for n in (size, size + 1)
    )
    assert texts_of(at)[1] == article(1)
    assert texts_of(above) == texts


def test_what_repeats_inside_one_document_stays(tmp_path):
    text = f"{QUOTED}\n{article(0)}\n{QUOTED}"
    results = stripped(tmp_path, [text, f"{article(1)}\n{QUOTED}\n{article(2)}\n{QUOTED}"])
    assert texts_of(results) == [text, f"{article(1)}\n{article(2)}"]


def test_no_sentence_is_lost_from_a_passage_with_several_owners(tmp_path):
    """s2 s3 stand in the first, s1 s2 s3 in the second: the third loses all, no text is lost."""
    s1, s2, s3 = (article(f"s{i}", 3) for i in range(3))
    texts = [
        f"{s2}\n{s3}\n{article(0)}",
        f"{article(1)}\n{s1}\n{s2}\n{s3}",
        f"{article(2)}\n{s1}\n{s2}",
    ]
    results = stripped(tmp_path, texts, Substring(min_bytes=300))
    assert texts_of(results) == [texts[0], f"{article(1)}\n{s1}", article(2)]


def test_a_document_of_little_else_goes(tmp_path):
    texts = [QUOTED, f"퍼온 글입니다.\n\n{QUOTED}", QUOTED.replace(" ", "  "), "퍼온 글입니다."]
    results = stripped(tmp_path, texts)
    drops = [result.cleaned.drop for result in results]
    assert drops == ["", "repeated elsewhere", "repeated elsewhere", ""]
    assert [result.cleaned.text for result in results[1:3]] == ["퍼온 글입니다.", ""]
    kept = stripped(tmp_path / "b", texts, Substring(min_left_bytes=0))
    assert [result.cleaned.drop for result in kept] == ["", "", "repeated elsewhere", ""]


def test_held_out_passages_leave_train(tmp_path):
    texts = [f"{article(0)}\n{QUOTED}", f"{article(1)}\n{QUOTED}"]
    assert texts_of(stripped(tmp_path, texts, held={1})) == [article(0), texts[1]]


def test_code_and_tables_are_left_alone(tmp_path):
    licence = "\n".join(
        f"# line {i} of the licence (see {i}.txt); all rights reserved." for i in range(20)
    )
    code = [
        f"{licence}\ndef f_{i}(x):\n    return x[{i}] + {i} * (x[0] - 1)\n" * 3 for i in range(2)
    ]
    assert texts_of(stripped(tmp_path, code)) == code


@pytest.mark.parametrize("shards", [2, 7])
def test_shards_and_blocks_make_no_difference(tmp_path, monkeypatch, shards):
    texts = [f"{article(i)}\n{article(f'q{i % 4}', 9)}\n{article(-i - 1)}" for i in range(21)]
    expected = stripped(tmp_path / "one", texts, held={15})
    assert sum(bool(result.gone) for result in expected) == 17
    assert stripped(tmp_path / "shards", texts, held={15}, shards=shards) == expected
    monkeypatch.setattr(runs, "RUN_RECORDS", 40)
    monkeypatch.setattr(runs, "BLOCK_RECORDS", 3)
    assert texts_of(stripped(tmp_path / "b", texts, held={15}, shards=shards)) == texts_of(expected)


def test_doing_it_twice_is_doing_it_once(tmp_path):
    texts = [f"{article(i)}\n{article(f'q{i % 4}', 9)}\n{article(-i - 1)}" for i in range(12)]
    once = texts_of(stripped(tmp_path / "1", texts))
    assert texts_of(stripped(tmp_path / "2", once)) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n ", []),
        ("가나다", ["가나다"]),
        ("그렇다. 아니다! 왜? 끝", ["그렇다.", "아니다!", "왜?", "끝"]),
        ("그는 “그렇다.” 했다. (아니다.) 끝", ["그는 “그렇다.”", "했다.", "(아니다.)", "끝"]),
        ("제목\n\n  본문이다.\n끝", ["제목", "본문이다.", "끝"]),
        (
            "1. 첫째 항목이다. 3.14는 수다. U.S. 것",
            ["1. 첫째 항목이다.", "3.14는 수다.", "U.S. 것"],
        ),
        ("그런데… 말이다...  음", ["그런데…", "말이다...", "음"]),
        ("日本語。 中文？ 끝", ["日本語。", "中文？", "끝"]),
        ("\ud800다. \x00", ["\ud800다.", "\x00"]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_breaks_between_paragraphs_survive(tmp_path):
    texts = [QUOTED, f"  {article(0)}\n\n{QUOTED} {article(1, 3)}\n\n\n{article(2)}\n"]
    expected = f"  {article(0)}\n\n{article(1, 3)}\n\n\n{article(2)}\n"
    assert texts_of(stripped(tmp_path, texts))[1] == expected


def test_every_passage_is_as_short_as_it_can_be_and_every_sentence_in_one():
    found = split(article(0, 30))
    ends = passages(found, 300)
    covered = set()
    for start, end in zip(ends.starts, ends.ends, strict=True):
        size = found.sizes[start:end].sum()
        assert size >= 300
        assert min(size - found.sizes[start], size - found.sizes[end - 1]) < 300
        covered |= set(range(start, end))
    assert covered == set(range(30))
    assert len(set(ends.keys.tolist())) == len(ends.keys)


@pytest.mark.serial
def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RUN_RECORDS", 1000)
    monkeypatch.setattr(runs, "BLOCK_RECORDS", 1000)  # one passage of QUOTED is more than a block
    peaks = []
    for run, documents in enumerate((300, 1500, 1500)):  # twice: what others import counts too
        tracemalloc.start()
        texts = (f"{article(i, 3)}\n{QUOTED}" for i in range(documents))
        removed = sum(_shorter(tmp_path / str(run), texts))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert removed == documents - 1
    assert min(peaks[1:]) < peaks[0] * 1.5


def _shorter(folder, texts):
    cfg, sizes = Substring(), []
    with substring.Signer(folder, cfg) as signer:
        for i, text in enumerate(texts):
            sizes.append(len(text))
            signer.add(i, text)
    substring.find(folder)
    remover = substring.Remover(folder, cfg)
    for i, size in enumerate(sizes):
        text = f"{article(i, 3)}\n{QUOTED}"
        yield len(remover.remove(i, text).cleaned.text) == size - len(QUOTED) - 1


def test_laws_and_petitions_lose_hardly_anything_and_their_copies_go(yaongi_data, tmp_path):
    reading = Reading(yaongi_data / "train")
    for name, most in (("ko_laws", 0.001), ("ko_petitions", 0.01)):
        texts = [d.text for d in FilesSource(path=f"{name}.jsonl.zst").read(reading)]
        results = stripped(tmp_path / name, texts[-400:])
        gone = sum(b - a for result in results for a, b in result.gone)
        assert gone < most * sum(map(len, texts[-400:]))
        whole = stripped(tmp_path / f"{name} twice", [*texts[:20], *texts[:20]])
        judged = [i for i in range(20) if whole[20 + i].cleaned.drop]
        assert len(judged) > 15
        assert all(not whole[i].cleaned.drop for i in range(20))
