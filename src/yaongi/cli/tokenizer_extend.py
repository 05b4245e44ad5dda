"""``yaongi tokenizer extend``: more Korean tokens for a model that has too few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yaongi.cli.console import emit, stage
from yaongi.cli.options import json_option, licence_lines
from yaongi.core.artifact import MANIFEST, Artifact, open_artifact
from yaongi.core.files import is_mapping, read_json
from yaongi.core.i18n import translate as _
from yaongi.core.licences import legal_files, terms
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus, domains_of, sample_texts
from yaongi.infer.generate import check_fits
from yaongi.interop.hf_licence import find_licence
from yaongi.model.io import CONFIG, MODEL_KINDS
from yaongi.text.extend import Extendable, ExtendConfig
from yaongi.text.extend import stage as extend
from yaongi.text.foreign import load_tokenizer
from yaongi.text.train import KIND

_HELD_OUT_BYTES = 1_000_000
_VAL_FRACTION = 0.01


@click.command(
    "extend",
    help=_(
        "Learn more Korean tokens on top of a model's tokenizer (byte-level BPE). Text without "
        "them keeps its ids."
    ),
    epilog=_("Example: yaongi tokenizer extend runs/qwen3 --data texts/ --out runs/qwen3-ko-tok"),
)
@click.argument("base", metavar="MODEL_OR_TOKENIZER", type=click.Path(path_type=Path))
@click.option("--data", "paths", multiple=True, required=True, type=click.Path(path_type=Path),
              help=_("Folder or file to learn from; repeatable."))  # fmt: skip
@click.option("--add", type=click.IntRange(1), default=8_192, show_default=True,
              help=_("How many tokens."))  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help=_("Where the result goes."))  # fmt: skip
@click.option("--licence", default="not stated", show_default=True,
              help=_("Licence of the texts, as it goes into the manifest."))  # fmt: skip
@json_option
def command(
    base: Path, paths: tuple[Path, ...], add: int, out: Path, licence: str, as_json: bool
) -> None:
    """Extend, then say what changed, what did not, and what the licence asks."""
    Extendable.open(base)  # before a corpus is read for nothing
    origin, licences, size = _about(base)
    if size is not None:
        check_fits(load_tokenizer(base), size)
    corpus = _corpus(paths, licence, out.with_name(f"{out.name}-corpus"))
    cfg = ExtendConfig(add=add)
    shares = dict.fromkeys(domains_of(corpus, "train"), 1.0)
    held = dict.fromkeys(domains_of(corpus, "val"), 1.0)
    with stage(_("tokenizer")) as report:
        made = extend(
            cfg,
            base,
            sample_texts(corpus, shares, cfg.sample_bytes),
            out,
            held_out=list(sample_texts(corpus, held, _HELD_OUT_BYTES, split="val")),
            parents=[*origin, corpus],
            licences=sorted({*licences, *corpus.manifest.licences}),
            beside=legal_files(base),
            on_progress=report,
        )
    result = {
        "out": str(out),
        **made.manifest.counts,
        **made.manifest.metrics,
        "licences": licences,
        "terms": [duty for licence in licences for duty in terms(licence)],
    }
    emit(result, "\n".join([*_lines(out, result), *licence_lines(licences)]), as_json)


def _about(base: Path) -> tuple[list[Artifact], list[str], int | None]:
    """The artifact of the folder, if it is one; its licences; the model's rows, if there is one."""
    settings = read_json(base / CONFIG) if (base / CONFIG).is_file() else {}
    size = settings.get("vocab_size") if is_mapping(settings) else None
    if (base / MANIFEST).is_file():
        origin = open_artifact(base, (KIND, *MODEL_KINDS, "hf"))
        return [origin], origin.manifest.licences, size
    return [], [find_licence(base, settings if is_mapping(settings) else {})], size


def _corpus(paths: tuple[Path, ...], licence: str, out: Path) -> Artifact:
    """The texts, without duplicates, a part held out to measure on."""
    sources: list[dict[str, Any]] = [
        {"path": str(path.resolve()), "domain": "text", "licence": licence} for path in paths
    ]
    cfg = CorpusConfig.model_validate({"sources": sources, "val_fraction": _VAL_FRACTION})
    with stage(_("corpus")) as report:
        return build_corpus(cfg, out, Seed(0), on_progress=report)


def _lines(out: Path, result: dict[str, Any]) -> list[str]:
    """What a person wants to know."""
    lines = [
        _("{out}: {old:,} tokens before, {new:,} now (rows for {rows:,})").format(
            out=out,
            old=result["old_size"],
            new=result["vocab_size"],
            rows=result["padded_size"],
        )
    ]
    for name, label in (
        ("tokens_per_syllable", _("tokens per Korean syllable of held-out text")),
        ("bytes_per_token", _("bytes per token")),
    ):
        if f"{name}_before" in result:
            before, after = result[f"{name}_before"], result[f"{name}_after"]
            lines.append(f"{label}: {before:.3f} → {after:.3f}")
    for kind, label in (
        ("english", _("words of an English sample that keep their ids")),
        ("code", _("words of a code sample that keep their ids")),
    ):
        lines.append(f"{label}: {result['unchanged'][kind]:.2%}")
    return lines
