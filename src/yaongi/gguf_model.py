"""A GGUF file as a ``yaongi.Model``, run by llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from html import escape
from pathlib import Path
from typing import Any

from yaongi.api import Model
from yaongi.core.config import parse
from yaongi.core.errors import CapabilityError
from yaongi.core.i18n import translate as _
from yaongi.infer.engine import Event, Request
from yaongi.infer.rules import Generation
from yaongi.infer.runner import Runner
from yaongi.interop.generation import keys_sampling
from yaongi.interop.gguf.header import read_header
from yaongi.model.adapted import BASE


class GGUFModel(Model):
    """A GGUF that llama.cpp runs: ``generate``, ``chat`` and ``events`` are as in ``Model``."""

    path: Path  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, runner: Runner, path: Path) -> None:
        self.path = path
        self.tokenizer = runner.tokenizer
        self.context_len = runner.context_len
        self.adapters = ()
        self.compile_step, self.prompt_weights = False, None
        self._runner = runner

    def __repr__(self) -> str:
        return _("{path}, run by llama.cpp; context {length}").format(
            path=self.path, length=self.context_len
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def __getattr__(self, name: str) -> Any:
        if name == "lm":
            raise CapabilityError(
                "llama.cpp keeps the network to itself: a GGUF only generates and chats."
            )
        raise AttributeError(name)

    def events(self, prompt: Sequence[int], **settings: Any) -> Iterator[Event]:
        """What follows a prompt of ids; see ``Model.events``."""
        if settings.pop("adapter", None) is not None:
            raise CapabilityError("A GGUF has no adapters.")
        rules = parse(Generation, settings)
        return self._runner.stream(Request(prompt, rules, rules.seed))

    def runner(self, adapter: str = BASE, *, max_rows: int) -> Runner:
        """The one there is; how much it runs at a time was said when it was loaded."""
        return self._runner

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling settings in the file's keys."""
        return keys_sampling(read_header(self.path).keys, self.path)

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """Nothing: a GGUF has no adapters."""
        return nullcontext()

    def _engine_of(self, adapter: str) -> Any:
        return self._runner
