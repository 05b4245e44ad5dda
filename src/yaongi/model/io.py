"""A model on disk: ``model.safetensors`` beside ``config.json``; no pickle anywhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from yaongi.core.artifact import MANIFEST, Artifact, check_is_no_file, open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import CheckpointError
from yaongi.core.files import is_mapping, read_json, write_json, write_with
from yaongi.model.layer import Exact
from yaongi.model.lm import LM, LMConfig

_torch_files: Any = safetensors.torch  # its functions are only partly typed
_safe_open: Any = safe_open
MODEL_KINDS = ("base", "sft", "merged", "dpo", "grpo")
"""The kinds of artifact that are a model folder."""
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def verified(folder: Path) -> Artifact | None:
    """The artifact of a model folder, every file compared with its hash; None for a plain folder.

    Raises:
        ArtifactError: a file, or it holds something else than a model, or is damaged.
    """
    check_is_no_file(folder)
    if not (folder / MANIFEST).is_file():
        return None
    artifact = open_artifact(folder, MODEL_KINDS)
    artifact.verify()
    return artifact


def save_model(model: LM, folder: Path) -> None:
    """Write weights and settings into ``folder``. A tied head is the embedding, stored once."""
    save_tensors(model.cfg, model.state_dict(), folder)


def save_tensors(cfg: LMConfig, named: Mapping[str, Tensor], folder: Path) -> None:
    """``save_model`` for tensors that are in no model, their dtypes kept."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, named)
    write_json(folder / CONFIG, cfg.as_json())


def write_tensors(path: Path, named: Mapping[str, Tensor]) -> None:
    """A safetensors file, whole or not at all."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in named.items()}

    def fill(temporary: Path) -> None:
        _torch_files.save_file(tensors, temporary, metadata={"format": "pt"})

    write_with(path, fill)


def load_config(folder: str | Path) -> LMConfig:
    """The settings of a saved model.

    Raises:
        ArtifactError: a file, or no such folder.
        CheckpointError: it needs a plug-in layer that the program has not imported.
        ConfigError: the settings are not those of a model.
    """
    check_is_no_file(Path(folder))
    if not Path(folder).is_dir():
        open_artifact(folder)  # raises, and says what may be meant
    data = read_json(Path(folder) / CONFIG)
    letters = data.get("letters") if is_mapping(data) else None
    for letter, settings in letters.items() if is_mapping(letters) else ():
        kind = str(settings.get("kind", "")) if is_mapping(settings) else ""
        module = kind.partition(":")[0]
        if ":" in kind and module not in sys.modules:
            raise CheckpointError(
                "{path} has layers '{letter}' of the plug-in {kind}. Loading a model never runs "
                "code it names: import {module} first if you trust it.",
                path=folder,
                letter=letter,
                kind=kind,
                module=module,
            )
    return parse(LMConfig, data, where=str(Path(folder) / CONFIG))


def load_shape(folder: str | Path) -> LM:
    """The saved model without its numbers, on the meta device.

    Raises:
        CheckpointError: as ``load_config``, or a model of these settings cannot be built.
        ConfigError: as ``load_config``.
    """
    cfg = load_config(folder)
    try:
        with torch.device("meta"):
            return LM(cfg)
    except (TypeError, RuntimeError) as error:  # torch's, of sizes beyond its integers
        raise CheckpointError(
            "{path} describes a model that cannot be built: {reason}",
            path=Path(folder) / CONFIG,
            reason=str(error).splitlines()[0],
        ) from error


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    verify: bool = False,
    tables_on_host: bool = False,
) -> LM:
    """Load a model for inference or further training, in eval mode.

    Args:
        dtype: of the weights; None keeps what was saved. What must be exact (decay rates, step
            biases, router biases) stays float32.
        verify: also compare every file with the hashes of the folder's manifest.
        tables_on_host: leave Engram's tables in host memory whatever the device.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor is missing, unknown, or of
            another shape; the message names it.
    """
    folder = Path(folder)
    if verify and (folder / MANIFEST).is_file():
        open_artifact(folder).verify()
    model = load_shape(folder)
    tensors = read_tensors(folder / WEIGHTS)
    check_tensors(folder / WEIGHTS, model, tensors)
    if dtype is not None:
        model.to(dtype)  # on the meta device: decides which tensors change
        own = model.state_dict()
        tensors = {name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}
    for name in exact_names(model):  # an imported model may have them in half precision
        tensors[name] = tensors[name].float()
    model.load_state_dict(tensors, assign=True)
    for layer, engram in model.engrams().items():
        engram.check(f"{folder / WEIGHTS}: layers.{layer}.engram")
    if tables_on_host:
        model.keep_tables_on_host()
    return model.to(device).eval()


@contextmanager
def open_tensors(folder: str | Path) -> Generator[Callable[[str], Tensor]]:
    """Read a saved model one tensor at a time, by name, without ever holding all of it.

    Raises:
        CheckpointError: as ``load_model``, before the first tensor is read.
    """
    path = Path(folder) / WEIGHTS
    model = load_shape(folder)
    with ExitStack() as stack:
        with readable(path):
            file = stack.enter_context(_safe_open(path, framework="pt"))
        shapes: dict[str, list[int]] = {k: file.get_slice(k).get_shape() for k in file.keys()}  # noqa: SIM118
        check_tensors(path, model, {k: torch.empty(v, device="meta") for k, v in shapes.items()})
        yield file.get_tensor


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file.

    Raises:
        CheckpointError: missing, or not readable as safetensors (for example cut short).
    """
    with readable(path):
        return _torch_files.load_file(path)


@contextmanager
def readable(path: Path) -> Generator[None]:
    """Say in our words what is wrong with a safetensors file that is opened inside."""
    if not path.is_file():
        raise CheckpointError("{path} is missing.", path=path)
    try:
        yield
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            "{path} is not readable as safetensors ({reason}); found {bytes} bytes. "
            "It may have been cut short.",
            path=path,
            reason=error,
            bytes=path.stat().st_size,
        ) from error


def exact_names(model: LM) -> list[str]:
    """The tensors that are float32 whatever the others are."""
    modules = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    found = [(path, module) for path, module in modules if isinstance(module, Exact)]
    return [f"{path}.{name}" for path, module in found for name in module.exact]


def check_tensors(path: Path, model: LM, tensors: dict[str, Tensor]) -> None:
    """Raise CheckpointError unless they are the model's, by name and shape."""
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in tensors:
            raise CheckpointError(
                "{path} lacks the tensor {name} {shape}.", path=path, name=name, shape=shape
            )
        found = tuple(tensors[name].shape)
        if found != shape:
            raise CheckpointError(
                "{path}: the tensor {name} is {found}; the config expects {shape}.",
                path=path,
                name=name,
                found=found,
                shape=shape,
            )
    for name in tensors:
        if name not in expected:
            raise CheckpointError(
                "{path} has a tensor {name} that the config knows nothing of.",
                path=path,
                name=name,
            )
