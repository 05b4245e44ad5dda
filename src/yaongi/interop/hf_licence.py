"""The licence of a downloaded model: from its model card, its settings, or its licence file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yaongi.core.config import parse_yaml
from yaongi.core.errors import ConfigError
from yaongi.core.files import is_mapping
from yaongi.core.licences import UNSTATED, legal_files

CARD = "README.md"

_FIRST_LINES = {  # what a licence file begins with -> the name model cards give it
    r"apache license\s+version 2\.0": "apache-2.0",
    r"mit license": "mit",
    r"llama 4 community": "llama4",
    r"llama 3\.3 community": "llama3.3",
    r"llama 3\.2 community": "llama3.2",
    r"llama 3\.1 community": "llama3.1",
    r"(meta )?llama 3 community": "llama3",
    r"llama 2 community": "llama2",
    r"gemma terms": "gemma",
    r"attribution-?noncommercial": "cc-by-nc-4.0",
    r"qwen research": "qwen-research",
    r"mistral ai (research|non-production)": "mrl",
    r"exaone": "exaone",
}


def find_licence(folder: Path, settings: Mapping[str, Any]) -> str:
    """The licence's name as model cards write it, or ``not stated``."""
    for stated in (_card(folder), settings):
        name = stated.get("license")
        if name == "other":  # then the card names it beside
            name = stated.get("license_name") or name
        if isinstance(name, str) and name:
            return name
    return _by_text(folder) or UNSTATED


def _card(folder: Path) -> Mapping[str, Any]:
    """The YAML at the head of the model card, or nothing."""
    path = folder / CARD
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    try:
        found = parse_yaml(head[1], str(path)) if head else {}
    except ConfigError:  # a card is prose by strangers; the licence file may still say it
        return {}
    return found if is_mapping(found) else {}


def _by_text(folder: Path) -> str | None:
    for path in legal_files(folder):
        start = " ".join(path.read_text(encoding="utf-8", errors="replace")[:600].split()).lower()
        for pattern, name in _FIRST_LINES.items():
            if re.search(pattern, start):
                return name
    return None
