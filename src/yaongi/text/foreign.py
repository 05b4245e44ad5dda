"""The tokenizer of an imported model: somebody else's ``tokenizer.json`` and chat template.

The rules are the file's own, computed by Hugging Face ``tokenizers``. A chat template is a Jinja
program that came with a download, so it runs in Jinja's sandbox; names and filters are those
``transformers`` gives it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import DecodeStream

from yaongi.core.errors import DataError, TokenizerError
from yaongi.core.files import is_mapping, read_json
from yaongi.text.chat import Message
from yaongi.text.tokenizer import Tokenizer, read_backend

_TOKENIZER, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_TEMPLATE, _GENERATION = "chat_template.jinja", "generation_config.json"


def open_tokenizer(folder: str | Path) -> AnyTokenizer | None:
    """The tokenizer of a model folder: ours, a foreign one, or None when there is none.

    Raises:
        TokenizerError: damaged.
    """
    folder = Path(folder)
    if not (folder / _TOKENIZER).is_file():
        return None
    try:
        return Tokenizer.load(folder)
    except TokenizerError:
        if "yaongi_pre" in _settings(folder / _CONFIG):  # ours, so the fault is real
            raise
        return ForeignTokenizer(folder)


class ForeignTokenizer:
    """Strings to ids and back by the rules of the folder an imported model came with.

    Attributes:
        stop_ids: what ends a text or a turn.
        control_ids: tokens that are marks and no text.
    """

    def __init__(self, folder: Path) -> None:
        self._where = folder
        data = (folder / _TOKENIZER).read_bytes()
        self._backend, self._typed = (read_backend(data, folder / _TOKENIZER) for _ in range(2))
        self._backend.encode_special_tokens = False  # reads what the chat template wrote
        self._config = _settings(folder / _CONFIG)
        self.vocab_size = 1 + max(self._backend.get_vocab().values(), default=-1)
        added = self._backend.get_added_tokens_decoder()
        self.control_ids = frozenset(i for i, token in added.items() if token.special)
        self.stop_ids = self._find_stops(_settings(folder / _GENERATION))
        self._template = _find_template(folder, self._config)

    def _find_stops(self, generation: Mapping[str, Any]) -> frozenset[int]:
        stated: Any = generation.get("eos_token_id")
        if isinstance(stated, int):
            return frozenset([stated])
        if isinstance(stated, list):
            return frozenset(cast("list[int]", stated))
        name = self._special("eos_token")
        found = self._backend.token_to_id(name) if name else None
        return frozenset() if found is None else frozenset([found])

    def _special(self, role: str) -> str | None:
        """The text of ``bos_token`` and the like; older files have it as an object."""
        found: Any = self._config.get(role)
        text: Any = found.get("content") if is_mapping(found) else found
        return text if isinstance(text, str) else None

    def encode(self, text: str) -> list[int]:
        """Ids of ``text`` alone, never a control id."""
        return self._typed.encode(text, add_special_tokens=False).ids

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text to continue, with what this tokenizer puts in front (often ``<s>``)."""
        return self._typed.encode(text, add_special_tokens=True).ids

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation that the model is to answer.

        Raises:
            TokenizerError: there is no chat template, or it cannot be run.
            DataError: the template refuses these messages.
        """
        return self._backend.encode(self.render(messages), add_special_tokens=False).ids

    def render(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """A conversation as the chat template writes it."""
        if self._template is None:
            raise TokenizerError(
                "{path} has no chat template; this model continues texts only.", path=self._where
            )
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        special = {name: text for name in names if (text := self._special(name)) is not None}
        try:
            template = _jinja().from_string(self._template)
            return template.render(
                messages=[dict(m) for m in messages],
                tools=None,
                documents=None,
                add_generation_prompt=generation_prompt,
                **special,
            )
        except TemplateError as error:
            raise TokenizerError(
                "The chat template in {path} cannot be run: {reason}",
                path=self._where,
                reason=error,
            ) from error

    def decode(self, ids: Iterable[int], *, control: bool = False) -> str:
        """The text of ``ids``; control tokens are dropped unless asked for."""
        return self._backend.decode(list(ids), skip_special_tokens=not control)

    def stream(self, *, control: bool = False) -> ForeignStream:
        """A decoder to push ids into one at a time."""
        return ForeignStream(self._backend, control=control)


AnyTokenizer = Tokenizer | ForeignTokenizer


class ForeignStream:
    """Ids in, text out as soon as it is certain."""

    def __init__(self, backend: Backend, *, control: bool) -> None:
        self._backend = backend
        self._decoder = DecodeStream(skip_special_tokens=not control)

    def push(self, token_id: int) -> str:
        """The text this token completes, often a word, sometimes nothing."""
        return self._decoder.step(self._backend, token_id) or ""

    def flush(self) -> str:
        """Nothing: bytes that are no whole character yet are dropped."""
        return ""


def _settings(path: Path) -> Mapping[str, Any]:
    found: object = read_json(path) if path.is_file() else {}
    return found if is_mapping(found) else {}


def _find_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """From its own file, or the settings: one, or a list of named ones with a ``default``."""
    if (folder / _TEMPLATE).is_file():
        return (folder / _TEMPLATE).read_text(encoding="utf-8")
    found: Any = config.get("chat_template")
    if isinstance(found, list):
        named = {t["name"]: t["template"] for t in cast("list[dict[str, str]]", found)}
        found = named.get("default")
    return found if isinstance(found, str) else None


class _Generation(Extension):
    """``{% generation %}``: marks what the assistant says, for training; here just its content."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's own declaration)

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _jinja() -> ImmutableSandboxedEnvironment:
    environment: Any = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(value: object, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _refuse(reason: str) -> None:
    raise DataError("The model's chat template refuses this conversation: {reason}", reason=reason)
