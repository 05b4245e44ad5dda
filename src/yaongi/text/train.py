"""The tokenizer stage: a sample of the corpus in, a ``tokenizer`` artifact out.

The sample is counted in bytes and long documents are cut, so that one huge file cannot fill the
vocabulary with its own words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.config import Config
from yaongi.core.units import ByteSize, Count
from yaongi.text.bytelevel import DEFAULT_REGEX
from yaongi.text.foreign import AnyTokenizer
from yaongi.text.report import measure
from yaongi.text.tokenizer import MIN_VOCAB, Tokenizer

KIND = "tokenizer"
_MEASURED_BYTES = 1_000_000  # of the sample; more would not change the third digit
_READ, _LEARNED = 0.6, 0.95  # shares of the time, for the progress bar
_REPORT_EVERY = 100  # documents

Progress = Callable[[float, str], None]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TokenizerConfig(Config):
    """Settings of the tokenizer stage.

    Args:
        regex: how text is cut into words, one of llama.cpp's; qwen2 makes each digit a token,
            llama-bpe up to three.
        mix: share of each domain in the bytes it learns from; default the mix of pretraining.
        max_doc_chars: longer documents are cut, so that none fills the vocabulary alone.
        sample_bytes: what it learns from at most.
        allow_smaller: accept fewer tokens where the text does not hold ``vocab_size``.
    """

    vocab_size: Count = Field(default=32_768, ge=MIN_VOCAB)
    regex: Literal["qwen2", "llama-bpe"] = DEFAULT_REGEX
    mix: dict[str, Share] | None = Field(default=None, min_length=1)
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
        DataError: the texts are empty.
        ArtifactError: ``out`` holds something else.
    """
    identity: dict[str, Any] = {"config": cfg.as_json(), "parents": parents, "seed": seed}
    if done := existing(out, KIND, **identity):
        return done
    report = on_progress or _silent
    with draft(out, KIND, **identity) as work:
        started = time.perf_counter()
        sample = Sample(cfg, texts, report)
        tok = Tokenizer.train(
            sample, cfg.vocab_size, regex=cfg.regex, allow_smaller=cfg.allow_smaller
        )
        report(_LEARNED, "measuring")
        tok.save(work.path)
        metrics = compression(tok, sample.spread)
        metrics["seconds"] = round(time.perf_counter() - started, 2)
        counts = sample.counts | {"vocab_size": tok.vocab_size}
        report(1.0, "done")
        return work.finish(counts=counts, metrics=metrics)


def compression(tok: AnyTokenizer, texts: Sequence[str]) -> dict[str, float]:
    """``bytes_per_token`` of ``texts``, and ``tokens_per_syllable`` where there is Korean."""
    found = measure(tok, texts, "the sample")
    metrics = {"bytes_per_token": found.bytes_per_token}
    if found.tokens_per_syllable is not None:
        metrics["tokens_per_syllable"] = found.tokens_per_syllable
    return metrics


def _silent(fraction: float, note: str) -> None:
    """Nobody is watching."""


class Sample:
    """The first ``sample_bytes`` of the texts, long ones cut, one at a time.

    Attributes:
        counts: documents, documents_cut and bytes so far.
        spread: about ``_MEASURED_BYTES`` of them, evenly from all so far.
    """

    def __init__(self, cfg: TokenizerConfig, texts: Iterable[str], report: Progress) -> None:
        self._cfg, self._texts, self._report = cfg, texts, report
        self.counts = {"documents": 0, "documents_cut": 0, "bytes": 0}
        self.spread: list[str] = []
        self._stride, self._spread_bytes = 1, 0

    def __iter__(self) -> Iterator[str]:
        counts, wanted = self.counts, self._cfg.sample_bytes
        for text in self._texts:
            kept = text[: self._cfg.max_doc_chars]
            if counts["documents"] % _REPORT_EVERY == 0:
                self._report(_READ * min(1, counts["bytes"] / wanted), "reading the sample")
            self._keep(kept)
            counts["documents"] += 1
            counts["documents_cut"] += len(kept) < len(text)
            counts["bytes"] += _bytes([kept])
            yield kept
            if counts["bytes"] >= wanted:
                break
        self._report(_READ, "learning merges")

    def _keep(self, text: str) -> None:
        """Every k-th document, with k doubled whenever they have become too many."""
        if self.counts["documents"] % self._stride == 0:
            self.spread.append(text)
            self._spread_bytes += _bytes([text])
        while len(self.spread) > 1 and self._spread_bytes > 2 * _MEASURED_BYTES:
            self.spread, self._stride = self.spread[::2], 2 * self._stride
            self._spread_bytes = _bytes(self.spread)


def _bytes(texts: Sequence[str]) -> int:
    return sum(len(text.encode(errors="surrogatepass")) for text in texts)
