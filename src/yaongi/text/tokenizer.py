"""Byte-level BPE: any string to ids and back, with control tokens that no text can spell.

Byte-level BPE is GPT-2's (Radford et al. 2019), computed by Hugging Face ``tokenizers``. The
pre-tokenizer is one of llama.cpp's own regexes, so an exported GGUF splits text the same way.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from yaongi.core.errors import TokenizerError, nearest
from yaongi.core.files import write_bytes, write_json
from yaongi.text.added import check_added
from yaongi.text.bytelevel import DEFAULT_REGEX, IGNORE_MERGES, REGEXES, byte_of_char, untrained
from yaongi.text.chat import CHAT_TEMPLATE, Message, encode_chat
from yaongi.text.control import CONTROL, END_OF_TEXT, IM_END, PAD
from yaongi.text.learn import MIN_VOCAB, learn, word_counts
from yaongi.text.normalize import nfc

__all__ = ["CONTROL", "IGNORE_MERGES", "MIN_VOCAB", "REGEXES", "StreamDecoder", "Tokenizer"]

_FILE, _CONFIG_FILE, _TEMPLATE_FILE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


class Tokenizer:
    """Strings to ids and back. ``decode(encode(s)) == nfc(s)`` for every string.

    Make one with ``train`` or ``load``. Text never yields a control id: ``<|im_end|>`` typed by
    a user is text like any other; only ``text.chat`` writes control ids.

    Args:
        data: the bytes of a ``tokenizer.json``.
        where: what error messages call it.
    """

    def __init__(self, data: bytes, where: str | Path = _FILE) -> None:
        self._data = data
        self._backend = read_backend(data, where)
        self.regex = _check(self._backend, where)
        self.vocab_size = self._backend.get_vocab_size()
        self._table = _byte_table(self._backend, where)
        self.hash = hashlib.sha256(data).hexdigest()
        self.eot_id, self.pad_id, self.im_start_id, self.im_end_id = range(4)
        self.stop_ids = frozenset([self.eot_id, self.im_end_id])
        self.lead_bytes = 0  # bytes that encoding puts before a text
        self.control_ids = frozenset(range(len(CONTROL)))

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 32_768,
        *,
        regex: str = DEFAULT_REGEX,
        allow_smaller: bool = False,
    ) -> Tokenizer:
        """Learn a vocabulary of exactly ``vocab_size`` tokens, control tokens and bytes included.

        The same texts give the same tokenizer, in whatever order (while they have no more than
        ``bpe.MAX_WORDS`` different words). From ``seeds.SEEDED_FROM`` tokens on, the syllables of
        KS X 1001 and indentation are among them.

        Args:
            regex: how text is cut into words before merging, one of ``REGEXES``.
            allow_smaller: accept fewer tokens where the texts do not hold that many.
        Raises:
            TokenizerError: unknown regex, vocab_size below ``MIN_VOCAB``, a text that is not
                Unicode, or too little text for ``vocab_size``.
        """
        untrained(regex)  # a wrong name is said before texts are read
        words = word_counts(map(_unicode, texts), regex)
        backend = learn(words, vocab_size, regex=regex, allow_smaller=allow_smaller)
        return cls(backend.to_str().encode())

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """Read ``tokenizer.json`` from a folder ``save`` has written (or a model folder).

        Raises:
            TokenizerError: missing, damaged, or not one of ours.
        """
        path = Path(folder) / _FILE
        if not path.is_file():
            raise TokenizerError("{path} is missing: no tokenizer in this folder.", path=path)
        return cls(path.read_bytes(), path)

    def save(self, folder: str | Path) -> None:
        """Write the files ``transformers.AutoTokenizer`` reads, each atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / _FILE, self._data)
        write_json(folder / _CONFIG_FILE, self._hf_config())
        # transformers 5 reads this file first; older versions read the copy in the config
        write_bytes(folder / _TEMPLATE_FILE, CHAT_TEMPLATE.encode())

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, never a control id.

        Raises:
            TokenizerError: ``text`` holds a lone surrogate, so it is not Unicode text.
        """
        return self._backend.encode(_unicode(text), add_special_tokens=False).ids

    def text_ids(self, text: str) -> list[int]:
        """Ids of a text to continue, behind ``<|endoftext|>`` as every document."""
        return [self.eot_id, *self.encode(text)]

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation to answer, a document too; what ``CHAT_TEMPLATE`` gives."""
        ids, _ = encode_chat(self, messages, generation_prompt=True)
        return [self.eot_id, *ids]

    def conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Ids of a conversation as a document, and a mask of equal length: 1 = learn to say this.

        Raises:
            DataError: as ``encode_chat``.
        """
        ids, mask = encode_chat(self, messages)
        return [self.eot_id, *ids], [0, *mask]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of every text, on all cores (RAYON_NUM_THREADS or TOKENIZERS_PARALLELISM)."""
        found = self._backend.encode_batch_fast(
            [_unicode(text) for text in texts], add_special_tokens=False
        )
        return [item.ids for item in found]

    def decode(self, ids: Iterable[int], *, control: bool = False) -> str:
        """The text of ``ids``; bytes that are no UTF-8 become U+FFFD.

        Args:
            control: write control tokens out instead of dropping them.
        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        found = b"".join(self.token_bytes(i, control=control) for i in ids)
        return found.decode(errors="replace")

    def stream(self, *, control: bool = False) -> StreamDecoder:
        """A decoder to push ids into one at a time."""
        return StreamDecoder(self, control=control)

    def token_bytes(self, token_id: int, *, control: bool = False) -> bytes:
        """The bytes a token stands for; of a control token its name, or nothing.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        check_id(token_id, self.vocab_size)
        return b"" if token_id < len(CONTROL) and not control else self._table[token_id]

    def control_id(self, name: str) -> int:
        """The id of a control token. Raises TokenizerError for an unknown name."""
        if name not in CONTROL:
            near = nearest(name, CONTROL)
            raise TokenizerError(
                "'{name}' is not a control token. {help}",
                name=name,
                help=f"Did you mean '{near}'?" if near else f"Known: {', '.join(CONTROL[:10])}.",
            )
        return CONTROL.index(name)

    def __reduce__(self) -> tuple[object, ...]:  # worker processes get the same rules
        return (Tokenizer, (self._data,))

    def _hf_config(self) -> dict[str, Any]:
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": IM_END,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,  # older versions would edit decoded text
            "yaongi_pre": self.regex,  # tokenizer.ggml.pre of a GGUF
            "chat_template": CHAT_TEMPLATE,
        }


class StreamDecoder:
    """Ids in, text out as soon as it is certain: never half a syllable, O(1) per token.

    A syllable or emoji whose bytes are spread over tokens is held back until complete.
    The texts of all pushes and the flush together equal ``decode`` of all ids.
    """

    def __init__(self, tokenizer: Tokenizer, *, control: bool = False) -> None:
        self._bytes_of = functools.partial(tokenizer.token_bytes, control=control)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The characters this token completes, often one or more, sometimes none."""
        return self._utf8.decode(self._bytes_of(token_id))

    def flush(self) -> str:
        """What is left at the end: "" or U+FFFD for an unfinished character. Resets the decoder."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


def read_backend(data: bytes, where: str | Path) -> Backend:
    """A ``tokenizer.json`` whose control tokens are text when somebody types them.

    Raises:
        TokenizerError: it is damaged, or its added tokens contradict each other.
    """
    try:
        backend = Backend.from_buffer(data)
    except Exception as error:  # the library raises bare Exception and ValueError
        raise TokenizerError(
            "{path} cannot be read as a tokenizer ({reason}); it may have been cut short.",
            path=where,
            reason=error,
        ) from error
    check_added(data, backend, where)
    backend.encode_special_tokens = True  # not saved in the file: text yields no control id
    return backend


def _check(backend: Backend, where: str | Path) -> str:
    """The regex name of one of our tokenizers. Raises TokenizerError for any other."""
    spec: dict[str, Any] = json.loads(backend.to_str())
    for name in REGEXES:
        if _same_rules(spec, json.loads(untrained(name).to_str())):
            break
    else:
        raise _foreign(where, "its normalizer, pre-tokenizer or decoder is not one we write")
    for token_id, control in enumerate(CONTROL):
        if backend.token_to_id(control) != token_id:
            raise _foreign(where, f"the id of {control} is not {token_id}")
    added = backend.get_added_tokens_decoder()  # others would be found in a user's text
    if {i for i, token in added.items() if token.special} != set(range(len(CONTROL))) or (
        len(added) > len(CONTROL)
    ):
        raise _foreign(where, "its added tokens are not the control tokens")
    return name


def _foreign(where: str | Path, reason: str) -> TokenizerError:
    return TokenizerError("{path} is not a yaongi tokenizer: {reason}.", path=where, reason=reason)


def _same_rules(spec: dict[str, Any], ours: dict[str, Any]) -> bool:
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")
    switches = ("type", "dropout", "ignore_merges", "byte_fallback")
    return all(spec[p] == ours[p] for p in parts) and all(
        spec["model"][s] == ours["model"][s] for s in switches
    )


def _byte_table(backend: Backend, where: str | Path) -> list[bytes]:
    """id -> the bytes it stands for; control tokens as their UTF-8 names."""
    byte_of = byte_of_char()
    names = [backend.id_to_token(i) for i in range(len(CONTROL), backend.get_vocab_size())]
    try:
        plain = [bytes(byte_of[char] for char in name or [""]) for name in names]
    except KeyError as error:
        raise _foreign(where, "it has gaps in its ids or tokens that are not bytes") from error
    if len({token for token in plain if len(token) == 1}) < 256:
        raise _foreign(where, "it lacks some of the 256 bytes")
    return [*(name.encode() for name in CONTROL), *plain]


def check_id(token_id: int, size: int) -> None:
    """Raise TokenizerError unless ``token_id`` is one of ``size`` ids."""
    if not 0 <= token_id < size:
        raise TokenizerError(
            "{id} is not a token id: this tokenizer has {size} tokens (0 to {last}).",
            id=token_id,
            size=size,
            last=size - 1,
        )


def _unicode(text: str) -> str:
    """NFC text that can be written as UTF-8. Python's Unicode tables are newer than the
    library's, so composing here keeps the round trip exact for recent scripts too."""
    return nfc(check_unicode(text))


def check_unicode(text: str) -> str:
    """``text``, which can be written as UTF-8. Raises TokenizerError for a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            "The text is not Unicode: a lone surrogate U+{code} at character {position}. "
            "It was probably decoded with errors='surrogateescape'; decode it as UTF-8.",
            code=f"{ord(text[error.start]):04X}",
            position=error.start,
        ) from error
    return text


def _no_threads_in_a_fork() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


# A forked child has no threads but its own: with the user's TOKENIZERS_PARALLELISM=true it would
# wait for the parent's pool forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_no_threads_in_a_fork)
