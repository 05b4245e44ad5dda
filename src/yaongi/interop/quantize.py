"""The stage ``quantize``: a model in 8 or 4 bits, for ``yaongi.load`` and everything on top of it.

Weights only, from nothing but the weights: see ``ops.quant.int8`` and ``ops.quant.int4`` for how,
``model.quantized`` for which. For other programs' formats of few bits see ``interop.gguf``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.files import write_json
from yaongi.core.licences import copy_legal
from yaongi.model.io import CONFIG, WEIGHTS, load_config, open_tensors, verified
from yaongi.model.lm import LM
from yaongi.model.quantized import Scheme
from yaongi.model.quantized_io import KIND, placing, read_quantized, write_quantized
from yaongi.text.foreign import save_tokenizer

Measure = Callable[[LM], Iterable[tuple[str, float]]]
"""What of a quantized model to write into its manifest, by name, one after another."""


def quantize(
    model: str | Path,
    out: str | Path,
    scheme: Scheme,
    *,
    measure: Measure | None = None,
    on_progress: Callable[[float, str], None] | None = None,
) -> Artifact:
    """Write the model in ``model`` to ``out`` in few bits, one tensor at a time.

    Args:
        model: an artifact that is a model, or a plain model folder.
        measure: is given the finished model; the error against ``model``, for example. Where it is
            interrupted the artifact is finished with what was measured until then.
        on_progress: called with the share done and the tensor's name.
    Returns: the ``quantized`` artifact; its config has scheme, layout and ISA, its counts the
        bytes of the weights, of those before, and the numbers in each format.
    Raises:
        KeyboardInterrupt: in ``measure``; the artifact is there, whole.
        ArtifactError: not a model, or a damaged one; ``out`` holds something else.
        CheckpointError: numbers that are not finite, or tensors that do not fit the config.
    """
    folder = Path(model)
    parent = verified(folder)
    place = placing(scheme)
    trained = parent.manifest.config.get("seq_len") if parent else None
    made: dict[str, Any] = {
        "config": {**scheme.as_json(), **place, "seq_len": trained},
        "parents": [parent] if parent else [],
    }
    if found := existing(out, KIND, **made):
        return found
    with draft(out, KIND, **made) as work:
        cfg = load_config(folder)
        with open_tensors(folder) as read:
            counts = write_quantized(cfg, read, scheme, work.path, on_progress)
        write_json(work.path / CONFIG, cfg.as_json())
        save_tokenizer(folder, work.path)
        copy_legal(folder, work.path)
        counts["bytes_before"] = (folder / WEIGHTS).stat().st_size
        metrics: dict[str, float] = {}
        try:
            if measure is not None:
                layout = "{layout}/{isa}".format(**place)
                metrics.update(measure(read_quantized(work.path, scheme, layout)))
        except KeyboardInterrupt:
            work.finish(counts=counts, metrics=metrics)
            raise
        return work.finish(counts=counts, metrics=metrics)
