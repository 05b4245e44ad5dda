"""All sources as one corpus: deduplicated, part of it held out, with licences and counts.

Two passes keep memory small: the first writes every document to one staging file and remembers
only a digest of it, the second copies each line to ``train/`` or ``val/`` of its domain. The line
format is datatrove's, so its readers and executors work on a corpus unchanged.
"""

from __future__ import annotations

import io
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard
from datatrove.data import Document
from pydantic import Field

from yaongi.core.artifact import Artifact, Manifest, draft, existing, open_artifact
from yaongi.core.config import Config, data_root
from yaongi.core.errors import DataError
from yaongi.core.seeds import Seed
from yaongi.core.units import Count
from yaongi.data.dedup.exact import DUPLICATE, TRAIN, UNDECIDED, VAL, Held, assign, digest
from yaongi.data.recognise import TEXT, BrokenRow
from yaongi.data.sources import Reading, Rejected, Source, SourceChoice, safe_domain

Progress = Callable[[float | None, str], None]
"""Called with the share done (None: not known) and what is being done."""

SPLITS = ("train", "val")
_SIDES = {"train": TRAIN, "val": VAL}  # a document's metadata may say its split
_REJECTED = "rejected.jsonl.zst"
_READ_SHARE = 0.7  # of the stage's time; the rest is writing the splits
_NOTE_EVERY = 500  # documents between calls of the progress function


class CorpusConfig(Config):
    """What a corpus is made of.

    Args:
        root: folder of relative paths; default $YAONGI_DATA, else ./data.
        sources: each a path, ``hf:owner/name``, or settings with ``path`` or ``kind``.
        val_fraction: share of each domain's documents held out for validation, where the source
            does not decide (``split: train`` or ``val`` in a document's metadata).
        val_docs: at most so many of them.
        min_chars: shorter documents are kept aside.
    """

    root: str | None = None
    sources: list[SourceChoice] = Field(min_length=1)
    val_fraction: float = Field(default=0.01, ge=0.0, le=0.5)
    val_docs: Count = Field(default=1000, ge=1)
    min_chars: Count = Field(default=1, ge=1)


def build_corpus(
    cfg: CorpusConfig, out: str | Path, seed: Seed, *, on_progress: Progress | None = None
) -> Artifact:
    """Read every source and write a ``corpus`` artifact; an unchanged one is returned as it is.

    Writes ``train/<domain>.jsonl.zst``, ``val/<domain>.jsonl.zst`` and ``rejected.jsonl.zst``;
    the manifest counts documents by source, domain and reason. The raw sources, with licence
    and fingerprint, are the parents.

    Raises:
        DataError: a source is missing, empty or of unknown columns, or no document is usable.
    """
    root = data_root(cfg.root)
    parents = [_as_parent(source, root) for source in cfg.sources]
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": parents, "seed": seed.root}
    if found := existing(out, "corpus", **made):
        return found
    progress = on_progress or (lambda fraction, note: None)
    with draft(out, "corpus", **made) as work:
        staged = _Staging(work.path, seed.split("corpus"), cfg.min_chars)
        with staged:
            for i, source in enumerate(cfg.sources):
                staged.add(source, root, lambda f, n, i=i: progress(_reading(cfg, i, f), n))
        if not len(staged.domain):
            raise DataError("No document of {sources} can be used: {reasons}.", **staged.why())
        sides = staged.sides(Held(cfg.val_fraction, cfg.val_docs))
        _split(staged, sides, work.path, progress)
        return work.finish(counts=_counts(staged, sides))


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
        with _reader(corpus.path / split / f"{name}.jsonl.zst") as lines:
            for line in lines:
                row = json.loads(line)
                yield Document(text=row["text"], id=row["id"], metadata=row["metadata"])


def domains_of(corpus: Artifact, split: str) -> list[str]:
    """The domains with documents in ``split``, sorted."""
    counts = corpus.manifest.counts["domains"]
    return sorted(d for d in counts if counts[d][split]["documents"])


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


# --- the first pass --------------------------------------------------------------------------


class _Staging:
    """Every document on disk in one file; 30 bytes about each in memory."""

    def __init__(self, folder: Path, seed: Seed, min_chars: int) -> None:
        self.folder, self.seed, self.min_chars = folder, seed, min_chars
        self.path = folder / "staging.jsonl.zst"
        self.digests = bytearray()
        self.domain, self.form, self.source = array("H"), array("B"), array("H")
        self.said = array("B")
        self.bytes = array("Q")
        self.domains: list[str] = []
        self.forms: list[str] = []
        self.sources: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._files = ExitStack()

    def __enter__(self) -> _Staging:
        self._out = self._files.enter_context(_writer(self.path, level=1))
        self._rejected = self._files.enter_context(_writer(self.folder / _REJECTED))
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add(self, source: Source, root: Path, progress: Progress) -> None:
        """Stage the documents of one source."""
        entry: dict[str, Any] = {"name": source.name, "licence": source.licence}
        entry |= {"rows": 0, "broken": Counter()}
        self.sources.append(entry)
        share = [0.0]
        reading = Reading(
            root=root,
            seed=self.seed.split("source", source.name),
            reject=lambda row: self._reject(entry, row),
            warn=self.warnings.append,
            advance=lambda fraction: share.__setitem__(0, fraction),
        )
        progress(0.0, source.name)
        for n, document in enumerate(source.read(reading), 1):
            self._stage(document, source, entry, reading)
            if n % _NOTE_EVERY == 0:
                progress(share[0], source.name)
        entry["rows"] += sum(entry["broken"].values())
        self._judge(entry)

    def _stage(
        self, document: Document, source: Source, entry: dict[str, Any], reading: Reading
    ) -> None:
        if len(document.text.strip()) < self.min_chars:
            where, _, line = document.id.rpartition(":")
            number = int(line) if line.isdigit() else 0
            reading.reject_row(where or document.id, number, BrokenRow("too short", document.text))
            return
        metadata = _labelled(document.metadata, source)
        row = {"text": document.text, "id": document.id, "metadata": metadata}
        self._out.write(_json_line(row))
        entry["rows"] += 1
        self.digests += digest(document.text, self.seed)
        self.domain.append(_number(self.domains, metadata["domain"]))
        self.form.append(_number(self.forms, metadata["form"]))
        self.source.append(len(self.sources) - 1)
        self.said.append(_SIDES.get(metadata.get("split", ""), UNDECIDED))
        self.bytes.append(len(document.text.encode()))

    def _reject(self, entry: dict[str, Any], row: Rejected) -> None:
        entry["broken"][row.reason] += 1
        self._rejected.write(_json_line({"source": entry["name"], **row._asdict()}))

    def _judge(self, entry: dict[str, Any]) -> None:
        if not entry["rows"]:
            raise DataError("{path} has no rows.", path=entry["name"])
        if entry["broken"]:
            self.warnings.append(
                f"{entry['name']}: {sum(entry['broken'].values())} of {entry['rows']} rows "
                f"cannot be used ({_reasons(entry['broken'])}); they are in {_REJECTED}"
            )

    def sides(self, held: Held) -> np.ndarray:
        """(n,) uint8: DUPLICATE, TRAIN or VAL."""
        pairs = np.frombuffer(bytes(self.digests), dtype="<u8").reshape(-1, 2)
        domain, form, said = (np.asarray(part) for part in (self.domain, self.form, self.said))
        return assign(pairs, domain, form, said, held)

    def why(self) -> dict[str, str]:
        """Fields of the message that nothing can be used."""
        broken = sum((entry["broken"] for entry in self.sources), Counter())
        names = ", ".join(entry["name"] for entry in self.sources)
        return {"sources": names, "reasons": _reasons(broken)}


def _labelled(metadata: Mapping[str, Any], source: Source) -> dict[str, Any]:
    form = metadata.get("form", TEXT)
    domain = str(source.domain or metadata.get("domain") or form)
    labels = {"form": form, "domain": safe_domain(domain), "source": source.name}
    return {"licence": source.licence, **metadata, **labels}


def _number(names: list[str], name: str) -> int:
    """The place of ``name`` in ``names``, added at the end when new."""
    if name not in names:
        names.append(name)
    return names.index(name)


# --- the second pass -------------------------------------------------------------------------


def _split(staged: _Staging, sides: np.ndarray, folder: Path, progress: Progress) -> None:
    """Copy every staged line to its split and domain; the staging file is removed."""
    with ExitStack() as files:
        out: dict[tuple[int, int], BinaryIO] = {}
        for i, line in enumerate(files.enter_context(_reader(staged.path))):
            key = (int(sides[i]), staged.domain[i])
            if key[0] != DUPLICATE:
                if key not in out:
                    name = f"{SPLITS[key[0] - TRAIN]}/{staged.domains[key[1]]}.jsonl.zst"
                    (folder / name).parent.mkdir(exist_ok=True)
                    out[key] = files.enter_context(_writer(folder / name))
                out[key].write(line)
            if i % _NOTE_EVERY == 0:
                progress(_READ_SHARE + (1 - _READ_SHARE) * i / len(sides), "writing")
    staged.path.unlink()


def _counts(staged: _Staging, sides: np.ndarray) -> dict[str, Any]:
    copies = sides == DUPLICATE
    domains = {name: _domain_counts(staged, sides, name) for name in sorted(staged.domains)}
    unheld = [name for name, counts in domains.items() if not counts["val"]["documents"]]
    return {
        "documents": int(np.count_nonzero(~copies)),
        "duplicates": int(np.count_nonzero(copies)),
        "broken": dict(sum((entry["broken"] for entry in staged.sources), Counter())),
        "domains": domains,
        "sources": _source_counts(staged, copies),
        "warnings": staged.warnings
        + [f"no document of the domain '{name}' is held out" for name in unheld],
    }


def _domain_counts(staged: _Staging, sides: np.ndarray, domain: str) -> dict[str, Any]:
    form, size = np.asarray(staged.form), np.asarray(staged.bytes)
    of_domain = np.asarray(staged.domain) == staged.domains.index(domain)
    counts: dict[str, Any] = {"duplicates": int(np.count_nonzero(of_domain & (sides == DUPLICATE)))}
    for split, side in zip(SPLITS, (TRAIN, VAL), strict=True):
        there = of_domain & (sides == side)
        counts[split] = {
            "documents": int(np.count_nonzero(there)),
            "bytes": int(size[there].sum()),
            "forms": _tally(form[there], staged.forms),
        }
    return counts


def _source_counts(staged: _Staging, copies: np.ndarray) -> dict[str, Any]:
    domain, size = np.asarray(staged.domain), np.asarray(staged.bytes)
    counts: dict[str, Any] = {}
    for i, entry in enumerate(staged.sources):
        of_source = np.asarray(staged.source) == i
        there = of_source & ~copies
        counts[_unique(entry["name"], counts)] = {
            "licence": entry["licence"],
            "rows": entry["rows"],
            "broken": dict(entry["broken"]),
            "duplicates": int(np.count_nonzero(of_source & copies)),
            "documents": _tally(domain[there], staged.domains),
            "bytes": int(size[there].sum()),
        }
    return counts


def _tally(codes: np.ndarray, names: list[str]) -> dict[str, int]:
    return {names[code]: int(n) for code, n in enumerate(np.bincount(codes)) if n}


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _unique(name + "'", taken)


def _reasons(broken: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in sorted(broken.items())) or "no rows"


def _reading(cfg: CorpusConfig, i: int, fraction: float | None) -> float:
    return _READ_SHARE * (i + (fraction or 0.0)) / len(cfg.sources)


def _as_parent(source: Source, root: Path) -> Artifact:
    """A raw source as an ancestor, so ``trace`` ends at it and a changed file is noticed."""
    config = {**source.as_json(), "fingerprint": source.fingerprint(root)}
    return Artifact(
        Path(source.name),
        Manifest(kind="source", created="", config=config, licences=[source.licence]),
    )


# --- files -----------------------------------------------------------------------------------


def _json_line(row: Mapping[str, Any]) -> bytes:
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode(errors="backslashreplace") + b"\n"


def _writer(path: Path, level: int = 3) -> Any:
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    return compressor.stream_writer(path.open("wb"), closefd=True)


def _reader(path: Path) -> io.BufferedReader:
    stream: Any = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True)
    return io.BufferedReader(stream, 2**18)
