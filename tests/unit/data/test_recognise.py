"""Rows of every form that data sets come in."""

import pytest

from yaongi.core.errors import DataError
from yaongi.data.recognise import BrokenRow, Parsed, documents, recognise

USER, ASSISTANT = (
    {"role": "user", "content": "서울은?"},
    {"role": "assistant", "content": "맑아요."},
)


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"text": "가각ㅋㅋㅋ 漢字 🙂"}, "text"),
        ({"messages": [USER, ASSISTANT]}, "chat"),
        ({"conversations": [{"from": "human", "value": "서울은?"},
                            {"from": "gpt", "value": "맑아요."}]}, "chat"),
        ({"instruction": "서울은?", "input": "", "output": "맑아요."}, "chat"),
        ({"question": "서울은?", "answer": "맑아요.", "text": "서울은? 맑아요."}, "chat"),
        ({"prompt": "서울은?", "chosen": "맑아요.", "rejected": "몰라요."}, "preference"),
        ({"chosen": [USER, ASSISTANT], "rejected": [USER, {**ASSISTANT, "content": "몰라요."}]},
         "preference"),
        ({"text": "본문", "messages": None}, "text"),
    ],
)  # fmt: skip
def test_forms(row, form):
    text, metadata = recognise(row)
    assert metadata["form"] == form
    if form == "chat":
        assert metadata["messages"] == [USER, ASSISTANT]
        assert text == "서울은?\n\n맑아요."
    if form == "preference":
        assert metadata["prompt"] == [USER]
        assert (metadata["chosen"], metadata["rejected"]) == ("맑아요.", "몰라요.")


def test_instruction_input_and_system_are_kept():
    row = {"instruction": "요약해.", "input": "긴 글", "output": "글", "system": "짧게 답해."}
    _, metadata = recognise(row)
    assert [m["content"] for m in metadata["messages"]] == ["짧게 답해.", "요약해.\n\n긴 글", "글"]


def test_thinking_and_calls_written_as_text_become_structure():
    said = '<think>\n찾자\n</think>\n\n<tool_call>{"name": "w", "arguments": {}}</tool_call>'
    turns = [USER, {"role": "assistant", "content": said}, {"role": "tool", "content": "맑음"}]
    text, metadata = recognise({"messages": [*turns, ASSISTANT], "tools": '[{"name": "w"}]'})
    system, _, called, *_ = metadata["messages"]
    assert system == {"role": "system", "content": '# Tools\n[{"name": "w"}]'}
    assert called["thinking"] == "찾자" and called["content"] == ""
    assert called["tool_calls"] == [{"name": "w", "arguments": {}}]
    assert "찾자" in text


def test_a_call_that_is_no_json_stays_text():
    said = "<tool_call>아니</tool_call>"
    _, metadata = recognise({"messages": [USER, {"role": "assistant", "content": said}]})
    assert metadata["messages"][1] == {"role": "assistant", "content": said}


def test_openai_parts_are_joined():
    parts = [{"type": "text", "text": "서"}, {"type": "text", "text": "울"}]
    _, metadata = recognise({"messages": [{"role": "user", "content": parts}, ASSISTANT]})
    assert metadata["messages"][0]["content"] == "서울"


def test_mapped_fields_decide_the_form():
    row = {"body": "본문", "question": "q", "answer": "a"}
    assert recognise(row, {"text": "body"})[0] == "본문"
    assert recognise({"지시": "해", "output": "함"}, {"instruction": "지시"})[1]["form"] == "chat"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": ""}, "text is empty"),
        ({"text": " \n"}, "text is empty"),
        ({"text": None}, "text is missing"),
        ({"text": 7}, "text is not text"),
        ({"text": "\ud800"}, "not Unicode text"),
        ({"messages": []}, "messages is empty"),
        ({"messages": "안녕"}, "messages is not a list"),
        ({"messages": ["안녕"]}, "messages holds something that is not a message"),
        ({"messages": [{"role": "wizard", "content": "?"}]}, "messages has an unknown role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages has a content that is not text"),
        ({"messages": [USER]}, "The conversation has no assistant turn to learn from."),
        ({"messages": [USER, USER, ASSISTANT]}, "Message n: 'user' cannot come after 'user'."),
        ({"instruction": "x", "output": 1}, "output is not text"),
        ({"chosen": "a", "rejected": "b"}, "prompt is missing"),
        ({"prompt": [ASSISTANT], "chosen": "a", "rejected": "b"}, "prompt ends with an answer"),
        ({"문장": "x"}, "unknown columns"),
    ],
)
def test_broken_rows_say_why(row, reason):
    with pytest.raises(BrokenRow) as error:
        recognise(row)
    assert error.value.reason == reason


def _run(rows, fields=None):
    broken = []
    made = documents(
        [Parsed(i, row) for i, row in enumerate(rows, 1)],
        fields or {},
        where="a.jsonl",
        reject=lambda file, line, error: broken.append((file, line, error.reason)),
    )
    return made, broken


def test_broken_rows_are_kept_aside_with_their_line():
    made, broken = _run([{"text": "하나"}, BrokenRow("not JSON"), {"body": "?"}, {"text": "둘"}])
    assert [(d.id, d.text) for d in made] == [("a.jsonl:1", "하나"), ("a.jsonl:4", "둘")]
    assert broken == [("a.jsonl", 2, "not JSON"), ("a.jsonl", 3, "unknown columns")]


@pytest.mark.parametrize("rows", [1, 500])
def test_unknown_columns_are_listed_with_the_way_out(rows):
    made, _ = _run([{"body": "본문", "id": 1}] * rows)
    with pytest.raises(DataError, match=r"body, id.*fields: \{text: body\}"):
        list(made)


def test_a_mapped_column_that_is_not_there():
    made, _ = _run([{"content": "본문"}], {"text": "body"})
    with pytest.raises(DataError, match="Columns found: content"):
        list(made)
