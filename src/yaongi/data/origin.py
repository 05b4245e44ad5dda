"""Which tokenizer a model learnt with and shards were encoded with: they must be the same.

A tokenizer is known by the artifact that trained or extended it, or by the import of the model
that brought it along; manifests carry the hashes, so the folders need not be there any more.
"""

from __future__ import annotations

from yaongi.core.artifact import Ancestor, Artifact
from yaongi.core.errors import DataError


def check_tokenizer(model: Artifact, shards: Artifact) -> None:
    """Raise DataError unless ``shards`` were encoded with the tokenizer ``model`` learnt with."""
    learnt, used = tokenizer_origin(model), tokenizer_origin(shards)
    if learnt is None or used is None or learnt.hash != used.hash:
        raise DataError(
            "{shards} was encoded with the tokenizer {used}, but {model} learnt with {learnt}. "
            "Make the shards again with the model's tokenizer.",
            shards=shards.path,
            used=_named(used),
            model=model.path,
            learnt=_named(learnt),
        )


def tokenizer_origin(artifact: Artifact) -> Ancestor | None:
    """Where the tokenizer of a model or of shards comes from: the artifact that trained it, or
    the import of the model that brought it along."""
    found = artifact.as_ancestor()
    imports = (node for node in found.walk() if node.kind == "base" and not node.parents)
    return found.nearest("tokenizer") or next(imports, None)


def _named(tokenizer: Ancestor | None) -> str:
    return f"{tokenizer.path} ({tokenizer.hash[:12]})" if tokenizer else "(unknown)"
