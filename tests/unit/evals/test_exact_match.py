import gzip
import json

import pytest
import tiny
import torch

from yaongi.core.errors import DataError
from yaongi.core.seeds import Seed
from yaongi.evals.task import Subject
from yaongi.evals.tasks.exact_match import ExactMatch, Item, ask, grade, normalise, read_items
from yaongi.infer.generate import Generation, generate

TOK = tiny.tokenizer()
ITEMS = [Item(f"{n} 더하기 {n}은?", (str(2 * n),)) for n in (1, 2, 2, 3)]


def write(path, rows, opener=open):
    with opener(path, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    return path


def test_gold_answers_score_full_and_wrong_ones_nothing():
    assert grade("sums", ITEMS, ["2", "4", "4", "6"]).value == 1.0
    assert grade("sums", ITEMS, ["x"] * 4).value == 0.0


def test_a_score_stands_beside_guessing_and_the_majority_answer():
    score = grade("sums", ITEMS, ["4"] * 4)
    assert score.value == score.baseline == 0.5
    assert score.chance == pytest.approx(1 / 3)
    assert score.low < 0.5 < score.high
    assert [s["right"] for s in score.samples] == [False, True, True]


@pytest.mark.parametrize(
    ("said", "gold"),
    [
        ("각각", "각각"),
        ("  서울 \n특별시. ", "서울 특별시"),
        ("ㅋㅋㅋ", "ㅋㅋㅋ"),
        ("漢字", "漢字"),
    ],
)
def test_normalisation(said, gold):
    assert normalise(said) == normalise(gold)


def test_extract_takes_the_answer_out_of_what_was_said():
    score = grade("x", [Item("?", ("6",))], ["둘에 넷을 더하면 정답은 6"], extract=lambda t: t[-1])
    assert score.value == 1.0
    assert score.samples[0]["said"] == "둘에 넷을 더하면 정답은 6"


def test_any_of_several_answers_counts():
    assert grade("x", [Item("?", ("서울", "서울특별시"))], ["서울특별시."]).value == 1.0


def test_the_model_is_asked_greedily_as_in_generate():
    model = tiny.lm()
    subject = Subject(model, TOK, {}, Seed(0))
    deltas = generate(model, TOK, ITEMS[0].ids(TOK), Generation(max_tokens=6))
    said = "".join(d.text for d in deltas)
    score = ask(subject, "x", [Item(ITEMS[0].prompt, (said,))], max_tokens=6)
    assert score.value == 1.0


def test_conversations_are_asked_with_the_template():
    ids = Item([{"role": "user", "content": "안녕?"}], ("네",)).ids(TOK)
    shown = TOK.decode(ids, control=True)
    assert shown == "<|endoftext|><|im_start|>user\n안녕?<|im_end|>\n<|im_start|>assistant\n"


def test_a_file_of_items(tmp_path, monkeypatch):
    rows = [
        {"prompt": "1+1=", "answer": 2},
        {"messages": [{"role": "user", "content": "수도는?"}], "answer": ["서울", "서울시"]},
    ]
    write(tmp_path / "quiz.jsonl.gz", rows, gzip.open)
    items = read_items(tmp_path / "quiz.jsonl.gz")
    assert [i.answers for i in items] == [("2",), ("서울", "서울시")]
    assert [i.question for i in items] == ["1+1=", "수도는?"]
    monkeypatch.setenv("YAONGI_DATA", str(tmp_path))
    subject = Subject(tiny.lm(), TOK, {}, Seed(0))
    (score,) = ExactMatch(path="quiz.jsonl.gz", max_items=1, max_tokens=4).run(subject)
    assert (score.name, score.n) == ("quiz", 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "x"}, "needs 'answer'"),
        ({"answer": "x"}, "needs 'prompt'"),
        ({"messages": [{"role": "assistant", "content": "x"}], "answer": "x"}, "cannot come first"),
        ({"prompt": "x", "answer": []}, "needs 'answer'"),
    ],
)
def test_a_broken_item_is_named_by_its_line(tmp_path, row, reason):
    path = write(tmp_path / "quiz.jsonl", [{"prompt": "x", "answer": "y"}, row])
    with pytest.raises(DataError, match=rf"quiz\.jsonl, line 2 is not an item: .*{reason}"):
        read_items(path)


def test_missing_empty_and_damaged_files(tmp_path):
    with pytest.raises(DataError, match="no items at"):
        read_items(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="has no rows"):
        read_items(write(tmp_path / "empty.jsonl", []))
    (tmp_path / "cut.jsonl").write_text('{"prompt": "x", "ans', encoding="utf-8")
    with pytest.raises(DataError, match="line 1 is not an item: not JSON"):
        read_items(tmp_path / "cut.jsonl")


def test_hundreds_of_items_do_not_depend_on_the_batch():
    """Items of many lengths: what a row sees is what it would see alone."""
    model = tiny.lm(seed=5)
    subject = Subject(model, TOK, {}, Seed(0))
    items = [Item("가" * (1 + i % 7) + str(i), ("?",)) for i in range(80)]
    together = [s["said"] for s in ask(subject, "x", items, max_tokens=5).samples]
    with torch.no_grad():
        alone = [ask(subject, "x", [item], max_tokens=5).samples[0]["said"] for item in items[:3]]
    assert together == alone
