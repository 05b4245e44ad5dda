"""The tokenizer of an imported model: somebody else's ``tokenizer.json`` and chat template.

The rules are the file's own, computed by Hugging Face ``tokenizers``, and the template's
(``text.template``), but what a user types stays text: it never becomes a control token.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from tokenizers import Tokenizer as Backend
from tokenizers.decoders import DecodeStream

from yaongi.core.errors import InputError, TokenizerError
from yaongi.core.files import is_mapping, read_json, write_json
from yaongi.text.chat import Message
from yaongi.text.pieces import NoBytes, leading_bytes, token_table
from yaongi.text.template import render
from yaongi.text.tokenizer import Tokenizer, check_id, check_unicode, read_backend

_TOKENIZER, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_TEMPLATE, GENERATION = "chat_template.jinja", "generation_config.json"
FILES = (
    _TOKENIZER,
    _CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    _TEMPLATE,
    "chat_template.json",
)
"""What a foreign tokenizer may consist of; we read the first two and the template."""
_MARK = "\ufdd0"  # no character, and never in a text that is exchanged (Unicode 23.7)


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


def load_tokenizer(folder: str | Path) -> AnyTokenizer:
    """``open_tokenizer`` of a folder that must have one.

    Raises:
        TokenizerError: it has none, or a damaged one.
    """
    found = open_tokenizer(folder)
    return Tokenizer.load(folder) if found is None else found  # which says what is missing


def save_tokenizer(source: Path, out: Path) -> None:
    """Write the tokenizer of one model folder into another that learnt to converse with it.

    One of ours is written anew; a foreign one's files are copied, and what ends an answer in its
    chat template becomes one of the ids that end a generation.

    Raises:
        TokenizerError: there is none, or a damaged one.
    """
    found = load_tokenizer(source)
    if isinstance(found, Tokenizer):
        found.save(out)
        return
    copy_files(source, out, FILES)
    stops = sorted(found.stop_ids.union(found.turn_end_ids()))
    write_json(out / GENERATION, {**found.generation, "eos_token_id": stops})


def copy_files(source: Path, out: Path, names: Sequence[str]) -> list[str]:
    """Copy those of ``names`` that are there, byte for byte; returns their names."""
    found = [name for name in names if (source / name).is_file()]
    for name in found:
        shutil.copyfile(source / name, out / name)
    return found


class ForeignTokenizer:
    """Strings to ids and back by the rules of the folder an imported model came with.

    Args:
        where: what error messages call it, if not ``folder``.

    Attributes:
        stop_ids: what ends a text or a turn.
        control_ids: tokens that are marks and no text.
        generation: the settings of ``generation_config.json``.
    """

    def __init__(self, folder: Path, where: Path | None = None) -> None:
        self._where = where or folder
        data = (folder / _TOKENIZER).read_bytes()
        self._typed = read_backend(data, folder / _TOKENIZER)
        self._backend = Backend.from_buffer(data)  # reads what the chat template wrote
        self._config = _settings(folder / _CONFIG)
        self.generation = _settings(folder / GENERATION)
        self.vocab_size = 1 + max(self._backend.get_vocab().values(), default=-1)
        added = self._backend.get_added_tokens_decoder()
        self._control = {i: token.content for i, token in added.items() if token.special}
        self.control_ids = frozenset(self._control)
        self.stop_ids = frozenset(self.stated("eos_token"))
        self.template = _find_template(folder, self._config)

    @functools.cached_property
    def eot_id(self) -> int:
        """What stands before every document: what the tokenizer puts in front of a text by
        itself, else the token stated as its beginning, else the one stated as its end.

        The order is lm-evaluation-harness's, so that scores can be compared.

        Raises:
            TokenizerError: nothing is stated.
        """
        before, _ = self.around
        found = [*before, *self.stated("bos_token"), *self.stated("eos_token")]
        if not found:
            raise TokenizerError(
                "{path} names no token that begins or ends a text, so documents cannot be told "
                "apart.",
                path=self._where,
            )
        return before[-1] if before else found[0]

    @functools.cached_property
    def around(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and behind a text by itself."""
        body, whole = self.encode("a"), self.text_ids("a")
        places = range(len(whole) - len(body) + 1)
        start = next((i for i in places if whole[i : i + len(body)] == body), 0)
        return whole[:start], whole[start + len(body) :]

    @property
    def pad_id(self) -> int:
        """What fills rows that are not full; it is never learnt, so any token will do."""
        return next(iter(self.stated("pad_token")), self.eot_id)

    @functools.cached_property
    def lead_bytes(self) -> int:
        """Bytes that encoding puts before a text: 1 where SentencePiece adds a space, else 0.

        Raises:
            TokenizerError: as ``token_bytes``.
        """
        try:
            return leading_bytes(self.encode, self._table)
        except NoBytes as error:
            self._no_bytes(error)

    @functools.cached_property
    def _table(self) -> list[bytes]:
        try:
            return token_table(self._backend, self.vocab_size)
        except NoBytes as error:
            self._no_bytes(error)

    def _no_bytes(self, reason: NoBytes) -> NoReturn:
        raise TokenizerError(
            "The tokens of {path} do not stand for bytes of text, so bits per byte cannot be "
            "counted and no shards made: {reason}.",
            path=self._where,
            reason=reason,
        ) from reason

    def stated(self, role: str) -> list[int]:
        """The ids of ``bos_token`` and the like: those of the generation settings, else of the
        tokenizer's."""
        stated: Any = self.generation.get(f"{role}_id")
        if stated is not None:
            return cast("list[int]", stated) if isinstance(stated, list) else [int(stated)]
        name = self._special(role)
        found = self._backend.token_to_id(name) if name else None
        return [] if found is None else [found]

    def token_id(self, name: str) -> int | None:
        """The id of a token by its text; None where the vocabulary has none."""
        return self._backend.token_to_id(name)

    def _special(self, role: str) -> str | None:
        """The text of ``bos_token`` and the like; older files have it as an object."""
        found: Any = self._config.get(role)
        text: Any = found.get("content") if is_mapping(found) else found
        return text if isinstance(text, str) else None

    def encode(self, text: str) -> list[int]:
        """Ids of ``text`` alone, never a control id.

        Raises:
            TokenizerError: a lone surrogate, or the text spells a control token in a vocabulary
                that cannot tell it apart.
        """
        return self._as_text(self._typed.encode(check_unicode(text), add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of every text, on all cores."""
        checked = [check_unicode(text) for text in texts]
        found = self._typed.encode_batch_fast(checked, add_special_tokens=False)
        return [self._as_text(item.ids) for item in found]

    def _as_text(self, ids: list[int]) -> list[int]:
        forged = self.control_ids.intersection(ids)  # Unigram reads them out of ordinary text
        if forged:
            raise TokenizerError(
                "The text spells the control token {name}, which the tokenizer in {path} cannot "
                "tell from text. Leave it out.",
                name=self._control[min(forged)],
                path=self._where,
            )
        return ids

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text to continue, with what this tokenizer puts in front (often ``<s>``).

        Raises:
            TokenizerError: as ``encode``.
        """
        found = self._typed.encode(check_unicode(text), add_special_tokens=True)
        added = zip(found.ids, found.special_tokens_mask, strict=True)
        self._as_text([token for token, its_own in added if not its_own])
        return found.ids

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation that the model is to answer; what a message spells is text.

        Raises:
            TokenizerError: there is no chat template, or it cannot be run.
            DataError: the template refuses these messages.
        """
        return self._read(self.render(self._marked(messages)))

    def conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Ids of a conversation as a document, and a mask of equal length: 1 = learn to say this.

        An answer is what the template adds to the conversation before it and its generation
        prompt, up to the last control token of that (what ends the turn; line breaks behind it
        are not said).

        Raises:
            TokenizerError: the template writes earlier turns differently once others follow, or
                nothing ends a turn, so what is to be learnt is not what is asked in a chat.
            DataError: the template refuses these messages.
        """
        messages = self._marked(messages)
        ids: list[int] = []
        mask: list[int] = []
        text = ""
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            for known, asks in ((messages[:place], True), (messages[: place + 1], False)):
                longer = self.render(known, generation_prompt=asks)
                new = self._new_ids(ids, text, longer, len(known))
                said = 0 if asks else self._end_of_turn(new)
                ids, text = ids + new, longer
                mask += [1] * said + [0] * (len(new) - said)
        return ids, mask

    def turn_end_ids(self) -> list[int]:
        """What ends an answer of the chat template; nothing without one that can be learnt."""
        try:
            ids, mask = self.conversation(
                [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
            )
        except InputError:
            return []
        return [ids[max(i for i, said in enumerate(mask) if said)]]

    def _new_ids(self, ids: list[int], text: str, longer: str, place: int) -> list[int]:
        """What comes after ``ids``, those of ``text``, when the conversation grows."""
        whole = self._read(longer)
        if whole[: len(ids)] == ids:
            return whole[len(ids) :]
        if longer.startswith(text) and not self.lead_bytes:  # letters joined where a turn begins
            return self._read(longer[len(text) :])
        raise TokenizerError(
            "The chat template in {path} writes earlier messages differently once message "
            "{place} is there, so a conversation cannot be learnt the way it is held. "
            "Use conversations with a single answer, or change chat_template.jinja.",
            path=self._where,
            place=place,
        )

    def _end_of_turn(self, answer: list[int]) -> int:
        """How many ids of an answer the model is to say."""
        ends = [i for i, token in enumerate(answer, 1) if token in self.control_ids]
        if not ends or self.decode(answer[ends[-1] :]).strip():
            raise TokenizerError(
                "The chat template in {path} ends an answer without a control token, so a model "
                "could not learn when to stop.",
                path=self._where,
            )
        return ends[-1]

    def _marked(self, messages: Sequence[Message]) -> Sequence[Message]:
        """``messages`` in which no control token is spelled whole; ``_read`` takes the mark out."""
        return _every_text(messages, lambda text: self._spelled.sub(rf"\g<0>{_MARK}", text))

    @functools.cached_property
    def _spelled(self) -> re.Pattern[str]:
        """The first letter of a control token's name."""
        names = [name for name in self._control.values() if len(name) > 1]
        return re.compile(
            "|".join(f"{re.escape(n[0])}(?={re.escape(n[1:])})" for n in names) or r"(?!)"
        )

    def _read(self, rendered: str) -> list[int]:
        """Ids of what the template wrote: its control tokens, and what users typed as text."""
        found = self._backend.encode(check_unicode(rendered), add_special_tokens=False)
        if _MARK not in rendered:
            return found.ids
        ids: list[int] = []
        start = 0
        for token, (begin, end) in zip(found.ids, found.offsets, strict=True):
            if token in self.control_ids:
                ids += [*self._typed_ids(rendered[start:begin]), token]
                start = end
        return ids + self._typed_ids(rendered[start:])

    def _typed_ids(self, marked: str) -> list[int]:
        return self.encode(marked.replace(_MARK, "")) if marked else []

    def render(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """A conversation as the chat template writes it."""
        if self.template is None:
            raise TokenizerError(
                "{path} has no chat template; this model continues texts only.", path=self._where
            )
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        special = {name: text for name in names if (text := self._special(name)) is not None}
        return render(
            self.template,
            messages,
            special,
            generation_prompt=generation_prompt,
            where=self._where,
        )

    @property
    def spec(self) -> dict[str, Any]:
        """``tokenizer.json``, in the newest form."""
        return json.loads(self._backend.to_str())

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes a token stands for; of a control token none.

        Raises:
            TokenizerError: an id outside the vocabulary, or a vocabulary whose tokens stand for
                no bytes; the message says why.
        """
        check_id(token_id, self.vocab_size)
        return self._table[token_id]

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


def _every_text(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with every string in it changed, keys too, at any depth."""
    if isinstance(value, str):
        return change(value)
    if is_mapping(value):
        return {_every_text(k, change): _every_text(item, change) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [_every_text(item, change) for item in cast("list[Any]", value)]
    return value
