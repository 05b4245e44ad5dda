"""The tokenizer stage: a sample of the corpus in, a ``tokenizer`` artifact out.

The sample is counted in bytes and long documents are cut, so that one huge file cannot fill the
vocabulary with its own words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.config import Config
from yaongi.core.units import ByteSize, Count
from yaongi.text.hangul import is_syllable
from yaongi.text.tokenizer import MIN_VOCAB, Tokenizer

KIND = "tokenizer"
_MEASURED_BYTES = 1_000_000  # of the sample; more would not change the third digit
_READ, _LEARNED = 0.7, 0.95  # shares of the time, for the progress bar

Progress = Callable[[float, str], None]


class TokenizerConfig(Config):
    """Settings of the tokenizer stage."""

    vocab_size: Count = Field(default=32_768, ge=MIN_VOCAB)
    regex: Literal["qwen2", "llama-bpe"] = "qwen2"
    max_doc_chars: Count = Field(default=10_000, ge=1)
    sample_bytes: ByteSize = Field(default=80_000_000, ge=1)
    allow_smaller: bool = False


def stage(
    cfg: TokenizerConfig,
    texts: Iterable[str],
    out: str | Path,
    *,
    parents: Sequence[Artifact] = (),
    seed: int | None = None,
    on_progress: Progress | None = None,
) -> Artifact:
    """Train a tokenizer on the first ``sample_bytes`` of ``texts`` and save it in ``out``.

    Args:
        texts: documents in the order to sample them: mix domains before, by bytes. Not read at
            all when ``out`` already holds the result of the same settings.
        parents: what the texts come from.
        seed: the seed of that order, for the manifest; training itself has no randomness.
        on_progress: called with a fraction in 0..1 and what is being done.
    Returns: an artifact of kind ``tokenizer``; counts of documents and bytes seen, and as metrics
        ``bytes_per_token`` and ``tokens_per_syllable`` on (a part of) the sample.
    Raises:
        TokenizerError: as ``Tokenizer.train``.
        ArtifactError: ``out`` holds something else.
    """
    identity: dict[str, Any] = {"config": cfg.as_json(), "parents": parents, "seed": seed}
    if done := existing(out, KIND, **identity):
        return done
    report = on_progress or _silent
    with draft(out, KIND, **identity) as work:
        started = time.perf_counter()
        sample, counts = _sample(cfg, texts)
        tok = Tokenizer.train(
            _reporting(sample, counts["bytes"], report),
            cfg.vocab_size,
            regex=cfg.regex,
            allow_smaller=cfg.allow_smaller,
        )
        report(_LEARNED, "measuring")
        tok.save(work.path)
        metrics = compression(tok, _spread(sample, counts["bytes"]))
        metrics["seconds"] = round(time.perf_counter() - started, 2)
        counts |= {"vocab_size": tok.vocab_size}
        report(1.0, "done")
        return work.finish(counts=counts, metrics=metrics)


def compression(tok: Tokenizer, texts: Sequence[str]) -> dict[str, float]:
    """How well ``tok`` does on ``texts``.

    Returns: ``bytes_per_token`` (UTF-8) over all of them, and ``tokens_per_syllable`` over the
        words with Hangul in them, where there are any. A word is a run without spaces, taken with
        the space before it, as Korean counts 어절.
    """
    tokens = sum(map(len, tok.encode_batch(texts)))
    words = [f" {word}" for text in texts for word in text.split() if any(map(is_syllable, word))]
    syllables = sum(is_syllable(char) for word in words for char in word)
    found = {"bytes_per_token": _bytes(texts) / max(tokens, 1)}
    if syllables:
        found["tokens_per_syllable"] = sum(map(len, tok.encode_batch(words))) / syllables
    return {key: round(value, 4) for key, value in found.items()}


def _silent(fraction: float, note: str) -> None:
    """Nobody is watching."""


def _sample(cfg: TokenizerConfig, texts: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    sample: list[str] = []
    counts = {"documents": 0, "documents_cut": 0, "bytes": 0}
    for text in texts:
        kept = text[: cfg.max_doc_chars]
        sample.append(kept)
        counts["documents"] += 1
        counts["documents_cut"] += len(kept) < len(text)
        counts["bytes"] += _bytes([kept])
        if counts["bytes"] >= cfg.sample_bytes:
            break
    return sample, counts


def _bytes(texts: Sequence[str]) -> int:
    return sum(len(text.encode(errors="surrogatepass")) for text in texts)


def _reporting(sample: Sequence[str], total: int, report: Progress) -> Iterator[str]:
    """The sample as training reads it, which is most of the work; merging follows."""
    read = 0
    for number, text in enumerate(sample):
        if number % 100 == 0:
            report(_READ * read / max(total, 1), "reading the sample")
        yield text
        read += len(text.encode(errors="surrogatepass"))
    report(_READ, "learning merges")


def _spread(sample: Sequence[str], total: int) -> Sequence[str]:
    """Every k-th document, about ``_MEASURED_BYTES`` of them."""
    return sample[:: max(1, round(total / _MEASURED_BYTES))]
