"""A model as a notebook shows it: its pattern, its sizes, what it reads, whose terms bind it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from yaongi.core.i18n import translate as _
from yaongi.notebook.html import rendered

COLOURS = {"M": "25,118,210", "*": "198,40,40", "-": "128,128,128", "E": "46,125,50"}
"""RGB of a layer's letter; one of a plug-in is orange."""


@dataclass(frozen=True)
class Facts:
    """What is told of a model.

    Attributes:
        kind: of the artifact it was loaded from; "" for a plain folder or none.
        letters: the pattern written out, a letter for each layer.
        active: parameters that one token multiplies.
        token_ids: ids of its tokenizer; None where it has none.
        licences: as the folder's manifest names them; None where it has no manifest.
        placed: the weights' type and device.
    """

    path: Path | None
    kind: str
    pattern: str
    letters: str
    parameters: int
    active: int
    context_len: int | None
    vocab_size: int
    token_ids: int | None
    licences: tuple[str, ...] | None
    adapters: tuple[str, ...]
    placed: str

    def __str__(self) -> str:
        where = f"{str(self.path)!r}, " if self.path else ""
        return (
            f"Model({where}{self.pattern}, {self.parameters:,} parameters, {self.active:,} active, "
            f"context {self.context_len}, vocabulary {self.vocab_size:,}, {self.placed})"
        )


def model_card(facts: Facts) -> str:
    """The card as HTML."""
    title = "/".join(facts.path.parts[-2:]) if facts.path else _("model")
    names = {"M": "Mamba-2", "*": _("attention"), "-": _("feed-forward"), "E": _("experts")}
    layers = Counter(facts.letters)
    return rendered("model", facts=facts, title=title, names=names, layers=layers, colours=COLOURS)
