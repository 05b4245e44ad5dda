"""Models of ``transformers`` in and out: safetensors and JSON, without needing that library.

``import_hf`` makes an artifact from a downloaded folder, ``export_hf`` a folder that
``AutoModelForCausalLM``, vLLM and llama.cpp's tools read. Import then export gives the same tensors
bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yaongi.core.artifact import MANIFEST, Artifact, draft, open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, CapabilityError, ConfigError
from yaongi.core.files import is_mapping, read_json, write_json
from yaongi.core.i18n import translate
from yaongi.core.licences import copy_legal
from yaongi.interop.hf_architecture import Architecture, Fields, Misfit
from yaongi.interop.hf_custom import CUSTOM, add_modeling_file
from yaongi.interop.hf_files import SHARD_BYTES, read_weights, write_weights
from yaongi.interop.hf_licence import find_licence
from yaongi.interop.hf_names import to_ours, to_theirs
from yaongi.interop.hf_paired import PAIRED, read_window
from yaongi.interop.hf_single import SINGLE
from yaongi.interop.hf_tokenizer import export_tokenizer, import_generation
from yaongi.model.io import CONFIG, WEIGHTS, load_config, read_tensors, save_tensors, verified
from yaongi.model.lm import LMConfig
from yaongi.text.foreign import FILES, copy_files, open_tokenizer

ARCHITECTURES = {a.model_type: a for a in (*PAIRED, *SINGLE)}


def import_hf(source: Path, out: Path, *, trust_pickle: bool = False) -> Artifact:
    """Make a ``base`` artifact from a model in transformers' layout.

    Args:
        source: the folder, or a weights file in it.
        trust_pickle: the user vouches for a ``.bin``/``.pt`` file, the only weights there are.
    Raises:
        CapabilityError: an architecture or a setting yaongi has no layers for, or a pickle.
        ConfigError: config.json lacks a setting.
        CheckpointError: weights are missing, damaged, of another shape, or not finite.
    """
    folder = source.parent if source.is_file() else source
    settings = _read_settings(folder)
    architecture, fields = _recognise(settings, folder / CONFIG)
    cfg = parse(LMConfig, architecture.read(fields), where=str(folder / CONFIG))
    open_tokenizer(folder)  # a damaged one shows before there is a model with it
    named = to_ours(architecture, cfg, read_weights(source, trust=trust_pickle), source)
    about = {
        "source": str(source),
        "architecture": architecture.model_type,
        "seq_len": _context(fields, architecture),
    }
    parents = _exported(folder)
    with draft(out, "base", config=about, parents=parents) as work:
        save_tensors(cfg, named, work.path)
        copy_files(folder, work.path, FILES)
        import_generation(folder, settings, work.path)
        copy_legal(folder, work.path)
        return work.finish(
            counts={"parameters": sum(t.numel() for t in named.values())},
            licences=None if parents else [find_licence(folder, settings)],
        )


def _exported(folder: Path) -> list[Artifact]:
    """A folder we exported or pulled knows its ancestry and all its licences."""
    return [open_artifact(folder, ("hf", "hub"))] if (folder / MANIFEST).is_file() else []


def _read_settings(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ArtifactError(
            "There is no folder {path}. A model on the Hugging Face hub is downloaded first: "
            "yaongi pull OWNER/NAME --out FOLDER",
            path=folder,
        )
    settings = read_json(folder / CONFIG)
    if not is_mapping(settings):
        raise ConfigError("{path} must hold settings (key: value).", path=folder / CONFIG)
    return dict(settings)


def _recognise(settings: dict[str, Any], where: Path) -> tuple[Architecture, Fields]:
    kind = settings.get("model_type")
    if kind == "minimind":  # its own class, but Qwen3's layers, names and settings throughout
        kind = "qwen3_moe" if settings.get("use_moe") else "qwen3"
        settings = {**_MINIMIND_DEFAULTS, **settings}
    if kind == CUSTOM.model_type:
        return CUSTOM, Fields(settings, where)
    if kind not in ARCHITECTURES:
        hint = translate("It is a model of yaongi already.") if "pattern" in settings else ""
        raise CapabilityError(
            "{path}: the architecture {found} is not supported. Supported: {known}. {hint}",
            path=where,
            found=repr(kind),
            known=", ".join(ARCHITECTURES),
            hint=hint,
        )
    fields = Fields(settings, where)
    if settings.get("quantization_config"):
        raise CapabilityError(
            "{path}: the weights are quantized; take the release of this model that is not.",
            path=where,
        )
    return ARCHITECTURES[kind], fields


_MINIMIND_DEFAULTS = {"rope_theta": 1e6, "tie_word_embeddings": True, "norm_topk_prob": True}


def _context(fields: Fields, architecture: Architecture) -> int | None:
    """The longest text the model is good for; within a sliding window, full attention is equal."""
    lengths = [fields.get("max_position_embeddings", default=None)]
    if architecture in PAIRED:
        lengths.append(read_window(fields, architecture.model_type))
    return min((n for n in lengths if n is not None), default=None)


def export_hf(
    model: Path, out: Path, *, shard_bytes: int = SHARD_BYTES, custom_code: bool = False
) -> dict[str, Any]:
    """Write a model folder in transformers' layout, with a manifest beside its files.

    Args:
        model: an artifact of ``pretrain``, ``sft`` or ``import``, or a plain model folder.
        shard_bytes: the largest file; more are written with an index.
        custom_code: write it for our own modeling file, whatever it is made of (Engram, RoPE in a
            hybrid): transformers then needs ``trust_remote_code`` and yaongi installed.
    Returns: architecture, dtype, and how many files and bytes were written.
    Raises:
        ConfigError: no architecture can hold this model; the message says why for each.
        ArtifactError: no model there, a damaged one, or ``out`` exists.
    """
    made = verified(model)
    parents = [] if made is None else [made]
    origin = parents[0].manifest.config if parents else {}
    cfg = load_config(model)
    if custom_code:
        architecture, fields = CUSTOM, CUSTOM.write(cfg)
    else:
        architecture, fields = choose(cfg, origin.get("architecture"))
    ours = read_tensors(model / WEIGHTS)
    dtype = str(Counter(t.dtype for t in ours.values()).most_common(1)[0][0])
    facts = {"architecture": architecture.model_type, "dtype": dtype.removeprefix("torch.")}
    with draft(out, "hf", config=facts, parents=parents) as work:
        theirs = to_theirs(architecture, cfg, ours)
        files = write_weights(theirs, work.path, shard_bytes=shard_bytes)
        settings = {
            "architectures": [architecture.class_name],
            "model_type": architecture.model_type,
            **fields,
            **_length(origin),
            **export_tokenizer(model, cfg, work.path),
            "dtype": facts["dtype"],
        }
        if custom_code:
            settings |= add_modeling_file(cfg, work.path)
        write_json(work.path / CONFIG, settings)
        copy_legal(model, work.path)
        work.finish(counts={"weight_files": files})
    written = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    return {**facts, "files": len(written), "bytes": sum(written)}


def _length(origin: Mapping[str, Any]) -> dict[str, Any]:
    """The context, where the folder says which one the model was trained on."""
    trained = origin.get("seq_len")
    return {} if trained is None else {"max_position_embeddings": trained}


def choose(cfg: LMConfig, preferred: str | None = None) -> tuple[Architecture, dict[str, Any]]:
    """The architecture that can hold a model, and its settings there.

    Args:
        preferred: tried first: where the model came from, when several are alike.
    Raises:
        ConfigError: none can, with the reason of each.
    """
    order = sorted(ARCHITECTURES.values(), key=lambda a: a.model_type != preferred)
    reasons: list[str] = []
    for architecture in order:
        try:
            return architecture, architecture.write(cfg)
        except Misfit as misfit:
            reasons.append(f"{architecture.model_type}: {misfit}")
    raise ConfigError(
        "No architecture of transformers holds this model:\n{reasons}\n"
        "With --custom-code it is written for yaongi's own modeling file, which transformers runs "
        "under trust_remote_code where yaongi is installed.",
        reasons="\n".join(reasons),
    )
