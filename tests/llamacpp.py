"""llama.cpp on a GGUF file, through PyPI ``xllamacpp``: its tokens, probabilities and choices.

The only place in the tests and benches that knows it. It runs inside this process, on one thread
unless asked for more; its HTTP routes are used because they tokenize, take ids and give ids.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

REASON = "needs llama.cpp: pip install xllamacpp (part of yaongi[dev])"


class Llama:
    """A model llama.cpp has loaded."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def post(self, route: str, **body: Any) -> dict[str, Any]:
        """The answer of one of its routes."""
        url, data = self._server.listening_address + route, json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as reply:
            return json.load(reply)

    def tokenize(self, text: str, *, start: bool = False, control: bool = False) -> list[int]:
        """Ids of ``text``; with what it puts in front, and with control tokens read from it."""
        return self.post("/tokenize", content=text, add_special=start, parse_special=control)[
            "tokens"
        ]

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """``count`` most likely tokens after ``ids``, ends of text left out."""
        found = self.complete(ids, count, ignore_eos=True, return_tokens=True)
        return found["tokens"]

    def most_likely(self, ids: Sequence[int], say: int, count: int = 5) -> dict[int, float]:
        """The tokens most likely after ``ids`` with their log-probabilities.

        Args:
            say: the token to go on with: of a byte that is no character nothing is reported.
        """
        found = self.complete(ids, 1, n_probs=count, logit_bias=[[say, 1e6]])
        (place,) = found["completion_probabilities"]
        return {entry["id"]: entry["logprob"] for entry in place["top_logprobs"]}

    def complete(self, ids: Sequence[int], count: int, **more: Any) -> dict[str, Any]:
        """Its whole answer to a greedy continuation."""
        rules = {"temperature": 0, "cache_prompt": False, "n_predict": count}
        return self.post("/completion", prompt=list(ids), **rules, **more)


@contextlib.contextmanager
def opened(
    path: Path, context_len: int = 128, *, threads: int = 1, exact: bool = True
) -> Iterator[Llama]:
    """Load ``path``. Skips the test where xllamacpp is not installed.

    Args:
        exact: the float32 cache and written-out attention that results are compared with, in
            place of what llama.cpp takes by itself, which is faster.
    """
    x = pytest.importorskip("xllamacpp", reason=REASON)
    params = x.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.n_threads_http = context_len, 1, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if exact:
        params.cache_type_k = params.cache_type_v = x.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.warmup, params.verbosity = False, -1
    yield Llama(x.Server(params))
