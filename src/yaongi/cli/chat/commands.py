"""The slash commands of the terminal chat: one function each, which returns what to print."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import NamedTuple

from yaongi.cli.chat.conversation import Conversation
from yaongi.cli.chat.files import load, place, save
from yaongi.core.errors import DataError, did_you_mean
from yaongi.core.i18n import translate as _


class Command(NamedTuple):
    """A command: what it takes, what ``/help`` says of it, and what it does with the rest."""

    takes: str
    help: str
    run: Callable[[Conversation, str], str]


def clear(talk: Conversation, _rest: str) -> str:
    """Begin anew, with the same system prompt."""
    talk.start(talk.system)
    return _("A new conversation.")


def system(talk: Conversation, rest: str) -> str:
    """Set the system prompt, or show it, or take it away."""
    if rest:
        talk.system = None if rest == "-" else rest
    return _("System prompt: {text}").format(text=talk.system or _("none"))


def history(talk: Conversation, _rest: str) -> str:
    """All messages."""
    who = {"system": _("system"), "user": _("user"), "assistant": _("assistant")}
    said = [f"{who.get(m['role'], m['role'])}: {_said(m)}" for m in talk.messages()]
    return "\n\n".join(said) or _("Nothing yet.")


def _said(message: dict[str, object]) -> str:
    calls = message.get("tool_calls")
    return f"{message['content']}{f' {calls}' if calls else ''}"


def thinking(talk: Conversation, _rest: str) -> str:
    """What the model thought before its last answer."""
    answers = [m for m in talk.turns if m["role"] == "assistant"]
    found = answers[-1].get("thinking") if answers else None
    return found or _("There was no thinking before the last answer.")


def stats(talk: Conversation, _rest: str) -> str:
    """Sizes and speeds."""
    took, limit = talk.stats, talk.model.context_len
    lines = [
        _("messages: {n}").format(n=len(talk.turns)),
        _("out of the model's sight: {n}").format(n=talk.forgotten),
        _("context: {used} of {limit} tokens").format(
            used=took.prompt_tokens + took.answer_tokens, limit=limit or _("no limit")
        ),
        _(
            "last answer: {n} tokens, the first after {first:.2f} s, then {rate:.1f} tokens/s"
        ).format(n=took.answer_tokens, first=took.first_s, rate=took.tokens_per_s),
    ]
    return "\n".join(lines)


def save_as(talk: Conversation, rest: str) -> str:
    """Write the conversation to a file."""
    words = _words(rest, "/save")
    force = "--force" in words
    (name,) = _exactly(1, [w for w in words if w != "--force"], "/save")
    path = place(name)
    save(path, talk.messages(), replace=force)
    return _("{n} messages are in {path}.").format(n=len(talk.messages()), path=path)


def load_from(talk: Conversation, rest: str) -> str:
    """Go on with a conversation of a file."""
    name, *number = _exactly(1, _words(rest, "/load"), "/load", optional=1)
    if number and not (number[0].isdecimal() and len(number[0]) < 10):
        raise DataError("'{given}' is no number of a conversation.", given=number[0])
    path = place(name)
    messages, at, of = load(path, int(number[0]) if number else None)
    told = messages[0]["content"] if messages[0]["role"] == "system" else None
    talk.start(told, messages[told is not None :])
    return _("Conversation {place} of {of} in {path}: {n} messages. /history shows them.").format(
        place=at, of=of, path=path, n=len(messages)
    )


def help_text(_talk: Conversation, _rest: str) -> str:
    """The commands and keys."""
    rows = [(f"{name} {c.takes}".strip(), c.help) for name, c in COMMANDS.items()]
    wide = max(len(left) for left, _right in rows)
    keys = _("Alt+Enter or \\ at the end of a line: a new line. Ctrl-C stops an answer; twice, or "
             "Ctrl-D, leaves.")  # fmt: skip
    return "\n".join([*(f"  {left:<{wide}}  {right}" for left, right in rows), keys])


def _words(rest: str, name: str) -> list[str]:
    """Arguments; a name with spaces may be quoted."""
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise DataError("{command}: {reason}.", command=name, reason=error) from error


def _exactly(count: int, words: list[str], name: str, *, optional: int = 0) -> list[str]:
    if not count <= len(words) <= count + optional:
        raise DataError(
            "{command} takes {takes}; quote a name that has spaces.",
            command=name,
            takes=COMMANDS[name].takes,
        )
    return words


LEAVE = ("/exit", "/quit")
AGAIN = "/regen"
COMMANDS: dict[str, Command] = {
    "/help": Command("", _("this list"), help_text),
    "/regen": Command("", _("another answer to the last question"), help_text),
    "/system": Command(_("[TEXT]"), _("show or set the system prompt; - for none"), system),
    "/save": Command(_("FILE [--force]"), _("write the conversation as a line of JSON"), save_as),
    "/load": Command(_("FILE [NUMBER]"), _("go on with a conversation of a file"), load_from),
    "/history": Command("", _("show the conversation"), history),
    "/thinking": Command("", _("show the thinking before the last answer"), thinking),
    "/stats": Command("", _("tokens and speed"), stats),
    "/clear": Command("", _("a new conversation (also /new)"), clear),
    "/exit": Command("", _("leave (also Ctrl-D)"), help_text),
}
"""``/regen`` and ``/exit`` are the loop's own; the table knows them for help and completion."""
_ALSO = {"/new": "/clear", "/reset": "/clear", "/quit": "/exit"}


def run(talk: Conversation, line: str) -> str:
    """Run a slash command and return what to print.

    Raises:
        YaongiError: it is unknown or cannot be done; the conversation is as it was.
    """
    name, _space, rest = line.strip().partition(" ")
    name = _ALSO.get(name, name)
    if name not in COMMANDS:
        raise DataError(
            "{name} is not a command. {near} /help lists them; a space in front makes it a "
            "message.",
            name=name,
            near=did_you_mean(name, COMMANDS),
        )
    return COMMANDS[name].run(talk, rest.strip())
