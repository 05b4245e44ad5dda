"""``yaongi.load(PATH)``: a model from a folder or a GGUF, checked before it is believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from yaongi.api import Model
from yaongi.core.artifact import MANIFEST, open_artifact, unfinished
from yaongi.core.errors import ArtifactError, CapabilityError, ConfigError
from yaongi.core.i18n import translate as _
from yaongi.core.install import program
from yaongi.gguf_model import GGUFModel
from yaongi.infer.reader import PromptWeights
from yaongi.interop.llamacpp import LlamaCpp
from yaongi.model.adapter_io import load_adapters
from yaongi.model.io import CONFIG, WEIGHTS, load_model
from yaongi.model.quantized_io import KIND as QUANTIZED
from yaongi.model.quantized_io import PART, RUNNABLE_KINDS, load_quantized
from yaongi.ops.backend import choose_device
from yaongi.text.foreign import open_tokenizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load(
    path: str | Path,
    *,
    adapter: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
    dtype: Literal["auto", "fp32", "bf16"] = "auto",
    context_len: int | None = None,
    tables_on_host: bool = False,
    engine: str = "auto",
    prompt_weights: PromptWeights | None = None,
    compile: bool = False,
    max_rows: int = 1,
) -> Model:
    """Open a model: an artifact of ``pretrain``, ``sft`` or ``quantize``, or a plain model folder.

    Every file of an artifact is compared with its recorded hash first; large quantized weights,
    which are mapped and not read, with their size.

    Args:
        adapter: folders of adapters of this model (``yaongi lora``): one, or several to choose
            from by the names of their folders.
        device: ``auto`` takes the first accelerator, else the CPU; or a torch device name.
        dtype: of the weights while running; ``auto`` is bf16 on CUDA and fp32 elsewhere.
        context_len: the longest sequence, prompt included; None takes the length the model was
            trained on (no limit when the folder does not say).
        tables_on_host: leave the n-gram tables of a model with Engram in host memory; only the
            rows a text needs go to the device.
        engine: ``llamacpp`` runs GGUF files, ``yaongi`` model folders; ``auto`` goes by ``path``.
            Of the settings above llama.cpp knows ``context_len``, and chooses its device itself.
        prompt_weights: ``int8`` keeps an int4 model's matrices in 8 bits as well, made before the
            first prompt: prompts are read about twice as fast, in nearly three times the memory.
        compile: the steps of a text that runs alone become machine code: faster on a CPU, after up
            to minutes at the first text.
        max_rows: texts that llama.cpp runs at a time; it sets memory aside for each. Our own
            engine needs to know of none.
    Raises:
        ArtifactError: not a model folder, or a damaged one (the message names the file), or an
            adapter of another model.
        CapabilityError: the device is not there, or llama.cpp is not, or it cannot do what was
            asked; or ``compile`` where it does nothing.
        ConfigError: an adapter, or tables on the host, for a quantized model; or adapters and
            ``compile``.
    """
    path = Path(path)
    if _engine(engine, path) == "llamacpp":
        return _open_gguf(path, adapter, context_len, prompt_weights, compile, max_rows)
    kind, trained_len = _check_folder(path)
    where = choose_device(device)
    _check_compile(compile, where, adapter)
    if kind == QUANTIZED:
        if adapter or tables_on_host:
            raise ConfigError(
                "A quantized model takes neither an adapter nor tables_on_host: write the adapter "
                "into its model with yaongi merge and quantize that."
            )
        lm, names = load_quantized(path, dtype=_dtype(dtype, where), device=where), ()
    else:
        lm = load_model(
            path,
            dtype=_dtype(dtype, where),
            device=where,
            verify=True,
            tables_on_host=tables_on_host,
        )
        folders = [adapter] if isinstance(adapter, (str, Path)) else adapter
        names = load_adapters(lm, path, [Path(folder) for folder in folders])
    return Model(
        lm,
        open_tokenizer(path),
        context_len=context_len or trained_len,
        adapters=names,
        prompt_weights=prompt_weights,
        compile_step=compile,
        path=path,
    )


def _check_folder(path: Path) -> tuple[str | None, int | None]:
    """Raise unless ``path`` holds a model; its kind and length in training, if it says."""
    if (path / MANIFEST).is_file():
        manifest = open_artifact(path, RUNNABLE_KINDS).manifest
        return manifest.kind, manifest.config.get("seq_len")
    missing = next((name for name in (CONFIG, WEIGHTS) if not (path / name).is_file()), None)
    if missing is None:
        return None, None
    inside = [d.name for d in sorted(path.glob("*")) if _has_weights(d)]
    if not path.is_dir():
        reason = _("there is no such folder.")
    elif inside:
        reason = _("did you mean {path}?").format(path=path / inside[-1])
    else:
        reason = _("it has no {name}.").format(name=missing)
    reason = unfinished(path) or reason
    raise ArtifactError("{path} is not a model folder: {reason}", path=path, reason=reason)


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (WEIGHTS, PART.format(0)))


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise CapabilityError(
            "dtype '{name}' is not one of auto, {known}.", name=name, known=", ".join(DTYPES)
        )
    return DTYPES[name]


ENGINES = ("auto", "yaongi", "llamacpp")


def _engine(name: str, path: Path) -> str:
    """Which engine runs ``path``."""
    if name not in ENGINES:
        raise ConfigError(
            "engine is '{name}'; expected one of {known}.", name=name, known=", ".join(ENGINES)
        )
    is_gguf = path.suffix == ".gguf" or path.is_file()
    if name == "llamacpp" and not is_gguf:
        source = _in_full(path)
        raise ConfigError(
            "llama.cpp runs GGUF files, and {path} is none. Write one first: {command}",
            path=path,
            command=f"{program('yaongi')} export {source} --to gguf --out {source.name}.gguf",
        )
    if name == "yaongi" and is_gguf:
        raise ConfigError("{path} is a GGUF; only --engine llamacpp runs it.", path=path)
    return "llamacpp" if is_gguf else "yaongi"


def _in_full(path: Path) -> Path:
    """The model a quantized one was made from, which can be exported; of others the model."""
    if not (path / MANIFEST).is_file():
        return path
    manifest = open_artifact(path).manifest
    made_from = manifest.parents if manifest.kind == QUANTIZED else ()
    return Path(made_from[0].path) if made_from else path


def _check_compile(asked: bool, device: torch.device, adapter: object) -> None:
    """Raise where ``compile`` would not do what it says."""
    if not asked:
        return
    if device.type != "cpu":
        raise CapabilityError(
            "Steps are compiled for the CPU only, and this model runs on {device}: leave --compile "
            "out, or choose the CPU.",
            device=device,
        )
    if adapter:
        raise ConfigError(
            "Steps with adapters are not compiled: write the adapter into its model (yaongi "
            "merge), or leave --compile out."
        )


def _open_gguf(
    path: Path,
    adapter: str | Path | Sequence[str | Path],
    length: int | None,
    prompt_weights: PromptWeights | None,
    compiling: bool,
    max_rows: int,
) -> Model:
    if prompt_weights is not None:
        raise CapabilityError(
            "llama.cpp reads prompts with the weights in {path}: leave --prompt-weights out.",
            path=path,
        )
    if compiling:
        raise CapabilityError(
            "llama.cpp runs {path} with code that is compiled already: leave --compile out.",
            path=path,
        )
    if adapter:
        raise CapabilityError(
            "llama.cpp runs {path} without adapters; merge the adapter into its model (yaongi "
            "merge) and export that.",
            path=path,
        )
    return GGUFModel(LlamaCpp(path, context_len=length, max_rows=max_rows), path)
