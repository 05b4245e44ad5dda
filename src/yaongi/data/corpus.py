"""All sources as one corpus: cleaned, deduplicated, part of it held out, with licences and counts.

Two passes keep memory small. The first (``cleaning``) reads every unit of every source, cleans it
and writes a shard; any of the ``executors`` runs it, and a build that was interrupted continues
with the units it has not finished. The second (``splitting``) copies each line to ``train/`` or
``val/`` of its domain. The line format is datatrove's, so its readers work on a corpus unchanged.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document
from pydantic import Field, model_validator

from yaongi.core.artifact import (
    Artifact,
    draft,
    existing,
    git_commit,
    open_artifact,
    versions,
)
from yaongi.core.config import Config, data_root
from yaongi.core.errors import ConfigError, DataError
from yaongi.core.files import plain, read_json, sha256_json, write_json
from yaongi.core.seeds import Seed
from yaongi.core.units import Count
from yaongi.data import prompts
from yaongi.data.cleaning import clean_all
from yaongi.data.cleaning.read import Work
from yaongi.data.cleaning.shards import Shards
from yaongi.data.dedup.exact import DUPLICATE, Held, assign
from yaongi.data.dedup.stage import Dedup, find
from yaongi.data.executors import ExecutorChoice, complete_ranks
from yaongi.data.executors.local import LocalExecutor
from yaongi.data.filters import Filter, FilterChain
from yaongi.data.licences import judge
from yaongi.data.lines import reader
from yaongi.data.sources import Reading, Source, SourceChoice
from yaongi.data.splitting import (
    NOT_UTF8,
    SPLITS,
    broken_rows,
    count_all,
    not_utf8,
    write_splits,
)
from yaongi.data.wording import Notice, notice, said, tally

__all__ = ["SPLITS", "CorpusConfig", "Progress", "build_corpus", "domains_of", "read_corpus",
           "sample_texts", "sizes"]  # fmt: skip

Progress = Callable[[float | None, str], None]
"""Called with the share done (None: not known) and what is being done."""

_CLEANING = "cleaning"  # below the working folder: shards, marks of what is complete, logs
_BUILD = "build.json"  # what is being built, so that nothing else continues it
_CLEANING_END, _DEDUP_END = 0.7, 0.85  # shares of the stage's time; the rest writes the splits


class CorpusConfig(Config):
    """What a corpus is made of.

    Args:
        root: folder of relative paths; default $YAONGI_DATA, else ./data.
        sources: each a path, ``hf:owner/name``, or settings with ``path`` or ``kind``.
        filters: cleaning steps in order, or ``default`` for the recommended ones.
        dedup: which duplicates go besides exact copies.
        val_fraction: share of each domain's documents held out for validation, where the source
            does not decide (``split: train`` or ``val`` in a document's metadata).
        val_docs: at most so many of them.
        min_chars: shorter documents are kept aside.
        keep_rejected: keep every dropped document in ``rejected.jsonl.zst``, not only rows that
            could not be read.
        open: refuse sources whose licence does not let anybody use, change and pass on the text.
        executor: who does the work: ``local``, ``ray`` or ``slurm``. The corpus is the same.
    """

    root: str | None = None
    sources: list[SourceChoice] = Field(min_length=1)
    filters: FilterChain = Field(default_factory=list)
    dedup: Dedup = Field(default_factory=Dedup)
    val_fraction: float = Field(default=0.01, ge=0.0, le=0.5)
    val_docs: Count = Field(default=1000, ge=1)
    min_chars: Count = Field(default=1, ge=1)
    keep_rejected: bool = False
    open: bool = False
    executor: ExecutorChoice = Field(default=LocalExecutor(), exclude=True)

    @model_validator(mode="after")
    def _sources_agree(self) -> CorpusConfig:
        seen: list[dict[str, Any]] = []
        for source in self.sources:
            what = {k: v for k, v in source.as_json().items() if k not in ("domain", "licence")}
            if what in seen:
                raise ConfigError("the source {name} is there twice", name=source.name)
            seen.append(what)
        if self.open:
            _check_open(self.sources)
        return self


def _check_open(sources: Sequence[Source]) -> None:
    """Raise ConfigError for all sources that do not belong into an open corpus."""
    verdicts = [(source.name, judge(source.licence)) for source in sources]
    closed = [f"{name}: {verdict.reason}" for name, verdict in verdicts if not verdict.open]
    if closed:
        raise ConfigError(
            "open: true admits open licences only. Leave these sources out, or state the licence "
            "they have:\n{sources}",
            sources="\n".join(f"- {line}" for line in closed),
        )


def build_corpus(
    cfg: CorpusConfig, out: str | Path, seed: Seed, *, on_progress: Progress | None = None
) -> Artifact:
    """Read every source and write a ``corpus`` artifact; an unchanged one is returned as it is.

    Writes ``train/<domain>.jsonl.zst``, ``val/<domain>.jsonl.zst``, ``rejected.jsonl.zst`` and
    ``examples.jsonl``; the manifest counts documents by step, source, domain and reason. The raw
    sources, with licence and fingerprint, are the parents. A build that was interrupted leaves
    its finished units in ``out``.partial, and the next one continues there.

    Raises:
        DataError: a source is missing, empty or of unknown columns, or no document is usable.
        WorkerError: a worker died.
    """
    root = data_root(cfg.root).absolute()
    filters = [one.at(root) for one in cfg.filters]
    parents = [source.as_parent(root) for source in cfg.sources]
    config = cfg.as_json() | _files_read(filters)
    made: dict[str, Any] = {"config": config, "parents": parents, "seed": seed.root}
    if found := existing(out, "corpus", **made):
        return found
    progress = on_progress or (lambda fraction, note: None)
    seed = seed.split("corpus")
    with draft(out, "corpus", resumable=True, **made) as work:
        cleaning = (work.path / _CLEANING).absolute()
        _continue(work.path, config, parents, seed)
        units, warnings = _units(cfg.sources, root)
        try:
            shards = clean_all(
                units,
                filters,
                cleaning,
                root=root,
                seed=seed,
                min_chars=cfg.min_chars,
                keep_dropped=cfg.keep_rejected,
                executor=cfg.executor,
                on_progress=lambda share, note: progress(_CLEANING_END * share, note),
            )
        except BaseException:
            if not complete_ranks(cleaning):
                shutil.rmtree(work.path)
            raise
        names = [one.unit.name for one in units]
        if unusable := _unusable(shards, cfg.sources, names):
            shutil.rmtree(work.path)
            raise unusable
        held = Held(cfg.val_fraction, cfg.val_docs)
        asked, about = prompts.keys(shards), (shards.domain, shards.form, shards.said)
        sides = assign(shards.digests, *about, held, prompts=asked)
        found = find(
            shards,
            sides,
            cfg.dedup,
            seed=seed,
            executor=cfg.executor,
            on_progress=lambda share, note: progress(
                _CLEANING_END + (_DEDUP_END - _CLEANING_END) * share, note
            ),
        )
        sides = np.where(found.dropped(), DUPLICATE, sides)
        kin = prompts.find(shards, asked, sides)
        counts = count_all(shards, sides, found, kin, cfg.sources)
        counts["warnings"] = warnings + counts["warnings"] + not_utf8(shards.units, names)
        write_splits(
            shards,
            sides,
            found,
            kin,
            work.path,
            keep_dropped=cfg.keep_rejected,
            on_progress=lambda share, note: progress(_DEDUP_END + (1 - _DEDUP_END) * share, note),
        )
        (work.path / _BUILD).unlink()  # first: without it nobody continues with half the shards
        shutil.rmtree(cleaning)
        return work.finish(counts=counts)


def _continue(
    folder: Path, config: Mapping[str, Any], parents: Sequence[Artifact], seed: Seed
) -> None:
    """Empty the working folder unless it was left by the same build of the same version."""
    build = {
        "config": config,
        "parents": [parent.hash for parent in parents],
        "seed": [seed.root, *seed.path],
        "code": [versions(), git_commit()],
    }
    identity = sha256_json(plain(build))
    note = folder / _BUILD
    if note.is_file() and read_json(note)["identity"] == identity:
        return
    shutil.rmtree(folder)
    folder.mkdir()
    write_json(note, {"identity": identity})


def _units(sources: Sequence[Source], root: Path) -> tuple[list[Work], list[Notice | str]]:
    """All units in order, and what the sources had to say about them."""
    warnings: list[Notice | str] = []
    reading = Reading(root=root, warn=warnings.append)
    units = [Work(s, i, unit) for i, s in enumerate(sources) for unit in s.units(reading)]
    owner: dict[str, str] = {}
    for source, _, unit in units:
        other = owner.setdefault(unit.name, source.name)
        if unit.name and other != source.name:
            warnings.append(
                notice(
                    "{file} belongs to two sources: {first} and {second}",
                    file=unit.name,
                    first=other,
                    second=source.name,
                )
            )
    return units, warnings


def _unusable(shards: Shards, sources: Sequence[Source], names: Sequence[str]) -> DataError | None:
    """Why no corpus can be made, though everything has been read.

    Args:
        names: of the units.
    """
    for i, source in enumerate(sources):
        units = [unit for unit, of in zip(shards.units, shards.unit_source, strict=True) if of == i]
        if not sum(_rows(unit) for unit in units):
            return DataError("{path} has no rows.", path=source.name)
    if len(shards):
        return None
    steps = [step for unit in shards.units for step in unit["steps"][1:]]
    dropped = {f"{s['step']}: {why}": 0 for s in steps for why in s["dropped"]}
    for step in steps:
        for why, times in step["dropped"].items():
            dropped[f"{step['step']}: {why}"] += times
    why = broken_rows(shards.units) | dropped
    convert = not_utf8(shards.units, names)
    if convert:  # which counts files; a text file has as many rows as pieces
        del why[NOT_UTF8]
    return DataError(
        "No document of {sources} can be used: {reasons}.",
        sources=", ".join(source.name for source in sources),
        reasons="; ".join([*([tally(why)] if why or not convert else []), *map(said, convert)]),
    )


def _rows(unit: Mapping[str, Any]) -> int:
    read = unit["steps"][0]
    return read["documents"] + sum(read["dropped"].values())


def _files_read(filters: Sequence[Filter]) -> dict[str, Any]:
    """What the steps read besides the documents, as part of the corpus's identity."""
    prints = [one.fingerprint() for one in filters]
    return {"filter_files": prints} if any(prints) else {}


def read_corpus(
    corpus: Artifact | str | Path, split: str, domain: str | None = None
) -> Iterator[Document]:
    """The documents of a split in order, of one domain or of all, one domain after another.

    Raises:
        DataError: the corpus has no such domain in this split.
    """
    corpus = corpus if isinstance(corpus, Artifact) else open_artifact(corpus, "corpus")
    there = domains_of(corpus, split)
    if domain is not None and domain not in there:
        raise DataError(
            "{path} has no {split} documents of the domain '{domain}'; it has {there}.",
            path=corpus.path,
            split=split,
            domain=domain,
            there=", ".join(there) or "none",
        )
    for name in there if domain is None else [domain]:
        with reader(corpus.path / split / f"{name}.jsonl.zst") as lines:
            for line in lines:
                row = json.loads(line)
                yield Document(text=row["text"], id=row["id"], metadata=row["metadata"])


def domains_of(corpus: Artifact, split: str) -> list[str]:
    """The domains with documents in ``split``, sorted."""
    counts = corpus.manifest.counts["domains"]
    return sorted(d for d in counts if counts[d][split]["documents"])


def sizes(corpus: Artifact, split: str = "train") -> dict[str, float]:
    """Bytes of text in ``split`` by domain, of those that have any: a mix as the corpus is."""
    counts = corpus.manifest.counts["domains"]
    return {name: counts[name][split]["bytes"] for name in domains_of(corpus, split)}


def sample_texts(
    corpus: Artifact, shares: Mapping[str, float], max_bytes: int, *, split: str = "train"
) -> Iterator[str]:
    """Texts for a tokenizer: ``shares`` of ``max_bytes`` per domain, spread evenly over it.

    A domain with less text than its share gives all it has, once.

    Raises:
        DataError: a domain has no documents.
    """
    total = sum(shares.values())
    for domain, share in shares.items():
        entry = corpus.manifest.counts["domains"].get(domain, {}).get(split, {})
        wanted = max_bytes * share / total / max(1, entry.get("bytes", 0))
        seen = taken = 0
        for document in read_corpus(corpus, split, domain):
            size = len(document.text.encode())
            seen += size
            if taken + size / 2 <= wanted * seen:  # error diffusion: even over the whole file
                taken += size
                yield document.text
