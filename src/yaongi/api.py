"""``yaongi.Model``: a trained model as one object that continues text and chats.

What ``yaongi.load`` (``opening.py``) gives; the whole public interface most programs need.
Stages, settings and internals stay in their stations.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor

from yaongi.core.artifact import MANIFEST, open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import (
    ConfigError,
    ShapeError,
    TokenizerError,
)
from yaongi.core.i18n import translate as _
from yaongi.infer.context import Fitted, Overflow, fitted
from yaongi.infer.embed import mean_vector
from yaongi.infer.engine import Engine, Event, Request
from yaongi.infer.reader import PromptWeights, check_prompt_weights
from yaongi.infer.rules import Generation, room_behind
from yaongi.infer.runner import Runner
from yaongi.interop.generation import folder_sampling
from yaongi.model.adapted import BASE
from yaongi.model.count import count
from yaongi.model.lm import LM, LMConfig
from yaongi.model.lora import using_adapters
from yaongi.notebook.card import Facts, model_card
from yaongi.notebook.chat import ChatBox
from yaongi.notebook.stream import TextStream
from yaongi.text.chat import Message, validate
from yaongi.text.foreign import AnyTokenizer


class Model:
    """A model ready to use.

    Attributes:
        lm: the network, in eval mode.
        tokenizer: None when the folder has none; then only ``logits`` works.
        config: the network's shape.
        context_len: the longest sequence ``generate`` and ``chat`` accept; None for no limit.
        adapters: the names its methods take as ``adapter``, besides ``base`` for none. One that is
            alone is used where none is named.
        prompt_weights: what its engines read prompts with, see ``infer.reader``.
        compile_step: compile its engines' steps, see ``Engine``.
        path: the folder it was loaded from; None for one put together in memory.
    """

    def __init__(
        self,
        lm: LM,
        tokenizer: AnyTokenizer | None = None,
        *,
        context_len: int | None = None,
        adapters: Sequence[str] = (),
        prompt_weights: PromptWeights | None = None,
        compile_step: bool = False,
        path: Path | None = None,
    ) -> None:
        if prompt_weights is not None:  # said now, not at the first prompt
            check_prompt_weights(lm, prompt_weights)
        self.lm = lm
        self.tokenizer = tokenizer
        self.context_len = context_len
        self.adapters = tuple(adapters)
        self.prompt_weights: PromptWeights | None = prompt_weights
        self.compile_step = compile_step
        self.path = path
        self._engines: dict[str, Engine] = {}

    @property
    def engine(self) -> Engine:
        """What ``generate`` and ``chat`` run on; it keeps what it read of recent prompts.

        Raises:
            TokenizerError: there is no tokenizer.
            ConfigError: several adapters are loaded, each of which has its own.
        """
        return self._engine_of(self._chosen(None))

    def _engine_of(self, adapter: str) -> Engine:
        """One for each adapter: what is kept of a prompt is of the weights that read it."""
        known = self._engines.get(adapter)
        if known is None or (known.model, known.context_len) != (self.lm, self.context_len):
            known = self._engines[adapter] = self._new_engine()
        return known

    def _new_engine(self, **more: Any) -> Engine:
        return Engine(
            self.lm,
            self._tokenizer(),
            context_len=self.context_len,
            compile_step=self.compile_step,
            prompt_weights=self.prompt_weights,
            **more,
        )

    def runner(self, adapter: str = BASE, *, max_rows: int) -> Runner:
        """What a server drives from its own thread; every step of it belongs into ``using``.

        Args:
            adapter: by name; what is kept of prompts is of this one.
            max_rows: requests that run at the same time.
        Raises:
            TokenizerError: there is no tokenizer.
            ConfigError: no adapter of that name.
            CapabilityError: its steps cannot be compiled here.
        """
        with self.using(adapter):
            return self._new_engine(max_rows=max_rows)

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """The adapter the network works with meanwhile. Raises ConfigError for an unknown one."""
        return using_adapters(self.lm, adapter)

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling settings it came with, which a server takes where a request has none.

        Raises:
            ArtifactError: they are damaged or out of range.
        """
        return {} if self.path is None else folder_sampling(self.path)

    @property
    def config(self) -> LMConfig:
        """The network's shape."""
        return self.lm.cfg

    @torch.no_grad()
    def logits(
        self,
        ids: Tensor | Sequence[Sequence[int]],
        *,
        adapter: str | Sequence[str] | None = None,
    ) -> Tensor:
        """Next-token logits after every token: ids (B,T) -> (B,T,V) float32.

        Args:
            adapter: by name, for all rows or one for each.
        Raises:
            ShapeError: ids is not (B,T), an id is outside the vocabulary, or there are not as many
                adapters as rows.
            ConfigError: no adapter of that name, or several and none is named.
        """
        try:
            ids = torch.as_tensor(ids, dtype=torch.long, device=self.lm.device)
        except ValueError as error:  # rows of unequal length
            raise ShapeError("ids must be (B,T): rows of equal length.") from error
        if ids.dim() != 2:
            raise ShapeError("ids must be (B,T), not {shape}.", shape=tuple(ids.shape))
        size = self.config.vocab_size
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < size:
            raise ShapeError(
                "ids go from {low} to {high}; this model's vocabulary is 0 to {last}.",
                low=int(ids.min()),
                high=int(ids.max()),
                last=size - 1,
            )
        rows = self._chosen(adapter) if adapter is None or isinstance(adapter, str) else adapter
        with using_adapters(self.lm, rows):
            return self.lm.logits(self.lm(ids).hidden).float()

    @torch.inference_mode()
    def embed(self, ids: Sequence[int], *, adapter: str | None = None) -> Tensor:
        """A text's vector: the mean over its tokens of what the last layer gives, of length 1.

        Args:
            ids: as ``tokenizer.text_ids`` gives them.
            adapter: by name.
        Returns: (D,) float32, on the CPU.
        Raises:
            DataError: no ids, or more than the context holds.
            ConfigError: no adapter of that name, or several and none is named.
        """
        room_behind(len(ids), None if self.context_len is None else self.context_len + 1)
        with using_adapters(self.lm, self._chosen(adapter)):
            return mean_vector(self.lm, ids)

    @overload
    def generate(self, text: str, *, stream: Literal[False] = False, **settings: Any) -> str: ...
    @overload
    def generate(self, text: str, *, stream: Literal[True], **settings: Any) -> TextStream: ...
    def generate(self, text: str, *, stream: bool = False, **settings: Any) -> str | TextStream:
        """Continue ``text``; returns the continuation only.

        Args:
            stream: return an iterator over pieces of the text as they come; a notebook that
                displays it shows them.
            settings: ``adapter`` by name, and those of ``infer.rules.Generation``: max_tokens,
                stop, temperature, top_k, top_p, min_p, repetition_penalty, seed. The defaults are
                greedy.
        Raises:
            ConfigError: an unknown setting or a value out of range.
            DataError: the text fills the context.
        """
        return _joined(self.events(self._tokenizer().text_ids(text), **settings), stream)

    @overload
    def chat(self, messages: None = None, **settings: Any) -> ChatBox: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        stream: Literal[False] = False,
        overflow: str = ...,
        **settings: Any,
    ) -> str: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        stream: Literal[True],
        overflow: str = ...,
        **settings: Any,
    ) -> TextStream: ...
    def chat(
        self,
        messages: Sequence[Message] | None = None,
        *,
        stream: bool = False,
        overflow: str = Overflow.ERROR,
        **settings: Any,
    ) -> str | TextStream | ChatBox:
        """The assistant's answer to a conversation ending with the user's turn.

        Args:
            messages: ``[{"role": "user", "content": "안녕?"}]``; further roles are system,
                assistant and tool. Without any, a notebook gets a box to chat in, of which
                ``system`` is a setting too.
            stream, settings: as in ``generate``.
            overflow: of a conversation that fills the context: ``error`` refuses it,
                ``drop_oldest`` leaves its oldest turns out and warns.
        Raises:
            CapabilityError: no messages, and this is no notebook.
            ConfigError: an unknown setting or a value out of range.
            DataError: messages that are no conversation, or that fill the context.
        """
        if messages is None:
            system = settings.pop("system", None)
            return ChatBox(
                lambda said: self.chat(said, stream=True, overflow=overflow, **settings), system
            )
        fit = self.fit(messages, max_tokens=settings.get("max_tokens"), overflow=overflow)
        if fit.dropped:
            told = _("The conversation no longer fits; its oldest {n} messages were left out.")
            warnings.warn(told.format(n=fit.dropped), stacklevel=2)
        return _joined(self.events(fit.ids, **settings), stream)

    def fit(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        overflow: str = Overflow.ERROR,
    ) -> Fitted:
        """A conversation as ``chat`` puts it before the network.

        Args:
            max_tokens: the longest answer; None takes that of ``Generation``.
            overflow: as in ``chat``.
        Raises:
            ConfigError: an unknown ``overflow`` or a ``max_tokens`` out of range.
            DataError: as ``chat``.
        """
        rules = parse(Generation, {} if max_tokens is None else {"max_tokens": max_tokens})
        return fitted(
            messages,
            self.chat_ids,
            self.context_len,
            max_tokens=rules.max_tokens,
            overflow=overflow,
        )

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """The prompt ``chat`` gives the network: its length is what counts for the context."""
        tokenizer = self._tokenizer()
        validate(messages, generation_prompt=True)
        return tokenizer.chat_ids(messages)

    def events(self, prompt: Sequence[int], **settings: Any) -> Iterator[Event]:
        """What follows a prompt of ids, token by token; who leaves early ends the work.

        Args:
            settings: as in ``generate``.
        Raises:
            ConfigError: an unknown setting or a value out of range.
            DataError: the prompt is empty or fills the context.
        """
        adapter = self._chosen(settings.pop("adapter", None))
        rules = parse(Generation, settings)
        with using_adapters(self.lm, adapter):  # an unknown name is told now, not at the first step
            events = self._engine_of(adapter).stream(Request(prompt, rules, rules.seed))
        return self._each(events, adapter)

    def _each(self, events: Iterator[Event], adapter: str) -> Iterator[Event]:
        """Every step with its adapter, so that streams of different ones can take turns."""
        with closing(cast("Generator[Event]", events)):  # who leaves early ends the engine's work
            while True:
                with using_adapters(self.lm, adapter):
                    event = next(events, None)
                if event is None:
                    return
                yield event

    def _chosen(self, adapter: str | None) -> str:
        """The adapter named, else the one there is. Raises ConfigError where there are several."""
        if adapter is not None:
            return adapter
        if len(self.adapters) > 1:
            raise ConfigError(
                "Several adapters are loaded; say which with adapter=NAME: {names}",
                names=", ".join([*self.adapters, BASE]),
            )
        return self.adapters[0] if self.adapters else BASE

    def __repr__(self) -> str:
        return str(_facts(self))

    def _repr_html_(self) -> str:
        return model_card(_facts(self))

    def _tokenizer(self) -> AnyTokenizer:
        if self.tokenizer is None:
            raise TokenizerError("This model has no tokenizer; only logits(ids) works.")
        return self.tokenizer


def _joined(events: Iterable[Event], stream: bool) -> str | TextStream:
    texts = (e.text for e in events if e.text)
    return TextStream(texts) if stream else "".join(texts)


def _facts(model: Model) -> Facts:
    """What is told of a model that is printed or displayed."""
    cfg, tokenizer, sizes = model.config, model.tokenizer, count(model.config)
    known = model.path is not None and (model.path / MANIFEST).is_file()
    manifest = open_artifact(model.path).manifest if known and model.path else None
    weights = max(model.lm.state_dict().values(), key=Tensor.numel)
    return Facts(
        path=model.path,
        kind=manifest.kind if manifest else "",
        pattern=cfg.pattern,
        letters=cfg.layers,
        parameters=sizes.params_total,
        active=sizes.params_active,
        context_len=model.context_len,
        vocab_size=cfg.vocab_size,
        token_ids=None if tokenizer is None else tokenizer.vocab_size,
        licences=tuple(manifest.licences) if manifest else None,
        adapters=model.adapters,
        placed=f"{str(weights.dtype).removeprefix('torch.')}, {weights.device}",
    )
