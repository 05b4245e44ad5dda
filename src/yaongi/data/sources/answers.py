"""What a teacher answered (``data.answers``), as conversations to learn from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document

from yaongi.core.artifact import Artifact, open_artifact
from yaongi.data.recognise import Parsed, documents
from yaongi.data.sources import Reading, Source, Unit, locate

KIND, ANSWERS = "answers", "answers.jsonl"


class AnswersSource(Source):
    """Conversations of an ``answers`` artifact; what was held out among the prompts stays so.

    Args:
        path: its folder, below ``data.root`` or absolute. Its licences are those of its manifest.
    """

    kind: str = "answers"
    path: str

    @property
    def name(self) -> str:
        return self.path

    def units(self, reading: Reading) -> list[Unit]:
        """One: the file of answers."""
        artifact = self.open(reading.root)
        return [Unit(bytes=artifact.manifest.files[ANSWERS].bytes)]

    def read(self, reading: Reading) -> Iterator[Document]:
        path = self.open(reading.root).path / ANSWERS
        with path.open(encoding="utf-8") as lines:
            rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        parsed = (Parsed(line, row) for line, row in enumerate(rows, 1))
        for document in documents(parsed, self.fields, where=self.name, reject=reading.reject_row):
            line = int(document.id.rpartition(":")[2])
            document.metadata["split"] = rows[line - 1]["split"]
            yield document

    def fingerprint(self, root: Path) -> str:
        return self.open(root).hash

    def as_parent(self, root: Path) -> Artifact:
        """The artifact itself: its ancestors are the prompts and their sources."""
        return self.open(root)

    def open(self, root: Path) -> Artifact:
        """The artifact. Raises ArtifactError when it is not one."""
        return open_artifact(locate(self.path, root), KIND)
