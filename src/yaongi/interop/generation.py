"""The sampling settings a model comes with, in ``generation_config.json`` or a GGUF's own keys.

What a server takes where a request says nothing, as vLLM (``--generation-config auto``) and
llama.cpp's server do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, ConfigError
from yaongi.core.files import is_mapping, read_json
from yaongi.infer.sampling import Sampling
from yaongi.text.foreign import GENERATION

NAMES = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
}
"""Ours and transformers' name -> the end of a GGUF's key."""
KEY = "general.sampling."


def keys_sampling(keys: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings of ``Sampling`` that the keys of the GGUF ``path`` state; often none.

    Raises:
        ArtifactError: a value out of range.
    """
    return _checked({name: keys.get(KEY + end) for name, end in NAMES.items()}, path)


def sampling_keys(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The way back: a GGUF's keys."""
    return {KEY + NAMES[name]: value for name, value in sampling.items()}


def folder_sampling(path: Path) -> dict[str, Any]:
    """The settings of ``Sampling`` that a model folder states; often none.

    ``do_sample: false`` means temperature 0.

    Raises:
        ArtifactError: a damaged file, or a value out of range.
    """
    if not (path / GENERATION).is_file():
        return {}
    said: object = read_json(path / GENERATION)
    stated: Mapping[str, Any] = said if is_mapping(said) else {}
    if stated.get("do_sample") is False:
        stated = {**stated, "temperature": 0.0}
    return _checked({name: stated.get(name) for name in NAMES}, path / GENERATION)


def _checked(stated: Mapping[str, Any], where: Path) -> dict[str, Any]:
    given = {name: value for name, value in stated.items() if value is not None}
    if given.get("top_k") == -1:  # off, as some write it
        given["top_k"] = 0
    try:
        found = parse(Sampling, given)
    except ConfigError as error:
        raise ArtifactError("{path}: {reason}", path=where, reason=error) from error
    return {name: _short(value) for name, value in found.model_dump(include=set(given)).items()}


def _short(value: float) -> float:
    """0.6, where float32 has 0.6000000238418579."""
    return round(value, 6)
