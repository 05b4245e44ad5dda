"""``yaongi quantize``: a model in 8 or 4 bits, and what that costs on held-out text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import click

from yaongi.cli.console import emit, stage
from yaongi.cli.eval import found_ancestors
from yaongi.cli.options import json_option
from yaongi.core.artifact import MANIFEST, Artifact, open_artifact
from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes
from yaongi.data.shards import Shards
from yaongi.evals.divergence import divergence
from yaongi.evals.report import grid
from yaongi.evals.task import part
from yaongi.evals.tasks.bpb import check_tokenizer
from yaongi.interop.loss import Loss, losses
from yaongi.interop.quantize import quantize
from yaongi.model.io import load_model, verified
from yaongi.model.lm import LM
from yaongi.model.quantized import Scheme
from yaongi.model.quantized_io import load_quantized
from yaongi.text.foreign import open_tokenizer

FORMATS = get_args(Scheme.model_fields["to"].annotation)


@click.command(
    help=_("Write a model in 8 or 4 bits, to run in less memory; says how much worse it is on "
           "held-out text."),
    epilog=_("Example: yaongi quantize runs/quickstart/5m/sft --to int4 --out runs/int4"),
)  # fmt: skip
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(FORMATS), required=True,
              help=_("Bits of the layers' matrices; embeddings take 8 in both."))  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help=_("Where the result goes."))  # fmt: skip
@click.option("--input", "shards", type=click.Path(path_type=Path), help=_(
              "Shards with held-out text; default: what the model was made from."))  # fmt: skip
@click.option("--tokens", type=click.IntRange(0), default=2_000, show_default=True, help=_(
              "Held-out tokens of each domain to compare on; 0 compares nothing."))  # fmt: skip
@json_option
def command(
    model: Path, to: str, out: Path, shards: Path | None, tokens: int, as_json: bool
) -> None:
    """Quantize, then compare; a comparison that is interrupted costs nothing but itself."""
    held_out = _shards(model, shards) if tokens else None
    with ExitStack() as shown:
        report = shown.enter_context(stage(_("quantize")))

        def measure(quantized: LM) -> Iterator[tuple[str, float]]:
            shown.close()
            yield from _compare(model, quantized, held_out, tokens)

        scheme = Scheme.model_validate({"to": to})
        try:
            made = quantize(model, out, scheme, measure=measure, on_progress=report)
        except KeyboardInterrupt:
            if (out / MANIFEST).is_file():
                _tell_kept(out)
            raise
    found = dict(made.manifest.metrics)
    if held_out and not _is_whole(found, held_out):  # it was interrupted, or had no held-out text
        found |= _compare(model, load_quantized(made.path), held_out, tokens)
    result = {"out": str(out), "counts": made.manifest.counts, "metrics": found}
    emit(result, "\n".join(_lines(made, found)), as_json)


def _shards(model: Path, given: Path | None) -> Shards | None:
    """The held-out text, if there is any."""
    artifact = verified(model)
    if given is not None:
        shards = Shards(open_artifact(given, "shards"))
        if tokenizer := open_tokenizer(model):
            check_tokenizer(tokenizer, shards)
        return shards
    ancestors = found_ancestors(artifact) if artifact else []
    return next((Shards(a) for a in ancestors if a.manifest.kind == "shards"), None)


def _compare(
    model: Path, quantized: LM, shards: Shards | None, tokens: int
) -> Iterator[tuple[str, float]]:
    """The metrics of one domain after another."""
    if shards is None:
        return
    domains = shards.domains("val")
    with stage(_("comparison")) as report:
        reference = load_model(model)
        for i, domain in enumerate(domains):
            told = part(report, domain, i, len(domains))
            d = divergence(reference, quantized, shards, domain, max_tokens=tokens, on_share=told)
            yield from Loss(domain, d.bpb, d.more, d.kl).as_metrics().items()


def _is_whole(found: Mapping[str, float], shards: Shards) -> bool:
    return {loss.domain for loss in losses(found)} >= set(shards.domains("val"))


def _tell_kept(out: Path) -> None:
    click.echo(
        _(
            "{path} is whole and stays; of the comparison it keeps what was measured so far. The "
            "same command compares anew, and shows it without keeping it.",
            path=out,
        ),
        err=True,
    )


def _lines(made: Artifact, found: Mapping[str, float]) -> Iterator[str]:
    counts = made.manifest.counts
    yield str(made.path)
    rows: list[list[str]] = []
    if before := counts.get("bytes_before"):
        sizes = [human_bytes(before), human_bytes(counts["bytes"])]
        rows.append([_("weights"), *sizes, f"{counts['bytes'] / before - 1:+.0%}", ""])
    for loss in losses(found):
        name = _("{domain}, bits per byte", domain=loss.domain)
        values = [f"{loss.bpb_before:.4f}", f"{loss.bpb:.4f}", f"{loss.more:+.2%}"]
        rows.append([name, *values, f"{loss.kl:.5f}"])
    yield grid(["", _("before"), _("after"), _("change"), "KL"], rows)
    if not found:
        yield _("Not compared with held-out text; --input names shards that have some.")
