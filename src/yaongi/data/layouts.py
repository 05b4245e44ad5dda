"""The layouts that rows come in, as one table: text, conversations, pairs, ranked answers.

Column names are those of the field: OpenAI's ``messages``, ShareGPT's ``conversations``, Alpaca's
``instruction``, TRL's ``prompt`` with ``completion``, or with ``chosen`` and ``rejected``, the
scored answers of UltraFeedback, Nectar and KoChatGPT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from yaongi.data.ranked import NUMBERED, best_and_worst
from yaongi.data.turns import (
    BrokenRow,
    Turn,
    answer,
    assistant,
    check,
    said_in,
    string,
    turns,
    weight,
)
from yaongi.text.chat import with_tools

TEXT, CHAT, PREFERENCE = "text", "chat", "preference"

Made = tuple[str, dict[str, Any]]
"""A row's text and its metadata."""


class Form(NamedTuple):
    """One kind of row: it ``needs`` these columns, ``reads`` those, and ``make`` uses them."""

    name: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    make: Callable[[Mapping[str, Any]], Made]


def spoken(metadata: Mapping[str, Any]) -> str:
    """The text of a conversation or preference: all that is said in it."""
    if metadata["form"] == PREFERENCE:
        answers = [metadata["chosen"], metadata["rejected"]]
        return "\n\n".join([*said_in(metadata["prompt"]), *answers])
    return "\n\n".join(said_in(metadata["messages"]))


def asked(metadata: Mapping[str, Any]) -> str | None:
    """The prompt of a conversation or preference: all before the last answer; None for a text.

    Without the system message: another one does not make it another question.
    """
    if metadata["form"] == PREFERENCE:
        before = metadata["prompt"]
    elif metadata["form"] == CHAT:
        messages = metadata["messages"]
        last = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
        before = messages[:last]
    else:
        return None
    return "\n\n".join(said_in(m for m in before if m["role"] != "system"))


# --- conversations -------------------------------------------------------------------------


def _from_text(row: Mapping[str, Any]) -> Made:
    return string(row, "text"), {"form": TEXT}


def _from_messages(row: Mapping[str, Any], column: str = "messages") -> Made:
    return _chat(turns(row[column], column), row)


def _from_conversations(row: Mapping[str, Any]) -> Made:
    return _from_messages(row, "conversations")


def _exchange(question: str, reply: str, *, more: str = "") -> Callable[[Mapping[str, Any]], Made]:
    """A form of two columns, and one whose text, if there is any, belongs to the question."""

    def make(row: Mapping[str, Any]) -> Made:
        asks = string(row, question)
        if more and row.get(more):
            asks += "\n\n" + string(row, more)
        return _chat([*_history(row), _user(asks), assistant(string(row, reply))], row)

    return make


def _from_completion(row: Mapping[str, Any]) -> Made:
    """TRL's prompt and completion: a string or turns each."""
    completion = row["completion"]
    if isinstance(completion, list):
        said = turns(completion, "completion")
    else:
        said = [assistant(string(row, "completion"))]
    return _chat([*_prompt(row), *said], row)


def _history(row: Mapping[str, Any]) -> list[Turn]:
    """LLaMA-Factory's earlier turns of an Alpaca row: [[question, answer], ...]."""
    earlier: list[Turn] = []
    for pair in row.get("history") or []:
        match pair:
            case [str(question), str(reply)]:
                earlier += [_user(question), assistant(reply)]
            case _:
                raise BrokenRow("history is not a list of question and answer")
    return earlier


def _user(content: str) -> Turn:
    return {"role": "user", "content": content}


def _chat(messages: list[Turn], row: Mapping[str, Any]) -> Made:
    messages = _with_system(messages, row)
    check(messages)
    made: dict[str, Any] = {"form": CHAT, "messages": messages}
    if row.get("weight") is not None and (counted := weight(row["weight"], "weight")) != 1:
        made["weight"] = counted
    return spoken(made), made


def _with_system(messages: list[Turn], row: Mapping[str, Any]) -> list[Turn]:
    """With the system message first: the conversation's own or the row's, and its tools."""
    has_own = messages[0]["role"] == "system"
    said = messages[0]["content"] if has_own else ""
    said = said or (string(row, "system") if row.get("system") else "")
    own: list[Turn] = [{"role": "system", "content": said}] if said else []
    made = with_tools([*own, *messages[has_own:]], row.get("tools") or "")
    return [dict(message) for message in made]


# --- preferences ---------------------------------------------------------------------------

_ASKS = ("prompt", "conversations", "messages", "instruction", "question")
"""Where a preference's prompt may stand, a string or turns."""


def _from_preference(row: Mapping[str, Any]) -> Made:
    """A prompt and two answers; or two whole conversations that differ in the last turn."""
    return _pair(row, row["chosen"], row["rejected"], _prompt(row))


def _from_ranked(row: Mapping[str, Any]) -> Made:
    """A prompt and several answers with ranks or scores: the best against the worst."""
    return _pair(row, *best_and_worst(row), _prompt(row))


def _pair(row: Mapping[str, Any], chosen: Any, rejected: Any, prompt: list[Turn]) -> Made:
    prompt = _with_system(prompt, row)
    if prompt[-1]["role"] == "assistant":
        raise BrokenRow("prompt ends with an answer")
    check(prompt, generation_prompt=True)
    better, worse = answer(chosen, "chosen"), answer(rejected, "rejected")
    if better.strip() == worse.strip():
        raise BrokenRow("chosen and rejected are the same")
    made = {"form": PREFERENCE, "prompt": prompt, "chosen": better, "rejected": worse}
    return spoken(made), made


def _prompt(row: Mapping[str, Any]) -> list[Turn]:
    column = next((name for name in _ASKS if row.get(name) is not None), None)
    if column is None:
        return _shared_prompt(row)
    if isinstance(row[column], list):
        return turns(row[column], column)
    asks = string(row, column)
    if column == "instruction" and row.get("input"):
        asks += "\n\n" + string(row, "input")
    return [_user(asks)]


def _shared_prompt(row: Mapping[str, Any]) -> list[Turn]:
    """The beginning of two conversations, as UltraFeedback's binarized rows have it."""
    first, second = (_but_last(row.get(name), name) for name in ("chosen", "rejected"))
    if first != second:
        raise BrokenRow("chosen and rejected answer different prompts")
    return first


def _but_last(value: object, column: str) -> list[Turn]:
    if not isinstance(value, list) or len(value) < 2:
        raise BrokenRow("prompt is missing")
    return turns(value[:-1], column)


_OF_CHAT = ("system", "weight")

FORMS = (
    Form(PREFERENCE, ("chosen", "rejected"), (*_ASKS, "input", "system"), _from_preference),
    Form(PREFERENCE, ("answers", "ranks"), (*_ASKS, "system"), _from_ranked),
    Form(PREFERENCE, ("answers", "scores"), (*_ASKS, "system"), _from_ranked),
    Form(PREFERENCE, ("prompt", "answers"), ("system",), _from_ranked),
    Form(PREFERENCE, ("instruction", "completions"), ("input", "system"), _from_ranked),
    Form(PREFERENCE, ("prompt", *NUMBERED, "ranking"), ("system",), _from_ranked),
    Form(CHAT, ("messages",), ("tools", *_OF_CHAT), _from_messages),
    Form(CHAT, ("conversations",), ("tools", *_OF_CHAT), _from_conversations),
    Form(CHAT, ("prompt", "completion"), ("tools", *_OF_CHAT), _from_completion),
    Form(CHAT, ("prompt", "response"), _OF_CHAT, _exchange("prompt", "response")),
    Form(CHAT, ("instruction", "output"), ("input", "history", *_OF_CHAT),
         _exchange("instruction", "output", more="input")),
    Form(CHAT, ("instruction", "response"), ("context", *_OF_CHAT),
         _exchange("instruction", "response", more="context")),
    Form(CHAT, ("question", "answer"), _OF_CHAT, _exchange("question", "answer")),
    Form(TEXT, ("text",), (), _from_text),
)  # fmt: skip
"""Tried from the top: Alpaca rows often carry a ``text`` made of the other columns."""

COLUMNS = tuple(dict.fromkeys(c for form in FORMS for c in (*form.needs, *form.reads)))
"""Every column name of ours that ``fields`` may map."""
