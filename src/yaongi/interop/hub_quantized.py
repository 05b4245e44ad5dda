"""What the card of a quantized model says of its bits, its origin and its loss."""

from __future__ import annotations

from collections.abc import Iterator

from yaongi.core.artifact import Ancestor
from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes
from yaongi.interop.hub_licence import Origin
from yaongi.interop.hub_markdown import escape, table
from yaongi.interop.hub_parcel import PRECISIONS, QUANTIZED, Parcel, short_path
from yaongi.interop.loss import losses


def bits(parcel: Parcel) -> str | None:
    """``4`` or ``8``; None for a model that is not quantized."""
    m = parcel.artifact.manifest
    return str(m.config.get("to", "")).removeprefix("int") if m.kind == QUANTIZED else None


def tags(parcel: Parcel) -> list[str]:
    """As the Hub's search knows them."""
    found = bits(parcel)
    return [] if found is None else ["quantized", f"{found}-bit"]


def quantized_from(parcel: Parcel) -> str | None:
    """The Hub's name of the model that was quantized, where it came from there."""
    parent = _parent(parcel)
    return None if parent is None else Origin("model", "", (), parent.origin).hub_id


def facts(parcel: Parcel) -> Iterator[tuple[str, str]]:
    """(name, value), in plain text."""
    if bits(parcel) is None:
        return
    counts = parcel.artifact.manifest.counts
    names = {"int4": "int4", "int8": "int8", "kept": _("not quantized")}
    numbers = [f"{names[name]}: {counts[name]:,}" for name in PRECISIONS if name in counts]
    size = human_bytes(counts["bytes"])
    if before := counts.get("bytes_before"):
        size = _("{after} ({before} before)", after=size, before=human_bytes(before))
    yield _("weights"), "; ".join([*numbers, size])
    if parent := _parent(parcel):
        place = parent.origin or short_path(parent.path)
        yield _("quantized from"), f"{place} ({parent.hash[:12]})"


def cost(parcel: Parcel) -> str:
    """The section with the loss of bits per byte; empty for a model that is not quantized."""
    if bits(parcel) is None:
        return ""
    title = _("What quantizing has cost")
    found = losses(parcel.artifact.manifest.metrics)
    if not found:
        return "\n\n".join([f"### {title}", _("It was not measured.")])
    head = [_("held-out text"), _("bits per byte before"), _("after"), _("change"), _("KL, nats")]
    rows = [
        [escape(x.domain), f"{x.bpb_before:.4f}", f"{x.bpb:.4f}", f"{x.more:+.2%}", f"{x.kl:.5f}"]
        for x in found
    ]
    return "\n\n".join([f"### {title}", table(head, rows)])


def _parent(parcel: Parcel) -> Ancestor | None:
    parents = parcel.artifact.manifest.parents if bits(parcel) is not None else []
    return parents[0] if parents else None
