"""The chat itself: ask, answer, repeat."""

from __future__ import annotations

from yaongi.cli.chat.commands import AGAIN, LEAVE, run
from yaongi.cli.chat.conversation import Conversation, Pieces
from yaongi.cli.chat.prompt import Ask, unechoed
from yaongi.cli.chat.screen import Screen
from yaongi.core.errors import YaongiError
from yaongi.core.i18n import translate as _


def chat(talk: Conversation, ask: Ask, screen: Screen) -> None:
    """Read, answer, repeat until the end of input, /exit, or Ctrl-C twice."""
    stopped = False  # whether Ctrl-C was the last thing the user did
    while True:
        try:
            line = ask()
        except EOFError:
            return
        except KeyboardInterrupt:
            if stopped:
                return
            stopped = True
            screen.note(_("Ctrl-C again leaves."))
            continue
        stopped = False
        try:
            if line.rstrip() in LEAVE:
                return
            stopped = not _respond(talk, line, screen)
        except KeyboardInterrupt:  # a second one, before the first was dealt with
            return
        except YaongiError as error:  # e.g. the question is longer than the context
            screen.note(str(error))


def _respond(talk: Conversation, line: str, screen: Screen) -> bool:
    """Do what the line says; False when the user stopped it."""
    if line.rstrip() == AGAIN:
        before = talk.turns
        whole = _answer(talk, talk.again(), screen)
        if talk.turns is not before and talk.turns == before:
            screen.note(_("The same answer: there are others with --temperature 0.7 or so."))
        return whole
    if line.startswith("/"):
        screen.tell(run(talk, line))
    elif line.strip():
        return _answer(talk, talk.ask(line.strip()), screen)
    return True


def _answer(talk: Conversation, pieces: Pieces, screen: Screen) -> bool:
    seen = talk.turns
    if talk.forgotten and not talk.noticed:
        talk.noticed = True
        screen.note(
            _(
                "The conversation no longer fits the context of {limit} tokens: the model does not "
                "see its first {n} messages any more. /stats says how many, /save writes them all."
            ).format(limit=talk.model.context_len, n=talk.forgotten)
        )
    with unechoed():
        whole = screen.show(pieces)
    if talk.turns is seen:
        screen.note(_("No answer came; this turn is not kept."))
    elif not whole:
        screen.note(_("Stopped; what was said so far is kept."))
    return whole
