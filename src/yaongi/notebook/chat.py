"""``m.chat()`` in a notebook: a conversation in a box, streamed, with stop and clear.

Everything of the model runs on the kernel's own loop, a piece of an answer at a time, so that the
kernel hears the buttons between them and no two threads ever meet in one engine. While another
cell runs, the answer waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from yaongi.core.errors import CapabilityError, InputError
from yaongi.core.i18n import translate as _
from yaongi.notebook.html import rendered
from yaongi.notebook.stream import TextStream
from yaongi.notebook.widgets import FRAME, bundle, button, ipywidgets

Messages = list[dict[str, Any]]
Answer = Callable[[Sequence[dict[str, Any]]], TextStream]
"""Begins the answer to a conversation."""

SHOW_EVERY_S = 0.1
UNCHANGED_S = 0.5
"""After so long, no new value comes with the Enter key."""


class ChatBox:
    """A conversation with ``answer``.

    Args:
        system: the system prompt; None for none.

    Attributes:
        messages: the conversation so far; a stopped answer is in it as far as it came.
        widget: what is shown.
    Raises:
        CapabilityError: ipywidgets is not installed, or this is no notebook.
    """

    def __init__(self, answer: Answer, system: str | None = None) -> None:
        widgets = ipywidgets()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise CapabilityError(
                "chat() without messages opens a chat box, which needs a notebook. In a terminal "
                "run: yaongi chat MODEL. In a program give the messages."
            ) from error
        self._answer = answer
        self._opening: Messages = [{"role": "system", "content": system}] if system else []
        self.messages: Messages = list(self._opening)
        self._turn, self._stopped = asyncio.Lock(), False
        self._tasks: set[asyncio.Task[str]] = set()
        self._past, self._live = widgets.HTML(), widgets.HTML()
        # Its value comes when it is complete, by Enter or by leaving the field, behind the key
        # itself. Sent letter by letter, the Enter of a fast typist overtakes what was typed.
        self._input = widgets.Text(
            placeholder=_("Say something"),
            continuous_update=False,
            layout={"flex": "1", "width": "auto"},
        )
        self._entered = False
        self._input.on_msg(self._key)
        self._input.observe(lambda _change: self._enter(), "value")
        end, forget = _("End the answer here."), _("Forget the conversation.")
        self._send = button(_("Send"), "paper-plane", "primary", "", self._submit)
        self._stop = button(_("Stop"), "stop", "", end, self.stop)
        self._clear = button(_("Clear"), "trash", "", forget, self.clear)
        # The first of a reversed column is its bottom: what scrolls stays at the newest line.
        shown = widgets.VBox(
            [widgets.VBox([self._past, self._live], layout={"flex": "0 0 auto"})],
            layout={"flex_flow": "column-reverse", "max_height": "420px", "overflow": "auto"},
        )
        asking = widgets.HBox([self._input, self._send, self._stop, self._clear])
        self.widget = widgets.VBox([shown, asking], layout=FRAME)
        self._draw()

    async def ask(self, text: str) -> str:
        """Say ``text`` and stream the answer into the box: ``await box.ask("안녕?")``.

        Returns: the answer, as far as it came.
        """
        async with self._turn:
            return await self._ask(text)

    def stop(self) -> None:
        """End the answer here; what was said stays."""
        self._stopped = True

    def clear(self) -> None:
        """Forget the conversation, but for the system prompt."""
        self._stopped = True
        self.messages = list(self._opening)  # an answer on its way belongs to the old one
        self._draw()

    async def _ask(self, text: str) -> str:
        conversation, said, refused = self.messages, "", ""
        conversation.append({"role": "user", "content": text})
        self._stopped, shown = False, 0.0
        self._draw(busy=True)
        try:
            with closing(self._answer(conversation)) as pieces:
                for piece in pieces:
                    said += piece
                    if time.monotonic() - shown >= SHOW_EVERY_S and conversation is self.messages:
                        shown = time.monotonic()
                        self._live.value = rendered("said", role="assistant", text=said)
                    await asyncio.sleep(0)  # the kernel's turn: buttons, other cells
                    if self._stopped:
                        break
        except InputError as error:  # for one, the conversation no longer fits the context
            refused, self._input.value = str(error), text
        finally:
            if said.strip():
                conversation.append({"role": "assistant", "content": said})
            else:
                conversation.pop()  # a question without an answer is no turn
            self._draw(refused=refused)
        return said

    def _draw(self, *, busy: bool = False, refused: str = "") -> None:
        self._past.value = rendered("chat", messages=self.messages)
        self._live.value = rendered("refused", text=refused) if refused else ""
        self._send.disabled, self._stop.disabled = busy, not busy

    def _key(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        if content.get("event") == "submit":  # the Enter key
            self._entered = True
            # No value follows where it is the one known, as after a refusal.
            self._loop.call_soon_threadsafe(self._loop.call_later, UNCHANGED_S, self._enter)

    def _enter(self) -> None:
        if self._entered:
            self._entered = False
            self._submit()

    def _submit(self) -> None:
        text = self._input.value.strip()
        if text and not self._turn.locked():
            self._input.value = ""
            # Buttons may be heard in a thread of their own; the model stays in that of its loop.
            self._loop.call_soon_threadsafe(self._begin, text)

    def _begin(self, text: str) -> None:
        task = self._loop.create_task(self.ask(text))
        self._tasks.add(task)  # a loop holds its tasks by weak references only
        task.add_done_callback(self._tasks.discard)

    def __repr__(self) -> str:
        return f"ChatBox({len(self.messages)} messages)"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return bundle(self.widget, repr(self), options)
