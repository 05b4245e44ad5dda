"""A question with its worked answer, as a conversation: the form of every task of this corpus."""

from __future__ import annotations

from dataclasses import dataclass

from yaongi.data.synthetic.splits import Key

Message = dict[str, str]
ANSWER = "답: "


@dataclass(frozen=True)
class Item:
    """One exchange.

    Attributes:
        task: ``add``, ``sub``, ``fact``, ``function``, ``story_qa``, ...
        question: what the user asks.
        reply: the assistant's whole answer; ends with ``답: `` and the answer.
        answer: the short answer alone.
        key: what decides the split.
    """

    task: str
    question: str
    reply: str
    answer: str
    key: Key

    @property
    def messages(self) -> list[Message]:
        """Question and reply as turns."""
        return [turn("user", self.question), turn("assistant", self.reply)]


def turn(role: str, content: str) -> Message:
    """One turn of a conversation."""
    return {"role": role, "content": content}


def extract_answer(text: str) -> str:
    """The short answer of a reply: what follows the last ``답:`` on its line; empty without one."""
    _, found, rest = text.rpartition(ANSWER.strip())
    line = rest.strip().split("\n", 1)[0] if found else ""
    return line.strip().removesuffix(".").strip()
