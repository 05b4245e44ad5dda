"""What quantizing has cost a model, as the manifest of a ``quantized`` artifact keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """On held-out text of one domain.

    Attributes:
        bpb: bits per UTF-8 byte after quantizing.
        more: the share by which they have grown.
        kl: KL(before || after) in nats a token.
    """

    domain: str
    bpb: float
    more: float
    kl: float

    @property
    def bpb_before(self) -> float:
        """Bits per byte of the model that was quantized."""
        return self.bpb / (1 + self.more)

    def as_metrics(self) -> dict[str, float]:
        """By the names of the manifest's ``metrics``."""
        values = (self.bpb, self.more, self.kl)
        return {f"{name}/{self.domain}": v for name, v in zip(_NAMES, values, strict=True)}


_NAMES = ("bpb", "bpb_more", "kl")


def losses(metrics: Mapping[str, float]) -> list[Loss]:
    """Those in the ``metrics`` of a manifest, in their order."""
    domains = [name.partition("/")[2] for name in metrics if name.startswith("kl/")]
    return [Loss(d, *(metrics[f"{name}/{d}"] for name in _NAMES)) for d in domains]
