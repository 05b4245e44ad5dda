"""What a row is, told by its columns: text, chat, instruction, question or preference.

The table ``FORMS`` is the whole knowledge; column names are those of the field (OpenAI
``messages``, ShareGPT ``conversations``, Alpaca ``instruction``). A row that fits no form or is
damaged is a ``BrokenRow`` with a reason, never an end of the run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from datatrove.data import Document

from yaongi.core.errors import DataError
from yaongi.text import chat

TEXT, CHAT, PREFERENCE = "text", "chat", "preference"
UNKNOWN_COLUMNS = "unknown columns"
_ROWS_TO_JUDGE = 100  # none of so many first rows understood: the layout is unknown, not the rows


class BrokenRow(Exception):
    """A row that cannot be used.

    Args:
        reason: a constant phrase; rows are counted by it.
        row: the row as found, for the file of rejected rows.
    """

    def __init__(self, reason: str, row: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


class Form(NamedTuple):
    """One kind of row: it ``needs`` these columns, ``reads`` those, and ``make`` uses them."""

    name: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    make: Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]


def spoken(metadata: Mapping[str, Any]) -> str:
    """The text of a conversation or preference: all that is said in it."""
    if metadata["form"] == PREFERENCE:
        answers = [metadata["chosen"], metadata["rejected"]]
        return "\n\n".join([*_contents(metadata["prompt"]), *answers])
    return "\n\n".join(_contents(metadata["messages"]))


class Parsed(NamedTuple):
    """What a file gives before recognition: its line and the row, or why there is none."""

    line: int
    row: Mapping[str, Any] | BrokenRow


def recognise(
    row: Mapping[str, Any], fields: Mapping[str, str] | None = None
) -> tuple[str, dict[str, Any]]:
    """The text of a row, and its metadata: ``form`` and, unless it is text, what it is made of.

    Args:
        fields: our column name -> theirs. A form without one of these columns is not considered.
    Raises:
        BrokenRow: no form fits, or the row is damaged.
    """
    fields = fields or {}
    row = _renamed(row, fields)
    forms = [f for f in FORMS if not fields or set(fields) & {*f.needs, *f.reads}]
    for form in forms:
        if all(row.get(column) is not None for column in form.needs):
            text, metadata = form.make(row)
            _check_unicode(text)
            return text, metadata
    for form in forms:
        if all(column in row for column in form.needs):
            raise BrokenRow(f"{'+'.join(form.needs)} is missing")
    raise BrokenRow(UNKNOWN_COLUMNS)


def _renamed(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in fields}
    return kept | {ours: row[theirs] for ours, theirs in fields.items() if theirs in row}


def documents(
    rows: Iterable[Parsed],
    fields: Mapping[str, str],
    *,
    where: str,
    reject: Callable[[str, int, BrokenRow], None],
) -> Iterator[Document]:
    """The documents of one file's rows; broken ones go to ``reject``.

    Args:
        where: the file, for ids (``file:line``) and messages.
    Raises:
        DataError: the file's columns fit no form.
    """
    layout = _Layout(where, fields)
    for line, row in rows:
        try:
            if isinstance(row, BrokenRow):
                raise row
            text, metadata = recognise(row, fields)
        except BrokenRow as error:
            layout.failed(error, row)
            error.row = error.row or repr(row)
            reject(where, line, error)
            continue
        layout.understood = True
        yield Document(text=text, id=f"{where}:{line}", metadata=metadata)
    layout.finished()


class _Layout:
    """Tells a file whose columns are unknown from a file with a few odd rows."""

    def __init__(self, where: str, fields: Mapping[str, str]) -> None:
        self.where, self.fields = where, fields
        self.understood = False
        self.unknown = 0
        self.columns: Counter[str] = Counter()

    def failed(self, error: BrokenRow, row: Mapping[str, Any] | BrokenRow) -> None:
        if self.understood or error.reason != UNKNOWN_COLUMNS or isinstance(row, BrokenRow):
            return
        self.unknown += 1
        self.columns.update(str(column) for column in list(row)[:50])
        if self.unknown == _ROWS_TO_JUDGE:
            self.finished()

    def finished(self) -> None:
        if self.understood or not self.unknown:
            return
        found = [column for column, _ in self.columns.most_common(20)]
        raise DataError(
            "{path}: cannot tell what its rows are. Columns found: {found}. Expected {known}; "
            "name yours in the recipe, e.g. fields: {{{ours}: {theirs}}}.",
            path=self.where,
            found=", ".join(found) or "none",
            known=" or ".join("+".join(form.needs) for form in FORMS),
            ours=next(iter(self.fields), TEXT),
            theirs=found[0] if found else "body",
        )


# --- the forms -----------------------------------------------------------------------------

_ROLES = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
_SPEAKS = tuple(name for name, role in _ROLES.items() if role == "assistant")
_KEPT = {"thinking": "thinking", "reasoning_content": "thinking", "tool_calls": "tool_calls"}


def _from_text(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return _string(row, "text"), {"form": TEXT}


def _from_messages(row: Mapping[str, Any], column: str = "messages") -> tuple[str, dict[str, Any]]:
    return _chat(_turns(row[column], column), row)


def _from_conversations(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return _from_messages(row, "conversations")


def _from_instruction(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    question = _string(row, "instruction")
    if row.get("input"):
        question += "\n\n" + _string(row, "input")
    return _exchange(question, _string(row, "output"), row)


def _from_question(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return _exchange(_string(row, "question"), _string(row, "answer"), row)


def _exchange(question: str, answer: str, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    turns = [("user", question), ("assistant", answer)]
    return _chat([{"role": role, "content": content} for role, content in turns], row)


def _from_preference(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """prompt (a string or turns) + two answers; or two whole conversations, as UltraFeedback."""
    chosen, rejected = _answer(row, "chosen"), _answer(row, "rejected")
    prompt = row.get("prompt")
    if prompt is None and isinstance(row["chosen"], list):
        prompt = row["chosen"][:-1]
    if prompt is None:
        raise BrokenRow("prompt is missing")
    if isinstance(prompt, list):
        turns = _turns(prompt, "prompt")
    else:
        turns = [{"role": "user", "content": _string({"prompt": prompt}, "prompt")}]
    if turns[-1]["role"] == "assistant":
        raise BrokenRow("prompt ends with an answer")
    made = {"form": PREFERENCE, "prompt": turns, "chosen": chosen, "rejected": rejected}
    return spoken(made), made


def _answer(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, list):
        return _string(row, column)
    turns = _turns(value, column)
    if turns[-1]["role"] != "assistant":
        raise BrokenRow(f"{column} does not end with an answer")
    return turns[-1]["content"]


FORMS = (
    Form(PREFERENCE, ("chosen", "rejected"), ("prompt",), _from_preference),
    Form(CHAT, ("messages",), ("system", "tools"), _from_messages),
    Form(CHAT, ("conversations",), ("system", "tools"), _from_conversations),
    Form(CHAT, ("instruction", "output"), ("input", "system"), _from_instruction),
    Form(CHAT, ("question", "answer"), ("system",), _from_question),
    Form(TEXT, ("text",), (), _from_text),
)
"""Tried from the top: Alpaca rows often carry a ``text`` made of the other columns."""

COLUMNS = tuple(dict.fromkeys(c for form in FORMS for c in (*form.needs, *form.reads)))
"""Every column name of ours that ``fields`` may map."""


def _chat(messages: list[dict[str, Any]], row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if instructions := _system(messages, row):
        has_system = messages[0]["role"] == "system"
        messages = [{"role": "system", "content": instructions}, *messages[has_system:]]
    try:
        chat.validate(messages)
    except DataError as error:  # its fields would make every row a reason of its own
        fields = {**error.fields, "place": "n", "call": "..."}
        raise BrokenRow(error.template.format(**fields)) from error
    made = {"form": CHAT, "messages": messages}
    return spoken(made), made


def _system(messages: list[dict[str, Any]], row: Mapping[str, Any]) -> str:
    """The system message: the conversation's own, the row's, and a description of its tools."""
    own = messages[0]["content"] if messages[0]["role"] == "system" else ""
    said = own or (_string(row, "system") if row.get("system") else "")
    tools = row.get("tools") or ""
    listed = tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
    described = f"# Tools\n{listed}" if listed.strip() not in ("", "[]") else ""
    return "\n\n".join(part for part in (said, described) if part)


def _turns(value: object, column: str) -> list[dict[str, Any]]:
    """Messages as {role, content}, from OpenAI's or ShareGPT's spelling."""
    if not isinstance(value, list):
        raise BrokenRow(f"{column} is not a list")
    if not value:
        raise BrokenRow(f"{column} is empty")
    return [_turn(item, column) for item in value]


def _turn(item: object, column: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise BrokenRow(f"{column} holds something that is not a message")
    role = item.get("role", item.get("from"))
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise BrokenRow(f"{column} has an unknown role")
    kept = {ours: item[name] for name, ours in _KEPT.items() if item.get(name)}
    content = _content(item.get("content", item.get("value")), column, optional=bool(kept))
    if role.lower() in _SPEAKS:
        content, spelled = _spelled_out(content)
        kept = {**spelled, **kept}
    return {"role": _ROLES[role.lower()], "content": content, **kept}


_THINK = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_CALL = re.compile(r"\s*<tool_call>(.*?)</tool_call>\s*", re.DOTALL)


def _spelled_out(content: str) -> tuple[str, dict[str, Any]]:
    """Thinking and tool calls that a data set wrote into the text, as Qwen and Hermes do.

    They have to become structure: text never yields a control token.
    """
    kept: dict[str, Any] = {}
    if thinking := _THINK.match(content):
        content = content[thinking.end() :]
        if thinking[1].strip():
            kept["thinking"] = thinking[1].strip()
    calls = [_call(written) for written in _CALL.findall(content)]
    if calls and None not in calls:
        kept["tool_calls"] = calls
        content = _CALL.sub("", content)
    return content, kept


def _call(written: str) -> dict[str, Any] | None:
    try:
        call = json.loads(written)
    except (ValueError, RecursionError):
        return None
    return call if isinstance(call, dict) and {"name", "arguments"} <= set(call) else None


def _content(value: object, column: str, *, optional: bool) -> str:
    if value is None and optional:  # OpenAI leaves the content of a tool call out
        return ""
    if isinstance(value, list):  # OpenAI's list of parts
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in value]
        value = "".join(p for p in parts if isinstance(p, str)) if None not in parts else None
    if not isinstance(value, str):
        raise BrokenRow(f"{column} has a content that is not text")
    return value


def _contents(turns: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is said, thought and called, for people, tokenizers and deduplication."""
    parts: list[str] = []
    for turn in turns:
        calls = [json.dumps(c, ensure_ascii=False) for c in turn.get("tool_calls", [])]
        parts += [str(turn.get("thinking", "")), turn["content"], *calls]
    return [part for part in parts if part.strip()]


def _string(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise BrokenRow(f"{column} is not text")
    if not value.strip():
        raise BrokenRow(f"{column} is empty")
    return value


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise BrokenRow("not Unicode text", ascii(text)) from error
