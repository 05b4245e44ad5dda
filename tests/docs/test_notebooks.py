"""The notebooks in the repository: readable by Jupyter, in both languages, without outputs."""

import json
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def outputs(cells: list[dict]) -> list[int]:
    """The numbers of the cells that were run and not stripped."""
    code = [(i, c) for i, c in enumerate(cells) if c["cell_type"] == "code"]
    return [i for i, c in code if c["outputs"] or c["execution_count"] is not None]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stripped(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    nbformat.validate(notebook)
    assert outputs(notebook["cells"]) == [], "Edit > Clear Outputs of All Cells, then save"
    assert "widgets" not in notebook["metadata"]


def test_there_are_notebooks_and_an_output_would_be_found() -> None:
    assert NOTEBOOKS
    run = {"cell_type": "code", "outputs": [{}], "execution_count": 1}
    assert outputs([{"cell_type": "markdown"}, run]) == [1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_text_is_in_korean_and_english(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            assert re.search("[가-힣]", text) and re.search("[a-z]{3}", text), text
