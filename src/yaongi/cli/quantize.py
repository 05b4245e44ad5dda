"""``yaongi quantize``: a model in 8 or 4 bits, and what that costs on held-out text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import click

from yaongi.cli.console import emit, stage
from yaongi.cli.eval import found_ancestors
from yaongi.cli.options import json_option
from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes
from yaongi.data.shards import Shards
from yaongi.evals.divergence import Divergence, divergence
from yaongi.interop.quantize import Measure, quantize
from yaongi.model.io import load_model, verified
from yaongi.model.lm import LM
from yaongi.model.quantized import Scheme

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
@click.option("--tokens", type=click.IntRange(0), default=20_000, show_default=True, help=_(
              "Held-out tokens of each domain to compare on; 0 compares nothing."))  # fmt: skip
@json_option
def command(
    model: Path, to: str, out: Path, shards: Path | None, tokens: int, as_json: bool
) -> None:
    """Quantize and compare."""
    held_out = _shards(model, shards) if tokens else None
    with stage(_("quantize")) as report:
        measure = None if held_out is None else _measure(model, held_out, tokens)
        made = quantize(
            model, out, Scheme.model_validate({"to": to}), measure=measure, on_progress=report
        )
    m = made.manifest
    result = {"out": str(out), "counts": m.counts, "metrics": m.metrics}
    emit(result, "\n".join(_lines(made)), as_json)


def _shards(model: Path, given: Path | None) -> Shards | None:
    """The held-out text, if there is any."""
    if given is not None:
        return Shards(open_artifact(given, "shards"))
    artifact = verified(model)
    ancestors = found_ancestors(artifact) if artifact else []
    return next((Shards(a) for a in ancestors if a.manifest.kind == "shards"), None)


def _measure(model: Path, shards: Shards, tokens: int) -> Measure:
    def measure(quantized: LM) -> Mapping[str, float]:
        reference = load_model(model)
        found: dict[str, Divergence] = {
            domain: divergence(reference, quantized, shards, domain, max_tokens=tokens)
            for domain in shards.domains("val")
        }
        return {
            f"{name}/{domain}": value
            for domain, d in found.items()
            for name, value in (("bpb", d.bpb), ("bpb_more", d.more), ("kl", d.kl))
        }

    return measure


def _lines(made: Artifact) -> Sequence[str]:
    m = made.manifest
    lines = [f"{made.path} ({human_bytes(m.counts['bytes'])})"]
    for name, bpb in m.metrics.items():
        kind, _slash, domain = name.partition("/")
        if kind == "bpb":
            lines.append(
                _("{domain}: {bpb:.4f} bits per byte ({more:+.2%}), KL {kl:.5f}").format(
                    domain=domain,
                    bpb=bpb,
                    more=m.metrics[f"bpb_more/{domain}"],
                    kl=m.metrics[f"kl/{domain}"],
                )
            )
    if not m.metrics:
        lines.append(_("Not compared with held-out text; --input names shards that have some."))
    return lines
