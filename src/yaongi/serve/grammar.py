"""Answers that fit a JSON schema: before each token, what would leave the grammar is forbidden.

The masks are xgrammar's (Dong et al. 2024, arXiv:2411.15100). They enter through the engine's
processor of logits, so an answer under a grammar runs beside free ones.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from yaongi.core.errors import CapabilityError, DataError
from yaongi.core.install import import_extra
from yaongi.infer.sampling import NEVER
from yaongi.infer.turns import mark_ids
from yaongi.text.control import END_TOOL_CALL, TOOL_CALL
from yaongi.text.foreign import AnyTokenizer

MAX_BYTES = 16 << 10
MAX_DEPTH = 32
MAX_REPEATS = 2000
"""A schema may be so long and so deep, and ask for so many repetitions in all: compiling 1,000 of
them takes seconds, and nothing can end it early."""

ANY_OBJECT = {"type": "object", "additionalProperties": True}


class Processor(Protocol):
    """A processor of logits for one answer; ``failed`` says why the answer is not what it should
    be."""

    @property
    def failed(self) -> str: ...

    def __call__(self, said: Sequence[int], logits: Tensor) -> Tensor: ...


Processors = Callable[[], Processor]
"""Makes one for each answer: a processor knows how far its answer is."""

_COUNTS = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
_TOLD = ("$ref", "pattern")
"""What xgrammar writes into the log of the server when it takes it otherwise than it is meant."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Grammars:
    """Compiles schemas for one vocabulary, what it compiled last kept. One thread uses it.

    Args:
        size: ids of the model, at least the tokenizer's.
    """

    def __init__(self, tokenizer: AnyTokenizer, size: int) -> None:
        self.tokenizer = tokenizer
        self.size = size

    def json(self, schema: Mapping[str, Any]) -> Processors:
        """What keeps an answer to JSON that fits ``schema``.

        Raises:
            CapabilityError: xgrammar is not installed.
            TokenizerError: the tokens stand for no bytes.
            DataError: the schema is no schema, too large, or says what xgrammar cannot.
        """
        compiled = self._compile(None, lambda xgr: _from_schema(xgr, schema), schema)
        stops = sorted(self.tokenizer.stop_ids)
        return lambda: _Mask(compiled, self.size, stops)

    def calls(self, functions: Iterable[Mapping[str, Any]]) -> Processors:
        """What makes an answer a call of one of these functions, ``{"name", "parameters"}``.

        Raises:
            CapabilityError, DataError: as ``json``; or the model has no marks for tool calls.
        """
        marks = mark_ids(self.tokenizer)
        if TOOL_CALL not in marks or END_TOOL_CALL not in marks:
            raise CapabilityError("This model's vocabulary has no marks for tool calls.")
        schema = {"anyOf": [_call_schema(f["name"], f.get("parameters") or {}) for f in functions]}

        def build(xgr: Any) -> Any:
            line = xgr.Grammar.from_ebnf('root ::= "\\n"')
            return xgr.Grammar.concat(line, _from_schema(xgr, schema), line)

        begin, end = marks[TOOL_CALL], marks[END_TOOL_CALL]
        compiled = self._compile(end, build, schema)
        stops = sorted(self.tokenizer.stop_ids)
        return lambda: _CallMask(_Mask(compiled, self.size, stops), begin, end, stops)

    def _compile(self, end: int | None, build: Callable[[Any], Any], schema: Any) -> Any:
        check_size(schema)
        xgr, compiler = self._compiler(end)
        try:
            return compiler.compile_grammar(build(xgr))
        except (RuntimeError, ValueError) as error:  # xgrammar's own are of these
            reason = _plain(error)
            raise DataError("The schema cannot be followed: {reason}", reason=reason) from error

    @functools.cache  # noqa: B019  (as long-lived as the server)
    def _compiler(self, end: int | None) -> tuple[Any, Any]:
        """One for each way to end: the turn's end, or a mark."""
        xgr = import_extra(
            "Answers in JSON need the package '{package}': {command}", "xgrammar", "grammar"
        )
        tok = self.tokenizer
        words = [_word(tok.token_bytes(i), line=end is not None) for i in range(tok.vocab_size)]
        info = xgr.TokenizerInfo(
            words,
            xgr.VocabType.RAW,
            vocab_size=self.size,
            stop_token_ids=sorted(tok.stop_ids) if end is None else [end],
        )
        return xgr, xgr.GrammarCompiler(info, max_threads=1, cache_limit_bytes=64 << 20)


class _Mask:
    """Follows one answer through a grammar.

    A grammar may lead to where nothing can follow (``allOf`` of a string and a number); then the
    answer ends.
    """

    def __init__(self, compiled: Any, size: int, stops: list[int]) -> None:
        import xgrammar as xgr

        self.failed = ""
        self._xgr = xgr
        self._matcher = xgr.GrammarMatcher(compiled)
        self._bits = xgr.allocate_token_bitmask(1, size)
        self._stops = stops
        self._taken = 0

    def __call__(self, said: Sequence[int], logits: Tensor) -> Tensor:
        for token in said[self._taken :]:
            if not self._matcher.accept_token(token):
                self.failed = "it was left"
        self._taken = len(said)
        allowed = logits.clone()
        if not self.failed:
            self._matcher.fill_next_token_bitmask(self._bits)
            self._xgr.apply_token_bitmask_inplace(allowed, self._bits[0].to(logits.device))
            self.failed = "" if allowed.max() > NEVER else "it leads to where nothing fits"
        return _only(logits, self._stops) if self.failed else allowed


class _CallMask:
    """``<tool_call>``, a grammar that ends in ``</tool_call>``, and the end of the turn."""

    def __init__(self, inside: _Mask, begin: int, end: int, stops: list[int]) -> None:
        self._inside, self._begin, self._end, self._stops = inside, begin, end, stops

    @property
    def failed(self) -> str:
        """Why the call is none."""
        return self._inside.failed

    def __call__(self, said: Sequence[int], logits: Tensor) -> Tensor:
        if not said:
            return _only(logits, [self._begin])
        if said[-1] == self._end:
            return _only(logits, self._stops)
        return self._inside(said[1:], logits)


def _word(token: bytes, *, line: bool) -> bytes:
    """A token's bytes, or nothing, which never comes, where it has control characters: xgrammar
    lets them into strings of limited length, and JSON does not. Line breaks stay where a call
    needs them."""
    return b"" if any(byte < 0x20 and not (line and byte == 0x0A) for byte in token) else token


def _only(logits: Tensor, ids: Sequence[int]) -> Tensor:
    at = torch.tensor(ids, device=logits.device)
    return torch.full_like(logits, NEVER).index_copy(0, at, logits[at])


def _from_schema(xgr: Any, schema: Mapping[str, Any]) -> Any:
    """Without free white space and properties nobody named: small models lose themselves there."""
    return xgr.Grammar.from_json_schema(json.dumps(schema), any_whitespace=False, strict_mode=True)


def _call_schema(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": {"type": "object", **parameters}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def check_size(schema: object) -> None:
    """Raise DataError for a schema that would take too long."""
    repeats = _repeats(schema, MAX_DEPTH)  # first: writing what is too deep may not end well
    if len(json.dumps(schema)) > MAX_BYTES:
        raise DataError("The schema is longer than {limit} bytes.", limit=MAX_BYTES)
    if repeats > MAX_REPEATS:
        raise DataError(
            "The schema asks for more than {limit} repetitions (lengths, items, and numbers in "
            "patterns).",
            limit=MAX_REPEATS,
        )


def _repeats(value: object, depth: int) -> int:
    """Lengths and counts in a schema, and numbers in braces in its patterns; checks it besides."""
    if depth == 0:
        raise DataError("The schema is deeper than {limit} levels.", limit=MAX_DEPTH)
    if isinstance(value, list):
        return sum(_repeats(item, depth - 1) for item in value)
    if not isinstance(value, dict):
        return 0
    total = 0
    for key, item in value.items():
        texts = [t for t in (key, item) if isinstance(t, str)]
        total += sum(int(n) for t in texts for n in re.findall(r"(?<=[{,])\d{1,9}(?=[,}])", t))
        if key in _TOLD and isinstance(item, str) and _CONTROL.search(item):
            raise DataError("The schema has control characters in {name}.", name=key)
        if key in _COUNTS and isinstance(item, int):
            total += abs(item)
        total += _repeats(item, depth - 1)
    return total


def _plain(error: Exception) -> str:
    """What xgrammar says, without the place in its own sources; of some things it says nothing."""
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[-1].rpartition(": ")[2][:300]
