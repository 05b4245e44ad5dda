"""The model that continual pretraining starts from: checked, loaded, and grown where its vocabulary
is to be longer."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from yaongi.core.artifact import Artifact
from yaongi.core.errors import ConfigError, DataError
from yaongi.core.files import sha256_file
from yaongi.data.origin import check_tokenizer
from yaongi.data.shards import Shards
from yaongi.model.extend import Extension, grow
from yaongi.model.io import load_config, load_model
from yaongi.model.lm import LM
from yaongi.ops.backend import choose_device
from yaongi.text.aligned import aligned
from yaongi.text.foreign import AnyTokenizer, load_tokenizer
from yaongi.train.token_distillation import DistillConfig, distill_rows

DISTILL_TOKENS = 256
"""New tokens of each text that rows are distilled from: their use is seen from near."""


def check_tokens(
    base: Artifact, shards: Artifact | None, vocabulary: Artifact | None
) -> Extension | None:
    """Whether model, shards and vocabulary go together; the extension, if there is one.

    Args:
        shards: None where they are not made yet.
    Raises:
        DataError: the shards are of another tokenizer.
        ConfigError: the vocabulary extends another tokenizer than the model's.
    """
    if vocabulary is not None:
        extension = Extension.read(vocabulary.path)
        check_extends(base, vocabulary, extension)
        if shards is not None:
            check_tokenizer(vocabulary, shards)
        return extension
    if shards is not None:
        check_tokenizer(base, shards)
        size, most = Shards(shards).vocab_size, load_config(base.path).vocab_size
        if size > most:
            raise DataError(
                "{shards} has tokens of a vocabulary of {size}, but {model} has only {most} rows.",
                shards=shards.path,
                size=size,
                model=base.path,
                most=most,
            )
    return None


def check_extends(base: Artifact, vocabulary: Artifact, extension: Extension) -> None:
    """Raise ConfigError unless ``vocabulary`` was made from the tokenizer of ``base``."""
    path = base.path / "tokenizer.json"
    found = sha256_file(path) if path.is_file() else "none"
    if extension.base["sha256"] != found:
        raise ConfigError(
            "{vocabulary} extends the tokenizer {other} ({expected}), but {model} has another one "
            "({found}). Make one that extends it: yaongi tokenizer extend {model}",
            vocabulary=vocabulary.path,
            other=extension.base["path"],
            expected=extension.base["sha256"][:12],
            model=base.path,
            found=found[:12],
        )


def starting_model(
    base: Artifact,
    shards: Artifact,
    vocabulary: Artifact | None,
    init: str,
    distill: DistillConfig | None,
    *,
    device: str = "auto",
    seed: int = 0,
) -> LM:
    """``base`` in float32 (an imported one may be in half precision), grown to ``vocabulary``.

    Args:
        shards: in the tokens of ``vocabulary``; what new rows are distilled from.
    """
    model = load_model(base.path, dtype=torch.float32, verify=True)
    if vocabulary is None:
        return model
    extension = Extension.read(vocabulary.path)
    grown = grow(model, extension, init=init, seed=seed)
    if distill is None:
        return grown
    where = choose_device(device)
    before, after = load_tokenizer(base.path), load_tokenizer(vocabulary.path)
    texts = list(_texts(Shards(shards), after, distill.steps * distill.rows))
    pairs = list(aligned(texts, before, after, 4 * DISTILL_TOKENS))
    distill_rows(grown.to(where), model.to(where), extension, pairs, distill, seed)
    return grown


def _texts(shards: Shards, tokenizer: AnyTokenizer, most: int) -> Iterator[str]:
    """The beginnings of up to ``most`` documents, every domain's in turn, spread over it."""
    domains = [shards.open(name) for name in shards.domains()]
    for shard in domains:
        each = max(1, len(shard.lengths) * len(domains) // most)
        for start, end in zip(shard.offsets[:-1:each], shard.offsets[1::each], strict=True):
            ids = shard.tokens[start + 1 : min(end, start + 1 + DISTILL_TOKENS)]
            yield tokenizer.decode(ids.tolist())
