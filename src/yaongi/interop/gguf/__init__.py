"""A model folder as GGUF, the one-file format of llama.cpp.

``architectures.py`` finds the graph of llama.cpp that computes the model, ``tensors.py`` brings
the weights into its layout, ``types.py`` quantizes them, ``vocabulary.py`` brings the tokenizer.
Tensors are read, turned, quantized and written one by one, so memory is that of the largest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.interop.generation import folder_sampling, sampling_keys
from yaongi.interop.gguf.architectures import Architecture, architecture
from yaongi.interop.gguf.file import Content, write
from yaongi.interop.gguf.tensors import Read, targets
from yaongi.interop.gguf.types import QUANTS, choose, known, library
from yaongi.interop.gguf.vocabulary import Vocabulary, vocabulary
from yaongi.model.io import load_config, open_tensors, verified
from yaongi.model.lm import LMConfig

__all__ = ["QUANTS", "describe", "export_gguf", "write"]


def export_gguf(
    model: Path,
    out: Path,
    *,
    quant: str = "f16",
    fallback: str | None = None,
    name: str | None = None,
    context_len: int | None = None,
) -> dict[str, Any]:
    """Write the model folder ``model`` as the file ``out``; returns what was written.

    Args:
        quant: number format of the matrices, one of ``QUANTS``. Vectors, routers and convolutions
            stay float32; embedding and head get at least ``q8_0``.
        fallback: the format of tensors whose rows ``quant`` cannot divide; None refuses them.
        name: what programs show; None takes the folder's name.
        context_len: the longest sequence; None takes the length the model was trained on.
    Raises:
        CapabilityError: llama.cpp has no architecture that computes this model, or the package
            ``gguf`` is missing.
        ConfigError: an unknown format, a row it cannot divide, an unknown context length.
        ArtifactError: ``model`` is no model folder, or ``out`` exists.
        TokenizerError: no tokenizer, or a foreign one that llama.cpp cannot run.
        NumericsError: a weight is not finite, or too large for f16.
        StorageError: the disk refused; nothing half-written is kept.
    """
    artifact = verified(model)
    cfg = load_config(model)
    content = describe(
        cfg,
        vocabulary(model, cfg.vocab_size),
        quant=quant,
        fallback=fallback,
        name=name or model.resolve().name,
        licences=artifact.manifest.licences if artifact else [],
        context_len=context_len or (artifact.manifest.config.get("seq_len") if artifact else None),
        sampling=folder_sampling(model),
    )
    with open_tensors(model) as read:
        _check_left_out(content.graph, cfg, read)
        write(out, content, read)
    return {
        "architecture": content.graph.name,
        "bytes": out.stat().st_size,
        "tensors": dict(Counter(quant for _, quant in content.tensors)),
    }


def describe(
    cfg: LMConfig,
    words: Vocabulary,
    *,
    quant: str,
    fallback: str | None = None,
    name: str,
    licences: Sequence[str] = (),
    context_len: int | None,
    sampling: Mapping[str, Any] | None = None,
) -> Content:
    """Everything of the file but the numbers; see ``export_gguf``."""
    for choice in (quant, fallback or quant):
        known(choice)
    graph = architecture(cfg)
    if context_len is None:
        raise ConfigError(
            "Nothing says how long a sequence {name} was trained on; give --context-len.", name=name
        )
    placed = [(target, choose(target, quant, fallback)) for target in targets(cfg, graph)]
    keys = {**graph.keys, "context_length": context_len}
    return Content(
        graph=graph,
        settings={
            "general.type": "model",
            "general.name": name,
            "general.license": " AND ".join(licences),
            "general.quantization_version": library().GGML_QUANT_VERSION,
            "general.file_type": int(library().LlamaFileType[known(quant).file]),
            **{f"{graph.name}.{key}": value for key, value in keys.items()},
            **sampling_keys(sampling or {}),
            **{f"tokenizer.{key}": value for key, value in words.settings.items()},
        },
        vocabulary=words,
        tensors=placed,
    )


def _check_left_out(graph: Architecture, cfg: LMConfig, read: Read) -> None:
    """Selection biases that the graph has no place for must do nothing."""
    for i, letter in enumerate(cfg.layers):
        source = f"layers.{i}.mixer.gate.e_score_correction_bias"
        if letter == "E" and not graph.has_bias and read(source).any():
            raise CapabilityError(
                "llama.cpp's {name} routes without a selection bias, and {tensor} is not zero. "
                "Train with moe.bias_rate: 0, or with the sigmoid router of nemotron_h_moe.",
                name=graph.name,
                tensor=source,
            )
