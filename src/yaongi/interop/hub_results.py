"""Scores of a model from the reports that lie beside it, for its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yaongi.core.artifact import MANIFEST, Artifact, open_artifact
from yaongi.core.errors import ArtifactError
from yaongi.core.files import read_json

CONVERTED = ("hf", "gguf", "export", "peft")
"""Kinds that are their parent in another format: its scores are theirs, but for rounding."""


def scores(artifact: Artifact) -> list[Mapping[str, Any]]:
    """The rows of ``report.json`` of every report on exactly this model.

    Reports are looked for in the folder that holds the model's folder, where ``yaongi eval`` and
    recipes put them. Of two reports with one score the newer counts.
    """
    subjects = [(artifact.hash, artifact.path)]
    if artifact.manifest.kind in CONVERTED:
        subjects += [(p.hash, Path(p.path)) for p in artifact.manifest.parents]
    places = {path.absolute().parent for _hash, path in subjects}
    reports = sorted(
        _reports(places, {found for found, _path in subjects}), key=lambda r: r.manifest.created
    )
    rows = [row for report in reports for row in read_json(report.path / "report.json")["scores"]]
    return list({row["name"]: row for row in rows}.values())


def _reports(places: set[Path], subjects: set[str]) -> Iterator[Artifact]:
    for place in sorted(places):
        for manifest in sorted(place.glob(f"*/{MANIFEST}")):
            try:
                found = open_artifact(manifest.parent, "report")
            except ArtifactError:  # something else lies there
                continue
            if subjects & {parent.hash for parent in found.manifest.parents}:
                yield found
