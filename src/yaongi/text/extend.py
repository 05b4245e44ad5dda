"""The extension stage: a tokenizer and Korean text in, the same tokenizer with more tokens out.

New merges go behind the old ones and new ids behind the old ids, so text that no new token touches
keeps its ids; the stage checks that on English and code before it is done. Merges are learnt in
``merges.py``; what a model's rows need to know is in ``extension.py``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from tokenizers import Tokenizer as Backend

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.config import Config
from yaongi.core.errors import TokenizerError
from yaongi.core.files import write_bytes
from yaongi.core.i18n import translate
from yaongi.core.units import ByteSize, Count
from yaongi.text.bytelevel import piece
from yaongi.text.canonical import canonical_ids
from yaongi.text.extension import Extension, padded
from yaongi.text.foreign import FILES, GENERATION, copy_files, load_tokenizer
from yaongi.text.merges import MIN_FREQUENCY, Merge, korean_words, learn
from yaongi.text.pieces import NoBytes, decoder_parts, leading_bytes, token_table
from yaongi.text.tokenizer import Tokenizer, read_backend
from yaongi.text.train import KIND, compression
from yaongi.text.unchanged import check_unchanged
from yaongi.text.vectors import similar_tokens

_TOKENIZER = "tokenizer.json"
_OF_THE_OLD = {"vocab.json", "merges.txt", "tokenizer.model"}  # the same again, without the new
_SIMILAR_BYTES = 20_000_000  # of the sample; more would not change what is near what

Progress = Callable[[float, str], None]


class ExtendConfig(Config):
    """Settings of the extension stage.

    Attributes:
        add: new tokens.
        max_doc_chars, sample_bytes: as for training a tokenizer.
    """

    add: Count = Field(default=8_192, ge=1)
    max_doc_chars: Count = Field(default=10_000, ge=1)
    sample_bytes: ByteSize = Field(default=80_000_000, ge=1)


def stage(
    cfg: ExtendConfig,
    base: str | Path,
    texts: Iterable[str],
    out: str | Path,
    *,
    held_out: Sequence[str] = (),
    parents: Sequence[Artifact] = (),
    licences: Sequence[str] | None = None,
    beside: Sequence[Path] = (),
    on_progress: Progress | None = None,
) -> Artifact:
    """Learn ``cfg.add`` tokens from the first ``sample_bytes`` of ``texts``.

    Args:
        base: a folder with a byte-level BPE ``tokenizer.json``: a tokenizer, or a model.
        held_out: texts to measure on, before and after.
        parents: what base and texts come from.
        licences: where they are known otherwise than from ``parents``.
        beside: further files to pass on, licence and notice.
    Returns: an artifact of kind ``tokenizer`` with the files of ``base``, and ``extension.json``;
        as metrics tokens per syllable and bytes per token before and after on ``held_out``, and
        the share of words of an English and a code sample with the ids they had.
    Raises:
        TokenizerError: no tokenizer, one that cannot be extended, or too little text.
        ArtifactError: ``out`` holds something else.
    """
    base, report = Path(base), on_progress or _silent
    old = Extendable.open(base)
    identity: dict[str, Any] = {
        "config": cfg.as_json() | {"base_sha256": old.sha256},
        "parents": parents,
    }
    if done := existing(out, KIND, **identity):
        return done
    with draft(out, KIND, **identity) as work:
        report(0.0, "reading the sample")
        sample = _sample(cfg, texts)
        words = korean_words(old.backend, sample)
        report(0.4, "learning merges")
        merges = learn(old.backend, words, cfg.add, old.taken)
        _enough(merges, cfg)
        old.write(work.path, merges)
        copy_files(base, work.path, (GENERATION,))
        for path in beside:
            shutil.copyfile(path, work.path / path.name)
        report(0.7, "measuring")
        new = read_backend((work.path / _TOKENIZER).read_bytes(), work.path / _TOKENIZER)
        metrics = {
            **_compression(base, work.path, held_out),
            "unchanged": check_unchanged(old.backend, new, old.size),
        }
        report(0.8, "looking for similar tokens")
        extension = _extension(old, work.path, merges, new, sample)
        extension.write(work.path)
        report(1.0, "done")
        return work.finish(
            counts={
                "old_size": extension.old_size,
                "vocab_size": extension.new_size,
                "padded_size": extension.padded_size,
                "documents": len(sample),
                "korean_words": words.total(),
            },
            licences=licences,
            metrics=metrics,
        )


@dataclass(frozen=True)
class Extendable:
    """A tokenizer that more merges can be appended to: byte-level BPE.

    Attributes:
        backend: reads control tokens out of no text.
        spec: its ``tokenizer.json``.
        size: one above its highest id; where new ids begin.
        folder, sha256: where the file is, and its hash.
    """

    backend: Backend
    spec: Mapping[str, Any]
    size: int
    folder: Path
    sha256: str

    @classmethod
    def open(cls, folder: Path) -> Extendable:
        """Read and check ``tokenizer.json``.

        Raises:
            TokenizerError: missing, damaged, or of another kind; the message says why.
        """
        load_tokenizer(folder)  # says what is missing or damaged
        path = folder / _TOKENIZER
        data = path.read_bytes()
        backend, spec = read_backend(data, path), json.loads(data)
        size = 1 + max(backend.get_vocab().values())
        if reason := _obstacle(backend, spec, size):
            raise TokenizerError(
                "{path} cannot be extended: {reason}. Only byte-level BPE can (Llama 3, Qwen, "
                "GPT-2 and our own): its merges have ranks, and new ones can go behind them.",
                path=path,
                reason=reason,
            )
        return cls(backend, spec, size, folder, hashlib.sha256(data).hexdigest())

    @property
    def taken(self) -> set[str]:
        """What no new token may be: tokens there already, and added tokens' names."""
        names = [token.content for token in self.backend.get_added_tokens_decoder().values()]
        return {*self.backend.get_vocab(), *(piece(name.encode()) for name in names)}

    def write(self, out: Path, merges: Sequence[Merge]) -> None:
        """The tokenizer with ``merges`` appended, and the files that belong to it."""
        data = json.dumps(self._extended(merges), ensure_ascii=False).encode()
        if isinstance(load_tokenizer(self.folder), Tokenizer):
            Tokenizer(data, out / _TOKENIZER).save(out)
            return
        copy_files(self.folder, out, [name for name in FILES if name not in _OF_THE_OLD])
        write_bytes(out / _TOKENIZER, data)

    def _extended(self, merges: Sequence[Merge]) -> dict[str, Any]:
        model = self.spec["model"]
        added = self.backend.get_added_tokens_decoder()
        # Added tokens are looked up by name in the vocabulary, and numbered behind it if they are
        # not there: without this, new tokens would push them to other ids.
        names = {token.content: i for i, token in sorted(added.items())}
        new = {merge.token: i for i, merge in enumerate(merges, self.size)}
        older: list[Any] = model["merges"]  # in older files "left right", in newer ones a pair
        ranked: list[Any] = [m.split(" ") if isinstance(m, str) else m for m in older]
        longer: dict[str, Any] = {
            "vocab": names | model["vocab"] | new,
            "merges": ranked + list(merges),
        }
        return {**self.spec, "model": {**model, **longer}}


def _obstacle(backend: Backend, spec: Mapping[str, Any], size: int) -> str | None:
    """Why this tokenizer cannot be extended, in the user's language."""
    model = spec["model"]
    kind = model.get("type")
    if kind != "BPE":
        return translate("it is a {kind} model, which has no ranked merges", kind=kind)
    if "ByteLevel" not in decoder_parts(spec):
        return translate("its tokens are pieces of text (SentencePiece), not of bytes")
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            return translate("it has {setting}", setting=setting)
    if backend.pre_tokenizer is None:
        return translate("it does not cut texts into words")
    try:
        leading_bytes(
            lambda text: backend.encode(text, add_special_tokens=False).ids,
            token_table(backend, size),
        )
    except NoBytes as error:
        return str(error)
    return None


def _enough(merges: Sequence[Merge], cfg: ExtendConfig) -> None:
    if len(merges) < cfg.add:
        raise TokenizerError(
            "The Korean words of the texts hold only {found} new tokens that occur at least "
            "{times} times; {asked} were asked for. Give more text, or --add {found}.",
            found=len(merges),
            times=MIN_FREQUENCY,
            asked=cfg.add,
        )


def _extension(
    old: Extendable, folder: Path, merges: Sequence[Merge], new: Backend, sample: Sequence[str]
) -> Extension:
    expanded: dict[str, list[int]] = {}
    vocab = old.backend.get_vocab()
    for merge in merges:  # in their order: each is made of earlier ones
        expanded[merge.token] = [i for part in merge for i in expanded.get(part) or [vocab[part]]]
    pieces = list(expanded.values())
    found = new.encode_batch_fast(_first(sample, _SIMILAR_BYTES), add_special_tokens=False)
    written = load_tokenizer(folder)
    size = old.size + len(merges)
    return Extension(
        old_size=old.size,
        new_size=size,
        padded_size=padded(size),
        pieces=pieces,
        canonical=canonical_ids(written) if isinstance(written, Tokenizer) else None,
        base={"path": str(old.folder), "sha256": old.sha256},
        similar=similar_tokens((item.ids for item in found), old.size, pieces),
    )


def _compression(before: Path, after: Path, texts: Sequence[str]) -> dict[str, float]:
    if not texts:
        return {}
    return {
        f"{name}_{when}": value
        for when, folder in (("before", before), ("after", after))
        for name, value in compression(load_tokenizer(folder), texts).items()
    }


def _sample(cfg: ExtendConfig, texts: Iterable[str]) -> list[str]:
    return _first((text[: cfg.max_doc_chars] for text in texts), cfg.sample_bytes)


def _first(texts: Iterable[str], size: int) -> list[str]:
    """The first texts, ``size`` bytes of them (the last one whole)."""
    found: list[str] = []
    for text in texts:
        if size <= 0:
            break
        found.append(text)
        size -= len(text.encode(errors="surrogatepass"))
    return found


def _silent(fraction: float, note: str) -> None:
    """Nobody is watching."""
