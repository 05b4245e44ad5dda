"""The files beside the weights: tokenizer, chat template, and where a generation stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yaongi.core.files import read_json, write_json
from yaongi.infer.generate import never_said, stop_ids
from yaongi.model.lm import LMConfig
from yaongi.text.foreign import FILES, GENERATION, copy_files, open_tokenizer
from yaongi.text.tokenizer import Tokenizer

SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def import_generation(source: Path, settings: dict[str, Any], out: Path) -> None:
    """Keep the ids a generation starts, ends and pads with; old models have them in config.json."""
    if copy_files(source, out, (GENERATION,)):
        return
    ids = {name: settings[name] for name in SPECIAL_IDS if settings.get(name) is not None}
    if ids:
        write_json(out / GENERATION, ids)


def export_tokenizer(model: Path, cfg: LMConfig, out: Path) -> dict[str, Any]:
    """Write tokenizer and generation settings; returns the special ids, for config.json.

    One of ours is written anew, so that its chat template is this version's; a foreign one is
    copied. A folder without any gives neither.
    """
    ours = open_tokenizer(model)
    if not isinstance(ours, Tokenizer):
        copy_files(model, out, (*FILES, GENERATION))
        kept: Any = read_json(out / GENERATION) if (out / GENERATION).is_file() else {}
        return {name: kept.get(name) for name in SPECIAL_IDS}
    ours.save(out)
    ids = {
        "bos_token_id": ours.eot_id,  # opens every document
        "eos_token_id": sorted(stop_ids(ours), reverse=True),
        "pad_token_id": ours.pad_id,
    }
    never = never_said(ours, cfg.vocab_size).nonzero().flatten().tolist()
    write_json(out / GENERATION, {**ids, "suppress_tokens": never})
    return ids
