"""The table of what was read by eye is the one its file gives."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = json.loads((ROOT / "bench/results/judged.json").read_text("utf-8"))["rows"]


def test_the_page_has_the_table_of_the_file():
    table = runpy.run_path(str(ROOT / "bench/judged.py"))["table"]()
    assert table in (ROOT / "docs/results/filters.md").read_text("utf-8")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['filter']} {row['what']}")
def test_what_is_wrong_was_read_and_counts_once(row):
    wrong = [number for numbers in row["wrong"].values() for number in numbers]
    assert len(wrong) == len(set(wrong))
    assert all(0 <= number < row["read"] for number in wrong)
    assert row["read"] <= row["there"]
    assert row["read"] == min(50, row["there"]), "fifty, or all there are"
